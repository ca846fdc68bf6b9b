"""How sure it is that a file of this name is the one that is meant: pure. A wrong automatic choice costs most.

By name alone only this may be fetched unasked: a name that is not on many files, of which all that was found are the
same bytes, and that comes from a known publisher, or from several owners, or from a repository named after it. What is
found under another spelling, for another folder, or beside other bytes of the same name is for a person to choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comfy_doctor.needs import Candidate, Need
from comfy_doctor.resolvers.filenames import is_telling
from comfy_doctor.resolvers.huggingface.names import PUBLISHERS, Fit, fit, is_nobodys, is_one_word, named_after
from comfy_doctor.resolvers.huggingface.records import Blob, Repo, Standing
from comfy_doctor.resolvers.huggingface.words import TOKEN, WANT_TOKEN, obstacle, page_of
from comfy_doctor.resolvers.likeness import families_in
from comfy_doctor.sites import HubFile
from download_worker.text import safe_text

PUBLISHER_AND_OTHERS = 0.95
PUBLISHER = 0.93
SEVERAL_OWNERS = 0.91
NAMED_AFTER_IT = 0.91
ONE_OF_SEVERAL = 0.9
ONE_STRANGER = 0.75
NOT_SURE = 0.85
LOOSE_NAME = 0.6
OTHER_FOLDER = 0.5
AMBIGUOUS = 0.5
GENERIC = 0.3
MAX_SHOWN = 6
SAME_IN_PLACES = 3
_RUNS_NOTHING = (".safetensors", ".sft", ".gguf")
_RANKS = {owner.lower(): rank for rank, owner in enumerate(PUBLISHERS)}


@dataclass(frozen=True, slots=True)
class Place:
    """One file in one repository that was looked at."""

    repo: Repo
    blob: Blob
    standing: Standing = Standing.HERE

    @property
    def file(self) -> HubFile:
        return HubFile(self.repo.id, self.repo.commit, self.blob.path)

    @property
    def published(self) -> bool:
        return self.repo.owner.lower() in _RANKS


@dataclass(frozen=True, slots=True)
class Group:
    """Places with the same bytes, the best first."""

    places: tuple[Place, ...]

    @property
    def published(self) -> bool:
        return any(place.published for place in self.places)

    @property
    def owners(self) -> frozenset[str]:
        return frozenset(place.repo.owner.lower() for place in self.places)

    def fit(self, folder: str | None) -> Fit:
        return max(fit(place.blob.path, folder) for place in self.places)

    def families(self) -> frozenset[str]:
        return frozenset().union(*(families_in(f"{place.repo.id} {place.blob.path}") for place in self.places))


def order(repo: Repo, path: str, folder: str | None) -> tuple[int, int, bool, int]:
    """Sorts what is looked at first: known publishers, the right folder, no gate, many downloads."""
    rank = _RANKS.get(repo.owner.lower(), len(_RANKS))
    return (rank, -fit(path, folder), repo.gated, -repo.downloads)


def weigh(
    need: Need, places: Sequence[Place], *, families: frozenset[str] = frozenset(), complete: bool = True
) -> tuple[Candidate, ...]:
    """One candidate for each kind of bytes, the surest first. `complete`: everything was looked at that could be."""
    groups = _groups(need, places)
    original = _original(need, groups)
    found = []
    for group in groups:
        sure, why = _sureness(need, group, groups, original)
        if not complete and sure > NOT_SURE:
            sure, why = NOT_SURE, (*why, "not everything could be looked at: other bytes may have the same name")
        if len(groups) > 1 and group is not original and families & group.families():
            sure = min(sure + 0.1, NOT_SURE)
        found.append(_candidate(need, group, sure, why))
    return tuple(sorted(found, key=lambda candidate: -candidate.confidence))


def _groups(need: Need, places: Sequence[Place]) -> list[Group]:
    by_bytes: dict[str, list[Place]] = {}
    for place in sorted(places, key=lambda each: _place_order(each, need)):
        by_bytes.setdefault(place.blob.sha256 or place.file.url, []).append(place)
    return [Group(tuple(group)) for group in by_bytes.values()]


def _place_order(place: Place, need: Need) -> tuple[bool, tuple[int, int, bool, int]]:
    return (place.standing is not Standing.HERE, order(place.repo, place.blob.path, need.folder))


def _original(need: Need, groups: Sequence[Group]) -> Group | None:
    """The one that is meant among several: the only one for this folder, or else the only known publisher's."""
    if len(groups) == 1:
        return groups[0]
    fitting = [group for group in groups if group.fit(need.folder) is not Fit.OTHER]
    if len(fitting) == 1 and fitting[0].published:
        return fitting[0]
    published = [group for group in fitting if group.published]
    return published[0] if len(published) == 1 else None


