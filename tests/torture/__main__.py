"""`python -m tests.torture --kills 500 --seed 7`: the run, its checks, its figures. Exit 1 if a promise broke.

Several stages, each a process with a hub, a library and a ledger of its own, share the kills.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.torture.checks import check_all
from tests.torture.stage import Stage
from tests.torture.trouble import Troublemaker


def main() -> int:
    options = _options()
    if options.report is not None:
        return _one_stage(options)
    print(f"torture: seed {options.seed}, {options.kills} kills, {options.stages} stages", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="comfy-doctor-torture-") as folder:
        reports = [Path(folder) / f"stage-{number}.json" for number in range(options.stages)]
        stages = [_start(number, report, options) for number, report in enumerate(reports)]
        codes = [stage.wait() for stage in stages]
        told = [json.loads(report.read_text()) for report in reports if report.exists()]
    figures = _together([each["figures"] for each in told])
    broken = [line for each in told for line in each["broken"]]
    broken += [f"stage {number} ended with {code}" for number, code in enumerate(codes) if code not in (0, 1)]
    print(json.dumps({"seed": options.seed, **figures, "seconds": round(time.monotonic() - began)}, indent=2))
    for line in broken:
        print(f"BROKEN: {line}", file=sys.stderr)
    print(f"torture: {len(broken)} promises broken" if broken else "torture: every promise held")
    return 1 if broken else 0


def _start(number: int, report: Path, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    kills = options.kills // options.stages + (number < options.kills % options.stages)
    words = {"kills": kills, "workers": options.workers, "seed": options.seed + number, "patience": options.patience}
    command = [sys.executable, "-m", "tests.torture", "--report", str(report)]
    return subprocess.Popen([*command, *(f"--{key}={value}" for key, value in words.items())])


def _one_stage(options: argparse.Namespace) -> int:
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="comfy-doctor-torture-") as folder, _stage(folder, rng, options) as stage:
        trouble = Troublemaker(stage, rng)
        while trouble.kills < options.kills:
            trouble.one_more()
        trouble.rest()
        stage.finish(timeout_seconds=options.patience)
        findings = check_all(stage, trouble)
    told = {"figures": trouble.figures() | findings.figures, "broken": findings.broken}
    options.report.write_text(json.dumps(told))
    return 1 if findings.broken else 0


def _stage(folder: str, rng: random.Random, options: argparse.Namespace) -> Stage:
    return Stage(Path(folder), rng, workers=options.workers)


def _together(told: Sequence[dict[str, float]]) -> dict[str, float]:
    figures = defaultdict[str, float](int)
    for each in told:
        for name, number in each.items():
            figures[name] += number
    sums = dict(figures)
    sent, wanted = sums.pop("bytes_sent", 0), sums.pop("bytes_wanted", 0)
    return sums | {"bytes_sent_over_bytes_wanted": round(sent / wanted, 3) if wanted else 0.0}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture")
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--workers", type=int, default=4, help="worker processes per stage")
    parser.add_argument("--stages", type=int, default=2 * (os.cpu_count() or 1), help="at the same time")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--patience", type=float, default=180.0, help="seconds for the rest of the jobs afterwards")
    parser.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
