"""Looks for a file by its name. The host searches names of repositories only, so the files come from two places.

Known publishers' repositories are listed once a day, with all their files: most of what workflows ask for is there. For
the rest, repositories are searched by the words of the file's name. Of each hit one HEAD tells digest and size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from comfy_doctor.asking import Asker
from comfy_doctor.model_names import is_generic, squashed
from comfy_doctor.needs import Key, Need
from comfy_doctor.resolvers.huggingface.hub import HubClient
from comfy_doctor.resolvers.huggingface.names import PUBLISHERS, queries_for
from comfy_doctor.resolvers.huggingface.records import Blob, Repo, Standing
from comfy_doctor.resolvers.huggingface.weighing import Place, order, weigh
from comfy_doctor.resolvers.huggingface.words import WANT_TOKEN
from comfy_doctor.resolvers.resolver import Answer, Quest, Word
from download_worker.errors import Trouble
from download_worker.leash import Leash
from download_worker.text import safe_text

MAX_QUESTIONS = 7
"""Heads and trees for one model, beside its searches: together at most 12."""

QUERIES_FOR_WITNESSES = 1
"""Who else has a file that a publisher has: its first search tells."""

Hit = tuple[Repo, str]
"""A repository and the path of a file in it."""


@dataclass
class _Index:
    """Files of some repositories by name. `failed` says who could not be listed."""

    exact: dict[str, list[Hit]] = field(default_factory=lambda: defaultdict(list))
    loose: dict[str, list[Hit]] = field(default_factory=lambda: defaultdict(list))
    failed: list[str] = field(default_factory=list)

    def add(self, repos: Iterable[Repo], wanted: frozenset[str]) -> None:
        """Only files that somebody looks for, by their names without separators and case."""
        for repo in repos:
            for path in repo.paths:
                filename = path.rpartition("/")[2]
                spelled = squashed(filename)
                if spelled in wanted:
                    self.exact[filename].append((repo, path))
                    self.loose[spelled].append((repo, path))


@dataclass
class _Look:
    """What was found out about one model; `repos` are what its searches brought."""

    repos: list[Repo] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    questions: int = 0


class HuggingFaceSearch:
    """Asked about models for which nothing is settled. At most 12 questions for each, and the lists of publishers."""

    name = "Hugging Face search"
    search = True

    def __init__(self, asker: Asker, publishers: Sequence[str] = PUBLISHERS) -> None:
        self._asker = asker
        self._hub = HubClient(asker)
        self._publishers = publishers

    def look(self, quests: Sequence[Quest], leash: Leash) -> Mapping[Key, Answer]:
        """See `Resolver`."""
        if not quests:
            return {}
        index = self._published(quests, leash)
        looks = self._asker.side_by_side(lambda quest: self._searched(quest.need, index, leash), quests)
        pool = _pooled(quests, looks)
        work = list(zip(quests, looks, strict=True))
        answers = self._asker.side_by_side(lambda each: self._answer(*each, (index, pool), leash), work)
        return {quest.need.key: answer for quest, answer in zip(quests, answers, strict=True)}

    def _published(self, quests: Sequence[Quest], leash: Leash) -> _Index:
        wanted = frozenset(squashed(q.need.filename) for q in quests if not is_generic(q.need.filename))
        index = _Index()
        if wanted:
            lists = self._asker.side_by_side(lambda owner: self._listed(owner, leash), self._publishers)
            for repos, failure in lists:
                index.add(repos, wanted)
                index.failed += [failure] if failure else []
        return index

    def _listed(self, owner: str, leash: Leash) -> tuple[tuple[Repo, ...], str]:
        try:
            return self._hub.of_author(owner, leash), ""
        except Trouble as trouble:
            return (), trouble.message

    def _searched(self, need: Need, published: _Index, leash: Leash) -> _Look:
        """Searches from many words to few, until some repository has the file. A generic name is no words at all."""
        look = _Look(failed=list(published.failed))
        generic = is_generic(need.filename)
        queries = queries_for(need.subfolder.replace("/", "-") if generic else need.filename)
        if need.filename in published.exact:
            queries = queries[:QUERIES_FOR_WITNESSES]
        elif not queries:
            look.said.append("its name is on many files and was not searched for")
        for query in queries:
            try:
                look.repos += self._hub.search(query, leash)
            except Trouble as trouble:
                look.failed.append(trouble.message)
                break
            if any(path.rpartition("/")[2] == need.filename for repo in look.repos for path in repo.paths):
                break
        if queries:
            look.said.append("searched for " + ", ".join(safe_text(query) for query in queries))
        return look

    def _answer(self, quest: Quest, look: _Look, indexes: Sequence[_Index], leash: Leash) -> Answer:
        need = quest.need
        if is_generic(need.filename):
            own = _Index()
            own.add(look.repos, frozenset({squashed(need.filename)}))
            indexes = (own,)
        for repo, path in sorted(_hits(need, indexes), key=lambda each: order(each[0], each[1], need.folder)):
            if look.questions < MAX_QUESTIONS:
                self._look_at(repo, path, look, leash)
        candidates = weigh(need, look.places, families=quest.families, complete=not look.failed)
        why = "; ".join(dict.fromkeys((*look.said, *look.failed)))
        if candidates:
            return Answer(Word.FOUND, candidates, why)
        if look.failed:
            return Answer(Word.COULD_NOT_LOOK, why=why)
        return Answer(Word.NOT_FOUND, why=why or "no repository that was looked at has a file of this name")

    def _look_at(self, repo: Repo, path: str, look: _Look, leash: Leash) -> None:
        place = Place(repo, Blob(path))
        look.questions += 1
        try:
            seen = self._hub.see(place.file, leash)
            if seen.standing is Standing.HERE and seen.blob is not None:
                look.places.append(Place(repo, seen.blob))
            elif seen.standing in WANT_TOKEN:
                look.places.append(Place(repo, self._told_by_tree(place, look, leash), seen.standing))
        except Trouble as trouble:
            look.failed.append(trouble.message)

    def _told_by_tree(self, place: Place, look: _Look, leash: Leash) -> Blob:
        """Of a gated repository the tree is open to everybody."""
        if look.questions >= MAX_QUESTIONS:
            return place.blob
        look.questions += 1
        under = place.blob.path.rpartition("/")[0]
        blobs = self._hub.tree(place.repo.id, place.repo.commit, leash, under=under, deep=False)
        return next((blob for blob in blobs if blob.path == place.blob.path), place.blob)


def _pooled(quests: Sequence[Quest], looks: Sequence[_Look]) -> _Index:
    """All that was found for any of them: models of one workflow are often in one repository, and one is searched for
    by words that bring it."""
    pool = _Index()
    repos = {repo.id: repo for look in looks for repo in look.repos}
    pool.add(repos.values(), frozenset(squashed(quest.need.filename) for quest in quests))
    return pool


def _hits(need: Need, indexes: Sequence[_Index]) -> list[Hit]:
    """Equal names; where there is none, names that differ in case and separators only. Each place once."""
    exact = [hit for index in indexes for hit in index.exact.get(need.filename, ())]
    hits = exact or [hit for index in indexes for hit in index.loose.get(squashed(need.filename), ())]
    return list({(repo.id, path): (repo, path) for repo, path in hits}.values())