def _sureness(
    need: Need, group: Group, groups: Sequence[Group], original: Group | None
) -> tuple[float, tuple[str, ...]]:
    first = group.places[0]
    if is_nobodys(need.filename):
        return GENERIC, ("its name says nothing about whose it is",)
    if first.blob.filename != need.filename:
        return LOOSE_NAME if group.published else AMBIGUOUS, ("its name is spelled in another way",)
    if group.fit(need.folder) is Fit.OTHER:
        return OTHER_FOLDER, (f"its path does not speak of {need.folder}",)
    if group is not original:
        return AMBIGUOUS, (f"{len(groups) - 1} other files of this name have other bytes",)
    if first.blob.sha256 is None:
        return NOT_SURE, ("Hugging Face tells no SHA-256 of it",)
    if len(groups) > 1:
        return ONE_OF_SEVERAL, (f"the only one of {len(groups)} files of this name that a known publisher has",)
    return _sureness_of_the_only_one(need, group)


def _sureness_of_the_only_one(need: Need, group: Group) -> tuple[float, tuple[str, ...]]:
    if is_one_word(need.filename) and len(group.places) < SAME_IN_PLACES:
        return NOT_SURE, ("a name of one word is soon on another file",)
    if group.published:
        return (PUBLISHER_AND_OTHERS if len(group.owners) > 1 else PUBLISHER), ("from a known publisher",)
    if not need.filename.lower().endswith(_RUNS_NOTHING):
        return ONE_STRANGER, ("a format that can run code, from nobody who is known",)
    if len(group.owners) > 1 and is_telling(need.filename):
        return SEVERAL_OWNERS, (f"{len(group.owners)} owners have the same bytes under this name",)
    if any(named_after(place.repo.id, need.filename) for place in group.places):
        return NAMED_AFTER_IT, ("its repository is named after it",)
    return (NOT_SURE if len(group.owners) > 1 else ONE_STRANGER), ("nothing tells whether it is the original",)


def _candidate(need: Need, group: Group, sure: float, why: tuple[str, ...]) -> Candidate:
    first = group.places[0]
    others = [place for place in group.places[1:MAX_SHOWN] if place.standing is Standing.HERE]
    evidence = [f"Hugging Face has it in {safe_text(first.repo.id)} as {safe_text(first.blob.path)}"]
    if len(group.places) > 1:
        shown = ", ".join(safe_text(place.repo.id) for place in group.places[1:MAX_SHOWN])
        evidence.append(f"the same bytes are in {shown}")
    return Candidate(
        url=first.file.url,
        filename=first.blob.filename,
        folder=need.folder or "",
        source="huggingface",
        mirrors=tuple(place.file.url for place in others),
        size=first.blob.size,
        sha256=first.blob.sha256,
        proof="A" if first.blob.sha256 else "D",
        confidence=sure,
        evidence=(*evidence, *why),
        gated=first.standing in WANT_TOKEN,
        token=TOKEN if first.standing in WANT_TOKEN else None,
        obstacle=obstacle(first.standing, first.file),
        page=page_of(first.repo.id),
    )
