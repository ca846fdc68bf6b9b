"""What a manifest says, whatever wrote it; and the reading of both kinds.

A manifest is recognised by its content: a `pyproject.toml` with `[tool.comfygit]` (or `[tool.comfydock]`, its former
name), or a JSON file with `comfy_doctor_lock`. A folder stands for the manifest in its `.cec/`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from comfy_doctor.needs import Candidate, Criticality, FolderFrom, Need, Stated, Use

MAX_MANIFEST_BYTES = 32 * 1024**2
MAX_MODELS = 20_000
MAX_SOURCES = 50
FOLDER = ".cec"
_CONFIDENCE = 0.9

_WEIGHT = {Criticality.OPTIONAL: 0, Criticality.FLEXIBLE: 1, Criticality.REQUIRED: 2}


@dataclass(frozen=True, slots=True)
class LockedPack:
    """A node pack as a manifest pins it: a released version, or a commit of its repository."""

    name: str
    id: str | None = None
    repository: str | None = None
    version: str | None = None
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """`needs` are deduplicated by content over all workflows; `ignored` says what in the file was not understood."""

    kind: Literal["comfygit", "lock"]
    needs: tuple[Need, ...]
    packs: tuple[LockedPack, ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Described:
    """One file as a manifest describes it: its place, its size in bytes, its digest, and URLs where it can be had."""

    folder: str
    name: str
    size: int | None
    sha256: str | None
    sources: tuple[str, ...]

    def need(self, by: str, uses: tuple[Use, ...], criticality: Criticality) -> Need:
        """What `by` (“the manifest”, “the lock file”) asks for with it; its word counts as much as a workflow's own."""
        candidates = tuple(
            Candidate(
                url=url,
                filename=self.name.rpartition("/")[2],
                folder=self.folder,
                source="embedded",
                size=self.size,
                sha256=self.sha256,
                confidence=_CONFIDENCE,
                evidence=(f"{by} names this source",),
            )
            for url in self.sources
            if url.startswith(("https://", "http://"))
        )
        stated = (Stated(self.sha256, by),) if self.sha256 else ()
        return Need(self.folder, self.name, uses, FolderFrom.WORKFLOW, criticality, candidates, stated)


class NoManifest(Exception):
    """The file is a manifest by its looks and cannot be read as one. The text says why, without the path."""


def weightier(one: Criticality, other: Criticality) -> Criticality:
    return max(one, other, key=_WEIGHT.__getitem__)


def united(needs: Iterable[Need]) -> tuple[Need, ...]:
    """One need per (folder, name) with all its users and sources; its criticality is the highest of all."""
    found: dict[tuple[str, str], Need] = {}
    for need in needs:
        known = found.get(need.key)
        found[need.key] = need if known is None else _both(known, need)
    return tuple(found.values())


def _both(known: Need, more: Need) -> Need:
    return replace(
        known,
        uses=tuple(dict.fromkeys((*known.uses, *more.uses))),
        candidates=tuple(dict.fromkeys((*known.candidates, *more.candidates))),
        stated=tuple(dict.fromkeys((*known.stated, *more.stated))),
        criticality=weightier(known.criticality, more.criticality),
    )


def place_of_manifest(path: Path) -> Path | None:
    """The manifest that this path stands for: itself, or the one in its `.cec/`; None when it is none by its name."""
    if path.is_dir():
        inside = path / "pyproject.toml" if path.name == FOLDER else path / FOLDER / "pyproject.toml"
        return inside if inside.is_file() else None
    return path if path.name == "pyproject.toml" or path.name.endswith(".lock.json") else None
