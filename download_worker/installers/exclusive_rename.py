"""A rename that never replaces anything, for file systems without hard links.

Linux has `renameat2` with RENAME_NOREPLACE (fs/exfat, fs/fat, fs/ntfs3 and cifs honour it), macOS `renameatx_np` with
RENAME_EXCL; Python offers neither, so ctypes calls them. On Windows the plain rename refuses to replace.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

from download_worker.errors import Code, GiveUp
from download_worker.installers.folders import Place

_AT_FDCWD = {"linux": -100, "darwin": -2}
_CALLS = {"linux": "renameat2", "darwin": "renameatx_np"}
_EXCLUSIVE = {"linux": 1, "darwin": 4}  # RENAME_NOREPLACE in linux/fs.h, RENAME_EXCL in sys/stdio.h
_NOT_HERE = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})


def rename_exclusively(source: Path, place: Place) -> None:
    """Raises FileExistsError when the place is taken, GiveUp(storage) where this cannot be done safely, OSError."""
    if sys.platform == "win32":
        source.rename(place.name)
        return
    call = _system_call(sys.platform)
    if call is None:
        raise _impossible(place, "this system has no exclusive rename")
    anywhere = _AT_FDCWD[sys.platform]
    folder = anywhere if place.folder is None else place.folder
    if call(anywhere, os.fsencode(source), folder, os.fsencode(place.name), _EXCLUSIVE[sys.platform]) == 0:
        return
    number = ctypes.get_errno()
    if number in _NOT_HERE:
        raise _impossible(place, os.strerror(number))
    raise OSError(number, os.strerror(number), str(source), None, str(place.path))


@cache
def _system_call(platform: str) -> Any:
    """int (int from_folder, const char *from, int to_folder, const char *to, unsigned flags), or None."""
    if platform not in _CALLS:
        return None
    call = getattr(ctypes.CDLL(None, use_errno=True), _CALLS[platform], None)
    if call is not None:
        call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
        call.restype = ctypes.c_int
    return call


def _impossible(place: Place, why: str) -> GiveUp:
    return GiveUp(
        Code.STORAGE,
        f"the volume of {place.path} can neither link a file nor rename it without replacing ({why})",
        hint="move this model folder to another file system, then retry the job",
    )
