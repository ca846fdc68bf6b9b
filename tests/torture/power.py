"""`python -m tests.torture.power --cuts 100 --seed 7`: simulated power cuts, each at a random moment of the work.

After every cut, on the disk as it came back: every acknowledged job is there; what is SUCCESS, and whatever else lies
in the library, is whole and right; what a journal calls durable is there, byte by byte. The work then goes on from
that disk, so that a job may live through several cuts, and in the end all jobs are SUCCESS. `--mutant no-fsync` and
`--mutant careless-ledger` break the worker on purpose: the run must then find something. Needs root and loop devices.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import secrets
import sqlite3
import sys
import tempfile
import time
from collections import Counter as Tally
from dataclasses import dataclass, field
from pathlib import Path

from download_worker import wiring
from download_worker.errors import BadRequest
from download_worker.jobs.job import Job, JobId, Status
from download_worker.jobs.ledger import Ledger, Question
from download_worker.settings import Settings, load
from tests.hub import Hub
from tests.makers import safetensors_bytes
from tests.torture.clerk import FOLDERS
from tests.torture.durable import furthest, spans_of
from tests.torture.machine import MOUNTS, Machine, why_not_here
from tests.torture.nursery import MUTANTS, Child, Nursery
from tests.torture.stage import LARGE_FILE_BYTES, ONE_CONNECTION, SEGMENTED, SMALL_FILE_BYTES

CUTS_PER_MACHINE = 10
ORDERS = 60
"""More than a machine's lives are long."""
BYTES_PER_SECOND = 2_000_000
CHECKPOINT_BYTES = 64 * 1024
LIFE_SECONDS = (0.3, 2.5)
REST_SECONDS = 90.0
WORKER = {
    "ALLOW_HOSTS": "127.0.0.1",
    "MAX_TRIES": "1000000",
    "LEASE_SECONDS": "4",
    "HEARTBEAT_SECONDS": "0.5",
    "SWEEP_SECONDS": "1",
    "BACKOFF_BASE_SECONDS": "0.1",
    "BACKOFF_CAP_SECONDS": "0.3",
    "CHECKPOINT_BYTES": str(CHECKPOINT_BYTES),
    "DISK_RESERVE_BYTES": "0",
}


