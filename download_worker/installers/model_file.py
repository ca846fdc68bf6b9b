"""Puts a proven model file in its place: one link, never over anything, never a partial file to be seen.

The link is made by the *path* in the room: where that path is gone the room has another owner, and the claim is lost.
What was proven is what is linked: inode, size and modification time are compared before and after, and a file that
turns out to be another one is taken away again.

File systems without hard links (exFAT, some network mounts) get an exclusive rename instead (`exclusive_rename.py`).
Where there is neither, the installer gives up: a placeholder at the target would be a partial file, and looking before
renaming would be a race that may cost somebody's model.

A model *folder* may be a symbolic link: people keep models on other disks. Below it, in the subfolder that a job names,
links are not followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from loguru import logger

from download_worker.digests import sha256_of
from download_worker.errors import Code, GiveUp, LostClaim
from download_worker.installers.exclusive_rename import rename_exclusively
from download_worker.installers.folders import Place, set_mode, sync_folder, target_place
from download_worker.installers.installer import Installed
from download_worker.jobs.job import Job
from download_worker.leash import Leash
from download_worker.room import Fetched, Identity, storage_errors

FILE_MODE = 0o666
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})


class ModelFileInstaller:
    """Implements `Installer`. `umask` is the one that model files and folders get: the process's own is stricter."""

    def __init__(self, umask: int) -> None:
        self._umask = umask

    def present(self, job: Job, leash: Leash) -> Installed | None:
        """The target when it has the wanted digest; None when it is not there, or only its bytes can tell.

        Raises GiveUp (conflict, permission, storage), Refused or Interrupted.
        """
        target, wanted = job.target, job.model_info
        with _explained(target):
            try:
                there = target.lstat()
            except FileNotFoundError:
                return None
            if stat.S_ISLNK(there.st_mode):
                there = _linked(target)
            if not stat.S_ISREG(there.st_mode):
                raise _conflict(target, "something that is no file is there")
            if wanted.size is not None and wanted.size != there.st_size:
                raise _conflict(target, f"a file of {there.st_size} bytes is there, but {wanted.size} are wanted")
            if wanted.sha256 is None:
                return None
            _check_same(target, wanted.sha256.lower(), leash)
        return Installed(target, already_present=True)

    def install(self, job: Job, file: Fetched, leash: Leash) -> Installed:
        """Link the staged file to its target.

        Raises:
            LostClaim: the room is no longer ours. GiveUp: conflict, permission, storage. TryLater: disk_full. Refused,
            Interrupted.
        """
        target = job.target
        leash.check()
        with _explained(target), target_place(job, self._umask) as place:
            with _staged(file) as (descriptor, there):
                # ComfyUI may run as somebody else. Before the link, so that the file never appears with another mode.
                mode = FILE_MODE & ~self._umask
                if stat.S_IMODE(there.st_mode) != mode:  # else it was flushed with it
                    set_mode(descriptor, mode)
                    os.fsync(descriptor)
                device = there.st_dev
            try:
                linked = _put(file.path, place)
            except FileExistsError:
                _check_there(place, file, device, leash)
                sync_folder(place)
                return Installed(target, already_present=True)
            _check_placed(file, place, linked=linked)
            sync_folder(place)
        return Installed(target)


def _linked(target: Path) -> os.stat_result:
    """What a link at the target leads to. Raises GiveUp(conflict), OSError."""
    try:
        return target.stat()
    except FileNotFoundError:
        raise _conflict(target, "a link to nothing is there") from None


@contextmanager
def _staged(file: Fetched) -> Iterator[tuple[int, os.stat_result]]:
    """A descriptor of the staged file, which must be the very file that was proven, and what it tells of it."""
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(file.path, flags)
    except FileNotFoundError as error:
        raise LostClaim(f"{file.path} is gone: another worker has this job") from error
    try:
        there = os.fstat(descriptor)
        if Identity.of(there) != file.identity:
            raise GiveUp(Code.STORAGE, f"{file.path} changed after it was proven; it is not put in place")
        yield descriptor, there
    finally:
        os.close(descriptor)


