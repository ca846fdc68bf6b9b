"""The dashboard by hand, over jobs that move: `python -m tests.tui.play [hostile]`."""

from __future__ import annotations

import random
import sys
import threading
import time

from comfy_doctor.tui.app import run_dashboard
from download_worker.clock import SystemClock
from download_worker.jobs.job import Claim, Lease, Status
from download_worker.jobs.ledger import Beat
from download_worker.jobs.memory_ledger import MemoryLedger
from tests.tui.hostile import hostile_jobs
from tests.tui.samples import counter_over, evening, ledger_of, progress


def move(ledger: MemoryLedger) -> None:
    while True:
        time.sleep(0.3)
        for job in ledger.jobs():
            if job.status is Status.DOWNLOADING and job.worker:
                total = job.progress.total or 900_000_000
                done = min(total, job.progress.bytes + random.randint(4_000_000, 40_000_000))
                speed = random.uniform(30e6, 40e6)
                claim = Claim(job.job_id, job.worker, job.attempts)
                ledger.beat([Beat(claim, progress(done, total, speed))], Lease("boot-1", 0.0, 1e9))


if __name__ == "__main__":
    moving = ledger_of(hostile_jobs() if sys.argv[1:] == ["hostile"] else [*evening(), *hostile_jobs()])
    threading.Thread(target=move, args=(moving,), daemon=True).start()
    run_dashboard(counter_over(moving, SystemClock()), workers=lambda: 1)
