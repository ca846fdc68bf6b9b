"""The watch over the queue's folder. Only who waits for a ring loads it: a job is handed in, or begun, 8 ms sooner."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from loguru import logger
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

from download_worker.jobs.queue_folder import FILES

POLL_SECONDS = 1.0

# watchdog 7.1 logs an error when a watch that just heard something is stopped; without any handler that goes to stderr.
logging.getLogger("watchdog").addHandler(logging.NullHandler())


class Watch(FileSystemEventHandler):
    """Calls `stir` when somebody writes to the queue's files. Raises OSError where the folder cannot be watched."""

    # By name, because watchdog has `attrib` only since 7. Of no interest: opened, closed, closed_no_write.
    _WRITES = frozenset({"created", "modified", "attrib", "moved", "deleted"})

    def __init__(self, folder: Path, stir: Callable[[], None]) -> None:
        self._folder = folder
        self._stir = stir
        self._inode = folder.stat().st_ino
        self._observer = self._observing()

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in self._WRITES and Path(os.fsdecode(event.src_path)).name in FILES:
            self._stir()

    def alive(self) -> bool:
        """False too when the folder itself was replaced: the old one never stirs again."""
        try:
            return self._observer.is_alive() and self._folder.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def stop(self) -> None:
        self._observer.stop()
        self._observer.join()

    def _observing(self) -> BaseObserver:
        native = Observer()
        native.schedule(self, str(self._folder))
        try:
            native.start()
        except OSError as error:
            logger.warning("not told of changes in {} ({}); looking every {:g} s", self._folder, error, POLL_SECONDS)
        else:
            return native
        polling = PollingObserver(timeout=POLL_SECONDS)
        polling.schedule(self, str(self._folder))
        polling.start()
        return polling
