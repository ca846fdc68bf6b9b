"""One job's life under strace, which kills it or fails one of its system calls; and the lives that must mend it."""

from __future__ import annotations

import hashlib
import itertools
import re
import signal
import subprocess
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from download_worker import wiring
from download_worker.clock import SystemClock
from download_worker.engines.local import LocalEngine
from download_worker.errors import Code
from download_worker.jobs.job import Job, Status
from download_worker.jobs.ledger import Question
from tests.hub import Hub
from tests.makers import safetensors_bytes
from tests.torture.durable import Spans, asked_again, furthest, spans_of
from tests.torture.nursery import EAGER, Child, Nursery
from tests.torture.one_life import ENDED, NO_WORKER, REFUSED, UNRECORDED, info_for, settings_for

_CHANGES = """
write writev pwrite64 pwritev pwritev2 fsync fdatasync sync_file_range rename renameat renameat2 link linkat symlinkat
unlink unlinkat mkdir mkdirat rmdir ftruncate fallocate chmod fchmod fchmodat utimensat
"""
CHANGES = tuple(_CHANGES.split())
OPENINGS = ("openat", "socket", "eventfd2", "pipe2", "epoll_create1")
"""Change nothing (or only sometimes), but need a descriptor."""
KILL = "SIGKILL"
SEGMENTED_FILE_BYTES = 4 * 1024 * 1024
SINGLE_FILE_BYTES = 200_000
BYTES_PER_SECOND = 6 * 1024 * 1024
BIRTH_SECONDS_MAX = 10.0
LIFE_SECONDS_MAX = 90.0
NEXT_LIFE_SECONDS_MAX = 90.0
MOST_ATTEMPTS = 4
NEXT_LIVES = 2
LATER = timedelta(hours=2)
"""Between two lives: longer than any wait that a worker may have written down."""
NOT_REACHED = "not reached"
_CALL = re.compile(r"(\d+) +(\w+)\(")


@dataclass(frozen=True)
class Kind:
    """Which job: over how many connections, and whether its digest is known."""

    connections: int
    with_digest: bool

    def __str__(self) -> str:
        return f"{self.connections} connections, {'digest' if self.with_digest else 'nothing'} known"


class Place(StrEnum):
    """Where a call is counted. The writer and the flusher are threads with counts of their own: without a place apart,
    the many calls on the ledger would always come first, and theirs before those on the library."""

    ANYWHERE = "anywhere"
    PART = "on the part file"
    JOURNAL = "on the journal"
    LIBRARY = "in the library"


@dataclass(frozen=True)
class Point:
    """The n-th call of a name in one thread, as strace counts: among all, or among those on the paths of a place."""

    kind: Kind
    place: Place
    call: str
    number: int
    blow: str = KILL

    def __str__(self) -> str:
        return f"{self.blow} at {self.call}#{self.number} {self.place} ({self.kind})"


@dataclass(frozen=True)
class Scene:
    """A fresh home and library, and one file on the hub."""

    kind: Kind
    folder: Path
    url: str
    data: bytes

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def target(self) -> Path:
        return self.models / "loras" / "sub" / self.name

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def digest(self) -> str | None:
        return hashlib.sha256(self.data).hexdigest() if self.kind.with_digest else None

    def hand_in(self) -> Job:
        with wiring.counter_of(settings_for(self.home)) as counter:
            return counter.submit(info_for(self.url, self.digest), self.models).job

    def hand_in_again(self) -> None:
        """What a user does after a bad day: retry what has FAILED, else give the same command again."""
        failed = [job for job in self.jobs() if job.status is Status.FAILED]
        if not failed:
            self.hand_in()
        with wiring.counter_of(settings_for(self.home)) as counter:
            for job in failed:
                counter.retry(job.job_id)

    def paths(self, place: Place, job: Job) -> list[Path]:
        """What strace is to watch in the job's first life."""
        room, folder = self.home / "staging" / job.job_id / "1", self.target.parent
        return {
            Place.ANYWHERE: [],
            Place.PART: [room / "part"],
            Place.JOURNAL: [room / "journal.json", room / "journal.new", room],
            Place.LIBRARY: [self.target, folder, folder.parent, self.models],
        }[place]

    def jobs(self) -> Sequence[Job]:
        with wiring.ledger_of(settings_for(self.home)) as ledger:
            return ledger.jobs(Question())


