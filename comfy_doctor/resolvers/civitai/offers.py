"""From a file in Civitai's records to a candidate, and which file of a version an address means. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from urllib.parse import parse_qs, urlencode, urlsplit

from comfy_doctor.needs import Candidate, Need, Source
from comfy_doctor.resolvers.civitai.gates import TOKEN, obstacle_of
from comfy_doctor.resolvers.civitai.records import File, Version
from comfy_doctor.sites import CivitaiPlace, place_of
from download_worker.text import safe_text

_CHOOSING = ("type", "format", "size", "fp", "fileId")
_SHOWN_CHARS = 80
SHARED_ADDRESS = 0.5
PICKLES = frozenset({"PickleTensor"})


def offer(
    need: Need, version: Version, file: File, now: datetime, *, source: Source, confidence: float, why: str
) -> Candidate:
    """`why` says what the file was found by; `confidence` as in resolver.py."""
    evidence = [f"Civitai: {said(version.title)} holds {said(file.name)}, {why}"]
    if _shares_its_address(version, file):
        confidence = min(confidence, SHARED_ADDRESS)
        evidence.append("Civitai gives several files under this one address")
    if file.format in PICKLES:
        evidence.append("it is a pickle, which can run code when it is loaded")
    return Candidate(
        url=file.url,
        filename=need.filename,
        folder=need.folder or "",
        source=source,
        size=file.size,
        sha256=file.sha256,
        proof="A" if file.sha256 else "D",
        confidence=confidence,
        evidence=tuple(evidence),
        token=TOKEN if version.wants_login else None,
        obstacle=obstacle_of(version, file, now),
        page=version.page,
    )


def meant_by(version: Version, url: str) -> File | None:
    """The file that Civitai would send for this address: its query chooses, else the primary one."""
    wanted = set(_choice(url).items())
    fitting = [file for file in version.files if wanted <= set(_words(file).items())]
    return next((file for file in fitting if file.primary), fitting[0] if fitting else None)


def address(version: Version, url: str) -> str:
    """The download address of this version, with what `url` chooses in it: the same place."""
    choice = _choice(url)
    plain = CivitaiPlace(None, version.id).url
    return f"{plain}?{urlencode(choice)}" if choice else plain


def distinct(found: Iterable[tuple[Version, File]]) -> list[tuple[Version, File]]:
    """Each bytes once, as far as their digests are known; else each place once."""
    kept: dict[object, tuple[Version, File]] = {}
    for version, file in found:
        kept.setdefault(file.sha256 or place_of(file.url), (version, file))
    return list(kept.values())


def said(text: str) -> str:
    return f"“{safe_text(text, max_chars=_SHOWN_CHARS)}”"


def _choice(url: str) -> dict[str, str]:
    asked = parse_qs(urlsplit(url).query)
    return {key: asked[key][0] for key in _CHOOSING if key in asked}


def _words(file: File) -> dict[str, str]:
    told = {"type": file.kind, "format": file.format, "size": file.pruning, "fp": file.precision, "fileId": file.number}
    return {key: word for key, word in told.items() if word}


def _shares_its_address(version: Version, file: File) -> bool:
    place = place_of(file.url)
    return any(place_of(other.url) == place and other.sha256 != file.sha256 for other in version.files)
