"""The staging room of one claim: where a file lives until it is proven, and the journal of what of it is durable.

`staging/<job_id>/<attempts>/` holds `part`, `journal.json` and a lock. The number is the fence: a new owner renames its
predecessor's room to its own number, in one step, so that a former owner that wakes up again finds its paths gone and
can put nothing in place. If that predecessor still holds the lock (it is stopped, not dead), it may also still write
into its open file; then only the durable bytes are copied, and its room is removed.

Completeness is what the journal says, never the size of the file: the journal is replaced only after the bytes it
speaks of are flushed. It lists what is durable in stretches, each with the source that gave it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, ClassVar, NamedTuple

from filelock import FileLock
from pydantic import ConfigDict, TypeAdapter

from download_worker.errors import Code, GiveUp, LostClaim, Trouble, TryLater
from download_worker.jobs.job import JobId
from download_worker.small_files import is_made, is_swept, remove_tree, replace_durably

STAGING_BESIDE_MODELS = ".comfy-doctor-staging"
MAX_JOURNAL_BYTES = 1024 * 1024
MAX_VERSIONS = 64
MAX_STRETCHES = 8192
"""A journal with so many of both, and the piece digests of the largest file, stays below `MAX_JOURNAL_BYTES`."""
COPY_BYTES = 1024 * 1024
COPY_SUFFIX = ".new"
GONE_SUFFIX = ".gone"
LOCK_SECONDS = 2.0
OUT_OF_SPACE = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
_GONE = "ENODEV ENOMEDIUM ENOTCONN ESTALE ETIMEDOUT EHOSTDOWN EHOSTUNREACH ENETDOWN ENETUNREACH EREMOTEIO"
_AWAY = frozenset(getattr(errno, name) for name in _GONE.split() if hasattr(errno, name))  # a disk, or the way to it
OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
MORE_FILES = "raise the worker's limit of open files (ulimit -n)"


class Identity(NamedTuple):
    """What must not change between hashing a file and putting it in place."""

    inode: int
    size: int
    mtime_ns: int

    @staticmethod
    def of(stat: os.stat_result) -> Identity:
        return Identity(stat.st_ino, stat.st_size, stat.st_mtime_ns)


class Span(NamedTuple):
    """The bytes [start, end) of a file."""

    start: int
    end: int


class Stretch(NamedTuple):
    """The bytes [start, end), and who gave them: an index into `Journal.versions`."""

    start: int
    end: int
    giver: int


@dataclass(frozen=True)
class Version:
    """One source's representation of the file. `source` is the `source_key` of its URL, `origin` the URL to show."""

    source: str
    etag: str | None = None
    last_modified: str | None = None
    content_type: str | None = None
    origin: str | None = None


