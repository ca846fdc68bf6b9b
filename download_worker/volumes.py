"""The disks that files go to: room for all that is under way, volumes that are full, and volumes that are not there.

A job may begin only where its bytes fit beside the reserve and what the running jobs still need. When a volume refuses
a byte all the same (other programs write, too; quotas and inodes end), its jobs are not claimed until a look finds room
again (FAULTS D1, D9). They wait in the same way while the volume of their model folder is not mounted (D12).

Volumes are told apart by `st_dev` while the process runs; over reboots that number changes, see `mounts.py` for those.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from pathlib import Path

from loguru import logger

from download_worker.clock import Clock, SystemClock, iso
from download_worker.errors import Code, Trouble, TryLater
from download_worker.jobs.job import Job, JobId
from download_worker.jobs.places import FOLDERS, canonical_folder
from download_worker.leash import Leash
from download_worker.mounts import Mounts
from download_worker.room import OUT_OF_SPACE, nearest_existing, volume_of

RESERVE_BYTES = 256 * 1024**2
LOOK_SECONDS = 5.0
LOOK_CAP_SECONDS = 60.0
"""Where a look finds room and the next job finds none (a quota, say), looks become rarer up to this."""
ROOM_BYTES = 64 * 1024**2
"""A full volume is not full any more when there is so much beside the reserve, or all that its job still needs."""
PROBE_BYTES = 1024**2
MAX_CAUSES = 16
LOOK_PATIENCE_SECONDS = 0.5
"""A disk that does not answer within so long is hung (D10): the others do not wait for it, and it stays shut."""

FreeBytes = Callable[[Path], int]


@dataclass(frozen=True)
class Shut:
    """A volume whose jobs wait. `since` is wall time, for people; `look_at_seconds` is steady."""

    volume: int
    folder: Path
    since: datetime
    reason: str
    room_bytes: int
    look_at_seconds: float
    pause_seconds: float
    mounts: bool = False
    way_out: str = ""

    @property
    def told(self) -> str:
        what = "it is not mounted" if self.mounts else f"the volume of {self.folder} is full"
        told = f"{self.reason}; {what} since {iso(self.since)}, and is looked at every few seconds"
        return f"{told}; {self.way_out}" if self.mounts else told


@dataclass(eq=False)
class _Running:
    """A job under way: where it writes, and what is known of its size. `turn` says who asked for room first."""

    job: Job
    leash: Leash
    volume: int | None = None
    part: Path | None = None
    turn: int = sys.maxsize

    @property
    def needed_bytes(self) -> int:
        """What it will still take from the volume: all of its file that is not allocated yet."""
        if self.part is None:
            return 0  # it has not asked for room yet; when it does, the others are counted
        total = self.leash.read().total or self.job.model_info.size or 0
        return max(0, total - _allocated_bytes(self.part))

    @property
    def empty_bytes(self) -> int:
        """What is allocated to its file and holds none of its bytes yet."""
        return (
            0 if self.part is None else max(0, _allocated_bytes(self.part) - self.leash.read(self.job.progress).bytes)
        )


@dataclass(frozen=True)
class Disks:
    """The questions that only a file system can answer; tests put others in their place."""

    free_bytes: FreeBytes = lambda folder: shutil.disk_usage(folder).free
    volume_of: Callable[[Path], int] = volume_of
    takes_bytes: Callable[[Path], bool] = lambda folder: _takes_bytes(folder)


class Volumes:
    """Thread-safe. Counts the jobs of this process; what others have taken is not free any more. No disk is asked while
    somebody else would have to wait for the answer: it may never come."""

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        mounts: Mounts | None = None,
        reserve_bytes: int = RESERVE_BYTES,
        disks: Disks = Disks(),
    ) -> None:
        self._clock = clock or SystemClock()
        self._mounts = mounts or Mounts(None)
        self._reserve_bytes = reserve_bytes
        self._disks = disks
        self._lock = threading.Lock()
        self._looking: set[str] = set()
        self._running: dict[JobId, _Running] = {}
        self._shut: dict[str, Shut] = {}
        self._former: dict[int, Shut] = {}
        self._folders: dict[str, int] = {}
        self._turns = count()

    def begun(self, job: Job, leash: Leash) -> None:
        with self._lock:
            self._running[job.job_id] = _Running(job, leash)

    def ended(self, job: Job) -> None:
        with self._lock:
            self._running.pop(job.job_id, None)

    def check_mounted(self, job: Job) -> None:
        """Before a folder is made anywhere. Raises TryLater(unmounted)."""
        self._mounts.check(job.models_root, model_folder(job))

    def check_room(self, job: Job, part: Path) -> None:
        """Before anything is asked for, where the size of the file is known. `part` may hold some of it already.

        Raises TryLater(disk_full).
        """
        if (size := job.model_info.size) is None:
            return
        missing = max(0, size - _allocated_bytes(part))
        with self._lock:
            running = self._running.get(job.job_id)
        turn = sys.maxsize if running is None else running.turn
        free = self._free_beside_others(part.parent, self._volume_of(part.parent), turn)
        if missing and free is not None and free < missing + self._reserve_bytes:
            beside = f"a reserve of {self._reserve_bytes} and what running jobs still need"
            message = (
                f"{missing} more bytes of {job.target.name} do not fit on the volume of {part.parent} beside {beside}"
            )
            raise TryLater(Code.DISK_FULL, message)

    def free_bytes(self, folder: Path) -> int:
        """Bytes that the job of this staging room (`…/<job_id>/<attempts>`) may still fill, reserve included.

        From now on it counts as writing there. Raises OSError.
        """
        volume, job_id = self._disks.volume_of(folder), JobId(folder.parent.name)
        with self._lock:
            running = self._running.get(job_id)
            if running is not None and running.part is None:
                running.volume, running.part, running.turn = volume, folder / "part", next(self._turns)
        if running is None:
            return self._disks.free_bytes(folder) - self._taken_bytes(volume, sys.maxsize)
        return self._disks.free_bytes(folder) - self._taken_bytes(volume, running.turn) + running.empty_bytes

    def refused(self, job: Job, trouble: Trouble) -> Shut | None:
        """A job met disk_full or unmounted: what its volume's jobs wait in. None: only this one does not fit."""
        folder, now = model_folder(job), self._seconds()
        volume = self._volume_of(folder)
        room = max(PROBE_BYTES, min(ROOM_BYTES, (job.model_info.size or ROOM_BYTES) - job.progress.bytes))
        mounts = trouble.code is Code.UNMOUNTED
        key = str(folder) if mounts else str(volume)
        with self._lock:
            self._folders[str(folder)] = volume
            if (shut := self._shut.get(key)) is not None:
                return shut
        if not mounts and not was_refused_a_byte(trouble) and self._has_room(folder, volume, PROBE_BYTES):
            return None
        with self._lock:
            former = self._former.get(volume)
            again = former is not None and now - former.look_at_seconds < LOOK_CAP_SECONDS
            pause = min(LOOK_CAP_SECONDS, former.pause_seconds * 2) if again and former else LOOK_SECONDS
            shut = Shut(
                *(volume, folder, self._clock.now(), trouble.message, room, now + pause, pause),
                mounts=mounts,
                way_out=trouble.hint,
            )
            shut = self._shut.setdefault(key, shut)  # another job may have been quicker
        logger.warning("{}; its jobs go on by themselves when that has changed", shut.told)
        return shut

    def shut_folders(self) -> frozenset[str]:
        """Model folders of which no job is to be claimed now. Looks at what is due to be looked at."""
        self._look_at_due()
        with self._lock:
            full = {shut.volume for shut in self._shut.values() if not shut.mounts}
            missing = {str(shut.folder) for shut in self._shut.values() if shut.mounts}
            return frozenset(f for f, volume in self._folders.items() if volume in full or f in missing)

    def next_look_seconds(self) -> float | None:
        now = self._seconds()
        with self._lock:
            return min((max(0.0, shut.look_at_seconds - now) for shut in self._shut.values()), default=None)

    def shut(self) -> Mapping[str, Shut]:
        """All volumes whose jobs wait, for whoever shows them."""
        with self._lock:
            return dict(self._shut)

    def _look_at_due(self) -> None:
        """Each in a thread of its own: one that hangs stays behind with its disk, and is not asked a second time."""
        now = self._seconds()
        with self._lock:
            due = [key for key, shut in self._shut.items() if now >= shut.look_at_seconds and key not in self._looking]
            for key in due:
                self._shut[key] = replace(self._shut[key], look_at_seconds=now + self._shut[key].pause_seconds)
            self._looking.update(due)
        looks = [threading.Thread(target=self._look, args=(key,), name="look-at-volume", daemon=True) for key in due]
        with suppress(RuntimeError):  # the system gives no more threads: the next time is soon enough
            for look in looks:
                look.start()
        for key, look in zip(due, looks, strict=True):
            if look.ident is None:
                with self._lock:
                    self._looking.discard(key)
            else:
                look.join(LOOK_PATIENCE_SECONDS)

    def _look(self, key: str) -> None:
        with self._lock:
            shut = self._shut[key]
        if shut.mounts:
            again = self._mounts.is_there(shut.folder)
        else:
            again = self._has_room(shut.folder, shut.volume, shut.room_bytes)
        with self._lock:
            self._looking.discard(key)
            if not again:
                return
            del self._shut[key]
            self._former[shut.volume] = replace(shut, look_at_seconds=self._seconds())
        logger.info("the volume of {} is {} again: its jobs go on", shut.folder, "there" if shut.mounts else "free")

    def _has_room(self, folder: Path, volume: int, n_bytes: int) -> bool:
        with suppress(OSError):
            place = nearest_existing(folder)
            free = self._free_beside_others(place, volume, sys.maxsize)
            return free is not None and free >= n_bytes + self._reserve_bytes and self._disks.takes_bytes(place)
        return False

    def _free_beside_others(self, place: Path, volume: int, turn: int) -> int | None:
        with suppress(OSError):
            return self._disks.free_bytes(place) - self._taken_bytes(volume, turn)
        return None

    def _taken_bytes(self, volume: int, turn: int) -> int:
        """What jobs need that asked before this turn. Two that ask at once must not give way to each other for ever."""
        with self._lock:
            before = [running for running in self._running.values() if running.turn < turn]
        return sum(running.needed_bytes for running in before if running.volume == volume)

    def _volume_of(self, folder: Path) -> int:
        try:
            return self._disks.volume_of(folder)
        except OSError:
            return -1

    def _seconds(self) -> float:
        return self._clock.steady().seconds


def model_folder(job: Job) -> Path:
    """The folder of ComfyUI's that the job's file goes to or below. It may be a link to another volume."""
    return job.models_root / FOLDERS[canonical_folder(job.model_info.model_type)]


def _allocated_bytes(part: Path) -> int:
    """What the file has from its volume already; preallocated blocks count (`st_blocks` has units of 512 bytes)."""
    try:
        stat = part.stat()
    except OSError:
        return 0
    return max(getattr(stat, "st_blocks", 0) * 512, 0) or stat.st_size


def _takes_bytes(folder: Path) -> bool:
    """Whether a small file can be written: quotas and inodes do not show in the free bytes."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
    except OSError:
        return False
    return True


def was_refused_a_byte(trouble: Trouble) -> bool:
    """Whether the operating system said so, and not our own account."""
    cause: BaseException | None = trouble
    for _ in range(MAX_CAUSES):
        cause = cause.__cause__ if cause is not None else None
        if isinstance(cause, OSError) and cause.errno in OUT_OF_SPACE:
            return True
    return False
