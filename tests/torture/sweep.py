"""`python -m tests.torture.sweep`: SIGKILL, and five disk errors, at every state-changing system call of a job's life.

strace kills the process as it enters the n-th call of a name, or lets that call fail, for every name and every n that a
whole life has: of a file that comes over several connections at once, and of one that comes over one. Afterwards the
library must hold nothing unproven, the job must be live or FAILED with a reason, and the next life must end it in
SUCCESS; after a kill without fetching again what was durable. `--sample 200 --seed 7` takes so many of all points.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from download_worker import wiring
from tests.hub import Hub
from tests.torture.lives import CHANGES, KILL, NOT_REACHED, Kind, Lives, Place, Point, Verdict
from tests.torture.nursery import Nursery, can_fork

KINDS = (Kind(connections=4, with_digest=False), Kind(connections=4, with_digest=True), Kind(1, with_digest=False))
ERRORS = ("ENOSPC", "EIO", "EMFILE", "EROFS", "EDQUOT")
NO_DESCRIPTOR = ("EMFILE",)
"""What the calls that only open something may answer."""
MOST_NOT_REACHED = 0.1
"""Threads that take turns make a few calls more in some lives than in others."""


def main() -> int:
    options = _options()
    reason = missing()
    if reason:
        print(f"sweep: {reason}", file=sys.stderr)
        return 3
    wiring.close_logs()
    began = time.monotonic()
    with Hub() as hub, Nursery() as nursery, tempfile.TemporaryDirectory(prefix="comfy-doctor-sweep-") as folder:
        lives = Lives(hub, nursery, Path(folder))
        everything = all_points(lives, tuple(options.blows))
        points = sample(everything, options.sample or len(everything), random.Random(options.seed))
        print(f"sweep: {len(points)} of {len(everything)} points, seed {options.seed}", flush=True)
        with ThreadPoolExecutor(options.side_by_side) as pool:
            verdicts = list(pool.map(_judged(lives), points))
    broken = _tell(points, verdicts)
    print(f"sweep: {len(points)} points, {len(broken)} broken, {time.monotonic() - began:.0f} s")
    return 1 if broken else 0


def all_points(lives: Lives, blows: Sequence[str]) -> list[Point]:
    found = []
    for kind in KINDS:
        for place in Place:
            for call, number in lives.calls(kind, place):
                own = blows if call in CHANGES else [blow for blow in blows if blow in NO_DESCRIPTOR]
                found += [Point(kind, place, call, number, blow) for blow in own]
    return found


def sample(points: Sequence[Point], count: int, rng: random.Random) -> list[Point]:
    """So many of them, in turn of every call and blow and place: a few flushes are as dear as many ledger writes."""
    groups: dict[object, list[Point]] = {}
    for point in rng.sample(points, len(points)):
        groups.setdefault((point.call, point.blow, point.place), []).append(point)
    in_turn = (point for row in itertools.zip_longest(*groups.values()) for point in row if point is not None)
    return list(itertools.islice(in_turn, count))


def _judged(lives: Lives) -> Callable[[Point], Verdict]:
    def judged(point: Point) -> Verdict:
        verdict = lives.verdict(point)
        if verdict.wrong is not None:
            print(f"BROKEN {point}: {verdict.wrong}", file=sys.stderr, flush=True)
        return verdict

    return judged


def _tell(points: Sequence[Point], verdicts: Sequence[Verdict]) -> list[str]:
    """Print what was done and what became of it. Returns what is broken."""
    judged = list(zip(points, verdicts, strict=True))
    blows = [blow for blow in (KILL, *ERRORS) if any(point.blow == blow for point in points)]
    counts = Tally((point.call, point.blow) for point in points)
    print(f"{'points':16}" + "".join(f"{blow:>9}" for blow in blows))
    for call in dict.fromkeys(point.call for point in points):
        print(f"{call:16}" + "".join(f"{counts[call, blow] or '-':>9}" for blow in blows))
    ends = Tally((verdict.end, point.blow) for point, verdict in judged)
    print(f"\n{'ended':28}" + "".join(f"{blow:>9}" for blow in blows))
    for end in sorted({verdict.end for verdict in verdicts}):
        print(f"{end:28}" + "".join(f"{ends[end, blow] or '-':>9}" for blow in blows))
    broken = [f"{point}: {verdict.wrong}" for point, verdict in judged if verdict.wrong is not None]
    missed = sum(verdict.end == NOT_REACHED for verdict in verdicts)
    if missed > max(2, len(points) * MOST_NOT_REACHED):
        broken.append(f"{missed} of {len(points)} points were not reached: the lives are not alike")
        print(f"BROKEN {broken[-1]}", file=sys.stderr)
    return broken


def missing() -> str | None:
    if shutil.which("strace") is None:
        return "strace is not installed (apt-get install strace)"
    return None if can_fork() else "needs Linux with pidfd_open (5.3 or newer)"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture.sweep")
    parser.add_argument("--sample", type=int, default=0, help="so many points, picked by the seed; 0 is all")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--blows", nargs="+", choices=(KILL, *ERRORS), default=(KILL, *ERRORS))
    parser.add_argument("--side-by-side", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