@dataclass
class Story:
    """One machine from its first start to the end of all its jobs."""

    rng: random.Random
    machine: Machine
    nursery: Nursery
    hub: Hub
    outside: Path
    promised: dict[JobId, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    figures: Tally[str] = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self.home, self.models = self.machine.disk / "home", self.machine.disk / "models"
        self.models.mkdir()
        self.outside.mkdir()
        self.orders, self.acks, self.said = (self.outside / name for name in ("orders", "acks", "said"))
        self.files = [self._made(number) for number in range(ORDERS)]
        lines = []
        for number, data in enumerate(self.files):
            url = self.hub.publish(f"/{self._name(number)}", data)
            lines.append(json.dumps([url, hashlib.sha256(data).hexdigest() if number % 2 else None]))
        self.orders.write_text("\n".join(lines))

    def live_and_cut(self) -> None:
        """One life, a cut, and what must be true after it."""
        crew = self._start()
        time.sleep(self.rng.uniform(*LIFE_SECONDS))
        ended = [child for child in crew[:-1] if not child.alive]
        if ended:
            self.broken.append(f"a worker ended by itself: {self.said.read_text(errors='replace')[-500:]}")
        self.machine.stop(crew)
        self._hear()
        self.machine.cut(crew, self.rng.choice(MOUNTS))
        self.figures["cuts"] += 1
        before = len(self.broken)
        self._check()
        self.figures["cuts_that_broke_something"] += len(self.broken) > before

    def finish(self) -> None:
        """No more cuts: a worker ends all jobs well."""
        (worker,) = crew = self._start(with_clerk=False)
        deadline = time.monotonic() + REST_SECONDS
        with wiring.ledger_of(self._settings()) as ledger:
            while ledger.unfinished() and time.monotonic() < deadline and worker.alive:
                time.sleep(0.1)
        for child in crew:
            child.kill()
        self._check()
        with wiring.ledger_of(self._settings()) as ledger:
            jobs = ledger.jobs(Question(limit=10_000))
        self.figures["jobs"] += len(jobs)
        self.figures["attempts"] += sum(job.attempts for job in jobs)
        for job in jobs:
            if job.status is not Status.SUCCESS:
                self._break(f"{job.model_info.expected_filename} ended {job.status}: {job.history[-3:]}")

    def _start(self, *, with_clerk: bool = True) -> list[Child]:
        several = self.rng.choice([ONE_CONNECTION, SEGMENTED])
        settings = WORKER | {"HOME": str(self.home)}
        env = several | {f"COMFY_DOCTOR_{key}": value for key, value in settings.items()}
        crew = [self.nursery.bear("worker", ["run", "--jobs", "3", "--quiet"], env, self.said)]
        if with_clerk:
            words = [self.home, self.models, self.orders, self.acks, len(self.promised)]
            crew.append(self.nursery.bear("clerk", words, {}, self.said))
        return crew

    def _hear(self) -> None:
        """What the clerk was told before it was stopped."""
        whole, _, _ = (self.acks.read_text() if self.acks.exists() else "").rpartition("\n")
        for line in whole.splitlines():
            number, job_id = line.split()
            self.promised[JobId(job_id)] = int(number)

    def _check(self) -> None:
        self._check_tables()
        with wiring.ledger_of(self._settings()) as ledger:
            for job_id, number in self.promised.items():
                self._check_promise(ledger, job_id, number)
        right = {self._target(number): data for number, data in enumerate(self.files)}
        for path in self.models.rglob("*"):
            if path.is_file() and path.read_bytes() != right.get(path):
                self._break(f"{path.name} is in the library with {path.stat().st_size} bytes, and is not right")
        for hall in (self.home / "staging").glob("*"):
            self._check_room(hall)

    def _check_tables(self) -> None:
        path = self.home / "state" / "doctor.db"
        if path.exists():
            with sqlite3.connect(path) as connection:
                (said,) = connection.execute("PRAGMA integrity_check").fetchone()
            connection.close()
            if said != "ok":
                self._break(f"the ledger is damaged: {said}")

    def _check_promise(self, ledger: Ledger, job_id: JobId, number: int) -> None:
        self.figures["promises_looked_up"] += 1
        try:
            job: Job = ledger.get(job_id)
        except BadRequest:
            self._break(f"{self._name(number)}: the acknowledged job {job_id} is gone")
            return
        if job.status is Status.SUCCESS:
            self.figures["successes_looked_up"] += 1
            if not self._target(number).exists():
                self._break(f"{self._name(number)} is SUCCESS and not in the library")

    def _check_room(self, hall: Path) -> None:
        """What the journal calls durable is there."""
        number = self.promised.get(JobId(hall.name))
        journal = furthest(hall)
        if number is None or journal is None:
            return
        (part,) = (path / "part" for path in hall.glob("[0-9]*") if path.name.isdigit() and (path / "part").exists())
        content = part.read_bytes()
        for start, end in spans_of(journal):
            self.figures["durable_bytes_compared"] += end - start
            if content[start:end] != self.files[number][start:end]:
                self._break(f"{self._name(number)}: bytes {start} to {end} are called durable and are wrong")

    def _break(self, line: str) -> None:
        self.broken.append(f"after cut {self.figures['cuts']}: {line}")

    def _settings(self) -> Settings:
        return load(self.home, allow_hosts=("127.0.0.1",))

    def _name(self, number: int) -> str:
        return f"{self.outside.name}-{number:03}.safetensors"

    def _target(self, number: int) -> Path:
        return self.models / FOLDERS[number % 3] / self._name(number)

    def _made(self, number: int) -> bytes:
        size = SMALL_FILE_BYTES if number % 4 else LARGE_FILE_BYTES
        return safetensors_bytes(size + self.rng.randrange(50_000), seed=self.rng.randrange(2**32))


def main() -> int:
    options = _options()
    reason = why_not_here()
    if reason is not None:
        print(f"power: {reason}", file=sys.stderr)
        return 3
    wiring.close_logs()
    print(f"power: seed {options.seed}, {options.cuts} cuts{f', mutant {options.mutant}' * bool(options.mutant)}")
    began = time.monotonic()
    broken, figures = run(options.cuts, options.seed, options.mutant)
    for line in broken:
        print(f"BROKEN: {line}", file=sys.stderr)
    print(json.dumps({"seed": options.seed, **figures, "seconds": round(time.monotonic() - began)}, indent=2))
    print(f"power: {len(broken)} promises broken" if broken else "power: every promise held")
    return 1 if broken else 0


def run(cuts: int, seed: int, mutant: str | None = None) -> tuple[list[str], dict[str, int]]:
    """So many cuts on as many machines as that takes. What is broken, and the figures."""
    rng, broken, figures = random.Random(seed), list[str](), Tally[str]()
    with Hub() as hub, Nursery(mutant) as nursery, tempfile.TemporaryDirectory(prefix="comfy-doctor-power-") as folder:
        hub.bytes_per_second = BYTES_PER_SECOND
        while figures["cuts"] < cuts:
            with Machine() as machine:
                outside = Path(folder) / f"machine-{figures['machines']}"
                story = Story(rng, machine, nursery, hub, outside)
                for _ in range(min(CUTS_PER_MACHINE, cuts - figures["cuts"])):
                    story.live_and_cut()
                    if mutant is not None and story.broken:
                        return story.broken, dict(figures + story.figures)
                story.finish()
            figures += story.figures
            figures["machines"] += 1
            broken += story.broken
    return broken, dict(figures)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture.power")
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="break the worker; stops at the first find")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
