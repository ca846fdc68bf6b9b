"""What lies in the model folders: one walk per folder, then names are looked up as ComfyUI would list them.

ComfyUI follows symbolic links, skips `.git`, and compares names exactly; so a file under another subfolder, in other
letters or behind the wrong slash is here and yet not found. A folder that cannot be read is never reported as empty.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from loguru import logger

from comfy_doctor.comfyui.install import Install
from comfy_doctor.model_names import is_generic
from download_worker.jobs.places import FOLDERS

MAX_FILES_PER_FOLDER = 500_000
MAX_FOLDER_DEPTH = 32
_DIFFUSERS_FILE = "model_index.json"  # a diffusers model is a folder with this file in it


class State(StrEnum):
    PRESENT = "present"
    ELSEWHERE = "elsewhere"
    MISSING = "missing"
    UNKNOWN = "unknown"


class Cause(StrEnum):
    """Why ComfyUI does not list a file that is on this disk."""

    WRONG_ROOT = "wrong_root"
    EXTENSION = "extension"
    REGISTERED_ANEW = "registered_anew"
    OTHER_SERVER = "other_server"
    STALE_LIST = "stale_list"
    LOADER = "loader"


@dataclass(frozen=True, slots=True)
class Lookup:
    """`path` is the file itself; `relink` is the name under which ComfyUI lists it, where another one was asked for.

    `nearby` is a file of the same name in another model folder, for a person to look at. `listed` is what a server
    says, None where none was asked; `cause` is why it does not list a file that is here.
    """

    state: State
    reason: str
    path: Path | None = None
    relink: str | None = None
    nearby: Path | None = None
    listed: bool | None = None
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Shelf:
    """One model folder over all its directories: listed name → path, and which directories could not be read."""

    files: Mapping[str, Path]
    unread: tuple[Path, ...] = ()
    by_filename: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Lower-case last part → listed names."""


class _Paths(Mapping[str, Path]):
    """Listed name → path, which is made when it is asked for: of a hundred thousand files few are.

    What is held is the directory, one text for all files in it.
    """

    def __init__(self, directories: Mapping[str, str]) -> None:
        self._directories = directories

    def __getitem__(self, name: str) -> Path:
        return Path(self._directories[name], name.rpartition("/")[2])

    def __contains__(self, name: object) -> bool:
        return name in self._directories

    def __iter__(self) -> Iterator[str]:
        return iter(self._directories)

    def __len__(self) -> int:
        return len(self._directories)


class Inventory:
    """The shelves of one install; each is walked when it is first asked for, and once."""

    def __init__(self, install: Install) -> None:
        self._install = install
        self._shelves: dict[str, Shelf] = {}
        self._all: Shelf | None = None

    def look_up(self, folder: str | None, name: str, *, written: str | None = None) -> Lookup:
        """`name` with `/` between its parts; `written` is how the workflow spells it, slashes included."""
        if folder is None:
            return Lookup(State.UNKNOWN, "nothing tells which model folder it belongs to")
        shelf = self.shelf(folder)
        path = shelf.files.get(f"{name}/{_DIFFUSERS_FILE}" if folder == "diffusers" else name)
        if path is not None:
            return _spelled(name, written or name, path)
        found = _elsewhere(shelf, name)
        if found is not None:
            return found
        if shelf.unread:
            return Lookup(State.UNKNOWN, f"cannot read {shelf.unread[0]}")
        missing = Lookup(State.MISSING, f"not in {_searched(self._install, folder)}")
        nearby = self._in_another_folder(name)
        if nearby is None:
            return missing
        reason = f"{missing.reason}; a file of this name is at {nearby}, where this loader does not look"
        return replace(missing, reason=reason, nearby=nearby)

    def anywhere(self, name: str) -> Path | None:
        """A file of this name in whatever model folder, for names whose folder is only guessed."""
        everything = self._everything()
        found = everything.by_filename.get(name.rpartition("/")[2].lower(), ())
        exact = [listed for listed in found if f"/{listed}".endswith(f"/{name}")]
        return everything.files[min(exact)] if exact else None

    def _in_another_folder(self, name: str) -> Path | None:
        """The same file name in another model folder, for a name that its own folder has nowhere."""
        filename = name.rpartition("/")[2]
        if is_generic(filename):
            return None
        everything = self._everything()
        found = everything.by_filename.get(filename.lower(), ())
        return everything.files[min(found)] if found else None

    def _everything(self) -> Shelf:
        if self._all is None:
            self._all = _walk_all(self._install.all_roots)
        return self._all

    def shelf(self, folder: str) -> Shelf:
        if folder not in self._shelves:
            self._shelves[folder] = _walk_all(self._install.roots(folder))
        return self._shelves[folder]


