"""`python -m tests.torture.sweep`: SIGKILL at every state-changing system call of one job's life; each must recover.

strace kills the process as it enters the n-th call of a kind, for every kind and every n that a whole life has. After
each death the library must hold nothing unproven, and a real worker must bring the job to SUCCESS without fetching what
was durable again.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter as Tally
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from download_worker import wiring
from download_worker.jobs.job import Status
from download_worker.jobs.ledger import Question
from download_worker.room import Room
from tests.hub import Hub
from tests.makers import safetensors_bytes
from tests.torture.one_life import info_for, settings_for

_CALLS = """
write pwrite64 fsync fdatasync rename renameat renameat2 link linkat unlink unlinkat mkdir mkdirat rmdir ftruncate
fallocate chmod fchmod
"""
CALLS = tuple(_CALLS.split())
ROOT = Path(__file__).parents[2]
FILE_BYTES = 200_000
LIFE_TIMEOUT_SECONDS = 60
NOT_REACHED = "it was not killed"
"""A thread that only wakes another one writes more often in some lives than in others."""
MOST_NOT_REACHED = 0.03
_CALL = re.compile(r"(\d+) +(\w+)\(")


@dataclass(frozen=True)
class Point:
    """The n-th call of a kind in one thread, as strace counts."""

    call: str
    number: int
    with_digest: bool

    def __str__(self) -> str:
        return f"{self.call}#{self.number}{' (digest known)' if self.with_digest else ''}"


@dataclass(frozen=True)
class Scene:
    """A fresh home and library, and one file on the hub."""

    folder: Path
    url: str
    data: bytes
    digest: str | None

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def target(self) -> Path:
        return self.models / "loras" / "sub" / self.url.rpartition("/")[2]


def main() -> int:
    options = _options()
    if shutil.which("strace") is None:
        print("sweep: strace is not installed (apt-get install strace)", file=sys.stderr)
        return 3
    began = time.monotonic()
    with Hub() as hub, tempfile.TemporaryDirectory(prefix="comfy-doctor-sweep-") as folder:
        stage = Stage(hub, Path(folder))
        points = stage.points()[:: options.every]
        with ThreadPoolExecutor(options.side_by_side) as pool:
            verdicts = list(pool.map(stage.verdict, points))
    judged = list(zip(points, verdicts, strict=True))
    not_reached = [point for point, verdict in judged if verdict == NOT_REACHED]
    broken = [f"{point}: {verdict}" for point, verdict in judged if verdict not in (None, NOT_REACHED)]
    if len(not_reached) > len(points) * MOST_NOT_REACHED:
        broken.append(f"{len(not_reached)} of {len(points)} points were not reached: the lives are not alike")
    for line in broken:
        print(f"BROKEN {line}", file=sys.stderr)
    tally = ", ".join(f"{number} {call}" for call, number in Tally(point.call for point in points).most_common())
    summary = f"{len(points)} points ({tally}), {len(not_reached)} not reached, {len(broken)} broken"
    print(f"sweep: {summary}, {time.monotonic() - began:.0f} s")
    return 1 if broken else 0


class Stage:
    def __init__(self, hub: Hub, folder: Path) -> None:
        self._hub = hub
        self._folder = folder
        self._numbers = itertools.count()

    def points(self) -> list[Point]:
        """Every call of the watched kinds in an undisturbed life, once with and once without a known digest."""
        found = []
        for with_digest in (False, True):
            scene = self._scene(with_digest)
            log = scene.folder / "strace.log"
            done = self._live(scene, ["-o", str(log), "-e", f"trace={','.join(CALLS)}"])
            if done.returncode or scene.target.read_bytes() != scene.data:
                raise RuntimeError(f"an undisturbed life went wrong: {done.stderr!r}")
            lines = log.read_text().splitlines()
            seen = Tally((match[1], match[2]) for line in lines if (match := _CALL.match(line)))
            most = {call: max((n for (_, kind), n in seen.items() if kind == call), default=0) for call in CALLS}
            found += [Point(call, n, with_digest) for call in CALLS for n in range(1, most[call] + 1)]
        return found

    def verdict(self, point: Point) -> str | None:
        """None when the life that ends at this point is mended; else what is wrong."""
        scene = self._scene(point.with_digest)
        inject = f"inject={point.call}:signal=SIGKILL:when={point.number}"
        done = self._live(scene, ["-o", "/dev/null", "-e", inject])
        if done.returncode == 0:
            return NOT_REACHED
        if scene.target.exists() and scene.target.read_bytes() != scene.data:
            return "something unproven was in the library"
        durable = max((_durable(room) for room in (scene.home / "staging").glob("*/[0-9]*")), default=0)
        asked_before = len(self._hub.hits_for(scene.url.rpartition("/")[2]))
        in_place = scene.target.exists()
        with wiring.counter_of(settings_for(scene.home)) as counter:
            counter.submit(info_for(scene.url, scene.digest), scene.models)  # the user repeats the command
        worker = self._work(scene)
        if worker.returncode:
            return f"the worker said {worker.returncode}: {worker.stderr[-300:]!r}"
        hits = self._hub.hits_for(scene.url.rpartition("/")[2])[asked_before:]
        return _wrong_afterwards(scene) or _fetched_again(hits, durable, in_place)

    def _scene(self, with_digest: bool) -> Scene:
        number = next(self._numbers)
        data = safetensors_bytes(FILE_BYTES, seed=number + 1)
        name = f"sweep-{number}.safetensors"
        digest = hashlib.sha256(data).hexdigest() if with_digest else None
        folder = self._folder / str(number)
        (folder / "models").mkdir(parents=True)
        return Scene(folder, self._hub.publish(name, data), data, digest)

    def _live(self, scene: Scene, strace: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
        life = [
            sys.executable,
            "-m",
            "tests.torture.one_life",
            scene.home,
            scene.models,
            scene.url,
            scene.digest or "-",
        ]
        return _run(["strace", "-f", "-qq", *strace, *map(str, life)], {})

    def _work(self, scene: Scene) -> subprocess.CompletedProcess[bytes]:
        environment = {
            "COMFY_DOCTOR_HOME": str(scene.home),
            "COMFY_DOCTOR_ALLOW_HOSTS": "127.0.0.1",
            "COMFY_DOCTOR_DISK_RESERVE_BYTES": "0",
        }
        return _run([sys.executable, "-m", "download_worker", "run", "--drain"], environment)


def _run(command: Sequence[str], environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, env=base | environment, capture_output=True, timeout=LIFE_TIMEOUT_SECONDS, check=False
    )


def _durable(folder: Path) -> int:
    journal = Room(folder).journal()
    return journal.durable_bytes if journal else 0


def _wrong_afterwards(scene: Scene) -> str | None:
    if not scene.target.exists() or scene.target.read_bytes() != scene.data:
        return "the file is not in its place"
    others = [path for path in scene.models.rglob("*") if path.is_file() and path != scene.target]
    if others:
        return f"{others} do not belong in the library"
    if any((scene.home / "staging").glob("*")):
        return "staging was not cleared"
    with wiring.ledger_of(settings_for(scene.home)) as ledger:
        statuses = [job.status for job in ledger.jobs(Question())]
    return None if statuses == [Status.SUCCESS] else f"the ledger says {statuses}"


def _fetched_again(hits: Sequence[object], durable: int, in_place: bool) -> str | None:
    starts = [getattr(hit, "first_byte", 0) for hit in hits]
    if in_place and starts:
        return f"the file was in place and was asked for again from {starts}"
    if durable == FILE_BYTES and starts:
        return f"the file was whole and was asked for again from {starts}"
    return f"durable to {durable}, asked from {starts}" if starts and starts[0] != durable else None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture.sweep")
    parser.add_argument("--every", type=int, default=1, help="only every n-th point")
    parser.add_argument("--side-by-side", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
