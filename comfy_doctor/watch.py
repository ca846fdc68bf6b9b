"""Diagnose each workflow that appears in a folder, within two seconds, and not before it is whole.

File events say where to look, and a sweep finds what they missed. A file is looked at when it has not changed for a
moment; one that cannot be read then may still be on its way, and is given time before that is said.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from loguru import logger
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from comfy_doctor.findings import Complaint, ExitCode, Report
from comfy_doctor.reading import MAX_WORKFLOWS
from comfy_doctor.troubles import DoctorCode, DoctorTrouble
from download_worker.errors import NEXT_STEP, Code, Trouble
from download_worker.report import report_of

QUIET_SECONDS = 0.5
"""A file that has not changed for so long is looked at."""
PATIENCE_SECONDS = 20.0
"""One that cannot be read is given so long, counted from its last change."""
TURN_SECONDS = 0.2
SWEEP_SECONDS = 30.0
DEAF_SWEEP_SECONDS = 1.0
"""Where the system tells no file events."""

Stamp = tuple[int, int]
"""(mtime in nanoseconds, size in bytes)"""


class Looked(NamedTuple):
    """`whole` is False where the file could not be read as what it seems to be."""

    report: Report
    whole: bool


class Shows(Protocol):
    def __call__(self, report: Report) -> None: ...


@dataclass
class _Pending:
    stamp: Stamp | None
    changed_at: float
    tried: Stamp | None = None


class Settling:
    """Files that have changed, until they are whole. Pure but for `stamp_of`; times are steady seconds."""

    def __init__(self, stamp_of: Callable[[Path], Stamp | None]) -> None:
        self._stamp_of = stamp_of
        self._pending: dict[Path, _Pending] = {}
        self._done: dict[Path, Stamp] = {}

    def passed_over(self, known: Mapping[Path, Stamp]) -> None:
        """These were there before; they count once they change."""
        self._done.update(known)

    @property
    def remembered(self) -> Sequence[Path]:
        """Files that were looked at; those that are gone since are forgotten when they are said to have changed."""
        return tuple(self._done)

    def changed(self, path: Path, now: float) -> None:
        stamp = self._stamp_of(path)
        if stamp is None:
            self._done.pop(path, None)
            return
        known = self._pending.get(path)
        if known is None:
            if self._done.get(path) != stamp and len(self._pending) < MAX_WORKFLOWS:
                self._pending[path] = _Pending(stamp, now)
        elif known.stamp != stamp:
            known.stamp, known.changed_at = stamp, now

    def due(self, now: float) -> Iterator[Path]:
        """Those that have been quiet for long enough and were not looked at as they are now."""
        for path in list(self._pending):
            self.changed(path, now)
            pending = self._pending[path]
            if self._stamp_of(path) is None:
                del self._pending[path]
            elif now - pending.changed_at >= QUIET_SECONDS and pending.tried != pending.stamp:
                yield path
            elif now - pending.changed_at >= PATIENCE_SECONDS:
                pending.tried = None  # the last look: see `finished`
                yield path

    def finished(self, path: Path, now: float, *, whole: bool) -> bool:
        """True when what was seen may be said; False when the file may still be on its way."""
        pending = self._pending[path]
        if not whole and now - pending.changed_at < PATIENCE_SECONDS:
            pending.tried = pending.stamp
            return False
        if pending.stamp is not None:
            self._done[path] = pending.stamp
        del self._pending[path]
        return True


def watch(
    folder: Path,
    look: Callable[[Path], Looked],
    shows: Shows,
    stop: threading.Event,
    *,
    tell: Callable[[str], None] = lambda text: None,
    now: Callable[[], float] = time.monotonic,
) -> Report:
    """Until `stop` is set. Raises DoctorTrouble(bad_watch) when there is no such folder."""
    if not folder.is_dir():
        raise DoctorTrouble(DoctorCode.BAD_WATCH, f"{folder} is no folder")
    settling = Settling(_stamp_of)
    settling.passed_over({path: stamp for path in _files(folder) if (stamp := _stamp_of(path)) is not None})
    touched: set[Path] = set()
    swept_at = now()
    with _events(folder, touched) as heard:
        tell(f"watching {folder}: Ctrl-C ends it")
        while not stop.wait(TURN_SECONDS):
            if now() - swept_at >= (SWEEP_SECONDS if heard else DEAF_SWEEP_SECONDS):
                swept_at = now()
                touched.update(settling.remembered)
                touched.update(_files(folder))
            for path in [touched.pop() for _ in range(len(touched))]:  # a storm of events does not keep us here
                for file in _files(path) if os.path.isdir(path) else (path,):  # noqa: PTH112 - Path's raises for some
                    settling.changed(file, now())
            for path in settling.due(now()):
                looked = _looked(look, path)
                if settling.finished(path, now(), whole=looked.whole):
                    shows(looked.report)
                if stop.is_set():
                    break
    return Report("diagnose", ExitCode.OK, messages=(f"no longer watching {folder}",))


def _looked(look: Callable[[Path], Looked], path: Path) -> Looked:
    """One file that cannot be diagnosed is said to be so, and ends no watch."""
    try:
        return look(path)
    except Trouble as trouble:
        return Looked(report_of("diagnose", trouble), whole=True)
    except Exception as error:  # noqa: BLE001 - the wall of the house: one file must never end a watch of months
        logger.opt(exception=error).error("{} could not be diagnosed", path)
        what = f"{path} could not be diagnosed: {type(error).__name__}"
        fault = Complaint(str(Code.INTERNAL), what, NEXT_STEP[Code.INTERNAL])
        return Looked(Report("diagnose", ExitCode.FINDINGS, errors=(fault,)), whole=True)


def _files(folder: Path) -> Iterator[Path]:
    for number, (directory, folders, names) in enumerate(os.walk(folder)):
        if number >= MAX_WORKFLOWS:
            return
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(directory, name) for name in names if not name.startswith("."))


def _stamp_of(path: Path) -> Stamp | None:
    try:
        told = path.stat()
    except (OSError, ValueError):
        return None
    return (told.st_mtime_ns, told.st_size) if stat.S_ISREG(told.st_mode) else None


class _Touched(FileSystemEventHandler):
    """Notes what changed; of folders only that they came, since all that is in them came with them."""

    def __init__(self, folder: Path, touched: set[Path]) -> None:
        self._folder = folder
        self._touched = touched

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.is_directory and event.event_type not in ("created", "moved"):
            return
        for name in (event.src_path, event.dest_path):
            path = Path(os.fsdecode(name)) if name else None
            if path is not None and not self._is_hidden(path):
                self._touched.add(path)

    def _is_hidden(self, path: Path) -> bool:
        inside = path.relative_to(self._folder) if path.is_relative_to(self._folder) else path
        return any(part.startswith(".") for part in inside.parts)


@contextmanager
def _events(folder: Path, touched: set[Path]) -> Iterator[bool]:
    """File events; False where this system tells none, and only sweeps find anything."""
    observer = Observer()
    try:
        observer.schedule(_Touched(folder, touched), str(folder), recursive=True)
        observer.start()
    except OSError as error:
        logger.warning(
            "no file events for {} ({}): it is looked through every {:g} s", folder, error, DEAF_SWEEP_SECONDS
        )
        yield False
        return
    try:
        yield True
    finally:
        observer.stop()
        observer.join()
