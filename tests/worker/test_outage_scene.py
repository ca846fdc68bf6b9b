"""N11 with a real network that really goes away, in a namespace of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

JOBS = 1000
OUTAGE_SECONDS = 15
PROBE_CAP_SECONDS = 5.0
"""As in the scene. A probe every 5 s stands to an outage of 15 s as one every 20 s stands to a minute."""


def namespaces() -> str:
    """Why there are none here; empty where there are."""
    if not sys.platform.startswith("linux") or shutil.which("unshare") is None:
        return "needs Linux and unshare(1)"
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "this user may not make a network namespace"


@pytest.mark.slow
def test_n11_show_5_the_loopback_goes_down_under_a_thousand_jobs_and_no_try_is_burnt(tmp_path: Path) -> None:
    if why := namespaces():
        pytest.skip(why)
    scene = [sys.executable, "-m", "tests.worker.outage_scene", str(tmp_path / "home"), str(JOBS), str(OUTAGE_SECONDS)]
    done = subprocess.run(
        ["unshare", "--net", *scene],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["before"] < JOBS, "the outage came in the middle"
    assert told["statuses"] == {"SUCCESS": JOBS}
    assert told["tries"] == [1], "no attempt was burnt"
    assert told["most_attempts"] <= 12, "probes, and no busy loop"
    assert told["resumed_seconds"] <= 2 * PROBE_CAP_SECONDS + 2
