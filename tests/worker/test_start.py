"""What a worker costs before its first job, told without a clock: what it loads, how often garbage is looked for."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from download_worker import wiring
from download_worker.engines.local import ALLOCATIONS_PER_COLLECTION
from download_worker.settings import Settings

ROOT = Path(__file__).parents[2]
PROGRAM = """
import atexit, gc, json, sys
told = {}
atexit.register(lambda: print(json.dumps(told | {"frozen at the end": gc.get_freeze_count()})))
from download_worker.cli import main
looks = gc.get_stats()[0]["collections"]
sys.argv = ["download-worker", *sys.argv[1:]]
told |= {"code": main(), "looks": gc.get_stats()[0]["collections"] - looks, "threshold": gc.get_threshold()[0]}
told["modules"] = sorted(sys.modules)
"""
FOR_OTHERS = (
    *("comfy_doctor", "textual", "rich", "yaml", "rapidfuzz", "PIL", "numpy"),  # the doctor's, or nobody's
    *("openai", "httpx2"),  # the judge's, once it is asked
    "alembic",  # of a ledger that is older than we are
    "sqlalchemy.dialects.postgresql",  # of a fleet
    "watchdog",  # of whoever waits
)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Of a worker that ends again because there is nothing to do, in a home that was used before."""
    home = tmp_path_factory.mktemp("home")
    with wiring.ledger_of(Settings(home=home)):
        pass
    return run_and_told("run", "--drain", "--quiet", "--home", str(home))


def run_and_told(*words: str) -> Any:
    command = [sys.executable, "-c", PROGRAM, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def test_a_worker_loads_what_every_job_needs_and_nothing_else(told: Any) -> None:
    loaded = set(told["modules"])
    assert told["code"] == 0 and "download_worker.fetchers.http.fetcher" in loaded and "sqlalchemy" in loaded
    assert not loaded & set(FOR_OTHERS)


def test_nobody_looks_for_garbage_among_what_is_loaded_for_the_start(told: Any) -> None:
    assert told["looks"] == 0
    assert told["threshold"] == ALLOCATIONS_PER_COLLECTION, "later, among what the jobs leave"


def test_nobody_looks_for_garbage_in_a_program_that_ends() -> None:
    assert run_and_told("--help")["frozen at the end"] > 10_000
