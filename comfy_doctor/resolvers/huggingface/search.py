"""Looks for a file by its name. The host searches names of repositories only, so the files come from two places.

Known publishers' repositories are listed once a day, with all their files: most of what workflows ask for is there. For
the rest, repositories are searched by the words of the file's name. Of each hit one HEAD tells digest and size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from comfy_doctor.asking import Asker
from comfy_doctor.needs import Key, Need
from comfy_doctor.resolvers.filenames import squashed
from comfy_doctor.resolvers.huggingface.hub import HubClient
from comfy_doctor.resolvers.huggingface.names import PUBLISHERS, is_nobodys, queries_for
from comfy_doctor.resolvers.huggingface.records import Blob, Repo, Standing
from comfy_doctor.resolvers.huggingface.weighing import Place, order, weigh
from comfy_doctor.resolvers.huggingface.words import WANT_TOKEN
from comfy_doctor.resolvers.resolver import Answer, Quest, Word
from download_worker.errors import Trouble
from download_worker.leash import Leash
from download_worker.text import safe_text

MAX_QUESTIONS = 7
"""Heads and trees for one model, beside its searches: together at most 12."""

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

    def hits(self, filename: str) -> list[Hit]:
        """Equal names; where there is none, names that differ in case and separators only."""
        return self.exact.get(filename) or self.loose.get(squashed(filename)) or []


@dataclass
class _Look:
    """What was found out about one model."""

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
        answers = self._asker.side_by_side(lambda quest: self._answer(quest, index, leash), quests)
        return {quest.need.key: answer for quest, answer in zip(quests, answers, strict=True)}

    def _published(self, quests: Sequence[Quest], leash: Leash) -> _Index:
        wanted = frozenset(squashed(q.need.filename) for q in quests if not is_nobodys(q.need.filename))
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

    def _answer(self, quest: Quest, index: _Index, leash: Leash) -> Answer:
        need, look = quest.need, _Look(failed=list(index.failed))
        hits = index.hits(need.filename)
        if not any(path.rpartition("/")[2] == need.filename for _, path in hits):
            hits = self._searched(need, look, leash) or hits
        for repo, path in sorted(hits, key=lambda each: order(each[0], each[1], need.folder)):
            if look.questions < MAX_QUESTIONS:
                self._look_at(repo, path, look, leash)
        candidates = weigh(need, look.places, families=quest.families, complete=not look.failed)
        why = "; ".join(dict.fromkeys((*look.said, *look.failed)))
        if candidates:
            return Answer(Word.FOUND, candidates, why)
        if look.failed:
            return Answer(Word.COULD_NOT_LOOK, why=why)
        return Answer(Word.NOT_FOUND, why=why or "no repository that was looked at has a file of this name")

    def _searched(self, need: Need, look: _Look, leash: Leash) -> list[Hit]:
        """Searches from many words to few, until some repository has the file. A generic name is no words at all."""
        generic = is_nobodys(need.filename)
        queries = queries_for(need.subfolder.replace("/", "-") if generic else need.filename)
        if not queries:
            look.said.append("its name is on many files and was not searched for")
        index = _Index()
        for query in queries:
            try:
                index.add(self._hub.search(query, leash), frozenset({squashed(need.filename)}))
            except Trouble as trouble:
                look.failed.append(trouble.message)
                break
            if need.filename in index.exact:
                break
        if queries:
            look.said.append("searched for " + ", ".join(safe_text(query) for query in queries))
        return _once(index.hits(need.filename))

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


def _once(hits: Sequence[Hit]) -> list[Hit]:
    return list({(repo.id, path): (repo, path) for repo, path in hits}.values())
