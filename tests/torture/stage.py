"""The stage: a model host, a library, a ledger, and worker processes that are started again whenever they die."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
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

ROOT = Path(__file__).parents[2]
FILE_BYTES = 600_000
BYTES_PER_SECOND = 300_000
CHECKPOINT_BYTES = 32 * 1024
LEASE_SECONDS = 4.0
FOLDERS = ("checkpoints", "loras", "vae")


@dataclass
class Stage:
    folder: Path
    rng: random.Random
    workers: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    wanted: dict[Path, bytes] = field(default_factory=dict)
    submitted: dict[JobId, ModelInfo] = field(default_factory=dict)
    sightings: list[str] = field(default_factory=list)

    def __enter__(self) -> Stage:
        self._stack = ExitStack()
        self.models = self.folder / "ComfyUI" / "models"
        self.settings = Settings(home=self.folder / "home", allow_hosts=("127.0.0.1",))
        self.hub = self._stack.enter_context(Hub())
        self.hub.bytes_per_second = BYTES_PER_SECOND
        self.ledger: Ledger = self._stack.enter_context(wiring.ledger_of(self.settings))
        self.counter: Counter = self._stack.enter_context(wiring.counter_of(self.settings))
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch_library, daemon=True)
        self._watcher.start()
        for _ in range(self.workers):
            self.processes.append(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for process in self.processes:
            process.kill()
            process.wait()
        self._watcher.join()
        self._stack.close()

    def hand_in(self) -> None:
        """One more file that nobody has asked for yet. Every third comes with its digest, some over a bad line."""
        number = len(self.wanted)
        name = f"torture-{number:04}.safetensors"
        data = safetensors_bytes(FILE_BYTES + self.rng.randrange(50_000), seed=number + 1)
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
        for number, process in enumerate(self.processes):
            if process.poll() is not None:
                self.processes[number] = self._start()

    def finish(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while self.ledger.unfinished() and time.monotonic() < deadline:
            self.keep_staffed()
            time.sleep(0.2)

    def _start(self) -> subprocess.Popen[bytes]:
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
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            **{f"COMFY_DOCTOR_{key}": value for key, value in settings.items()},
        }
        command = [sys.executable, "-m", "download_worker", "run", "--jobs", "2", "--quiet"]
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

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
