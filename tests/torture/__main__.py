"""`python -m tests.torture --kills 500 --seed 7`: the run, its checks, its figures. Exit 1 if a promise broke."""

from __future__ import annotations

import argparse
import json
import random
import secrets
import sys
import tempfile
import time
from pathlib import Path

from tests.torture.checks import Findings, check_all
from tests.torture.stage import Stage
from tests.torture.trouble import Troublemaker


def main() -> int:
    options = _options()
    rng = random.Random(options.seed)
    print(f"torture: seed {options.seed}, {options.kills} kills, {options.workers} workers", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="comfy-doctor-torture-") as folder:
        stage = Stage(Path(folder), rng, workers=options.workers)
        with stage:
            trouble = Troublemaker(stage, rng)
            while trouble.kills < options.kills:
                trouble.one_more()
                _progress(trouble.kills, options.kills)
            trouble.rest()
            stage.finish(timeout_seconds=options.patience)
            findings = check_all(stage, trouble)
    figures = trouble.figures() | findings.figures | {"seconds": round(time.monotonic() - began), "seed": options.seed}
    print(json.dumps(figures, indent=2))
    _tell(findings)
    return 1 if findings.broken else 0


def _progress(kills: int, wanted: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{kills} of {wanted} kills", end="", file=sys.stderr, flush=True)


def _tell(findings: Findings) -> None:
    for line in findings.broken:
        print(f"BROKEN: {line}", file=sys.stderr)
    print("torture: every promise held" if not findings.broken else f"torture: {len(findings.broken)} promises broken")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture")
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--patience", type=float, default=180.0, help="seconds for the rest of the jobs afterwards")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