def _spelled(name: str, written: str, path: Path) -> Lookup:
    """The file is in its place; but ComfyUI compares letter by letter, and its own slash is that of the system."""
    listed = name.replace("/", os.sep)
    if written == listed:
        return Lookup(State.PRESENT, "in its place", path)
    return Lookup(
        State.ELSEWHERE, f"the workflow writes it with the slashes of another system: {written}", path, listed
    )


def _elsewhere(shelf: Shelf, name: str) -> Lookup | None:
    """The same file under another name, the nearest first."""
    filename = name.rpartition("/")[2]
    others = shelf.by_filename.get(filename.lower(), ())
    if is_generic(filename):
        others = tuple(other for other in others if other.lower() == name.lower())
    if not others:
        return None
    best = min(
        others, key=lambda other: (other.lower() != name.lower(), not other.endswith(filename), other.count("/"), other)
    )
    same_place = best.lower() == name.lower()
    number = f" ({len(others)} files have this name)" if len(others) > 1 else ""
    why = "other letters" if same_place else f"another subfolder{number}"
    return Lookup(
        State.ELSEWHERE, f"the same file name is here under {why}", shelf.files[best], best.replace("/", os.sep)
    )


def _searched(install: Install, folder: str) -> str:
    """The directories that were there to be searched; where none is, the one that would be made."""
    there = [str(path) for path in install.roots(folder) if path.is_dir()]
    return " or ".join(there) or str(install.models_root / FOLDERS.get(folder, folder))


def _walk_all(roots: tuple[Path, ...]) -> Shelf:
    files: dict[str, str] = {}
    unread: list[Path] = []
    for root in roots:
        for name, directory in _walk(root, unread):
            files.setdefault(name, directory)  # ComfyUI takes the first directory that has it
            if len(files) >= MAX_FILES_PER_FOLDER:
                logger.error("{} holds more than {} files: the rest was not looked at", root, MAX_FILES_PER_FOLDER)
                unread.append(root)
                break
    by_filename: dict[str, list[str]] = defaultdict(list)
    for name in files:
        by_filename[name.rpartition("/")[2].lower()].append(name)
    return Shelf(_Paths(files), tuple(unread), dict(by_filename))


def _walk(root: Path, unread: list[Path]) -> Iterator[tuple[str, str]]:
    """(listed name, directory) of every file; none is entered twice on one way down, so links may form rings."""
    waiting: list[tuple[Path, str, frozenset[tuple[int, int]]]] = [(root, "", frozenset())]
    while waiting:
        directory, prefix, above = waiting.pop()
        try:
            stat = directory.stat()
            here = (stat.st_dev, stat.st_ino)
            if here in above or len(above) > MAX_FOLDER_DEPTH:
                continue
            inside = str(directory)
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_dir():
                        if entry.name != ".git":
                            waiting.append((Path(entry.path), f"{prefix}{entry.name}/", above | {here}))
                    elif entry.is_file():
                        yield prefix + entry.name, inside
        except FileNotFoundError:
            continue  # no such folder, or gone while we looked: nothing is in it
        except OSError as error:
            logger.debug("cannot read {}: {}", directory, error)
            unread.append(directory)
