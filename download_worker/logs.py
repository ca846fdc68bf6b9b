"""What the worker tells while it works: human lines on a terminal, JSON lines in a file that rotates.

One redactor and one `safe_text` stand before every sink; every line carries its job id. A log that cannot be written
(a full disk, a closed pipe) never stops the work.
"""

from __future__ import annotations

import json
import sys
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
ROTATE_AT = "20 MB"
KEEP_FILES = 5
MAX_TRACE_CHARS = 20_000


def set_up(state: Path | None, redact: Redactor, *, level: str = "INFO", terminal: bool = True) -> None:
    """Replace all sinks. `state` gets the file; without it there is none."""
    logger.remove()
    logger.configure(extra={"job_id": "-"}, patcher=_Scrubbed(redact))
    if terminal:
        logger.add(_to_terminal, level=level, format=_message_only, colorize=False, catch=True)
    if state is not None:
        try:
            _add_file(state)
        except OSError as error:
            logger.warning("there is no log file until the next start: {}", error)


def _add_file(state: Path) -> None:
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    logger.add(
        state / LOG_NAME,
        level="DEBUG",
        format=_json_line,
        rotation=ROTATE_AT,
        retention=KEEP_FILES,
        encoding="utf-8",
        colorize=False,
        catch=True,
        watch=True,  # another worker of this home may rotate it
        backtrace=False,
        diagnose=False,  # it would print the values of variables, tokens among them
    )


class _Scrubbed:
    """Frees a record of secrets before any sink, and loguru's own complaint about a sink, gets to see it."""

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
        sys.stderr.write(line)


def _json_line(record: Record) -> str:
    """A loguru format: what it returns is formatted once more, so the line itself travels in `extra`."""
    told = {
        "time": iso(record["time"]),
        "level": record["level"].name.lower(),
        "job_id": record["extra"].get("job_id", "-"),
        "message": record["message"],
        "where": f"{record['name']}:{record['line']}",
    }
    if "trace" in record["extra"]:
        told["trace"] = record["extra"]["trace"]
    record["extra"]["line"] = json.dumps(told, ensure_ascii=True)
    return "{extra[line]}\n"