def _put(source: Path, place: Place) -> bool:
    """Whether it was linked; else it was renamed, and the room has it no more.

    Raises LostClaim when the room is gone, FileExistsError when the place is taken, GiveUp(storage), OSError.
    """
    try:
        os.link(source, place.name, dst_dir_fd=place.folder, **_NOT_FOLLOWING)
        return True
    except FileNotFoundError as error:
        raise _lost_or_gone(source, error) from error
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise GiveUp(
                Code.STORAGE,
                f"{source} and {place.path} are on different volumes: it cannot be put in place in one step",
            ) from error
        if error.errno not in _NO_HARD_LINKS:
            raise
        logger.debug("no hard links on the volume of {} ({}); renaming", place.path, error)
    try:
        rename_exclusively(source, place)
    except FileNotFoundError as error:
        raise _lost_or_gone(source, error) from error
    return False


# Never the file that a link in the room points to. Windows has no choice here, and no such links for mere users.
_NOT_FOLLOWING: dict[str, bool] = {"follow_symlinks": False} if os.link in os.supports_follow_symlinks else {}


def _lost_or_gone(source: Path, error: FileNotFoundError) -> LostClaim | GiveUp:
    """Which of the two paths is missing? The room's: the fence. The folder's: somebody removed it just now."""
    if source.exists():
        return GiveUp(Code.STORAGE, f"the folder of {error.filename2 or error.filename} vanished")
    return LostClaim(f"{source} is gone: another worker has this job")


def _check_placed(file: Fetched, place: Place, *, linked: bool) -> None:
    """The name shows the file that was proven, unchanged; else the name is taken away again.

    A file system without links may also number its files anew when they are renamed, so there the number is not asked.
    """
    placed = Identity.of(os.stat(place.name, dir_fd=place.folder, follow_symlinks=False))
    if placed == (file.identity if linked else file.identity._replace(inode=placed.inode)):
        return
    with suppress(FileNotFoundError):
        os.unlink(place.name, dir_fd=place.folder)
    sync_folder(place)
    raise GiveUp(Code.STORAGE, f"{file.path} changed while it was put in place; {place.path} was taken away again")


def _check_there(place: Place, file: Fetched, device: int, leash: Leash) -> None:
    """What is there already is the same file (somebody was killed between link and record), or has the same bytes.

    Raises GiveUp(conflict, permission) or Interrupted.
    """
    there = os.stat(place.name, dir_fd=place.folder, follow_symlinks=False)
    if there.st_dev == device and Identity.of(there) == file.identity:
        return
    if not place.path.exists():
        raise _conflict(place.path, "a link to nothing is there")
    if not place.path.is_file():
        raise _conflict(place.path, "something that is no file is there")
    _check_same(place.path, file.sha256, leash)


def _check_same(target: Path, sha256: str, leash: Leash) -> None:
    try:
        found = sha256_of(target, leash.check)
    except PermissionError as error:
        raise GiveUp(Code.PERMISSION, f"not allowed to read {target}, which is there already") from error
    if found != sha256:
        raise _conflict(target, f"a file with SHA-256 {found} is there, but {sha256} is wanted")


def _conflict(target: Path, what: str) -> GiveUp:
    return GiveUp(Code.CONFLICT, f"{target}: {what}; it is left as it is")


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    """Translate what the disk says; for a permission, name the folder, who needs it, and how it stands.

    Raises GiveUp (permission, storage) or TryLater(disk_full).
    """
    with storage_errors(target):
        try:
            yield
        except PermissionError as error:
            raise GiveUp(Code.PERMISSION, _needed(target)) from error


def _needed(target: Path) -> str:
    folder = target.parent
    while not os.path.lexists(folder):
        folder = folder.parent
    user = f"user {os.geteuid()}" if hasattr(os, "geteuid") else "this user"
    try:
        there = folder.stat()
        stands = f"its mode is {stat.S_IMODE(there.st_mode):04o}, its owner {there.st_uid}"
    except OSError as error:
        stands = f"it cannot be looked at: {error.strerror}"
    return f"cannot put {target.name} into {folder}: {user} needs to write and search there (u+wx), but {stands}"
