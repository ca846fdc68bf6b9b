"""A job: what to fetch, where it stands, what became of it; and the table of legal moves.

The JSON of a job is public (persist-queue payload, `jobs --json`, REST). Fields marked `exclude=True` belong to the
workshop alone and never leave the ledger. Everything here is frozen and pure.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, NewType
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from download_worker.clock import Instant
from download_worker.errors import IllegalMove
from download_worker.jobs.places import target_path
from download_worker.text import public_url

JobId = NewType("JobId", str)
WorkerId = NewType("WorkerId", str)

MAX_HISTORY_EVENTS = 100
MAX_EVENT_CHARS = 500


class Status(StrEnum):
    PENDING = "PENDING"
    DOWNLOADING = "DOWNLOADING"
    VERIFYING = "VERIFYING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"


LIVE = frozenset({Status.PENDING, Status.DOWNLOADING, Status.VERIFYING})

# From → to. VERIFYING → DOWNLOADING: the staged file is gone. VERIFYING → VERIFYING: waiting for the language model.
MOVES = MappingProxyType(
    {
        Status.PENDING: frozenset({Status.DOWNLOADING, Status.FAILED, Status.SUCCESS}),
        Status.DOWNLOADING: frozenset(
            {Status.DOWNLOADING, Status.VERIFYING, Status.PENDING, Status.FAILED, Status.SUCCESS}
        ),
        Status.VERIFYING: frozenset(
            {Status.VERIFYING, Status.DOWNLOADING, Status.PENDING, Status.SUCCESS, Status.FAILED}
        ),
        Status.SUCCESS: frozenset[Status](),
        Status.FAILED: frozenset({Status.PENDING}),
    }
)


def check_move(before: Status, after: Status) -> None:
    """Raises IllegalMove for a move that is not in the table; staying where one is needs no entry."""
    if before != after and after not in MOVES[before]:
        raise IllegalMove(f"{before} → {after}")


class Claim(NamedTuple):
    """The fence: only who holds the latest claim of a job may write to it."""

    job_id: JobId
    worker: WorkerId
    attempts: int


class Lease(NamedTuple):
    """How long a claim holds without a heartbeat, in steady seconds of one boot."""

    boot_id: str
    granted: float
    until: float

    def holds(self, at: Instant) -> bool:
        return self.boot_id == at.boot_id and self.granted <= at.seconds < self.until

    @staticmethod
    def starting(at: Instant, seconds: float) -> Lease:
        return Lease(at.boot_id, at.seconds, at.seconds + seconds)


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelInfo(Frozen):
    expected_filename: str
    model_type: str
    download_url: str
    source: str = "manual"
    sha256: str | None = None
    size: int | None = None
    subfolder: str = ""
    mirrors: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.download_url, *self.mirrors)

    @property
    def host(self) -> str:
        try:
            return urlsplit(self.download_url).hostname or ""
        except ValueError:  # a job that was never handed in over the counter
            return ""


class Event(Frozen):
    timestamp: str
    event: str


class Progress(Frozen):
    """How far a download is. `source` is the host that is asked now; `retries` counts the connections of this attempt
    that ended badly, and `trouble` says why the last one did."""

    bytes: int = 0
    total: int | None = None
    bytes_per_second: float | None = None
    eta_seconds: float | None = None
    connections: int = 0
    source: str | None = None
    retries: int = 0
    trouble: str | None = None


class Verdict(Frozen):
    """The last word on one file. `by` names who spoke it: `rules`, or the language model's id."""

    verdict: Literal["VERIFIED", "REJECTED"]
    reason: str
    by: str
    proof: Literal["A", "B", "C", "D"] = "D"
    prompt_version: str | None = None
    prompt_sha256: str | None = None
    evidence_sha256: str | None = None
    evidence: tuple[dict[str, Any], ...] = ()


class Result(Frozen):
    path: str | None = None
    sha256: str | None = None
    proof: str | None = None
    verdict: Verdict | None = None
    code: str | None = None
    reason: str | None = None


class Job(Frozen):
    job_id: JobId
    status: Status
    added_at: str
    attempts: int = 0
    model_info: ModelInfo
    history: tuple[Event, ...] = ()
    kind: Literal["model", "node"] = "model"
    priority: int = 0
    not_before: str | None = None
    paused: bool = False
    machine: str = "local"
    progress: Progress = Progress()
    result: Result = Result()

    models_root: Path = Field(exclude=True)
    """The folder that holds ComfyUI's model folders on the machine of this job."""
    tries: int = Field(default=0, exclude=True)
    """Claims that ended badly or not at all. Unlike `attempts` (the fence), giving a job back refunds one."""
    worker: WorkerId | None = Field(default=None, exclude=True)
    lease: Lease | None = Field(default=None, exclude=True)
    cancel_requested: bool = Field(default=False, exclude=True)
    promoting: bool = Field(default=False, exclude=True)
    """The file is being put in place: from here on a cancel comes too late."""

    @property
    def claim(self) -> Claim:
        if self.worker is None:
            raise IllegalMove(f"nobody has claimed job {self.job_id}")
        return Claim(self.job_id, self.worker, self.attempts)

    @property
    def target(self) -> Path:
        info = self.model_info
        return target_path(self.models_root, info.model_type, info.subfolder, info.expected_filename)

    @property
    def live(self) -> bool:
        return self.status in LIVE

    def public(self) -> dict[str, Any]:
        """The JSON that leaves the house: no internals, no secrets in URLs."""
        document = self.model_dump(mode="json")
        info = document["model_info"]
        info["download_url"] = public_url(info["download_url"])
        info["mirrors"] = [public_url(mirror) for mirror in info["mirrors"]]
        return document
