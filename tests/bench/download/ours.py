"""Our own contenders: a worker process that drains its jobs, and a worker that runs already and is handed one more.

Jobs are handed in over the counter with the digest known; that is not timed for a process (the peers' lists are not
either) and is timed for a running worker, from the hand-in until the ledger says SUCCESS. Afterwards, untimed, every
file is hashed here. `COMFY_DOCTOR_*` variables of the caller reach the worker, so that a setting can be tried.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from download_worker import wiring
from download_worker.jobs.counter import Counter
from download_worker.jobs.job import ModelInfo, Status
from download_worker.jobs.ledger import Ledger
from download_worker.settings import Settings
from tests.bench.download.contenders import surroundings
from tests.bench.download.goods import Ware
from tests.bench.download.measuring import Cost, Failed, Watch, cpu_seconds_of, end_group, measured
from tests.bench.download.servers import ROOT, bound_to_us

MODEL_TYPE = "checkpoints"
OURS = "comfy-doctor"
IN_WORKER = "in a running worker"
WAIT_SECONDS = 60.0
LOOK_EVERY_SECONDS = 0.002


def run_ours(base: str, wares: Sequence[Ware], folder: Path, authority: Path, client_side: Sequence[str]) -> Cost:
    """A process that drains one job for each ware. Raises Failed."""
    settings, environment = _home(folder, base, authority)
    with wiring.counter_of(settings) as counter:
        for ware in wares:
            counter.submit(_wanted(base, ware), folder / "models")
    command = [*client_side, sys.executable, "-m", "download_worker", "run", "--drain", "--quiet"]
    cost, _ = measured(command, environment, folder)
    _check(folder / "models", wares)
    return cost


class RunningWorker:
    """A worker that idles until a job is handed in."""

    def __init__(self, pid: int, counter: Counter, ledger: Ledger) -> None:
        self._pid = pid
        self._counter = counter
        self._ledger = ledger

    def run(self, base: str, wares: Sequence[Ware], folder: Path) -> Cost:
        """Raises Failed."""
        models = folder / "models"
        cpu_before = cpu_seconds_of(self._pid)
        with Watch(self._pid) as watch:
            began = time.perf_counter()
            jobs = [self._counter.submit(_wanted(base, ware), models).job.job_id for ware in wares]
            patience = began + WAIT_SECONDS
            paths = [models / MODEL_TYPE / ware.name for ware in wares]
            while not all(path.exists() for path in paths):
                time.sleep(LOOK_EVERY_SECONDS)
                if time.perf_counter() > patience:
                    raise Failed(f"not done after {WAIT_SECONDS:.0f} s")
            while any(self._ledger.get(job).status is not Status.SUCCESS for job in jobs):
                time.sleep(LOOK_EVERY_SECONDS)
            seconds = time.perf_counter() - began
        _check(models, wares)
        return Cost(seconds, cpu_seconds_of(self._pid) - cpu_before, watch.peak_bytes)


@contextmanager
def running_worker(folder: Path, base: str, authority: Path, client_side: Sequence[str]) -> Iterator[RunningWorker]:
    settings, environment = _home(folder, base, authority)
    command = [*bound_to_us(), *client_side, sys.executable, "-m", "download_worker", "run", "--quiet"]
    with (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(command, env=environment, cwd=folder, stderr=stderr, start_new_session=True)
    try:
        patience = time.monotonic() + WAIT_SECONDS
        while not wiring.owners(settings).living():
            if process.poll() is not None or time.monotonic() > patience:
                raise Failed("the worker did not start")
            time.sleep(0.05)
        with wiring.ledger_of(settings) as ledger, wiring.counter_of(settings) as counter:
            yield RunningWorker(process.pid, counter, ledger)
    finally:
        end_group(process.pid)
        process.wait()


def _home(folder: Path, base: str, authority: Path) -> tuple[Settings, dict[str, str]]:
    """Settings for handing in, and the worker's environment. Both know the server's host."""
    host = base.partition("://")[2].rpartition(":")[0]
    given = {name: value for name, value in os.environ.items() if name.startswith("COMFY_DOCTOR_")}
    given |= {"COMFY_DOCTOR_HOME": str(folder / "home"), "COMFY_DOCTOR_ALLOW_HOSTS": host, "PYTHONPATH": str(ROOT)}
    if "ca_file" in Settings.model_fields:
        given["COMFY_DOCTOR_CA_FILE"] = str(authority)
    return Settings(home=folder / "home", allow_hosts=(host,)), surroundings(folder, authority) | given


def _wanted(base: str, ware: Ware) -> ModelInfo:
    return ModelInfo(
        expected_filename=ware.name,
        model_type=MODEL_TYPE,
        download_url=f"{base}/{ware.name}",
        sha256=ware.sha256,
        size=ware.size_bytes,
    )


def _check(models: Path, wares: Sequence[Ware]) -> None:
    for ware in wares:
        path = models / MODEL_TYPE / ware.name
        if not path.exists():
            raise Failed(f"{ware.name} is not there")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != ware.sha256:
                raise Failed(f"{ware.name} has other bytes")
