"""Which node packs lie in custom_nodes: enough to say “installed”, never enough to say “missing”.

A pack is recognised by its folder's name or by the name in its pyproject.toml (its id in the Comfy registry). Folders
that end in `.disabled` or begin with a dot are not loaded by ComfyUI.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_doctor.needs import PackClue

MAX_PACKS = 2_000
MAX_PYPROJECT_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Packs:
    """The normalised names of what is installed; `read` is False when a folder could not be looked into."""

    names: frozenset[str]
    read: bool = True

    def has(self, clue: PackClue) -> bool:
        repository = clue.aux_id.rpartition("/")[2] if clue.aux_id else None
        return any(_plain(name) in self.names for name in (clue.cnr_id, repository) if name)


def installed_packs(roots: Sequence[Path]) -> Packs:
    names: set[str] = set()
    read = True
    for root in roots:
        try:
            for folder in _pack_folders(root):
                names |= {_plain(name) for name in (folder.name, _project_name(folder)) if name}
        except FileNotFoundError:
            continue
        except OSError:
            read = False
    return Packs(frozenset(names), read)


def _pack_folders(root: Path) -> Iterator[Path]:
    with os.scandir(root) as entries:
        for number, entry in enumerate(entries):
            if number >= MAX_PACKS:
                return
            if entry.is_dir() and not entry.name.startswith((".", "__")) and not entry.name.endswith(".disabled"):
                yield Path(entry.path)


def _project_name(folder: Path) -> str | None:
    try:
        with (folder / "pyproject.toml").open("rb") as file:
            project = tomllib.loads(file.read(MAX_PYPROJECT_BYTES).decode("utf-8", "replace")).get("project")
    except (OSError, tomllib.TOMLDecodeError):
        return None
    name = project.get("name") if isinstance(project, dict) else None
    return name if isinstance(name, str) else None


def _plain(name: str) -> str:
    """Registry ids, folder names and repository names differ in case and in `-` and `_` only."""
    return name.lower().removesuffix(".git").replace("_", "-")
