"""Why a server does not list a file that is on this disk: the directories, file types and moments that differ.

`relation` tells first whether server and disk belong together at all; the rest is only asked where they do. The rules
follow ComfyUI's `folder_paths.py` (FACTS 3.2, 3.3): it lists what has one of a folder's extensions in one of its
directories, and looks again when the time stamp of a directory that it knows has changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from enum import Enum
from itertools import islice
from pathlib import Path, PurePosixPath

from comfy_doctor.comfyui.extra_paths import FILE_NAME
from comfy_doctor.comfyui.install import Install
from comfy_doctor.comfyui.server import Listing, Server
from comfy_doctor.comfyui.shelves import Cause
from comfy_doctor.workflows.names import normalised

CORE_EXTENSIONS = frozenset({".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"})
"""What core's model folders list, all but `configs`, `diffusers` and `classifiers` (measured on 0.33.0)."""
OTHER_EXTENSIONS = frozenset({"configs", "diffusers", "classifiers"})
_PROBES_PER_FOLDER = 20
_MAX_PROBES = 200


class Relation(Enum):
    """How the disk that was looked at belongs to the server."""

    SAME = "the server searches this install"
    OTHER_INSTALL = "the server searches another install on this disk"
    ELSEWHERE = "the server's disk is not this one"
    UNKNOWN = "the server does not tell its directories"


def relation(server: Server, install: Install) -> Relation:
    directories = [path for listing in server.folders.values() for path in listing.directories]
    if not directories:
        return Relation.UNKNOWN
    if not tells_this_disk(server):
        return Relation.ELSEWHERE
    ours = _real(install.models_root)
    shared = any(_real(path).is_relative_to(ours) for path in directories)
    return Relation.SAME if shared else Relation.OTHER_INSTALL


def tells_this_disk(server: Server) -> bool:
    """The directories that it names are here, and so is something of what it lists, if it lists anything.

    The same paths may exist on both ends of a tunnel or a container's wall.
    """
    directories = (path for listing in server.folders.values() for path in listing.directories)
    if not any(Path(path).is_dir() for path in directories):
        return False
    probes = list(islice(_probes(server), _MAX_PROBES))
    return not probes or any(path.exists() for path in probes)


def _probes(server: Server) -> Iterator[Path]:
    for folder, listing in server.folders.items():
        if folder not in OTHER_EXTENSIONS:
            for name in (listing.names or ())[:_PROBES_PER_FOLDER]:
                yield from (Path(directory, normalised(name)) for directory in listing.directories)


def base_of(server: Server) -> str | None:
    """The folder in which the server has its `models/`, as far as it tells; spelled as the server spells it."""
    base = server.option("--base-directory")
    if base:
        return base
    directories = server.folders.get("checkpoints", Listing()).directories
    found = (path for path in directories if normalised(path).endswith("/models/checkpoints"))
    return next((path[: -len("/models/checkpoints")] for path in found), None)


def cause_of(path: Path, folder: str, where: str, server: Server, install: Install, how: Relation) -> tuple[Cause, str]:
    """Why `where` (an input, or the folder) does not offer this file, and what to do; for people."""
    listing = server.folders.get(folder, Listing())
    if how is Relation.ELSEWHERE:
        return Cause.OTHER_SERVER, "that server runs on another machine or in a container and does not have it"
    suffixes = _extensions(folder, listing)
    if suffixes and path.suffix.lower() not in suffixes:
        return Cause.EXTENSION, (
            f"ComfyUI lists no {path.suffix or 'such'} files in {folder}: use a loader that reads them, "
            "or another file of this model"
        )
    if listing.directories and not _searched(path, listing):
        return _not_searched(path, folder, listing, server, install, how)
    if _names(listing, path):
        return Cause.LOADER, f"the server lists it in {folder}, but {where} does not offer it: it takes other files"
    return Cause.STALE_LIST, (
        "its list was made before this file, link or mount came: press R in ComfyUI, and if that does not help restart "
        "it; if it still misses, the user that it runs as may not read that folder"
    )


def extension_cause(path: Path, folder: str) -> tuple[Cause, str] | None:
    """What can be said without a server, for a node of ComfyUI itself."""
    if folder in OTHER_EXTENSIONS or path.suffix.lower() in CORE_EXTENSIONS:
        return None
    return cause_of(path, folder, folder, Server(""), Install(path.parent), Relation.UNKNOWN)


def could_list(name: str, folder: str, listing: Listing) -> bool:
    """The folder lists files of this type at all."""
    suffixes = _extensions(folder, listing)
    return not suffixes or PurePosixPath(normalised(name)).suffix.lower() in suffixes


def _extensions(folder: str, listing: Listing) -> frozenset[str]:
    """Empty where every file counts, or nothing is known."""
    if listing.extensions is None:
        return frozenset() if folder in OTHER_EXTENSIONS else CORE_EXTENSIONS
    return frozenset() if "" in listing.extensions or folder in OTHER_EXTENSIONS else listing.extensions


def _not_searched(
    path: Path, folder: str, listing: Listing, server: Server, install: Install, how: Relation
) -> tuple[Cause, str]:
    searched = " and ".join(listing.directories[:4])
    base = server.option("--base-directory")
    if how is Relation.OTHER_INSTALL:
        started = f" (it was started with --base-directory {base})" if base else ""
        return Cause.WRONG_ROOT, f"the server belongs to another install{started} and searches {searched}"
    extra = next((root.path for root in install.extra if path.is_relative_to(root.path)), None)
    if extra is not None:
        return Cause.WRONG_ROOT, (
            f"{extra} comes from {FILE_NAME}, which the running server has not read: restart it, or start it with "
            "--extra-model-paths-config"
        )
    if path.is_relative_to(install.output_root):
        return Cause.WRONG_ROOT, f"the server saves into another output folder and searches {searched}"
    if install.models_root in path.parents and _default_gone(folder, listing, install):
        return Cause.REGISTERED_ANEW, (
            f"a node pack registered {folder} anew: the server searches only {searched}; move or link the file there"
        )
    return Cause.WRONG_ROOT, f"the server searches {searched}; move or link the file there"


def _default_gone(folder: str, listing: Listing, install: Install) -> bool:
    """None of the directories that ComfyUI itself gives this folder is searched any more."""
    theirs = {_real(directory) for directory in listing.directories}
    return not any(_real(root) in theirs for root in install.roots(folder))


def _searched(path: Path, listing: Listing) -> bool:
    real = (Path(os.path.abspath(path)), _real(path.parent) / path.name)  # noqa: PTH100 - without following links
    return any(
        place.is_relative_to(root)
        for place in real
        for directory in listing.directories
        for root in (Path(directory), _real(directory))
    )


def _names(listing: Listing, path: Path) -> bool:
    real = PurePosixPath(path.as_posix())
    listed = frozenset(listing.names or ())
    tails = ("/".join(real.parts[start:]) for start in range(1, len(real.parts)))
    return any(tail in listed or tail.replace("/", "\\") in listed for tail in tails)


def _real(path: Path | str) -> Path:
    return Path(os.path.realpath(path))
