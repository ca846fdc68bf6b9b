"""Everything that is done to the workers: kill -9, SIGSTOP beyond the lease, foreign openers, poison, duplicates."""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter as Tally
from dataclasses import dataclass, field

from download_worker.jobs.job import Job, JobId, Status
from download_worker.jobs.ledger import Holding, Question
from tests.torture.durable import Spans, furthest, spans_of
from tests.torture.nursery import ROOT, Child, Program
from tests.torture.stage import LEASE_SECONDS, Stage

WAITING_JOBS = 12
HUNTS = 0.15
"""The share of kills that wait for a job to be verified or put in place: such moments last milliseconds."""
HUNT_SECONDS = 0.3
LOOK_SECONDS = 0.002
PAUSE_SECONDS = (0.02, 0.25)
VERIFYING = Question(statuses=frozenset({Status.VERIFYING}))
_PID = re.compile(r"worker-(\d+)-")

SECOND_OPENER = """
import sys, time
import persistqueue
from persistqueue.serializers import json
while True:
    try:
        persistqueue.SQLiteAckQueue(sys.argv[1], serializer=json, auto_resume=True, multithreading=True).close()
    except Exception as error:
        if "locked" not in str(error): raise
    time.sleep(0.3)
"""

POISON = (
    b"not json",
    b"\x00\xff",
    b'{"job_id": 1}',
    b'{"job_id": "unknown-job"}',
    b"\x80\x04\x95.",
    b"[" * 5000,
    b"null",
    b"x" * 2_000_000,
)


@dataclass
class Troublemaker:
    stage: Stage
    rng: random.Random
    kills: int = 0
    owner_kills: int = 0
    kills_during: Tally[str] = field(default_factory=Tally)
    stops: int = 0
    poison: int = 0
    duplicates: int = 0
    durable_at_death: dict[str, list[tuple[float, Spans]]] = field(default_factory=dict)
    stopped: list[tuple[Child | Program, float]] = field(default_factory=list)
    stopped_paths: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        queue = self.stage.settings.state / "queue"
        command = [sys.executable, "-c", SECOND_OPENER, str(queue)]
        self._opener = subprocess.Popen(command, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)})

    def one_more(self) -> None:
        """Keep the workers busy and do one bad thing, most often a kill."""
        self.stage.keep_staffed()
        self._forget_the_woken()
        if self.stage.ledger.unfinished() < WAITING_JOBS:
            self.stage.hand_in()
        deed = self.rng.random()
        if deed < 0.83:
            self._kill()
        elif deed < 0.86:
            self._stop()
        elif deed < 0.93:
            self.stage.hand_in_again()
            self.duplicates += 1
        else:
            self._poison()
        time.sleep(self.rng.uniform(*PAUSE_SECONDS))

    def rest(self) -> None:
        for worker, _ in self.stopped:
            worker.signal(signal.SIGCONT)
        self.stopped.clear()
        if self._opener.poll() is not None:
            self.stage.sightings.append("the second opener of the queue died")
        self._opener.kill()
        self._opener.wait()

    def figures(self) -> dict[str, float]:
        return {
            "kills": self.kills,
            "kills_of_owners": self.owner_kills,
            **{f"kills_during_{phase}": number for phase, number in sorted(self.kills_during.items())},
            "stops_beyond_the_lease": self.stops,
            "poison_rows": self.poison,
            "duplicate_enqueues": self.duplicates,
        }

    def _kill(self) -> None:
        """Somebody who holds a job; now and then, when nobody does, somebody who is just starting."""
        prey = self._hunted() if self.rng.random() < HUNTS else set()
        holdings = self.stage.ledger.holdings()
        alive = {worker.pid: worker for worker in self.stage.crew if worker.alive}
        owners = sorted({_pid(holding) for holding in holdings} & set(alive))
        if prey & set(alive):
            pid = min(prey & set(alive))
        elif owners:
            pid = self.rng.choice(owners)
        elif alive and self.rng.random() < 0.06:
            pid = self.rng.choice(sorted(alive))
        else:
            return
        alive[pid].kill()
        at = time.monotonic()
        self.kills += 1
        held = [holding for holding in self.stage.ledger.holdings() if _pid(holding) == pid]
        self.owner_kills += bool(held)
        for holding in held:
            self._note_death(holding, at)

    def _hunted(self) -> set[int]:
        """Who verifies a file, or puts one in place, right now; nobody when that does not happen in time."""
        deadline = time.monotonic() + HUNT_SECONDS
        while time.monotonic() < deadline:
            busy = {job.job_id for job in self.stage.ledger.jobs(VERIFYING)}
            if busy:
                return {_pid(each) for each in self.stage.ledger.holdings() if each.claim.job_id in busy}
            time.sleep(LOOK_SECONDS)
        return set()

    def _note_death(self, holding: Holding, at: float) -> None:
        job_id = JobId(holding.claim.job_id)
        info = self.stage.submitted.get(job_id)
        if info is None:
            return
        journal = furthest(self.stage.settings.staging / job_id)
        job = self.stage.ledger.get(job_id)
        # Only if nobody has taken it up while we looked: what we saw is then what the dead one left.
        if job.attempts != holding.claim.attempts:
            return
        self.kills_during[_phase(job)] += 1
        if journal is None or not journal.whole:
            deaths = self.durable_at_death.setdefault(f"/{info.expected_filename}", [])
            deaths.append((at, spans_of(journal)))

    def _stop(self) -> None:
        sleeping = {worker.pid for worker, _ in self.stopped}
        holdings = self.stage.ledger.holdings()
        owners = {_pid(holding) for holding in holdings} - sleeping
        awake = [worker for worker in self.stage.crew if worker.alive and worker.pid in owners]
        if awake and len(self.stopped) < 2:
            worker = self.rng.choice(awake)
            worker.signal(signal.SIGSTOP)
            for holding in holdings:
                if _pid(holding) == worker.pid and (info := self.stage.submitted.get(JobId(holding.claim.job_id))):
                    self.stopped_paths.add(f"/{info.expected_filename}")
            # By a clock of its own: it may hold the ledger, and then this thread waits for it in the next hand-in.
            waking = threading.Timer(LEASE_SECONDS * 1.5, worker.signal, (signal.SIGCONT,))
            waking.daemon = True
            waking.start()
            self.stopped.append((worker, time.monotonic() + LEASE_SECONDS * 1.5))
            self.stops += 1

    def _forget_the_woken(self) -> None:
        now = time.monotonic()
        self.stopped = [(worker, until) for worker, until in self.stopped if until > now]

    def _poison(self) -> None:
        path = self.stage.settings.state / "queue" / "data.db"
        with sqlite3.connect(path, timeout=30) as connection:
            table = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'ack_queue_%'").fetchone()[0]
            row = (self.rng.choice(POISON), time.time())
            connection.execute(f'INSERT INTO "{table}" (data, timestamp, status) VALUES (?, ?, 0)', row)
        connection.close()
        self.poison += 1


def _pid(holding: Holding) -> int:
    found = _PID.match(holding.claim.worker)
    return int(found.group(1)) if found else -1


def _phase(job: Job) -> str:
    """What its owner was doing when it died, as it had recorded it last."""
    if job.promoting:
        return "promote"
    return {Status.VERIFYING: "verify", Status.DOWNLOADING: "download"}.get(job.status, "claim")
