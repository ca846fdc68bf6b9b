"""What it costs to begin and to end, told without a clock: what is loaded, and how often garbage is looked for."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from download_worker import wiring
from download_worker.engines.local import ALLOCATIONS_PER_COLLECTION
from download_worker.errors import TryLater
from download_worker.settings import Settings

ROOT = Path(__file__).parents[1]
PROGRAM = """
import atexit, gc, json, sys
told = {{}}
atexit.register(lambda: print(json.dumps(told | {{"frozen at the end": gc.get_freeze_count()}})))
from {package}.cli import main
looks = gc.get_stats()[0]["collections"]
sys.argv[0] = "program"
told |= {{"code": main(), "looks": gc.get_stats()[0]["collections"] - looks, "threshold": gc.get_threshold()[0]}}
told["modules"] = sorted(sys.modules)
"""
FOR_OTHERS = {
    *("openai", "httpx2"),  # the judge's, once it is asked
    "alembic",  # of a ledger that is older than we are
    "sqlalchemy.dialects.postgresql",  # of a fleet
    "watchdog",  # of whoever waits
    *("textual", "PIL", "numpy"),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That was used before."""
    home = tmp_path_factory.mktemp("home")
    with wiring.ledger_of(Settings(home=home)):
        return home


def run_and_told(package: str, *words: str) -> Any:
    command = [sys.executable, "-c", PROGRAM.format(package=package), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def told(home: Path) -> Any:
    """Of a worker that ends again because there is nothing to do."""
    return run_and_told("download_worker", "run", "--drain", "--quiet", "--home", str(home))


def test_a_worker_loads_what_every_job_needs_and_nothing_else(told: Any) -> None:
    loaded = set(told["modules"])
    assert told["code"] == 0 and "download_worker.fetchers.http.fetcher" in loaded and "sqlalchemy" in loaded
    assert not loaded & (FOR_OTHERS | {"comfy_doctor", "rich", "yaml", "rapidfuzz"})


@pytest.mark.parametrize("thread", ["start", "heartbeat"])
def test_p8_a_worker_without_threads_for_its_start_is_no_fault_of_ours(
    home: Path, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def scarce(self: threading.Thread) -> None:
        if self.name.startswith(thread):
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    with pytest.raises(TryLater, match="no more threads"), wiring.engine_of(Settings(home=home), 0o022) as engine:
        engine.run(drain=True)


def test_who_looks_at_the_jobs_waits_for_no_room_of_a_diagnosis(home: Path) -> None:
    told = run_and_told("comfy_doctor", "jobs", "list", "--home", str(home))
    loaded = set(told["modules"])
    assert told["code"] == 0 and told["looks"] == 0 and "rich" in loaded and "sqlalchemy" in loaded
    assert not loaded & (FOR_OTHERS | {"comfy_doctor.plan", "comfy_doctor.diagnose", "requests", "yaml", "rapidfuzz"})


def test_nobody_looks_for_garbage_among_what_is_loaded_for_the_start(told: Any) -> None:
    assert told["looks"] == 0
    assert told["threshold"] == ALLOCATIONS_PER_COLLECTION, "later, among what the jobs leave"


def test_nobody_looks_for_garbage_in_a_program_that_ends() -> None:
    assert run_and_told("download_worker", "--help")["frozen at the end"] > 10_000