@dataclass(frozen=True)
class Journal:
    """What is durable of the part file, and which representations of which sources it was taken from.

    `total` is in bytes. `durable` is sorted and disjoint. `pieces` is the hex of the piece digests of a whole file, one
    after the other.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    total: int | None = None
    versions: tuple[Version, ...] = ()
    durable: tuple[Stretch, ...] = ()
    sha256: str | None = None
    identity: Identity | None = None
    pieces: str | None = None

    @property
    def durable_bytes(self) -> int:
        return sum(end - start for start, end, _ in self.durable)

    @property
    def whole(self) -> bool:
        return self.sha256 is not None

    @property
    def lead(self) -> Version | None:
        """The representation that the file was begun with."""
        return self.versions[0] if self.versions else None

    def fits(self, size: int) -> bool:
        """Whether it can be true of a file of this many bytes."""
        edges = [0, *(edge for stretch in self.durable for edge in stretch[:2]), size]
        orderly = edges == sorted(edges) and all(
            start < end and 0 <= giver < len(self.versions) for start, end, giver in self.durable
        )
        within = self.total is None or not self.durable or self.durable[-1].end <= self.total
        return orderly and within and (not self.whole or self.durable_bytes == self.total == size)


# A journal of version 0.1 counted its durable bytes and knew one source. It is not believed: such a file starts anew.
_JOURNAL = TypeAdapter(Journal)


@dataclass(frozen=True)
class Fetched:
    """A whole file in the room. `origin` is where it finally came from, without secrets; `sha256` was computed from
    the very bytes that were written, and `identity` is the file they were written to. `pieces` are the digests of its
    pieces where it has several (see `fetchers/http/hashing.py`), `givers` the public addresses that gave bytes of it.
    """

    path: Path
    sha256: str
    size: int
    identity: Identity
    origin: str
    content_type: str | None
    resumed_bytes: int = 0
    pieces: bytes = b""
    givers: tuple[str, ...] = ()


class Room:
    """`fresh` says that no journal was ever in this folder, so that none can come back after a power cut."""

    def __init__(self, folder: Path, *, fresh: bool = False) -> None:
        self.folder = folder
        self.fresh = fresh
        self.part, self._journal = folder / "part", folder / "journal.json"
        self._in_mind: Journal | None = None

    def journal(self) -> Journal | None:
        """None when there is none, or none that can be believed. Raises TryLater(storage): nobody can look now."""
        try:
            journal = self._in_mind
            if journal is None and not self.fresh:
                with self._journal.open("rb") as file:
                    journal = _JOURNAL.validate_json(file.read(MAX_JOURNAL_BYTES), strict=True)
            return journal if journal and journal.fits(self.part.stat().st_size) else None
        except (OSError, ValueError) as error:
            with storage_errors(self._journal):
                if isinstance(error, OSError) and error.errno in OUT_OF_DESCRIPTORS:
                    raise
            return None

    def bear_in_mind(self, journal: Journal) -> None:
        """As `note`, but on disk only if a trouble ends the stay: for a small file that most likely goes on at once."""
        self._in_mind = journal

    def note_what_is_in_mind(self) -> None:
        if self._in_mind is not None and self.journal() is not None:
            self.note(self._in_mind)

    def note(self, journal: Journal) -> None:
        """Replace the journal, durable on return. The caller has flushed the bytes that it speaks of."""
        self.fresh, self._in_mind = False, None
        replace_durably(self._journal, _as_text(journal))

    def whole_file(self) -> Journal | None:
        """The journal of a file that is complete, digested and untouched since; else None. Raises TryLater, GiveUp."""
        journal = self.journal()
        with storage_errors(self.part):
            is_it = journal is not None and journal.whole and Identity.of(self.part.stat()) == journal.identity
        return journal if is_it else None

    def has_durable_bytes(self) -> bool:
        journal = self.journal()
        return journal is not None and journal.durable_bytes > 0

    def empty(self) -> None:
        """Forget what is here: another source, or another representation of it. Raises TryLater, GiveUp."""
        self._in_mind = None
        with storage_errors(self.folder):
            self._journal.unlink(missing_ok=True)
            self.part.unlink(missing_ok=True)


def _as_text(journal: Journal) -> str:
    """JSON; not by `asdict`, which copies every stretch."""
    values = {**vars(journal), "versions": [vars(version) for version in journal.versions]}
    return json.dumps(values, separators=(",", ":"))


def source_key(url: str) -> str:
    """How the journal names a source: a digest, since the URL itself may carry a signature."""
    return hashlib.sha256(url.encode()).hexdigest()


def staging_for(target: Path, home_staging: Path, models_root: Path) -> Path:
    """The staging folder on the target's own volume, so that putting a file in place stays one step.

    Home's staging if it is on that volume, else the models root's, else (a model folder that is a link to another disk)
    one in that folder itself; a part file has no model extension, so ComfyUI never lists it.

    Raises GiveUp (permission, storage) where the folders cannot be looked at.
    """
    with storage_errors(target):
        volume = volume_of(target.parent)
        if volume_of(home_staging) == volume:
            return home_staging
        if volume_of(models_root) == volume:
            return models_root / STAGING_BESIDE_MODELS
        return nearest_existing(target.parent).resolve() / STAGING_BESIDE_MODELS


def volume_of(path: Path) -> int:
    """`st_dev` of the nearest that is there. Raises OSError."""
    try:
        return path.stat().st_dev
    except OSError:
        return nearest_existing(path).stat().st_dev


def nearest_existing(path: Path) -> Path:
    """Raises OSError where nothing of it is there: a drive that was unplugged, on Windows."""
    while not path.exists():
        if path == path.parent:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), str(path))
        path = path.parent
    return path


@contextmanager
def entered(staging: Path, job_id: JobId, attempts: int) -> Iterator[Room]:
    """The room of this claim, with what its predecessors left that is durable.

    Raises:
        TryLater, GiveUp: see `storage_errors`. LostClaim: a later claim has its room here already.
    """
    hall = staging / job_id
    own = hall / str(attempts)
    with storage_errors(own):
        lock, fresh = _take_over(hall, own)
    room = Room(own, fresh=fresh)
    try:
        yield room
    except BaseException:
        with suppress(OSError, Trouble):  # the room is gone, or its disk
            room.note_what_is_in_mind()
        raise
    finally:
        lock.release()
        with suppress(Trouble):  # nobody can look, or nothing is in it: the next to clear up may have it
            if not room.has_durable_bytes():
                leave_for_good(staging, job_id, attempts)


def leave_for_good(staging: Path, job_id: JobId, attempts: int) -> None:
    """Nothing of this claim, or of an earlier one, stays in staging; a later claim's room is not ours to remove.

    Raises TryLater or GiveUp, see `storage_errors`.
    """
    hall = staging / job_id
    with storage_errors(hall):
        swept = is_swept(hall / str(attempts), hall / f"{attempts}{GONE_SUFFIX}", ("part", "lock"))
        for room in list(hall.iterdir()) if not swept and hall.is_dir() else ():
            number = room.name.removesuffix(COPY_SUFFIX).removesuffix(GONE_SUFFIX)
            if not number.isdigit() or int(number) <= attempts:
                _remove(room)
        left = () if swept else (hall,)
        for folder in (*left, staging) if staging.name == STAGING_BESIDE_MODELS else left:
            with suppress(OSError):  # not empty: somebody else is in it
                folder.rmdir()


def is_occupied(staging: Path, job_id: JobId) -> bool:
    """Whether some living process works in a room of this job, or nobody can tell."""
    hall = staging / job_id
    return hall.is_dir() and any(_is_locked(room) for room in hall.iterdir() if room.is_dir())


def _is_locked(room: Path) -> bool:
    try:
        with FileLock(room / "lock", blocking=False, thread_local=False):
            return False
    except OSError:  # filelock's Timeout among them
        return True


def _take_over(hall: Path, own: Path) -> tuple[FileLock, bool]:
    """Adopt the most advanced room in the hall, and remove the others. Returns the lock of the own room, and whether
    that room is new."""
    others = [] if is_made(hall) else [path for path in hall.iterdir() if path.is_dir() and path != own]
    former = sorted((path for path in others if path.name.isdigit()), key=_advance, reverse=True)
    if any(int(room.name) > int(own.name) for room in former):
        raise LostClaim(own)
    if former and not own.exists():
        _adopt(former[0], own)
    fresh = is_made(own)
    lock = FileLock(own / "lock", timeout=LOCK_SECONDS, thread_local=False)  # housekeeping may just be looking
    lock.acquire()
    for leftover in others:
        if leftover.exists():
            _remove(leftover)
    return lock, fresh


def _remove(room: Path) -> None:
    """First its path goes, in one step: a former owner that is still alive can put nothing into it meanwhile."""
    gone = room if room.name.endswith(GONE_SUFFIX) else room.with_name(f"{room.name}{GONE_SUFFIX}")
    try:
        if gone != room:
            shutil.rmtree(gone, ignore_errors=True)  # of one that died in the middle of this
            room.rename(gone)
    except FileNotFoundError:
        return
    except PermissionError:  # Windows renames no folder in which a file is open
        gone = room
    remove_tree(gone)


def _adopt(former: Path, own: Path) -> None:
    """Take a dead owner's room as it is; of one that is only stopped, or that is in use, copy what is durable."""
    if not _is_locked(former):
        with suppress(PermissionError):  # Windows renames no folder in which a file is open
            former.rename(own)
            return
    _copy_durable(Room(former), own)


