"""How sure it is that a file of this name is the one that is meant: pure. A wrong automatic choice costs most.

By name alone only what a known publisher has may be fetched unasked, and only if its name is not on many files. Among
strangers a name proves nothing: forks, fine-tunes and re-saved copies keep it, and a repository that is named after a
file, or several that share its bytes, may be copies of what is gone. What strangers have under a publisher's name
weighs nothing, unless several of them agree or the format can run code. All else is for a person to choose.

The numbers are measured: `python -m tests.bench.resolution` compares them with how often they are right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comfy_doctor.model_names import is_generic, is_one_word
from comfy_doctor.needs import Candidate, Need
from comfy_doctor.resolvers.huggingface.names import PUBLISHERS, Fit, fit, named_after
from comfy_doctor.resolvers.huggingface.records import Blob, Repo, Standing
from comfy_doctor.resolvers.huggingface.words import TOKEN, WANT_TOKEN, obstacle, page_of
from comfy_doctor.resolvers.likeness import families_in
from comfy_doctor.sites import HubFile
from download_worker.text import safe_text

PUBLISHER_AND_OTHERS = 0.99
PUBLISHER = 0.98
PUBLISHER_BESIDE_OTHERS = 0.95
PUBLISHER_BESIDE_STRANGERS = 0.88
"""Measured right in 141 of 146 cases (tests/bench/resolution.py): too few to fetch it unasked."""
SEVERAL_OWNERS = 0.88
NOT_SURE = 0.85
ONE_OF_SEVERAL = 0.85
"""For all files of one name together: they share it."""
ONE_STRANGER = 0.75
SHORT_NAME = 0.6
LOOSE_NAME = 0.4
OTHER_FOLDER = 0.3
GENERIC = 0.1
BESIDE_THE_ORIGINAL = 0.05
MAX_SHOWN = 6
SAME_IN_PLACES = 3
MOST_DOWNLOADED = 2
RIGHT_FAMILY = 2
"""Such a file weighs so much more among several: little, because what ranks higher is often a copy."""
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

    @property
    def downloads(self) -> int:
        return max(place.repo.downloads for place in self.places)

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
        sure, why = _sureness(need, group, groups, original, families)
        if not complete and sure > NOT_SURE:
            sure, why = NOT_SURE, (*why, "not everything could be looked at: other bytes may have the same name")
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
    need: Need, group: Group, groups: Sequence[Group], original: Group | None, families: frozenset[str]
) -> tuple[float, tuple[str, ...]]:
    first = group.places[0]
    if is_generic(need.filename):
        sure = GENERIC * RIGHT_FAMILY if families & group.families() else GENERIC
        return sure, ("its name says nothing about whose it is",)
    if first.blob.filename != need.filename:
        return LOOSE_NAME, ("its name is spelled in another way",)
    if group.fit(need.folder) is Fit.OTHER:
        sure = OTHER_FOLDER if len(groups) == 1 else BESIDE_THE_ORIGINAL
        return sure, (f"its path does not speak of {need.folder}",)
    if group is not original:
        return _shared(group, groups, original, families), (
            f"{len(groups) - 1} other files of this name have other bytes",
        )
    if first.blob.sha256 is None:
        return NOT_SURE, ("Hugging Face tells no SHA-256 of it",)
    if len(groups) > 1:
        return _sureness_beside_others(need, group, groups)
    return _sureness_of_the_only_one(need, group)


def _shared(group: Group, groups: Sequence[Group], original: Group | None, families: frozenset[str]) -> float:
    """What is left for one of several: known publishers first, then whom more owners agree with."""
    rivals = [each for each in groups if each.published] or groups
    if original is not None or group not in rivals:
        return BESIDE_THE_ORIGINAL
    most = max(each.downloads for each in rivals)

    def weight(each: Group) -> int:
        found = len(each.owners) ** 2
        found *= MOST_DOWNLOADED if each.downloads == most else 1
        return found * RIGHT_FAMILY if families & each.families() else found

    return ONE_OF_SEVERAL * weight(group) / sum(map(weight, rivals))


def _sureness_beside_others(need: Need, group: Group, groups: Sequence[Group]) -> tuple[float, tuple[str, ...]]:
    """Of the only known publisher's file, where strangers have other bytes under its name."""
    told = f"the only one of {len(groups)} files of this name that a known publisher has"
    if len(group.owners) == 1:
        if any(not other.published for other in groups if other is not group):
            return PUBLISHER_BESIDE_STRANGERS, (told, "but somebody else has other bytes under it")
        if not need.filename.lower().endswith(_RUNS_NOTHING):
            return NOT_SURE, (told, "but it is in a format that can run code")
    return PUBLISHER_BESIDE_OTHERS, (told,)


def _sureness_of_the_only_one(need: Need, group: Group) -> tuple[float, tuple[str, ...]]:
    if is_one_word(need.filename) and len(group.places) < SAME_IN_PLACES:
        return NOT_SURE if group.published else SHORT_NAME, ("a name of one word is soon on another file",)
    if group.published:
        return (PUBLISHER_AND_OTHERS if len(group.owners) > 1 else PUBLISHER), ("from a known publisher",)
    if not need.filename.lower().endswith(_RUNS_NOTHING):
        return ONE_STRANGER, ("a format that can run code, from nobody who is known",)
    if len(group.owners) > 1:
        return SEVERAL_OWNERS, (f"{len(group.owners)} owners have the same bytes under this name",)
    if any(named_after(place.repo.id, need.filename) for place in group.places):
        return ONE_STRANGER, ("its repository is named after it, which anybody may do",)
    return ONE_STRANGER, ("nothing tells whether it is the original",)


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
