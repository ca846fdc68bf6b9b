"""What becomes of rejected files: one line in a log that only grows, and, where it is wished, the file itself.

A kept file lies in `state/quarantine/<job_id>/` without a model's extension, never under a model folder, until
`keep_days` are over.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from loguru import logger

from download_worker.clock import Clock, SystemClock, iso
from download_worker.jobs.job import Job
from download_worker.room import COPY_BYTES, Room, source_key, storage_errors
from download_worker.text import public_url, safe_text

LOG_NAME = "verification_failures.log"
FOLDER_NAME = "quarantine"
KEPT_SUFFIX = ".rejected"
MAX_COPY_BYTES = 8 * 1024**3
"""Where keeping means copying to another volume, a larger file is let go, and the log says so."""
COPY_RESERVE_BYTES = 1024**3


class Refusal(Protocol):
    """Why a file was rejected (`verifiers.verifier.Rejected`, seen from this floor)."""

    @property
    def code(self) -> StrEnum: ...
    @property
    def message(self) -> str: ...
    @property
    def by(self) -> str: ...
    @property
    def evidence(self) -> Mapping[str, Any]: ...


class Quarantine:
    def __init__(self, state: Path, *, keep: bool = False, keep_days: int = 90, clock: Clock | None = None) -> None:
        self._log = state / LOG_NAME
        self._folder = state / FOLDER_NAME
        self._keep = keep
        self._keep_days = keep_days
        self._clock = clock or SystemClock()

    def record(self, job: Job, url: str, refusal: Refusal, room: Room) -> None:
        """Write the one line of this rejection, and move the file out of its room if it is to be kept.

        Raises:
            TryLater: disk_full. GiveUp: permission or storage, naming the log.
        """
        kept = self._kept(job, url, room) if self._keep else None
        line = {
            "time": iso(self._clock.now()),
            "job_id": job.job_id,
            "attempts": job.attempts,
            "file": safe_text(job.model_info.expected_filename),
            "url": safe_text(public_url(url)),
            "code": refusal.code.value,
            "reason": safe_text(refusal.message),
            "by": safe_text(refusal.by),
            "evidence_sha256": _evidence_digest(refusal.evidence),
            "kept": None if kept is None else str(kept),
        }
        with storage_errors(self._log):
            _append(self._log, line)

    def prune(self, now: datetime) -> int:
        """Remove what was kept longer than `keep_days`; returns how many jobs' files that were. Raises as `record`."""
        oldest = (now - timedelta(days=self._keep_days)).timestamp()
        with storage_errors(self._folder):
            old = [folder for folder in self._kept_folders() if folder.lstat().st_mtime < oldest]
            for folder in old:
                shutil.rmtree(folder)
        return len(old)

    def _kept_folders(self) -> Iterator[Path]:
        if self._folder.is_dir():
            yield from (entry for entry in self._folder.iterdir() if entry.is_dir() and not entry.is_symlink())

    def _kept(self, job: Job, url: str, room: Room) -> Path | None:
        """Where the rejected file is kept now. A file that cannot be kept is no reason to fail: it is to go anyway."""
        if not room.part.exists():
            return None
        folder = self._folder / job.job_id
        # One attempt may reject a file of every mirror: each is kept beside the others.
        home = folder / f"{job.attempts}-{source_key(url)[:8]}-{job.model_info.expected_filename}{KEPT_SUFFIX}"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _move(room.part, home)
        except OSError as error:
            logger.error("cannot keep the rejected {}: {}", job.model_info.expected_filename, error.strerror or error)
            return None
        return home


def _evidence_digest(evidence: Mapping[str, Any]) -> str:
    """The digest that the rubric has made, or one of the facts that a single step found."""
    told = evidence.get("evidence_sha256")
    if isinstance(told, str):
        return told
    facts = json.dumps(evidence, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(facts.encode("utf-8", "surrogatepass")).hexdigest()


def _append(log: Path, line: Mapping[str, object]) -> None:
    """One write per line, so that lines of several workers never mix; durable when this returns."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    raw = (json.dumps(line, sort_keys=True) + "\n").encode("ascii")
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(log, flags, 0o600)
    try:
        written = os.write(descriptor, raw)
        if written != len(raw):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(log))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _move(source: Path, home: Path) -> None:
    try:
        source.replace(home)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, home)


def _copy(source: Path, home: Path) -> None:
    """To another volume, in pieces. Raises OSError where the file is too large for that, and leaves nothing behind."""
    size = source.stat().st_size
    if size > min(MAX_COPY_BYTES, shutil.disk_usage(home.parent).free - COPY_RESERVE_BYTES):
        raise OSError(errno.EFBIG, f"{size} bytes are too many to copy to the volume of {home.parent}")
    try:
        with source.open("rb") as file, home.open("xb") as sink:
            shutil.copyfileobj(file, sink, COPY_BYTES)
    except OSError:
        with suppress(FileNotFoundError):
            home.unlink()
        raise
    source.unlink()
