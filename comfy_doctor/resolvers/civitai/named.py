"""What to make of a place on Civitai that somebody named, once its record is there. Pure.

A source that knows (the workflow's metadata, a list) names a place for this very model: its address says which file is
meant, and the record confirms it. The notes of a workflow name pages for any of its models: there the file's name or
digest must say that it is this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from comfy_doctor.model_names import squashed, telling_words, words_of
from comfy_doctor.needs import Candidate, Need, Source
from comfy_doctor.resolvers.civitai.gates import ELSEWHERE, GONE, obstacle_of
from comfy_doctor.resolvers.civitai.kinds import fits, is_weights
from comfy_doctor.resolvers.civitai.offers import address, distinct, meant_by, offer, said
from comfy_doctor.resolvers.civitai.records import File, Version
from comfy_doctor.resolvers.claims import STATED, digests_claimed
from comfy_doctor.resolvers.resolver import Quest
from comfy_doctor.sites import CivitaiPlace, site_of

CONFIRMED = 0.95
CONFIRMED_ON_ITS_PAGE = 0.93
ONE_OF_SEVERAL = 0.6
OTHER_KIND = 0.6
RESEMBLES = 0.5
MAX_HINTS = 20
MAX_RESEMBLING = 3
_KNOW = frozenset({"embedded", "note", "template", "manager-list"})
_NO_FILE = f"no file of this version on Civitai fits this address; {ELSEWHERE}"
_A_PAGE = "this is the page of a model on Civitai, not of one file: choose a version of it"


@dataclass(frozen=True, slots=True)
class Naming:
    """`known` is the candidate that has this URL; None where a note only speaks of it."""

    place: CivitaiPlace
    url: str
    known: Candidate | None = None


def namings_of(quest: Quest) -> list[Naming]:
    """The places on Civitai that this model's candidates and hints name, each once."""
    found: dict[tuple[CivitaiPlace, bool], Naming] = {}
    named = [(candidate.url, candidate) for candidate in quest.known]
    for url, known in [*named, *((url, None) for url in quest.need.hints[:MAX_HINTS])]:
        site = site_of(url)
        if isinstance(site, CivitaiPlace):
            found.setdefault((site, known is None), Naming(site, url, known))
    return list(found.values())


def gone(naming: Naming) -> list[Candidate]:
    """Civitai does not have this place: what somebody named there cannot be had."""
    return [] if naming.known is None else [_blocked(naming.known, naming.known.url, GONE)]


def offers_at(quest: Quest, naming: Naming, versions: Sequence[Version], now: datetime) -> list[Candidate]:
    """The candidates of a named place; empty where nothing says that one of its files is meant."""
    known = naming.known
    if known is not None and naming.place.version is not None:
        return [_confirmed(quest, known, naming.url, version, now) for version in versions]
    offers = _on_a_page(quest, naming, versions, now)
    return offers if known is None else [*offers, _blocked(known, known.url, _A_PAGE)]


def _confirmed(quest: Quest, known: Candidate, url: str, version: Version, now: datetime) -> Candidate:
    file = meant_by(version, url)
    if file is None:
        return _blocked(known, address(version, url), obstacle_of(version, None, now) or _NO_FILE)
    need = quest.need
    stated = digests_claimed(quest).get(file.sha256 or "") == STATED
    named = same_name(file, need)
    confidence = known.confidence
    if stated:
        confidence = STATED
    elif named and known.source in _KNOW:
        confidence = max(confidence, CONFIRMED)
    why = "which has this name" if named else f"which it calls {said(file.name)}"
    source: Source = "civitai_hash" if stated else "civitai"
    told = offer(
        need, version, file, now, source=source, confidence=confidence, why=f"{why}{_misfit(version, file, need)}"
    )
    return replace(told, url=address(version, url))


def _misfit(version: Version, file: File, need: Need) -> str:
    return "" if fits(version, file, need.folder) else f" (Civitai calls it a {said(version.type)})"


def _on_a_page(quest: Quest, naming: Naming, versions: Sequence[Version], now: datetime) -> list[Candidate]:
    need = quest.need
    files = [(version, file) for version in versions for file in version.files if is_weights(file)]
    claims = digests_claimed(quest)
    by_digest = [pair for pair in files if pair[1].sha256 in claims]
    if by_digest:
        return [_by_digest(need, *pair, claims, now) for pair in distinct(by_digest)]
    by_name = distinct(pair for pair in files if same_name(pair[1], need))
    if by_name:
        sure = CONFIRMED if naming.place.version is not None else CONFIRMED_ON_ITS_PAGE
        sure = sure if len(by_name) == 1 else ONE_OF_SEVERAL
        why = "which has this name, and the workflow names its page"
        return [_by_name(need, *pair, sure, why, now) for pair in by_name]
    alike = [(v, f) for v, f in files if f.primary and fits(v, f, need.folder) and resembles(need, v, f)]
    why = "and its name is like this one"
    return [_by_name(need, *pair, RESEMBLES, why, now) for pair in alike[:MAX_RESEMBLING]]


def _by_digest(need: Need, version: Version, file: File, claims: Mapping[str, float], now: datetime) -> Candidate:
    sure = claims[file.sha256 or ""]
    return offer(need, version, file, now, source="civitai_hash", confidence=sure, why="which has this SHA-256")


def _by_name(need: Need, version: Version, file: File, sure: float, why: str, now: datetime) -> Candidate:
    sure = sure if fits(version, file, need.folder) else min(sure, OTHER_KIND)
    return offer(need, version, file, now, source="civitai", confidence=sure, why=why + _misfit(version, file, need))


def same_name(file: File, need: Need) -> bool:
    return file.name.casefold() == need.filename.casefold()


def resembles(need: Need, version: Version, file: File) -> bool:
    """At least half of the words that tell this name are in what Civitai calls its model, its version or its file."""
    telling = telling_words(need.filename)
    if not telling:
        return False
    title = f"{version.model_name} {version.name}"
    held = {word.lower() for name in (title, file.name) for word in words_of(name)}
    whole = squashed(title)
    found = [word for word in telling if word in held or (len(word) > 3 and word in whole)]
    return 2 * len(found) >= len(telling)


def _blocked(known: Candidate, url: str, obstacle: str) -> Candidate:
    return replace(known, url=url, source="civitai", proof="D", obstacle=obstacle, evidence=())
