"""What the worker tells while it works: human lines on a terminal, JSON lines in a file that rotates.

One redactor and one `safe_text` stand before every sink; every line carries its job id. A log that cannot be written
(a full disk, a closed pipe) never stops the work.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from loguru import logger

from download_worker.clock import iso
from download_worker.text import Redactor, safe_text

if TYPE_CHECKING:
    from loguru import Message, Record

LOG_NAME = "download_worker.log"
ROTATE_AT = "20 MB"
KEEP_FILES = 5
MAX_TRACE_CHARS = 20_000


def set_up(state: Path | None, redact: Redactor, *, level: str = "INFO", terminal: bool = True) -> None:
    """Replace all sinks. `state` gets the file; without it there is none."""
    logger.remove()
    logger.configure(extra={"job_id": "-"})
    if terminal:
        logger.add(_Terminal(redact), level=level, format=_message_only, colorize=False, catch=True)
    if state is not None:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        logger.add(
            state / LOG_NAME,
            level="DEBUG",
            format=_JsonLines(redact),
            rotation=ROTATE_AT,
            retention=KEEP_FILES,
            encoding="utf-8",
            colorize=False,
            catch=True,
            watch=True,  # another worker of this home may rotate it
            backtrace=False,
            diagnose=False,  # it would print the values of variables, tokens among them
        )


def _message_only(record: Record) -> str:
    return "{message}"


class _Terminal:
    def __init__(self, redact: Redactor) -> None:
        self._redact = redact

    def __call__(self, message: Message) -> None:
        record = message.record
        job = str(record["extra"].get("job_id", "-"))[:8]
        text = safe_text(self._redact(record["message"]))
        sys.stderr.write(f"{record['time']:HH:mm:ss} {record['level'].name.lower():7} {job:8} {text}\n")


class _JsonLines:
    """A loguru format: what it returns is formatted once more, so the line itself travels in `extra`."""

    def __init__(self, redact: Redactor) -> None:
        self._redact = redact

    def __call__(self, record: Record) -> str:
        told = {
            "time": iso(record["time"]),
            "level": record["level"].name.lower(),
            "job_id": record["extra"].get("job_id", "-"),
            "message": self._redact(record["message"]),
            "where": f"{record['name']}:{record['line']}",
        }
        error = record["exception"]
        if error is not None:
            trace = "".join(traceback.format_exception(error.type, error.value, error.traceback))
            told["trace"] = self._redact(trace)[-MAX_TRACE_CHARS:]
        record["extra"]["line"] = json.dumps(told, ensure_ascii=True)
        return "{extra[line]}\n"
