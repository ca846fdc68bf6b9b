"""The folder of a target, opened part by part so that no link in a job's subfolder can lead elsewhere.

On POSIX a place is an open folder and a bare name; everything after that goes by the descriptor, whatever happens to
the path meanwhile. Where there are no such calls (Windows), a place is the full path, looked at part by part.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from loguru import logger

from download_worker.errors import Code, GiveUp, Refused
from download_worker.jobs.job import Job
from download_worker.jobs.places import FOLDERS, canonical_folder, safe_subfolder

FOLDER_MODE = 0o777
BY_DESCRIPTOR = {os.open, os.mkdir, os.link, os.stat, os.unlink} <= os.supports_dir_fd
# What chmod says on exFAT and its like.
_NO_MODES = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_OPEN_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)


@dataclass(frozen=True)
class Place:
    """Where one name is to appear. With a `folder` descriptor `name` is bare, without one it is the full path."""

    path: Path
    folder: int | None
    name: str


@contextmanager
def target_place(job: Job, umask: int) -> Iterator[Place]:
    """The job's place, its missing folders made with mode 0777 without the bits of `umask`.

    Raises:
        Refused: unsafe_name, unknown_folder. GiveUp: storage, something else than a folder is in the way. OSError.
    """
    target, info = job.target, job.model_info
    model_folder = job.models_root / FOLDERS[canonical_folder(info.model_type)]
    subfolders = [part for part in safe_subfolder(info.subfolder).split("/") if part]
    if model_folder.joinpath(*subfolders) != target.parent:
        raise Refused(Code.UNSAFE_NAME, f"{target} is not below {model_folder}")
    mode = FOLDER_MODE & ~umask
    if not BY_DESCRIPTOR:
        _make_folders(model_folder, mode)
        yield Place(target, None, str(_walked(model_folder, subfolders, mode) / target.name))
        return
    with ExitStack() as opened:
        try:
            folder = _opened(opened, model_folder, None)
        except FileNotFoundError:
            _make_folders(model_folder, mode)
            folder = _opened(opened, model_folder, None)
        for part in subfolders:
            folder = _entered(opened, folder, part, mode)
        yield Place(target, folder, target.name)


def sync_folder(place: Place) -> None:
    """Make the new name durable. Windows has no such call; NTFS journals its folders."""
    if place.folder is not None:
        os.fsync(place.folder)


def set_mode(entry: Path | int, mode: int) -> None:
    """Mode of a path or descriptor; nothing where the file system or the platform keeps no modes."""
    try:
        if isinstance(entry, Path):
            entry.chmod(mode)
        elif hasattr(os, "fchmod"):
            os.fchmod(entry, mode)
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise
        logger.debug("this file system keeps no modes: {}", error)


def _make_folders(folder: Path, mode: int) -> None:
    """The path down to the model folder is the user's own, links included."""
    if folder.is_dir():
        return
    _make_folders(folder.parent, mode)
    try:
        folder.mkdir()
        set_mode(folder, mode)
    except FileExistsError:
        if not folder.is_dir():
            raise _in_the_way(folder) from None


def _entered(opened: ExitStack, parent: int, name: str, mode: int) -> int:
    """A subfolder by its bare name, made where it is missing, never through a link."""
    try:
        return _opened(opened, name, parent)
    except FileNotFoundError:
        pass
    try:
        os.mkdir(name, dir_fd=parent)
    except FileExistsError:  # somebody else was faster
        return _opened(opened, name, parent)
    folder = _opened(opened, name, parent)
    set_mode(folder, mode)
    os.fsync(parent)
    return folder


def _opened(opened: ExitStack, folder: Path | str, parent: int | None) -> int:
    follow = 0 if parent is None else getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(folder, _OPEN_FOLDER | follow, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):  # a link, or a file; FreeBSD says EMLINK
            raise _in_the_way(folder) from error
        raise
    opened.callback(os.close, descriptor)
    return descriptor


def _walked(folder: Path, subfolders: list[str], mode: int) -> Path:
    for part in subfolders:
        folder = folder / part
        if not os.path.lexists(folder):
            folder.mkdir()
            set_mode(folder, mode)
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise _in_the_way(folder)
    return folder


def _in_the_way(folder: Path | str) -> GiveUp:
    return GiveUp(Code.STORAGE, f"{folder} is no folder but a link or a file; nothing is put there")
