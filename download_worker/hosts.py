"""Which hosts answer and which rest: one circuit breaker per host, so that an outage costs no job its tries.

A host that cannot be reached, or that fails several jobs in a row, rests: none of its jobs is claimed but one probe at
a time, after pauses that grow to `probe_cap_seconds`. Its first answer ends the rest, and everything goes on at once.
A host that asked for time itself (Retry-After) rests for all its jobs, not only for the one that was told. What happens
beyond a redirect says little of the host that was asked: only when it happens to several of its jobs in a row.

Patience has an end. A host that is silent while others answer, or that was reached and refuses, gets
`outage_patience_seconds`; a network that is away altogether `network_patience_seconds`; a host that asks for ever more
time as much as if it were away. After that the tries of each job count as ever. What is known here is this process's
own, and is forgotten with it.
"""

from __future__ import annotations

import errno
import random
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from loguru import logger

from download_worker.clock import Clock, SystemClock, iso
from download_worker.errors import Code, Trouble, TryLater
from download_worker.jobs.job import Job, JobId
from download_worker.jobs.ledger import hosts_asked_by, hosts_of

JOBS_IN_A_ROW = 3
"""So many different jobs must meet a host that was reached and does not serve, before it rests for all of them."""

FIRST_PAUSE_SECONDS = 1.0
PROBE_CAP_SECONDS = 20.0
OUTAGE_PATIENCE_SECONDS = 3600.0
NETWORK_PATIENCE_SECONDS = 86_400.0
QUIET_SECONDS = 300.0
"""Of a host that nobody asked for so long (no job was left, the machine slept) nobody knows that it was away."""
LET_GO_MEMORY_SECONDS = 2 * 86_400.0
"""Longer than any job waits between two tries, so that the patience with one outage is not had twice."""
MAX_CAUSES = 16

# The far side had a say: whatever is wrong with this file, its host is there.
_ANSWERED = frozenset(
    {
        *(
            Code.CUT_SHORT,
            Code.TOO_SLOW,
            Code.LYING_SERVER,
            Code.AUTH,
            Code.NOT_FOUND,
            Code.TLS,
            Code.REDIRECTS,
            Code.TOO_LARGE,
        ),
        *(Code.HTML, Code.WRONG_TYPE, Code.SIZE_MISMATCH, Code.HASH_MISMATCH, Code.BROKEN_STRUCTURE),
    }
)
_NOBODY_THERE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.ETIMEDOUT})
# Not NXDOMAIN: there a resolver has answered.
_NO_RESOLVER = frozenset({socket.EAI_AGAIN, socket.EAI_FAIL, getattr(socket, "EAI_SYSTEM", socket.EAI_AGAIN)})


class Sign(Enum):
    """What a trouble says about the host that it was met at."""

    NOTHING = "nothing"
    ANSWERS = "it answers"
    UNREACHABLE = "no way leads to it"
    REFUSES = "it was reached, and does not serve"
    ASKS_FOR_TIME = "it says when to come back"


@dataclass(frozen=True)
class Rest:
    """Why the jobs of a host wait. `since` is wall time, for people; the other times are steady seconds."""

    host: str
    since: datetime
    began_seconds: float
    reason: str
    probe_at_seconds: float
    pause_seconds: float = 0.0
    reached: bool = False
    asked_for: bool = False
    probe: JobId | None = None
    let_go: bool = False
    """Patience is at its end: the host's jobs are claimed as ever, and their tries count."""

    @property
    def holds(self) -> bool:
        """Whether jobs wait for it. The time that was asked for is granted even when their tries count."""
        return self.asked_for or not self.let_go

    def is_shut(self, seconds: float) -> bool:
        return self.holds and (self.probe is not None or seconds < self.probe_at_seconds)


class Indulgence(NamedTuple):
    """Since when tries of a job are refunded one after the other, and until when it waits; steady seconds."""

    since_seconds: float
    until_seconds: float


class Wait(NamedTuple):
    """What a job waits for, for people; and until the next probe, so that it is due when that one finds the host."""

    told: str
    seconds: float


