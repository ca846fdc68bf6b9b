"""The stage: a model host, a library, a ledger, and worker processes that are started again whenever they die."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from download_worker import wiring
from download_worker.jobs.counter import Counter
from download_worker.jobs.job import JobId, ModelInfo
from download_worker.jobs.ledger import Ledger
from download_worker.settings import Settings
from tests.hub import Hub
from tests.hub.behaviours import eof_mid, rst_mid
from tests.makers import safetensors_bytes
from tests.torture.nursery import EAGER, Child, Nursery, Program, can_fork

SMALL_FILE_BYTES = 250_000
LARGE_FILE_BYTES = 3_500_000
"""Enough for several connections: below a mebibyte there is nothing to share."""
BYTES_PER_SECOND = 400_000
"""Per connection, so that a second one helps."""
CHECKPOINT_BYTES = 32 * 1024
LEASE_SECONDS = 4.0
FOLDERS = ("checkpoints", "loras", "vae")
FRESH_EVERY = 25
"""So often a worker is started from nothing and not forked: a kill may also hit the imports."""
LAST_WORDS_CHARS = 300
ONE_CONNECTION = {"COMFY_DOCTOR_CONNECTIONS_PER_FILE": "1"}
SEGMENTED = {"COMFY_DOCTOR_CONNECTIONS_PER_FILE": "4", **EAGER}
"""Shared among four connections at once, without measuring first."""


@dataclass
class Stage:
    folder: Path
    rng: random.Random
    workers: int
    crew: list[Child | Program] = field(default_factory=list)
    wanted: dict[Path, bytes] = field(default_factory=dict)
    submitted: dict[JobId, ModelInfo] = field(default_factory=dict)
    sightings: list[str] = field(default_factory=list)
    starts: int = 0

    def __enter__(self) -> Stage:
        self._stack = ExitStack()
        self.models = self.folder / "ComfyUI" / "models"
        self.said = self.folder / "said"
        self.settings = Settings(home=self.folder / "home", allow_hosts=("127.0.0.1",))
        self.hub = self._stack.enter_context(Hub())
        self.hub.bytes_per_second = BYTES_PER_SECOND
        self.ledger: Ledger = self._stack.enter_context(wiring.ledger_of(self.settings))
        self.counter: Counter = self._stack.enter_context(wiring.counter_of(self.settings))
        self._nursery = self._stack.enter_context(Nursery()) if can_fork() else None
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch_library, daemon=True)
        self._watcher.start()
        self.crew = [self._start(number) for number in range(self.workers)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for worker in self.crew:
            worker.kill()
        self._watcher.join()
        self._stack.close()

    def hand_in(self) -> None:
        """One more file that nobody has asked for yet. Every third comes with its digest, some over a bad line."""
        number = len(self.wanted)
        name = f"torture-{number:05}.safetensors"
        size = self.rng.choice([SMALL_FILE_BYTES, SMALL_FILE_BYTES, LARGE_FILE_BYTES])
        data = safetensors_bytes(size + self.rng.randrange(50_000), seed=self.rng.randrange(2**32))
        ill = self.rng.choice([None, None, None, eof_mid.times(1), rst_mid.times(2)])
        url = self.hub.publish(f"/{name}", data, behaviour=ill)
        digest = None if number % 3 else hashlib.sha256(data).hexdigest()
        info = ModelInfo(expected_filename=name, model_type=FOLDERS[number % 3], download_url=url, sha256=digest)
        self.wanted[self.models / FOLDERS[number % 3] / name] = data
        self.submitted[self.counter.submit(info, self.models).job.job_id] = info

    def hand_in_again(self) -> None:
        """The same once more: it must be answered with the job that lives, or with the file that is there."""
        job_id, info = self.rng.choice(list(self.submitted.items()))
        before = self.counter.get(job_id)
        added = self.counter.submit(info, self.models)
        if not added.deduplicated and before.live:
            self.sightings.append(f"a second job {added.job.job_id} beside the live {job_id}")
        if not added.deduplicated:
            self.submitted[added.job.job_id] = info

    def keep_staffed(self) -> None:
        for number, worker in enumerate(self.crew):
            if not worker.alive:
                if not worker.killed:
                    self.sightings.append(f"a worker ended by itself; the last that was said: {self._last_words()}")
                self.crew[number] = self._start(number)

    def finish(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while self.ledger.unfinished() and time.monotonic() < deadline:
            self.keep_staffed()
            time.sleep(0.2)

    def _start(self, number: int) -> Child | Program:
        """Every other one takes a file over several connections at once; so a job is gone on with in both ways."""
        self.starts += 1
        settings = {
            "ALLOW_HOSTS": "127.0.0.1",
            "MAX_TRIES": "1000000",
            "LEASE_SECONDS": str(LEASE_SECONDS),
            "HEARTBEAT_SECONDS": "0.5",
            "SWEEP_SECONDS": "2",
            "BACKOFF_BASE_SECONDS": "0.1",
            "BACKOFF_CAP_SECONDS": "0.3",
            "CHECKPOINT_BYTES": str(CHECKPOINT_BYTES),
            "HOME": str(self.settings.home),
        }
        environment = {f"COMFY_DOCTOR_{key}": value for key, value in settings.items()}
        environment |= SEGMENTED if number % 2 else ONE_CONNECTION
        words = ["run", "--jobs", "2", "--quiet"]
        if self._nursery is None or self.starts % FRESH_EVERY == 0:
            return Program(words, environment, self.said)
        return self._nursery.bear("worker", words, environment, self.said)

    def _last_words(self) -> str:
        return self.said.read_text(errors="replace")[-LAST_WORDS_CHARS:] if self.said.exists() else ""

    def _watch_library(self) -> None:
        """Whatever appears under the model folders must be whole and right at first sight."""
        seen: set[Path] = set()
        while not self._over.is_set():
            for path in self.models.glob("*/*"):
                if path not in seen and path.is_file():
                    seen.add(path)
                    if path.read_bytes() != self.wanted.get(path):
                        self.sightings.append(f"{path.name} was in the library and was not right")
            self._over.wait(0.05)
