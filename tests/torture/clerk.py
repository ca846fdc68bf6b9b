"""`main([HOME, MODELS, ORDERS, ACKS, FIRST])`: hands in job after job, and notes what was acknowledged.

ORDERS is a file of JSON lines [url, sha256 or null], FIRST the number of the line to begin with. A line "number job_id"
goes to ACKS once `submit` has returned: from then on the job is a promise. ACKS lies where no power is cut.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path

from download_worker import wiring
from download_worker.jobs.job import ModelInfo
from download_worker.settings import load

FOLDERS = ("checkpoints", "loras", "vae")
PAUSE_SECONDS = (0.0, 0.3)


def info_for(number: int, url: str, digest: str | None) -> ModelInfo:
    name = url.rpartition("/")[2]
    return ModelInfo(expected_filename=name, model_type=FOLDERS[number % 3], download_url=url, sha256=digest)


def main(words: Sequence[str]) -> int:
    wiring.close_logs()
    home, models, orders, acks, first = words
    settings = load(Path(home), allow_hosts=("127.0.0.1",))
    descriptor = os.open(acks, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with wiring.counter_of(settings) as counter:
        for number, line in enumerate(Path(orders).read_text().splitlines()):
            if number >= int(first):
                added = counter.submit(info_for(number, *json.loads(line)), Path(models))
                os.write(descriptor, f"{number} {added.job.job_id}\n".encode())
                time.sleep(random.uniform(*PAUSE_SECONDS))
    return 0
