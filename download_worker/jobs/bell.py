"""The bell says that there may be work; it never says what: only the ledger knows that.

A ring carries the job's public JSON for the eyes of people, and its hearer believes one field of it, the job's id. So a
lost ring costs one sweep and a ring heard twice costs one look into the ledger. One protocol, two answers:
`PersistQueueBell` between processes, and `MemoryBell`, its twin inside one process.
"""

from __future__ import annotations

import json
import re
from collections import deque
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, NewType, Protocol

from loguru import logger

from download_worker.jobs.job import Job, JobId
from download_worker.text import safe_text

RingId = NewType("RingId", int)

MAX_RING_BYTES = 64 * 1024
MAX_RINGS_PER_HEARING = 100
_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")


class Ring(NamedTuple):
    """A ring that was heard and is off the line. Its `job_id` is a claim: the ledger may never have heard of it."""

    ring_id: RingId
    job_id: JobId


class Bell(Protocol):
    """Every method may be called from any thread; one thread hears and waits."""

    def ring(self, job: Job) -> bool:
        """Tell all workers of this home that there may be work. Durable on True.

        False: it could not be rung now (logged; the next sweep finds the job). Never raises for the queue's sake.
        """
        ...

    def heard(self, *, limit: int = MAX_RINGS_PER_HEARING) -> tuple[Ring, ...]:
        """Take what rang since the last hearing, oldest first, without waiting; looks at no more than `limit` rings.

        What cannot be a ring of ours is set aside on the way. Where more is left, the next `wait` returns at once. A
        queue that cannot be read now is logged and heard as silence.
        """
        ...

    def set_aside(self, ring: Ring, reason: str) -> None:
        """Keep a ring that was heard but is not ours (the ledger does not know its job), with the reason."""
        ...

    def aside_count(self) -> int:
        """How many rings are kept aside. Raises TryLater or GiveUp where that cannot be read."""
        ...

    def wait(self, seconds: float) -> bool:
        """Return when somebody, in any process, may have rung since the last hearing, or after `seconds`.

        Whether it was ended by somebody; it may have been for nothing: hear, find silence, and wait again.
        """
        ...

    def wake(self) -> None:
        """End the current wait, or else the next one. Safe in a signal handler."""
        ...

    def close(self) -> None:
        """Ends a wait. Afterwards `ring` answers False and nothing is heard. Twice is once."""
        ...


class Alarm:
    """Ends a wait from any thread, and from a signal handler, which may find an Event's lock held by its own thread."""

    def __init__(self) -> None:
        self._strokes: SimpleQueue[None] = SimpleQueue()

    def go_off(self) -> None:
        if self._strokes.empty():
            self._strokes.put(None)

    def wait(self, seconds: float) -> bool:
        """Whether it went off since the last wait that said so, or does within `seconds`."""
        try:
            self._strokes.get(timeout=max(0.0, seconds))
        except Empty:
            return False
        return True


class MemoryBell:
    """The twin: rings inside one process, gone when it ends."""

    def __init__(self) -> None:
        self._line: deque[Ring] = deque()
        self._numbers = count(1)
        self._aside: list[tuple[Ring, str]] = []
        self._alarm = Alarm()
        self._closed = False

    def ring(self, job: Job) -> bool:
        if self._closed:
            return False
        self._line.append(Ring(RingId(next(self._numbers)), job.job_id))
        self._alarm.go_off()
        return True

    def heard(self, *, limit: int = MAX_RINGS_PER_HEARING) -> tuple[Ring, ...]:
        rings = tuple(self._line.popleft() for _ in range(min(limit, len(self._line))))
        if self._line:
            self._alarm.go_off()
        return rings

    def set_aside(self, ring: Ring, reason: str) -> None:
        logger.warning("set aside ring {} for job {}: {}", ring.ring_id, ring.job_id, reason)
        self._aside.append((ring, reason))

    def aside_count(self) -> int:
        return len(self._aside)

    def wait(self, seconds: float) -> bool:
        return self._closed or self._alarm.wait(seconds)

    def wake(self) -> None:
        self._alarm.go_off()

    def close(self) -> None:
        self._closed = True
        self._line.clear()
        self._alarm.go_off()


class ForeignRing(Exception):
    """This payload is no ring of ours; the message says why, safe to show."""


def payload_of(job: Job) -> dict[str, Any]:
    """The job's public JSON, or only its id where that would be longer than its hearers accept."""
    document = job.public()
    return document if len(json.dumps(document)) <= MAX_RING_BYTES else {"job_id": job.job_id}


def job_id_in(payload: bytes) -> JobId:
    """The one field of a ring that is believed. Strict, total and bounded: anything but a ring raises ForeignRing."""
    if len(payload) > MAX_RING_BYTES:
        raise ForeignRing(f"longer than {MAX_RING_BYTES} bytes")
    try:
        document = json.loads(payload.decode("utf-8"), object_pairs_hook=_no_twins, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise ForeignRing("not UTF-8") from error
    except RecursionError as error:
        raise ForeignRing("nested too deep") from error
    except ValueError as error:
        raise ForeignRing(f"not JSON: {safe_text(error, max_chars=100)}") from error
    job_id = document.get("job_id") if isinstance(document, dict) else None
    if not isinstance(job_id, str) or not _JOB_ID.match(job_id):
        raise ForeignRing("JSON, but not of a job: it has no proper job_id")
    return JobId(job_id)


def _no_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ForeignRing("an object has the same key twice")
    return document


def _no_constant(name: str) -> object:
    raise ForeignRing(f"{name} is not JSON")
