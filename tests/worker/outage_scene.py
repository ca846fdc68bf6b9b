"""`unshare -n python -m tests.worker.outage_scene HOME JOBS SECONDS`: a worker, a host, and a network that goes away.

In a network namespace of its own, so that taking the loopback down takes nothing from anybody else. Everything is real:
engine, ledger on disk, HTTP. Prints what became of it as JSON.
"""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import sys
import threading
from collections import Counter as Tally
from pathlib import Path
from time import monotonic, sleep

from download_worker import wiring
from download_worker.jobs.job import Status
from download_worker.jobs.ledger import Ledger, Question
from download_worker.settings import Settings
from tests.hub import Hub, SizedPattern, sha256_of
from tests.jobs import make_info, make_job
from tests.makers import safetensors_prefix

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
FILE_BYTES = 16 * 1024
PROBE_CAP_SECONDS = 5.0
LONGEST_SECONDS = 240.0


def bring_loopback(up: bool) -> None:
    """netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(sock, SIOCGIFFLAGS, request))[1]
        flags = flags | IFF_UP if up else flags & ~IFF_UP
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags))


def hand_in(ledger: Ledger, hub: Hub, models: Path, jobs: int) -> None:
    data = SizedPattern(FILE_BYTES, prefix=safetensors_prefix(FILE_BYTES))
    url, digest = hub.publish("/m.safetensors", data), sha256_of(data)
    for number in range(jobs):
        info = make_info(download_url=f"{url}?n={number}", sha256=digest, size=FILE_BYTES)
        ledger.add(make_job(models, info=info))


def wait_for(ledger: Ledger, number: int, seconds: float) -> float:
    """Until more than so many jobs ended well. Returns how long that took."""
    began = monotonic()
    while ledger.counts()[Status.SUCCESS] < number:
        if monotonic() - began > seconds:
            raise TimeoutError(f"{ledger.counts()} after {seconds:.0f} s")
        sleep(0.05)
    return monotonic() - began


def main(home: Path, jobs: int, outage_seconds: float) -> dict[str, object]:
    bring_loopback(up=True)
    (home / "models" / "loras").mkdir(parents=True)
    settings = Settings(
        home=home,
        allow_hosts=("127.0.0.1",),
        disk_reserve_bytes=0,
        connect_timeout_seconds=2,
        stall_timeout_seconds=2,
        probe_cap_seconds=PROBE_CAP_SECONDS,
        max_tries=2,
    )
    with Hub() as hub, wiring.ledger_of(settings) as ledger, wiring.engine_of(settings, 0o022) as engine:
        hand_in(ledger, hub, home / "models", jobs)
        worker = threading.Thread(target=engine.run)
        worker.start()
        try:
            wait_for(ledger, jobs // 20, LONGEST_SECONDS)
            bring_loopback(up=False)
            sleep(outage_seconds)
            before = ledger.counts()[Status.SUCCESS]
            bring_loopback(up=True)
            resumed_seconds = wait_for(ledger, before + 1, LONGEST_SECONDS)
            wait_for(ledger, jobs, LONGEST_SECONDS)
        finally:
            engine.stop()
            worker.join()
        ended = ledger.jobs(Question(limit=jobs))
        return {
            "before": before,
            "resumed_seconds": round(resumed_seconds, 2),
            "statuses": Tally(job.status for job in ended),
            "tries": sorted({job.tries for job in ended}),
            "most_attempts": max(job.attempts for job in ended),
        }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