def _advance(folder: Path) -> tuple[int, int]:
    journal = Room(folder).journal()
    return (journal.durable_bytes if journal else -1, int(folder.name))


def _copy_durable(former: Room, own: Path) -> None:
    journal = former.journal()
    fresh = own.with_name(f"{own.name}{COPY_SUFFIX}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    if journal is not None and journal.durable:
        room = Room(fresh)
        with former.part.open("rb") as source, room.part.open("wb") as sink:
            durable = tuple(_copy_stretch(source, sink, stretch) for stretch in journal.durable)
            sink.flush()
            os.fsync(sink.fileno())
        there = tuple(stretch for stretch in durable if stretch.start < stretch.end)
        # Not whole any more, even if it was: what was copied while somebody else could write is proven anew.
        room.note(replace(journal, durable=there, sha256=None, identity=None, pieces=None))
    fresh.rename(own)


def _copy_stretch(source: BinaryIO, sink: BinaryIO, stretch: Stretch) -> Stretch:
    """To the same place. Returns what of it was there."""
    at = stretch.start
    source.seek(at)
    sink.seek(at)
    while at < stretch.end and (piece := source.read(min(COPY_BYTES, stretch.end - at))):
        sink.write(piece)
        at += len(piece)
    return stretch._replace(end=at)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Translate what a disk says: full, away or too busy is for later; forbidden and broken are for a person.

    Raises TryLater: disk_full; unmounted; storage, when too many files are open. GiveUp: permission, storage.
    """
    try:
        yield
    except PermissionError as error:
        raise GiveUp(Code.PERMISSION, f"not allowed to write {error.filename or path}") from error
    except OSError as error:
        if error.errno in OUT_OF_SPACE:
            raise TryLater(Code.DISK_FULL, f"no space left on the volume of {path}") from error
        if error.errno in _AWAY:
            raise TryLater(Code.UNMOUNTED, f"the volume of {path} is away: {error.strerror or error}") from error
        if error.errno == errno.EFBIG:
            hint = "its file system (FAT, say) or a limit (ulimit -f) takes no larger file: change that, retry the job"
            raise GiveUp(Code.STORAGE, f"{path} would become too large", hint=hint) from error
        if error.errno in OUT_OF_DESCRIPTORS:
            raise TryLater(Code.STORAGE, f"too many files are open to go on with {path}", hint=MORE_FILES) from error
        raise GiveUp(Code.STORAGE, f"the disk failed at {error.filename or path}: {error.strerror or error}") from error
