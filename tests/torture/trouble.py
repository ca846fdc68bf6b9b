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
from dataclasses import dataclass, field

from download_worker.jobs.job import JobId
from download_worker.jobs.ledger import Holding
from download_worker.room import Room
from tests.torture.stage import LEASE_SECONDS, ROOT, Stage

WAITING_JOBS = 12
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
    stops: int = 0
    poison: int = 0
    duplicates: int = 0
    durable_at_death: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    stopped: list[tuple[int, float]] = field(default_factory=list)

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
        if deed < 0.80:
            self._kill()
        elif deed < 0.86:
            self._stop()
        elif deed < 0.93:
            self.stage.hand_in_again()
            self.duplicates += 1
        else:
            self._poison()
        time.sleep(self.rng.uniform(0.02, 0.4))

    def rest(self) -> None:
        for pid, _ in self.stopped:
            _signal(pid, signal.SIGCONT)
        self.stopped.clear()
        if self._opener.poll() is not None:
            self.stage.sightings.append("the second opener of the queue died")
        self._opener.kill()
        self._opener.wait()

    def figures(self) -> dict[str, int]:
        return {
            "kills": self.kills,
            "kills_of_owners": self.owner_kills,
            "stops_beyond_the_lease": self.stops,
            "poison_rows": self.poison,
            "duplicate_enqueues": self.duplicates,
        }

    def _kill(self) -> None:
        """Somebody who holds a job; now and then, when nobody does, somebody who is just starting."""
        holdings = self.stage.ledger.holdings()
        alive = {process.pid: process for process in self.stage.processes if process.poll() is None}
        owners = sorted({_pid(holding) for holding in holdings} & set(alive))
        if owners:
            pid = self.rng.choice(owners)
            self.owner_kills += 1
        elif alive and self.rng.random() < 0.06:
            pid = self.rng.choice(sorted(alive))
        else:
            return
        held = [holding for holding in holdings if _pid(holding) == pid]
        _signal(pid, signal.SIGKILL)
        alive[pid].wait()
        for holding in held:
            self._note_durable(holding)
        self.kills += 1

    def _note_durable(self, holding: Holding) -> None:
        job_id = holding.claim.job_id
        info = self.stage.submitted.get(JobId(job_id))
        if info is None:
            return
        at = time.monotonic()
        rooms = [Room(path) for path in (self.stage.settings.staging / job_id).glob("[0-9]*")]
        journals = [journal for room in rooms if (journal := room.journal()) is not None]
        if any(journal.whole for journal in journals):
            return
        durable = max((journal.durable_bytes for journal in journals), default=0)
        # Only if nobody has taken it up while we looked: then the next request must begin exactly here.
        if self.stage.ledger.get(job_id).attempts == holding.claim.attempts:
            self.durable_at_death.setdefault(f"/{info.expected_filename}", []).append((at, durable))

    def _stop(self) -> None:
        owners = {_pid(holding) for holding in self.stage.ledger.holdings()} - {pid for pid, _ in self.stopped}
        if owners and len(self.stopped) < 2:
            pid = self.rng.choice(sorted(owners))
            _signal(pid, signal.SIGSTOP)
            # By a clock of its own: it may hold the ledger, and then this thread waits for it in the next hand-in.
            waking = threading.Timer(LEASE_SECONDS * 1.5, _signal, (pid, signal.SIGCONT))
            waking.daemon = True
            waking.start()
            self.stopped.append((pid, time.monotonic() + LEASE_SECONDS * 1.5))
            self.stops += 1

    def _forget_the_woken(self) -> None:
        now = time.monotonic()
        self.stopped = [(pid, until) for pid, until in self.stopped if until > now]

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


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
