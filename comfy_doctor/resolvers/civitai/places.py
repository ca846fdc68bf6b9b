"""What Civitai knows for certain: files by their digest, and versions or models that somebody already named.

Digests are asked in bulk, named places side by side. A place that somebody named and that Civitai does not have any
more, or does not give away now, stays a candidate, with what stands in its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from comfy_doctor.asking import Asker
from comfy_doctor.needs import Candidate, Key, Need
from comfy_doctor.resolvers.civitai.api import MAX_DIGESTS_FOR_IDS, MAX_DIGESTS_FOR_VERSIONS, Api
from comfy_doctor.resolvers.civitai.gates import obstacle_of
from comfy_doctor.resolvers.civitai.named import Naming, gone, namings_of, offers_at
from comfy_doctor.resolvers.civitai.notebook import Notebook, Page
from comfy_doctor.resolvers.civitai.offers import offer
from comfy_doctor.resolvers.civitai.records import File, Version
from comfy_doctor.resolvers.claims import digests_claimed
from comfy_doctor.resolvers.resolver import Answer, Quest
from comfy_doctor.sites import CivitaiPlace
from download_worker.clock import Clock, SystemClock
from download_worker.errors import Code, Trouble
from download_worker.leash import Leash

MAX_PLACES = 2_000
"""Named by all workflows of one run; the rest is not looked at, and that is said."""

_T = TypeVar("_T")
_R = TypeVar("_R")
_Told = tuple[Version, ...] | Trouble


@dataclass
class _Held:
    """Who holds which digest, and why some could not be asked for."""

    by_digest: dict[str, list[tuple[Version, File | None]]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def note(self, digest: str, version: Version) -> None:
        """The file itself, or none where Civitai knows the digest and has no file left of that version."""
        file = next((file for file in version.files if file.sha256 == digest), None)
        if file is not None or not version.files:
            self.by_digest.setdefault(digest, []).append((version, file))


class CivitaiPlaces:
    name = "Civitai"
    search = False

    def __init__(self, asker: Asker, clock: Clock | None = None) -> None:
        self._asker = asker
        self._clock = clock or SystemClock()

    def look(self, quests: Sequence[Quest], leash: Leash) -> Mapping[Key, Answer]:
        """See `Resolver`. Raises Interrupted."""
        api, notes, now = Api(self._asker, leash), Notebook(), self._clock.now()
        self._look_for_digests(quests, api, notes, now)
        self._look_at_places(quests, api, notes, now)
        return notes.answers()

    def _look_for_digests(self, quests: Sequence[Quest], api: Api, notes: Notebook, now: datetime) -> None:
        claims = {quest.need.key: digests_claimed(quest) for quest in quests}
        held = self._holders(sorted({digest for claimed in claims.values() for digest in claimed}), api)
        for quest in quests:
            for digest, sure in claims[quest.need.key].items():
                page = notes.page(quest.need.key)
                if digest in held.failed:
                    page.failed.append(held.failed[digest])
                elif digest in held.by_digest:
                    page.candidates.append(_found_by_digest(quest.need, held.by_digest[digest], sure, now))
                else:
                    page.looked.append("Civitai knows no file with this SHA-256")

    def _holders(self, digests: Sequence[str], api: Api) -> _Held:
        held = _Held()
        if len(digests) == 1:
            self._note_one(digests[0], api, held)
            return held
        if len(digests) > MAX_DIGESTS_FOR_VERSIONS:  # first, which of them are known at all: most are not
            told = self._each(api.known_digests, _batches(digests, MAX_DIGESTS_FOR_IDS))
            known = frozenset[str]().union(*_heard(told, held))
            digests = [digest for digest in digests if digest in known]
        wanted = frozenset(digests)
        told_versions = self._each(api.by_digests, _batches(digests, MAX_DIGESTS_FOR_VERSIONS))
        for version in (version for versions in _heard(told_versions, held) for version in versions):
            for digest in sorted({file.sha256 for file in version.files if file.sha256 in wanted}):
                held.note(digest, version)
        return held

    def _note_one(self, digest: str, api: Api, held: _Held) -> None:
        try:
            held.note(digest, api.by_digest(digest))
        except Trouble as trouble:
            if trouble.code is not Code.NOT_FOUND:
                held.failed[digest] = trouble.message

    def _look_at_places(self, quests: Sequence[Quest], api: Api, notes: Notebook, now: datetime) -> None:
        namings = [(quest, naming) for quest in quests for naming in namings_of(quest)]
        places = list(dict.fromkeys(_to_ask(naming) for _, naming in namings))
        told = self._each(lambda place: _versions_at(place, api), places[:MAX_PLACES])
        for quest, naming in namings:
            _hear(notes.page(quest.need.key), quest, naming, told.get(_to_ask(naming)), now)

    def _each(self, ask: Callable[[_T], _R], things: Sequence[_T]) -> Mapping[_T, _R | Trouble]:
        """The answer for each, or why there is none."""

        def told(thing: _T) -> _R | Trouble:
            try:
                return ask(thing)
            except Trouble as trouble:
                return trouble

        return dict(zip(things, self._asker.side_by_side(told, things), strict=True))


def _batches(digests: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(digests[start : start + size]) for start in range(0, len(digests), size)]


def _heard(told: Mapping[tuple[str, ...], _R | Trouble], held: _Held) -> Iterator[_R]:
    """The answers. A batch that brought none has failed for each of its digests, whatever the reason: a bulk address
    that is not there says nothing about digests."""
    for batch, answer in told.items():
        if isinstance(answer, Trouble):
            held.failed |= dict.fromkeys(batch, answer.message)
        else:
            yield answer


def _found_by_digest(
    need: Need, holders: Iterable[tuple[Version, File | None]], sure: float, now: datetime
) -> Candidate:
    """Of several versions with these bytes the one that can be had, of these the oldest."""
    version, file = min(holders, key=lambda held: (obstacle_of(held[0], held[1], now) is not None, held[0].id))
    if file is None:
        file = File(name=need.filename, kind="", url=version.url)
    return offer(need, version, file, now, source="civitai_hash", confidence=sure, why="which has this SHA-256")


def _to_ask(naming: Naming) -> CivitaiPlace:
    """A version is asked for by its own number only, whoever names its model beside it."""
    place = naming.place
    return place if place.version is None else CivitaiPlace(None, place.version)


def _versions_at(place: CivitaiPlace, api: Api) -> tuple[Version, ...]:
    if place.version is not None:
        return (api.version(place.version),)
    return api.model(place.model or 0)


def _hear(page: Page, quest: Quest, naming: Naming, told: _Told | None, now: datetime) -> None:
    if told is None:
        page.failed.append(f"the workflows name more than {MAX_PLACES} places on Civitai: not all were asked")
    elif not isinstance(told, Trouble):
        offers = offers_at(quest, naming, told, now)
        page.candidates += offers
        page.looked += [] if offers else [f"{naming.place.url} holds no file of this name"]
    elif told.code is Code.NOT_FOUND:
        page.candidates += gone(naming)
        page.looked.append(f"Civitai does not have {naming.place.url}")
    else:
        page.failed.append(told.message)