@dataclass(frozen=True)
class Verdict:
    """What became of a point: how the life ended and the job stood then, and what is wrong, if anything."""

    end: str
    wrong: str | None = None


class Lives:
    def __init__(self, hub: Hub, nursery: Nursery, folder: Path) -> None:
        hub.bytes_per_second = BYTES_PER_SECOND
        self._hub = hub
        self._nursery = nursery
        self._folder = folder
        self._numbers = itertools.count()

    def calls(self, kind: Kind, place: Place) -> Iterator[tuple[str, int]]:
        """Every watched call of an undisturbed life: its name and number. Raises RuntimeError if that goes wrong."""
        scene = self._scene(kind)
        calls = CHANGES + OPENINGS if place is Place.ANYWHERE else CHANGES
        log = self._live(scene, place, ["-e", f"trace={','.join(calls)}"])
        if not scene.target.exists() or scene.target.read_bytes() != scene.data:
            raise RuntimeError(f"an undisturbed life went wrong: {_said(scene)[-2000:]}")
        seen = Tally((match[1], match[2]) for line in log.splitlines() if (match := _CALL.match(line)))
        for call in calls:
            most = max((number for (_, name), number in seen.items() if name == call), default=0)
            yield from ((call, number) for number in range(1, most + 1))

    def verdict(self, point: Point) -> Verdict:
        """Live until that point, and on from there."""
        scene = self._scene(point.kind)
        blow = f"signal={KILL}" if point.blow == KILL else f"error={point.blow}"
        inject = f"inject={point.call}:{blow}:when={point.number}"
        try:
            log = self._live(scene, point.place, ["-e", f"trace={point.call}", "-e", inject])
            end = self._end(scene, point, log)
            if end == NOT_REACHED:
                return Verdict(NOT_REACHED)
            wrong = self._judge(scene, point)
        except (TimeoutError, RuntimeError) as error:
            return Verdict("broken", str(error))
        return Verdict(end, wrong)

    def _end(self, scene: Scene, point: Point, log: str) -> str:
        """How the life ended. Raises RuntimeError when it ended as none may."""
        said = _said(scene)
        last = said.rstrip().rpartition("\n")[2]
        word = last.removeprefix("life: ")
        if point.blow == KILL:
            return NOT_REACHED if last.startswith("life: ") else "killed"
        if "INJECTED" not in log:
            return NOT_REACHED
        if word not in (ENDED, REFUSED, UNRECORDED, NO_WORKER):
            raise RuntimeError(f"the process broke: {said[-1500:]}")
        if word != ENDED:
            return word
        job = scene.jobs()[0]
        return f"{job.status}{f' {job.result.code}' if job.status is Status.FAILED else ''}"

    def _judge(self, scene: Scene, point: Point) -> str | None:
        if scene.target.exists() and scene.target.read_bytes() != scene.data:
            return "something unproven was in the library"
        failed = [job for job in scene.jobs() if job.status is Status.FAILED]
        if any(not job.result.reason or job.result.code in (None, Code.INTERNAL) for job in failed):
            return f"FAILED without a reason of its own: {failed[0].result.code} {failed[0].result.reason}"
        if any(job.status is Status.SUCCESS for job in scene.jobs()) and not scene.target.exists():
            return "SUCCESS, and no file is there"
        durable = _durable(scene)
        before, in_place = len(self._hub.hits_for(scene.name)), scene.target.exists()
        attempts = max((job.attempts for job in scene.jobs()), default=0)
        for number in range(1, NEXT_LIVES + 1):
            scene.hand_in_again()
            _next_life(scene, LATER * number)
            if not any(each.live for each in scene.jobs()):
                break
        wrong = _wrong_afterwards(scene, attempts)
        starts = [hit.first_byte for hit in self._hub.hits_for(scene.name)[before:]]
        return wrong or (_fetched_again(starts, durable, in_place) if point.blow == KILL else None)

    def _scene(self, kind: Kind) -> Scene:
        number = next(self._numbers)
        size = SINGLE_FILE_BYTES if kind.connections == 1 else SEGMENTED_FILE_BYTES
        data = safetensors_bytes(size, seed=number + 1)
        folder = self._folder / str(number)
        (folder / "models").mkdir(parents=True)
        scene = Scene(kind, folder, self._hub.publish(f"sweep-{number}.safetensors", data), data)
        if kind.connections > 1:  # a home that has been used; the making of a ledger is swept with the single one
            scene.jobs()
        return scene

    def _live(self, scene: Scene, place: Place, strace: Sequence[str]) -> str:
        """One life in a child that strace has in hand from its first step on; answers strace's log.

        For a place, the job is handed in before, so that its room has a name. Raises TimeoutError when it hangs.
        """
        part, paths = "both", list[str]()
        if place is not Place.ANYWHERE:
            part = "work"
            paths = [word for path in scene.paths(place, scene.hand_in()) for word in ("-P", str(path))]
        words = [part, scene.home, scene.models, scene.url, scene.digest or "-", scene.kind.connections]
        env = EAGER if scene.kind.connections > 1 else {}
        log = scene.folder / "strace.log"
        child = self._nursery.bear("one_life", words, env, scene.folder / "said", stopped=True)
        tracer = ["strace", "-f", "-qq", "-o", str(log), *paths, *strace, "-p", str(child.pid)]
        _wait(child, lambda status: "\nState:\tT" in status, "does not wait for strace")
        with subprocess.Popen(tracer, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            try:
                _wait(child, lambda status: "\nTracerPid:\t0" not in status, "is not taken by strace")
                child.signal(signal.SIGCONT)
                if not child.ended(LIFE_SECONDS_MAX):
                    raise TimeoutError(f"the life hangs: {_said(scene)[-500:]}")
            finally:
                child.kill()
        return log.read_text(errors="replace")


def _wait(child: Child, holds: Callable[[str], bool], what: str) -> None:
    """Until the kernel shows the process so. Raises RuntimeError."""
    status = Path("/proc") / str(child.pid) / "status"
    deadline = time.monotonic() + BIRTH_SECONDS_MAX
    while not holds(status.read_text()):
        if not child.alive or time.monotonic() > deadline:
            raise RuntimeError(f"the life {what}")
        time.sleep(0.002)


class _LaterClock(SystemClock):
    def __init__(self, later: timedelta) -> None:
        super().__init__()
        self._later = later

    def now(self) -> datetime:
        return super().now() + self._later


def _next_life(scene: Scene, later: timedelta) -> None:
    """A real worker, some time later. Raises TimeoutError when it does not come to an end."""
    settings = settings_for(scene.home, scene.kind.connections)
    with wiring.ledger_of(settings) as ledger, wiring.bell_of(settings) as bell:
        shop = replace(wiring.workshop(settings, ledger, 0o022), clock=_LaterClock(later))
        engine = LocalEngine(shop, bell, wiring.owners(settings))
        watchdog = threading.Timer(NEXT_LIFE_SECONDS_MAX, engine.stop)
        watchdog.start()
        try:
            engine.run(drain=True)
        finally:
            in_time = watchdog.is_alive()
            watchdog.cancel()
    if not in_time:
        raise TimeoutError(f"the next life hangs: {[job.history[-3:] for job in scene.jobs()]}")


def _said(scene: Scene) -> str:
    path = scene.folder / "said"
    return path.read_text(errors="replace") if path.exists() else ""


def _durable(scene: Scene) -> Spans:
    halls = [path for path in (scene.home / "staging").glob("*") if path.is_dir()]
    return tuple(span for hall in halls for span in spans_of(furthest(hall)))


def _wrong_afterwards(scene: Scene, attempts_before: int) -> str | None:
    jobs = scene.jobs()
    if [job.status for job in jobs] != [Status.SUCCESS]:
        return f"the ledger says {[(job.status, job.result.reason, job.history[-3:]) for job in jobs]}"
    if not scene.target.exists() or scene.target.read_bytes() != scene.data:
        return "the file is not in its place"
    if jobs[0].attempts > attempts_before + MOST_ATTEMPTS:
        return f"it took {jobs[0].attempts} attempts"
    others = [path for path in scene.models.rglob("*") if path.is_file() and path != scene.target]
    if others:
        return f"{others} do not belong in the library"
    return "staging was not cleared" if any((scene.home / "staging").glob("*")) else None


def _fetched_again(starts: Sequence[int], durable: Spans, in_place: bool) -> str | None:
    """After a kill nothing that was durable is asked for again."""
    if in_place and starts:
        return f"the file was in place and was asked for again from {starts}"
    again = asked_again(starts, durable)
    return f"durable {durable}, asked from {again}" if again else None
