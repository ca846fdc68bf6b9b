"""`main(["work" or "both", HOME, MODELS, URL, SHA256 or "-", CONNECTIONS])`: one job, from hand-in or claim to its end.

The real rooms, without the engine's threads: strace counts system calls per thread, so that here the n-th call of a
kind is the same call in every run; only the lanes of a segmented file take turns as they like.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from download_worker import wiring
from download_worker.clock import SystemClock
from download_worker.errors import IllegalMove, LostClaim, Trouble
from download_worker.jobs.job import Lease, ModelInfo
from download_worker.leash import Leash
from download_worker.process import process
from download_worker.settings import Settings, load

CHECKPOINT_BYTES = 64 * 1024
CHECKPOINT_BYTES_OF_SEVERAL = 512 * 1024
ENDED, REFUSED, UNRECORDED, NO_WORKER = "ended", "refused", "unrecorded", "no worker"
"""How a life may end: all recorded; the hand-in told no; the ledger could not be written (the job stays claimed by a
dead owner, as after a kill); not even an owner's lock could be had."""


def settings_for(home: Path, connections: int = 1) -> Settings:
    return load(
        home,
        allow_hosts=("127.0.0.1",),
        checkpoint_bytes=CHECKPOINT_BYTES if connections == 1 else CHECKPOINT_BYTES_OF_SEVERAL,
        disk_reserve_bytes=0,
        connections_per_file=connections,
    )


def info_for(url: str, digest: str | None) -> ModelInfo:
    name = url.rpartition("/")[2]
    return ModelInfo(expected_filename=name, model_type="loras", subfolder="sub", download_url=url, sha256=digest)


def main(words: Sequence[str]) -> int:
    wiring.close_logs()
    part, home, models, url, digest, connections = words
    try:
        settings = settings_for(Path(home), int(connections))
    except Trouble as trouble:  # the wall of the command line tells it
        print(type(trouble).__name__, trouble)
        print(f"life: {REFUSED}", flush=True)
        return 0
    end = ENDED
    if part == "both":
        end = _hand_in(settings, Path(models), info_for(url, None if digest == "-" else digest))
    if end == ENDED:
        end = _work(settings)
    print(f"life: {end}", flush=True)
    return 0


def _hand_in(settings: Settings, models: Path, info: ModelInfo) -> str:
    try:
        with wiring.counter_of(settings) as counter:
            counter.submit(info, models)
    except (Trouble, OSError) as trouble:  # the wall of the command line tells both
        print(type(trouble).__name__, trouble)
        return REFUSED
    return ENDED


def _work(settings: Settings) -> str:
    try:
        with wiring.ledger_of(settings) as ledger, wiring.owners(settings).enrol() as worker:
            clock = SystemClock()
            job = ledger.claim(worker, Lease.starting(clock.steady(), 60), clock.now())
            if job is not None:
                process(job, wiring.workshop(settings, ledger, 0o022), Leash())
    except (Trouble, LostClaim, IllegalMove) as trouble:
        print(type(trouble).__name__, trouble)
        return UNRECORDED
    except OSError as error:
        print(type(error).__name__, error)
        return NO_WORKER
    return ENDED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
