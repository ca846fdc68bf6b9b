"""Small files and the folders around them: one replaced as a whole, so that after a power cut it holds what it held
before or what it was given; folders made or removed in as few calls as the usual case needs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path


def is_made(folder: Path) -> bool:
    """Make it, for nobody but us, with the folders above it. False where it is there already. Raises OSError."""
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        return False
    return True


def is_swept(folder: Path, gone: Path, names: Iterable[str]) -> bool:
    """Whether a folder that held nothing but these files, alone in the one above it, is gone with them and with that
    one. Else something of it may be left. First its path goes, in one step: what is removed has the path `gone`."""
    try:
        folder.rename(gone)
        if gone.is_symlink():
            return False
        for name in names:
            (gone / name).unlink(missing_ok=True)
        gone.rmdir()
        folder.parent.rmdir()
    except OSError:
        return False
    return True


def remove_tree(folder: Path) -> None:
    """With all that is in it; what somebody else has removed meanwhile is removed. Raises OSError."""
    shutil.rmtree(folder, onerror=_ignore_missing)


def _ignore_missing(_call: object, _path: str, error: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(error[1], FileNotFoundError):
        raise error[1]


def replace_durably(path: Path, text: str) -> None:
    """On disk when it returns. What is beside it with the suffix `.new` goes. Raises OSError."""
    fresh = path.with_suffix(".new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    _sync_folder(path.parent)  # else a power cut could bring back what it held before


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # Windows has no such call; NTFS journals its folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
