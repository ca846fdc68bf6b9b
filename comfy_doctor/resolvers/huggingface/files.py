"""Confirms what somebody names: every URL of a file on Hugging Face is asked for its digest, its size and its commit.

A link that leads nowhere any more is not dropped silently: its repository is looked through for the same file at
another path, and the link stays as a candidate with what stands in its way. Repositories that a workflow's notes speak
of are looked through for the file's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from comfy_doctor.asking import Asker
from comfy_doctor.model_names import is_generic, squashed, words_of
from comfy_doctor.needs import Candidate, Key, Need
from comfy_doctor.resolvers.huggingface.hub import HubClient
from comfy_doctor.resolvers.huggingface.records import Blob, Seen, Standing
from comfy_doctor.resolvers.huggingface.words import TOKEN, WANT_TOKEN, obstacle, page_of
from comfy_doctor.resolvers.resolver import Answer, Quest, Word
from comfy_doctor.sites import HubFile, HubRepo, site_of
from download_worker.errors import Code, Trouble
from download_worker.leash import Leash
from download_worker.text import safe_text

MAX_PLACES = 8
"""So many files and repositories are asked about for one model."""
CONFIRMED = {"embedded": 0.96, "template": 0.95, "huggingface": 0.95}
CONFIRMED_OTHERS = 0.92
OTHER_REPOSITORY = 0.92
OTHER_NAME = 0.8
WITHOUT_DIGEST = 0.85
FROM_HINT = 0.93
MOVED_FILE = 0.9
UNSURE = 0.6
GONE = 0.05


@dataclass(frozen=True, slots=True)
class _Heard:
    """About one place: what was found there, or why it could not be looked at. Neither: it has no such file."""

    candidates: tuple[Candidate, ...] = ()
    said: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True)
class _Link:
    """A file that a candidate names."""

    need: Need
    candidate: Candidate
    file: HubFile


class HuggingFaceFiles:
    """Asked about every model for which some file or repository on Hugging Face was named."""

    name = "Hugging Face"
    search = False

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._hub = HubClient(asker)

    def look(self, quests: Sequence[Quest], leash: Leash) -> Mapping[Key, Answer]:
        """See `Resolver`."""
        work = [(quest.need, place) for quest in quests for place in _places(quest)]
        heard = self._asker.side_by_side(lambda each: self._heard(each[0], each[1], leash), work)
        by_key: dict[Key, list[_Heard]] = {}
        for (need, _), each in zip(work, heard, strict=True):
            by_key.setdefault(need.key, []).append(each)
        return {key: _answer(each) for key, each in by_key.items()}

    def _heard(self, need: Need, place: _Link | HubRepo, leash: Leash) -> _Heard:
        try:
            if isinstance(place, HubRepo):
                return self._in_repository(need, place, leash)
            return self._link(place, leash)
        except Trouble as trouble:
            return _Heard(said=trouble.message, failed=trouble.code is not Code.NOT_FOUND)

    def _link(self, link: _Link, leash: Leash) -> _Heard:
        seen = self._hub.see(link.file, leash)
        if seen.standing is Standing.HERE:
            return _Heard((_confirmed(link, seen),), f"{safe_text(link.file.repo)} has it")
        hindered = _hindered(link, seen)
        if seen.standing in WANT_TOKEN or seen.standing is Standing.DISABLED:
            blob = self._told_by_tree(link.file, leash)
            return _Heard((_with_digest(link, hindered, blob),), hindered.obstacle or "")
        said = hindered.obstacle or ""
        try:
            return _Heard((hindered, *self._elsewhere(link, seen, leash)), said)
        except Trouble as trouble:
            return _Heard((hindered,), f"{said}; {trouble.message}", failed=True)

    def _told_by_tree(self, file: HubFile, leash: Leash) -> Blob | None:
        """A gated repository shows its tree to everybody, a private one does not."""
        under = file.path.rpartition("/")[0]
        try:
            blobs = self._hub.tree(file.repo, file.revision, leash, under=under, deep=False)
        except Trouble:
            return None
        return next((blob for blob in blobs if blob.path == file.path), None)

    def _elsewhere(self, link: _Link, seen: Seen, leash: Leash) -> tuple[Candidate, ...]:
        """The same file name at another path or revision of a repository that is still there."""
        if seen.standing not in (Standing.NO_FILE, Standing.NO_REVISION):
            return ()
        place = HubRepo(seen.repo)
        blobs = self._hub.tree(place.repo, place.revision, leash)
        matches = [blob for blob in blobs if blob.filename == link.file.filename]
        sure = MOVED_FILE if len({blob.sha256 for blob in matches}) == 1 and not is_generic(link.file.filename) else 0.5
        why = f"its link names {safe_text(link.file.path)} at {safe_text(link.file.revision)}, which is gone"
        return self._pinned(link.need, place, matches[:MAX_PLACES], sure, why, leash)

    def _in_repository(self, need: Need, place: HubRepo, leash: Leash) -> _Heard:
        blobs = self._hub.tree(place.repo, place.revision, leash, under=place.under)
        matches = [blob for blob in blobs if blob.filename == need.filename]
        repo = safe_text(place.repo)
        if not matches:
            return _Heard(said=f"{repo} has no file of that name")
        sure = FROM_HINT if len({blob.sha256 for blob in matches}) == 1 and not is_generic(need.filename) else UNSURE
        why = f"the workflow's own note names {repo}"
        candidates = self._pinned(need, place, matches[:MAX_PLACES], sure, why, leash)
        return _Heard(candidates, f"{repo} has it")

    def _pinned(
        self, need: Need, place: HubRepo, blobs: Sequence[Blob], sure: float, why: str, leash: Leash
    ) -> tuple[Candidate, ...]:
        """Candidates from a tree: the head of each tells its commit, and whether it can be had."""
        found = []
        for blob in blobs:
            file = HubFile(place.repo, place.revision, blob.path)
            bare = Candidate(file.url, blob.filename, need.folder or "", "huggingface", evidence=(why,))
            link = _Link(need, bare, file)
            seen = self._hub.see(file, leash)
            if seen.standing is Standing.HERE:
                confirmed = _confirmed(link, seen)
                found.append(replace(confirmed, confidence=min(sure, confirmed.confidence)))
            elif seen.standing in WANT_TOKEN:
                told = _with_digest(link, _hindered(link, seen), blob)
                found.append(replace(told, confidence=min(sure, told.confidence)))
        return tuple(found)


def _places(quest: Quest) -> list[_Link | HubRepo]:
    need = quest.need
    links: dict[tuple[str, str, str], _Link | HubRepo] = {}
    for candidate in quest.known:
        site = site_of(candidate.url)
        if isinstance(site, HubFile):
            links.setdefault((site.repo.lower(), site.revision, site.path), _Link(need, candidate, site))
    for hint in need.hints:
        site = site_of(hint)
        if isinstance(site, HubRepo):
            links.setdefault((site.repo.lower(), site.revision, f"{site.under}/"), site)
        elif isinstance(site, HubFile) and site.filename == need.filename:
            named = Candidate(site.url, site.filename, need.folder or "", "note", evidence=("a note links it",))
            links.setdefault((site.repo.lower(), site.revision, site.path), _Link(need, named, site))
    return list(links.values())[:MAX_PLACES]


def _confirmed(link: _Link, seen: Seen) -> Candidate:
    """As the host has it now: pinned to its commit, so that nobody can change it under us."""
    file, candidate = link.file, link.candidate
    blob = seen.blob or Blob(file.path)
    commit = seen.commit or file.revision
    evidence = [f"Hugging Face has it in {safe_text(seen.repo)} at {commit[:12]}"]
    mirrors = candidate.mirrors
    moved = seen.repo.lower() != file.repo.lower()
    if moved:
        evidence.append(f"Hugging Face leads from {safe_text(file.repo)} to another repository: {safe_text(seen.repo)}")
        mirrors = (HubFile(seen.repo, commit, file.path).url, *mirrors)
    if blob.sha256 is None:
        evidence.append("it is a small file of which Hugging Face tells no SHA-256")
    if not _means_the_same(file.filename, link.need.filename):
        evidence.append(f"the link names {safe_text(file.filename)}, not {safe_text(link.need.filename)}")
    owner_spelling = file.repo if moved else seen.repo
    return replace(
        candidate,
        url=HubFile(owner_spelling, commit, file.path).url,
        mirrors=mirrors,
        size=candidate.size if blob.size is None else blob.size,
        sha256=blob.sha256 or candidate.sha256,
        proof="A" if blob.sha256 else candidate.proof,
        confidence=_confidence(link, blob, moved=moved),
        evidence=(*candidate.evidence, *evidence),
        page=candidate.page or page_of(seen.repo),
    )


def _confidence(link: _Link, blob: Blob, *, moved: bool) -> float:
    sure = CONFIRMED.get(link.candidate.source, CONFIRMED_OTHERS)
    if not _means_the_same(link.file.filename, link.need.filename):
        return OTHER_NAME
    if blob.sha256 is None:
        return WITHOUT_DIGEST
    return min(sure, OTHER_REPOSITORY) if moved else sure


def _means_the_same(published: str, needed: str) -> bool:
    """Equal, or renamed in a way that people rename: a generic name got a telling one, or words were left out."""
    if published == needed or squashed(published) == squashed(needed):
        return True
    if published.rpartition(".")[2].lower() != needed.rpartition(".")[2].lower():
        return False
    if is_generic(published):
        return True
    one, other = ({word.lower() for word in words_of(name)} for name in (published, needed))
    return one <= other or other <= one


def _hindered(link: _Link, seen: Seen) -> Candidate:
    """The candidate with what stands in its way; one that is certainly gone sinks to the bottom."""
    why = obstacle(seen.standing, link.file)
    wants_token = seen.standing in WANT_TOKEN or seen.standing is Standing.NO_REPOSITORY
    candidate = link.candidate
    return replace(
        candidate,
        confidence=GONE if seen.standing.gone else candidate.confidence,
        evidence=(*candidate.evidence, f"Hugging Face says: {seen.standing.value}"),
        gated=candidate.gated or seen.standing in (Standing.GATED, Standing.NOT_APPROVED),
        token=TOKEN if wants_token else candidate.token,
        obstacle=why,
        page=candidate.page or page_of(link.file.repo),
    )


def _with_digest(link: _Link, candidate: Candidate, blob: Blob | None) -> Candidate:
    if blob is None or blob.sha256 is None:
        return candidate
    sure = max(candidate.confidence, _confidence(link, blob, moved=False))
    return replace(candidate, sha256=blob.sha256, size=blob.size, proof="A", confidence=sure)


def _answer(heard: Sequence[_Heard]) -> Answer:
    candidates = tuple(candidate for each in heard for candidate in each.candidates)
    why = "; ".join(dict.fromkeys(each.said for each in heard if each.said))
    if any(candidate.confidence > GONE for candidate in candidates):
        return Answer(Word.FOUND, candidates, why)
    failed: Iterable[_Heard] = (each for each in heard if each.failed)
    return Answer(Word.COULD_NOT_LOOK if any(failed) else Word.NOT_FOUND, candidates, why)
