"""What the worker tells while it works: human lines on a terminal, JSON lines in a file that rotates.

One redactor and one `safe_text` stand before every sink; every line carries its job id. A log that cannot be written
(a full disk, a closed pipe) never stops the work.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from loguru import logger

from download_worker.clock import iso
from download_worker.text import Redactor, safe_text

if TYPE_CHECKING:
    from loguru import Message, Record

LOG_NAME = "download_worker.log"
ROTATE_AT_BYTES = 20 * 1024 * 1024
KEEP_FILES = 5
MAX_TRACE_CHARS = 20_000
STAYS_OPEN = os.name == "posix"
"""Windows lets nobody rename a file that another process has open."""

FILE_MODE = 0o666  # without the bits of the umask
_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def set_up(state: Path | None, redact: Redactor, *, level: str = "INFO", terminal: bool = True) -> None:
    """Replace all sinks. `state` gets the file; without it there is none.

    A thread that dies tells it here, too, unless somebody else listens already: Python would print every exception on
    its way, secrets and all.
    """
    logger.remove()
    logger.configure(extra={"job_id": "-"}, patcher=_Scrubbed(redact))
    if terminal:
        logger.add(_to_terminal, level=level, format=_message_only, colorize=False)
    if state is not None:
        logger.add(_LogFile(state / LOG_NAME), level="DEBUG", format=_message_only, colorize=False)
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _died


def _died(told: threading.ExceptHookArgs) -> None:
    name = "?" if told.thread is None else told.thread.name
    if told.exc_value is not None and not isinstance(told.exc_value, SystemExit):
        logger.opt(exception=told.exc_value).error("the thread {} died of a fault of ours", name)


class _Scrubbed:
    """Frees a record of secrets before any sink gets to see it."""

    def __init__(self, redact: Redactor) -> None:
        self._redact = redact

    def __call__(self, record: Record) -> None:
        record["message"] = self._redact(record["message"])
        error = record["exception"]
        if error is not None:
            trace = "".join(traceback.format_exception(error.type, error.value, error.traceback))
            record["extra"]["trace"] = self._redact(trace)[-MAX_TRACE_CHARS:]
            record["exception"] = None


def _message_only(record: Record) -> str:
    return "{message}"


def _to_terminal(message: Message) -> None:
    record = message.record
    job = str(record["extra"].get("job_id", "-"))[:8]
    line = f"{record['time']:HH:mm:ss} {record['level'].name.lower():7} {job:8} {safe_text(record['message'])}\n"
    with suppress(OSError, ValueError):  # nobody reads it any more
        if sys.stderr is not None:
            sys.stderr.write(line)


class _LogFile:
    """JSON lines, each written to the file that has the name then: another worker of this home may have rotated it, or
    a person removed it. What cannot be written is lost, and a disk that was full may have room again: loguru's
    complaint would show what it was, with every exception that was being handled, secrets and all.

    loguru writes one line at a time, and stops a sink that it removes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._number = (0, 0)
        self._is_torn = False  # the disk took half of a line: the next one shall not be lost with it

    def write(self, message: Message) -> None:
        line = _json_line(message.record).encode("ascii")
        try:
            descriptor, size = self._opened()
            line = b"\n" * self._is_torn + line
            size += len(line)
            while line:
                line = line[os.write(descriptor, line) :]
                self._is_torn = bool(line)
        except OSError:
            self.stop()
            return
        if size >= ROTATE_AT_BYTES:
            self.stop()
            with suppress(OSError):
                self._rotate()
        elif not STAYS_OPEN:
            self.stop()

    def stop(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):  # what a network drive tells when it is closed
                os.close(descriptor)

    def _opened(self) -> tuple[int, int]:
        """The descriptor of the file of that name, and its size. While it is open, no other file gets its number.
        Raises OSError."""
        if self._descriptor is not None:
            with suppress(OSError):
                there = self._path.stat()
                if (there.st_dev, there.st_ino) == self._number:
                    return self._descriptor, there.st_size
            self.stop()
        try:
            self._descriptor = os.open(self._path, _APPENDING, FILE_MODE)
        except FileNotFoundError:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, _APPENDING, FILE_MODE)
        there = os.fstat(self._descriptor)
        former, self._number = self._number, (there.st_dev, there.st_ino)
        self._is_torn &= self._number == former
        return self._descriptor, there.st_size

    def _rotate(self) -> None:
        for number in range(KEEP_FILES, 1, -1):
            with suppress(FileNotFoundError):
                self._path.with_suffix(f".log.{number - 1}").replace(self._path.with_suffix(f".log.{number}"))
        self._path.replace(self._path.with_suffix(".log.1"))


def _json_line(record: Record) -> str:
    told = {
        "time": iso(record["time"]),
        "level": record["level"].name.lower(),
        "job_id": record["extra"].get("job_id", "-"),
        "message": record["message"],
        "where": f"{record['name']}:{record['line']}",
    }
    if "trace" in record["extra"]:
        told["trace"] = record["extra"]["trace"]
    return json.dumps(told, ensure_ascii=True) + "\n"
