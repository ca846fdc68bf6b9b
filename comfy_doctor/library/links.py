"""A second name for a file that is here already, instead of a second download.

A hard link where both names lie on one volume: it costs no bytes and neither name depends on the other. Across volumes
a symbolic link. Nothing is ever replaced.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Literal

from download_worker.errors import Code, GiveUp

MARKED_BYTES = 200

Made = Literal["hard link", "symbolic link", "already there"]
_NOT_HERE = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})


def is_foreign(path: Path, mark: bytes) -> bool:
    """A file that is there already, without this mark in its head: somebody's, and nothing of ours may replace it."""
    if not size_here(path):
        return False
    try:
        with path.open("rb") as file:
            return mark not in file.read(MARKED_BYTES)
    except OSError:  # whoever writes there will say what is wrong
        return False


def size_here(path: Path) -> int | None:
    """Bytes of the regular file there (a link is followed); None where none is, or none that can be looked at."""
    try:
        told = path.stat()
    except (OSError, ValueError):
        return None
    return told.st_size if stat.S_ISREG(told.st_mode) else None


def link(source: Path, target: Path) -> Made:
    """Make `target` another name of the regular file `source`.

    Raises:
        GiveUp: `conflict` when another file has that name, `not_found` when the source is gone, `storage` when the
            file system takes neither kind of link.
    """
    if size_here(source) is None:
        raise GiveUp(Code.NOT_FOUND, f"{source} is not there", hint="diagnose again: its file has moved")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return _linked(source.resolve(), target)
    except FileExistsError as error:
        same, spelled = _compared(source, target)
        if same and spelled:
            return "already there"
        if same:  # a file system that does not tell these names apart, and a ComfyUI that does
            hint = "choose the name that the file has here, or repair with --rewrite"
            raise GiveUp(Code.CONFLICT, f"{target} is here in other letters", hint=hint) from error
        raise GiveUp(Code.CONFLICT, f"{target} is another file") from error
    except OSError as error:
        what = f"{target} cannot be linked to {source}: {error.strerror or error}"
        raise GiveUp(Code.STORAGE, what, hint="copy the file by hand, or choose its present name") from error


def _compared(source: Path, target: Path) -> tuple[bool, bool]:
    """Whether both are one file, and whether the folder spells the target's name as it is asked for."""
    try:
        return target.samefile(source), target.name in {path.name for path in target.parent.iterdir()}
    except OSError:  # a link to nowhere has that name
        return False, False


def _linked(source: Path, target: Path) -> Made:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        target.symlink_to(source)
        return "symbolic link"
    return "hard link"
