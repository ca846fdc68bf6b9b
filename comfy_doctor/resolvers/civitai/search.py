"""By name: Civitai searches the names of models, and what it finds is compared by the names of their files.

A name alone fetches nothing unasked: who uploads a file gives it any name, a second author the same one, and what is
found may be a copy of what is gone. The surest is the only file of exactly this name, of a kind that fits the folder
and of a type whose names Civitai leaves as they were uploaded. All is shown, and a person chooses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from comfy_doctor.asking import Asker
from comfy_doctor.model_names import is_telling, squashed, telling_words, words_of
from comfy_doctor.needs import Candidate, Key, Need
from comfy_doctor.resolvers.civitai.api import Api
from comfy_doctor.resolvers.civitai.kinds import TYPES_OF_FOLDER, fits, is_weights, renames_files
from comfy_doctor.resolvers.civitai.named import resembles, same_name
from comfy_doctor.resolvers.civitai.notebook import Page
from comfy_doctor.resolvers.civitai.offers import distinct, offer, said
from comfy_doctor.resolvers.civitai.records import File, Version
from comfy_doctor.resolvers.likeness import families_in
from comfy_doctor.resolvers.resolver import Answer, Quest
from download_worker.clock import Clock, SystemClock
from download_worker.errors import Trouble
from download_worker.leash import Leash

MAX_SEARCHES = 300
"""Models that one run searches for; for the rest we could not look, and that is said."""
MAX_PAGES = 2
MAX_QUERY_CHARS = 100
MAX_SHOWN = 5

TELLING_NAME = 0.88
REWRITTEN_NAME = 0.85
PLAIN_NAME = 0.8
SEVERAL = 0.85
"""For all files of one name together: they share it."""
OTHER_KIND = 0.3
LIKE_ITS_TITLE = 0.5
ONE_OF_SEVERAL_TITLES = 0.3
RESEMBLES = 0.15
BESIDE_OTHERS = 0.1
"""For a name under which another host has other bytes."""


_Find = tuple[Version, File]


class CivitaiSearch:
    name = "Civitai search"
    search = True

    def __init__(self, asker: Asker, clock: Clock | None = None) -> None:
        self._asker = asker
        self._clock = clock or SystemClock()

    def look(self, quests: Sequence[Quest], leash: Leash) -> Mapping[Key, Answer]:
        """See `Resolver`. Raises Interrupted."""
        api, now = Api(self._asker, leash), self._clock.now()
        within, beyond = quests[:MAX_SEARCHES], quests[MAX_SEARCHES:]
        pages = self._asker.side_by_side(lambda quest: _searched(quest, api, now), within)
        answers = {quest.need.key: page.answer() for quest, page in zip(within, pages, strict=True)}
        too_many = Page(failed=[f"more than {MAX_SEARCHES} models to search for in one run"]).answer()
        return answers | {quest.need.key: too_many for quest in beyond}


def queries_for(filename: str) -> tuple[str, ...]:
    """What to search for, the most telling first: models seldom carry the precision or the version of their files."""
    words = words_of(filename)
    telling = telling_words(filename)
    tries = (" ".join(telling), " ".join(words), " ".join(telling[:2]))
    found = tuple(dict.fromkeys(query[:MAX_QUERY_CHARS] for query in tries if query))
    return found or (filename[:MAX_QUERY_CHARS],)


def _searched(quest: Quest, api: Api, now: datetime) -> Page:
    """Query after query, until one brings a file of exactly this name."""
    page, seen = Page(), dict[int, Version]()
    queries = queries_for(quest.need.filename)
    try:
        for query in queries:
            for version in _found(query, quest.need, api):
                seen[version.id] = version
            if _of_this_name(quest.need, tuple(seen.values())):
                break
    except Trouble as trouble:
        page.failed.append(trouble.message)
    # Where an answer is missing, a second file of this name may be in it: then none is known to be the only one.
    page.candidates += judged(quest, tuple(seen.values()), now, complete=not page.failed)
    page.looked.append(f"none of {len(seen)} versions that Civitai finds for {said(queries[0])} has this file")
    return page


def _found(query: str, need: Need, api: Api) -> Iterator[Version]:
    types = sorted(TYPES_OF_FOLDER.get(need.folder or "", ()))
    cursor = None
    for _ in range(MAX_PAGES):
        versions, cursor = api.search(query, types, cursor)
        yield from versions
        if cursor is None:
            break


def judged(quest: Quest, versions: Sequence[Version], now: datetime, *, complete: bool = True) -> list[Candidate]:
    """The candidates among these versions, as sure as their names allow."""
    need = quest.need
    named = _of_this_name(need, versions)
    if named:
        others = len(named) - 1 if complete else max(1, len(named) - 1)
        return [_named(quest, find, now, others) for find in named]
    titled = [find for find in _weights(need, versions) if _has_its_title(need, find[0])]
    if titled:
        sure = LIKE_ITS_TITLE if len(titled) == 1 else ONE_OF_SEVERAL_TITLES
        return [_like(need, find, sure, "its file name is that of this model and version", now) for find in titled]
    alike = [find for find in _weights(need, versions) if resembles(need, *find)]
    return [_like(need, find, RESEMBLES, "its name is like this one", now) for find in alike[:MAX_SHOWN]]


def _of_this_name(need: Need, versions: Sequence[Version]) -> list[_Find]:
    pairs = ((v, f) for v in versions for f in v.files if is_weights(f) and same_name(f, need))
    return distinct(pairs)


def _weights(need: Need, versions: Sequence[Version]) -> list[_Find]:
    found = ((v, f) for v in versions for f in v.files if f.primary and fits(v, f, need.folder))
    return distinct(found)


def _named(quest: Quest, find: _Find, now: datetime, others: int) -> Candidate:
    sure, why = _sureness(quest, find, others)
    return offer(quest.need, *find, now, source="civitai", confidence=sure, why=why)


def _sureness(quest: Quest, find: _Find, others: int) -> tuple[float, str]:
    need, (version, file) = quest.need, find
    if _is_other_bytes_elsewhere(quest, file):
        return BESIDE_OTHERS, "but another host has other bytes under this name"
    if others:
        return SEVERAL / (others + 1), "one of several files of this name"
    if not fits(version, file, need.folder):
        return OTHER_KIND, f"the only one found of this name, but it is a {said(version.type)}"
    if not is_telling(need.filename) or file.name != need.filename or file.sha256 is None:
        return PLAIN_NAME, "the only one found of this name, which others may use too"
    families = families_in(version.base_model)
    if families and quest.families and not families & quest.families:
        return PLAIN_NAME, f"the only one found of this name, but made for {said(version.base_model)}"
    if renames_files(version):
        return REWRITTEN_NAME, "the only one found of this name, which Civitai made up from its title"
    return TELLING_NAME, "the only one found of this name"


def _is_other_bytes_elsewhere(quest: Quest, file: File) -> bool:
    need = quest.need
    digests = {known.sha256 for known in quest.known if known.filename == need.filename and known.sha256 is not None}
    return bool(digests) and file.sha256 is not None and file.sha256 not in digests


def _has_its_title(need: Need, version: Version) -> bool:
    """Civitai's own pattern for checkpoints: model and version, each without blanks, joined by an underscore."""
    return squashed(f"{version.model_name}{version.name}") == squashed(need.filename.rpartition(".")[0])


def _like(need: Need, find: _Find, sure: float, why: str, now: datetime) -> Candidate:
    return offer(need, *find, now, source="civitai", confidence=sure, why=why)
