"""Which node packs lie in custom_nodes, and which of them brings a node type: read as files, nothing of it is run.

A pack is recognised by its folder's name, by the name in its pyproject.toml (its id in the Comfy registry) or by where
its git checkout came from. ComfyUI does not load folders that end in `.disabled`; ComfyUI-Manager keeps what it
switched off below `custom_nodes/.disabled/`, as `name@version`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loguru import logger

from comfy_doctor.comfyui.git_folder import head_commit, origin_url, repository_url
from comfy_doctor.comfyui.pack_types import Bringer, scan_types
from comfy_doctor.comfyui.plain_files import read_start
from comfy_doctor.needs import PackClue

MAX_PACKS = 2_000
MAX_PYPROJECT_BYTES = 256 * 1024
_OFF = ".disabled"
_CORE_FILES = frozenset({"websocket_image_save.py"})  # ships inside ComfyUI's own custom_nodes


@dataclass(frozen=True, slots=True)
class InstalledPack:
    """One pack on this disk. `folder` is its folder, or the file of a pack that is one Python file.

    `id` is the name in its pyproject.toml, `repository` an https URL without `.git`, `commit` what is checked out.
    """

    folder: Path
    id: str | None = None
    repository: str | None = None
    version: str | None = None
    commit: str | None = None
    disabled: bool = False

    @property
    def name(self) -> str:
        """What people call it: the folder's name without what only says that it is switched off."""
        return self.folder.name.removesuffix(_OFF).removesuffix(".py").partition("@")[0]

    @property
    def names(self) -> frozenset[str]:
        """Every name that it may be spoken of by, normalised by `plain_name`."""
        repository = self.repository.rpartition("/")[2] if self.repository else None
        return frozenset(plain_name(name) for name in (self.name, self.id, repository) if name)


@dataclass(frozen=True, slots=True)
class Packs:
    """What is installed. `read` is False where a folder is shut."""

    read: bool = True
    packs: tuple[InstalledPack, ...] = ()
    _found: dict[str, Bringer[InstalledPack] | None] = field(default_factory=dict, compare=False, repr=False)
    _named: dict[str, tuple[int, InstalledPack]] = field(default_factory=dict, compare=False, repr=False)

    def find(self, clue: PackClue) -> InstalledPack | None:
        """The pack that fits the clue; one that is switched off only where no other does."""
        if not self._named:
            for rank, pack in enumerate(self._loaded_first()):
                for name in pack.names:
                    self._named.setdefault(name, (rank, pack))
        fitting = [self._named[name] for name in names_of(clue) if name in self._named]
        return min(fitting, key=lambda ranked: ranked[0])[1] if fitting else None

    def find_types(self, types: Collection[str]) -> Mapping[str, InstalledPack]:
        """Which pack's own code registers each of these node types; without an entry where none is seen to.

        A bounded scan of text, done once per type: types that are registered under a computed name are not found, so
        no entry is no proof of anything.
        """
        fresh = [node_type for node_type in types if node_type not in self._found]
        if fresh:
            found = scan_types({pack: pack.folder for pack in self._loaded_first()}, fresh)
            self._found.update({node_type: found.get(node_type) for node_type in fresh})
        known = ((node_type, self._found[node_type]) for node_type in types)
        return {node_type: bringer.owner for node_type, bringer in known if bringer is not None}

    def draws(self, node_type: str) -> bool:
        """A pack's JavaScript registers this type, and no Python does; only for types that `find_types` looked for."""
        bringer = self._found.get(node_type)
        return bringer is not None and bringer.scripted

    def _loaded_first(self) -> list[InstalledPack]:
        return sorted(self.packs, key=lambda pack: pack.disabled)


def installed_packs(roots: Sequence[Path]) -> Packs:
    """All packs below these custom_nodes folders."""
    packs, read = _read(roots)
    return Packs(read, packs)


def read_packs(roots: Sequence[Path]) -> tuple[InstalledPack, ...]:
    """All packs below these custom_nodes folders, sorted by name; a folder that cannot be read has none."""
    return _read(roots)[0]


def plain_name(name: str) -> str:
    """Registry ids, folder names and repository names differ in case and in `-` and `_` only."""
    return name.lower().removesuffix(".git").replace("_", "-")


def names_of(clue: PackClue) -> frozenset[str]:
    """What the workflow calls the pack, normalised."""
    repository = clue.aux_id.rpartition("/")[2] if clue.aux_id else None
    return frozenset(plain_name(name) for name in (clue.cnr_id, repository) if name)


def _read(roots: Sequence[Path]) -> tuple[tuple[InstalledPack, ...], bool]:
    packs: dict[Path, InstalledPack] = {}
    read = True
    for root in roots:
        for place, off in ((root, False), (root / _OFF, True)):
            try:
                for path in _pack_places(place):
                    packs.setdefault(path, _pack(path, disabled=off or path.name.endswith(_OFF)))
            except FileNotFoundError:
                continue
            except OSError as error:
                logger.debug("cannot read {}: {}", place, error)
                read = False
    return tuple(sorted(packs.values(), key=lambda pack: pack.folder.name.lower())), read


def _pack_places(root: Path) -> Iterator[Path]:
    with os.scandir(root) as entries:
        for number, entry in enumerate(entries):
            if number >= MAX_PACKS:
                logger.error("{} holds more than {} entries: the rest was not looked at", root, MAX_PACKS)
                return
            if entry.name.startswith((".", "__")) or entry.name in _CORE_FILES:
                continue
            if entry.is_dir() or entry.name.removesuffix(_OFF).endswith(".py"):
                yield Path(entry.path)


def _pack(path: Path, *, disabled: bool) -> InstalledPack:
    project = _project(path)
    urls = project.get("urls")
    stated = _text(urls.get("Repository") or urls.get("repository")) if isinstance(urls, dict) else None
    return InstalledPack(
        path,
        _text(project.get("name")),
        origin_url(path) or (repository_url(stated) if stated else None),
        _text(project.get("version")),
        head_commit(path),
        disabled,
    )


def _project(folder: Path) -> Mapping[str, Any]:
    try:
        text = read_start(folder / "pyproject.toml", MAX_PYPROJECT_BYTES).decode("utf-8", "replace")
        project = tomllib.loads(text).get("project")
    except (OSError, ValueError, RecursionError):
        return {}
    return project if isinstance(project, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
