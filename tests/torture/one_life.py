"""`python -m tests.torture.one_life HOME MODELS URL SHA256|-`: one job from hand-in to its end, in one thread.

The real rooms, without the engine's threads: strace counts system calls per thread, so that here the n-th call of a
kind is the same call in every run.
"""

from __future__ import annotations

import sys
from pathlib import Path

from download_worker import wiring
from download_worker.clock import SystemClock
from download_worker.jobs.job import Lease, ModelInfo
from download_worker.leash import Leash
from download_worker.process import process
from download_worker.settings import Settings

CHECKPOINT_BYTES = 64 * 1024


def settings_for(home: Path) -> Settings:
    return Settings(home=home, allow_hosts=("127.0.0.1",), checkpoint_bytes=CHECKPOINT_BYTES, disk_reserve_bytes=0)


def info_for(url: str, digest: str | None) -> ModelInfo:
    name = url.rpartition("/")[2]
    return ModelInfo(expected_filename=name, model_type="loras", subfolder="sub", download_url=url, sha256=digest)


def main(home: Path, models: Path, url: str, digest: str | None) -> int:
    settings = settings_for(home)
    with wiring.counter_of(settings) as counter:
        counter.submit(info_for(url, digest), models)
    with wiring.ledger_of(settings) as ledger, wiring.owners(settings).enrol() as worker:
        clock = SystemClock()
        job = ledger.claim(worker, Lease.starting(clock.steady(), 60), clock.now())
        if job is not None:
            process(job, wiring.workshop(settings, ledger, 0o022), Leash())
    return 0


if __name__ == "__main__":
    wiring.close_logs()
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], None if sys.argv[4] == "-" else sys.argv[4]))