class Hosts:
    """Thread-safe. `listen` sets who is woken when a host is back."""

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        probe_cap_seconds: float = PROBE_CAP_SECONDS,
        outage_patience_seconds: float = OUTAGE_PATIENCE_SECONDS,
        network_patience_seconds: float = NETWORK_PATIENCE_SECONDS,
        roll: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock or SystemClock()
        self._probe_cap_seconds = probe_cap_seconds
        self._outage_patience_seconds = outage_patience_seconds
        self._network_patience_seconds = network_patience_seconds
        self._roll = roll
        self._lock = threading.Lock()
        self._wake: Callable[[], None] = _nobody
        self._rests: dict[str, Rest] = {}
        self._rows: dict[str, frozenset[JobId]] = {}
        self._excused: frozenset[JobId] = frozenset()
        self._last_answers: dict[str, float] = {}
        self._indulged: dict[JobId, Indulgence] = {}  # the longest unheard of first

    def listen(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def begun(self, job: Job) -> None:
        """The job was claimed: where a probe of its only host was due, it is that probe."""
        hosts, now = hosts_asked_by(job), self._seconds()
        with self._lock:
            rest = self._rests.get(hosts[0]) if len(hosts) == 1 else None
            if rest is not None and rest.holds and rest.probe is None and now >= rest.probe_at_seconds:
                self._rests[rest.host] = replace(rest, probe=job.job_id)

    def ended(self, job: Job) -> None:
        """Its attempt is over, however. A probe that found nothing out makes way for the next one."""
        with self._lock:
            for host in hosts_of(job.model_info):
                rest = self._rests.get(host)
                if rest is not None and rest.probe == job.job_id:
                    self._rests[host] = replace(rest, probe=None)

    def answered(self, host: str) -> None:
        """The head of an answer came, of any status below 500. Cheap enough for every answer."""
        now = self._seconds()
        with self._lock:
            self._rows.pop(host, None)
            self._last_answers = {host: now, **{h: at for h, at in self._last_answers.items() if h != host}}
            while len(self._last_answers) > 2:  # whoever asks wants the newest of all hosts but one
                self._last_answers.popitem()
            rest = self._rests.get(host)
            if rest is None or (rest.asked_for and now < rest.probe_at_seconds):
                return
            del self._rests[host]
        if not rest.asked_for:
            logger.info("{} answers again after {:.0f} s; its jobs go on", host, now - rest.began_seconds)
        self._wake()

    def failed(self, job: Job, trouble: Trouble, host: str) -> None:
        """An attempt of this job ended with this trouble, at this host if the trouble names none. Twice is once."""
        sign, host = sign_of(trouble), trouble.host or host
        if sign is Sign.ANSWERS:
            self.answered(host)
        elif sign is not Sign.NOTHING:
            self._met(host, job.job_id, trouble, sign)

    def wait_of(self, job: Job, trouble: Trouble) -> Wait | None:
        """A job has ended its attempt with this trouble: how it waits without losing a try. None: the try counts.

        A job of one host is noted here, too; one with several waits only while all of them are away.
        """
        hosts = hosts_of(job.model_info)
        if len(hosts) == 1:
            self.failed(job, trouble, hosts[0])
        if sign_of(trouble) in (Sign.NOTHING, Sign.ANSWERS):
            return None
        now = self._seconds()
        with self._lock:
            rests = [self._rests.get(host) for host in hosts]
            away = [rest for rest in rests if rest is not None and not rest.let_go]
            if len(away) < len(hosts):
                return None
            first = min(away, key=lambda rest: rest.probe_at_seconds)
            asked_seconds = _asked_seconds(trouble) if trouble.beyond else 0.0  # of this job alone
            seconds = max(asked_seconds, first.probe_at_seconds - now)
            return Wait(self._told(first, now), seconds) if self._indulges(job.job_id, now, seconds) else None

    def excused(self) -> frozenset[JobId]:
        """Jobs that met a host before it was known to be away: their last try is not to be counted. Told once."""
        with self._lock:
            excused, self._excused = self._excused, frozenset()
        return excused

    def resting(self) -> frozenset[str]:
        """Hosts of which no job is to be claimed now. One whose probe is due is not among them."""
        now = self._seconds()
        with self._lock:
            return frozenset(host for host, rest in self._rests.items() if rest.is_shut(now))

    def away(self, host: str) -> bool:
        """Whether it rests now: of several sources, ask another one first."""
        now = self._seconds()
        with self._lock:
            rest = self._rests.get(host)
            return rest is not None and rest.is_shut(now)

    def rests(self) -> Mapping[str, Rest]:
        """All that rest now, for whoever shows it."""
        with self._lock:
            return dict(self._rests)

    def next_probe_seconds(self, offered_at_seconds: float | None = None) -> float | None:
        """Until the next probe may be claimed; None when none is to come.

        One that was due already when jobs were last offered, by the steady clock, found no job then and is not counted.
        """
        now = self._seconds()
        since = now if offered_at_seconds is None else offered_at_seconds
        with self._lock:
            probes = [rest.probe_at_seconds for rest in self._rests.values() if rest.holds]
        return min((max(0.0, probe - now) for probe in probes if probe > since), default=None)

    def _met(self, host: str, job_id: JobId, trouble: Trouble, sign: Sign) -> None:
        now = self._seconds()
        with self._lock:
            before = self._rests.get(host)
            row = self._rows.get(host, frozenset()) | {job_id}
            after = self._after(host, before, row, trouble, sign, now)
            if after is None:
                self._rows[host] = row
                return
            self._rows.pop(host, None)
            self._rests[host] = after
            begins = before is None or before.began_seconds != after.began_seconds
            if begins and not after.asked_for:
                self._excused |= {other for other in row - {job_id} if self._indulges(other, now, 0.0)}
            told = self._told(after, now)
        if begins:
            logger.warning("{}; its other jobs wait as well", told)
        elif after.let_go and before is not None and not before.let_go:
            logger.error("{} has served nothing since {}: from now on tries count", host, iso(after.since))

    def _after(
        self, host: str, rest: Rest | None, row: frozenset[JobId], trouble: Trouble, sign: Sign, now: float
    ) -> Rest | None:
        """The host's rest after one more failure; None while it has none."""
        if sign is Sign.ASKS_FOR_TIME:
            return self._asked(host, trouble, now, rest)
        if rest is not None and rest.asked_for and now < rest.probe_at_seconds:
            return rest
        if rest is not None and not rest.asked_for and not _is_over(rest, now):
            return self._longer(rest, now, sign)
        if sign is Sign.REFUSES and rest is None and len(row) < JOBS_IN_A_ROW:
            return None
        return self._begun(host, trouble, now, sign)

    def _begun(self, host: str, trouble: Trouble, now: float, sign: Sign) -> Rest:
        pause = min(FIRST_PAUSE_SECONDS, self._probe_cap_seconds)
        return Rest(
            *(host, self._clock.now(), now, trouble.message, now + pause, pause),
            reached=sign is Sign.REFUSES,
        )

    def _asked(self, host: str, trouble: Trouble, now: float, rest: Rest | None) -> Rest:
        """Time asked for again as soon as the last one is past is one wait, with one patience."""
        until = now + _asked_seconds(trouble)
        if rest is not None:
            until = max(until, rest.probe_at_seconds)
        if rest is None or not rest.asked_for or _is_over(rest, now):
            return Rest(host, self._clock.now(), now, trouble.message, until, reached=True, asked_for=True)
        let_go = now - rest.began_seconds >= self._patience_seconds(host, rest.began_seconds, reached=False)
        return replace(rest, reason=trouble.message, probe_at_seconds=until, probe=None, let_go=let_go)

    def _longer(self, rest: Rest, now: float, sign: Sign) -> Rest:
        """One more failure. Only one that came when a probe was due tells something new."""
        reached = rest.reached or sign is Sign.REFUSES
        if now - rest.began_seconds >= self._patience_seconds(rest.host, rest.began_seconds, reached):
            return replace(rest, let_go=True, probe=None)
        if now < rest.probe_at_seconds:
            return replace(rest, reached=reached)
        pause = min(self._probe_cap_seconds, max(rest.pause_seconds, FIRST_PAUSE_SECONDS) * 2)
        probe_at = now + pause * (0.75 + 0.25 * self._roll())  # not all workers of the world in the same second
        return replace(rest, reached=reached, probe=None, pause_seconds=pause, probe_at_seconds=probe_at)

    def _indulges(self, job_id: JobId, now: float, wait_seconds: float) -> bool:
        """Whether the patience with this job lasts. An answer to others ends the rest of a host and not the patience
        with a job that fails there every time: it would be refunded for ever."""
        former = self._indulged.pop(job_id, None)
        goes_on = former is not None and now - former.until_seconds <= QUIET_SECONDS
        since = former.since_seconds if former is not None and goes_on else now
        self._indulged[job_id] = Indulgence(since, now + wait_seconds)
        while now - self._indulged[oldest := next(iter(self._indulged))].until_seconds > QUIET_SECONDS:
            del self._indulged[oldest]
        return now - since < self._patience_seconds("", since, reached=False)

    def _patience_seconds(self, host: str, began_seconds: float, reached: bool) -> float:
        others = (at for other, at in self._last_answers.items() if other != host)
        alone = reached or max(others, default=began_seconds) > began_seconds
        return self._outage_patience_seconds if alone else self._network_patience_seconds

    def _told(self, rest: Rest, now: float) -> str:
        probe = self._clock.now() + timedelta(seconds=max(0.0, rest.probe_at_seconds - now))
        what = "asks for time" if rest.asked_for else "is away"
        return f"{rest.reason}; {rest.host} {what} since {iso(rest.since)}, next try at {iso(probe)}"

    def _seconds(self) -> float:
        return self._clock.steady().seconds


def sign_of(trouble: Trouble) -> Sign:
    """What a trouble says about the host that was asked. Pure."""
    sign = _sign_where_it_was_met(trouble)
    return Sign.REFUSES if trouble.beyond and sign in (Sign.UNREACHABLE, Sign.ASKS_FOR_TIME) else sign


def _sign_where_it_was_met(trouble: Trouble) -> Sign:
    """The errors that it was raised from tell a way from a refusal."""
    if not isinstance(trouble, TryLater) or trouble.code in _ANSWERED:
        return Sign.ANSWERS if trouble.code in _ANSWERED else Sign.NOTHING
    match trouble.code:
        case Code.BUSY_HOST if trouble.retry_after_seconds is not None:
            return Sign.ASKS_FOR_TIME
        case Code.NO_CONNECTION if any(_leads_nowhere(cause) for cause in _causes(trouble)):
            return Sign.UNREACHABLE
        case Code.NO_CONNECTION | Code.STALLED | Code.SERVER_ERROR | Code.BUSY_HOST:
            return Sign.REFUSES
    return Sign.NOTHING


def _is_over(rest: Rest, now: float) -> bool:
    """Whether the next failure begins a rest of its own: nobody asked long."""
    return now - rest.probe_at_seconds > (LET_GO_MEMORY_SECONDS if rest.let_go else QUIET_SECONDS)


def _asked_seconds(trouble: Trouble) -> float:
    return (trouble.retry_after_seconds if isinstance(trouble, TryLater) else None) or 0.0


def _leads_nowhere(error: BaseException) -> bool:
    if isinstance(error, socket.gaierror):
        return error.errno in _NO_RESOLVER
    return isinstance(error, TimeoutError) or (isinstance(error, OSError) and error.errno in _NOBODY_THERE)


def _causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    for _ in range(MAX_CAUSES):
        current = current.__cause__ or current.__context__ if current is not None else None
        if current is None:
            return
        yield current


def _nobody() -> None:
    """Nobody waits for a host to come back."""
