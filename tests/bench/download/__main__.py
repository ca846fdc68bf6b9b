"""`python -m tests.bench.download --scenarios A,T --rounds 5 --megabytes 1024 --json FILE`; see --help."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tests.bench.download import table
from tests.bench.download.contenders import PEERS
from tests.bench.download.goods import Stock
from tests.bench.download.longpipe import why_not
from tests.bench.download.measuring import Failed
from tests.bench.download.ours import IN_WORKER, OURS
from tests.bench.download.running import Outcome, run_scenario
from tests.bench.download.scenarios import QUICK, SCENARIOS, Scenario
from tests.bench.download.servers import nginx_is_here

QUICK_MEGABYTES = 16
QUICK_FILES = 20


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    return _parser().parse_args(arguments)


def run(options: argparse.Namespace) -> bool:
    """Whether every run of ours ended with the right file; a missed target is told, and is no failure."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # so that everything is taken down
    chosen, outcomes = _chosen(options), list[Outcome]()
    _say_where(options.folder or Path(tempfile.gettempdir()))
    _say_what_is_missing(chosen.values())
    try:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder, ignore_cleanup_errors=True) as temporary:
            stock = Stock(Path(temporary) / "stock")
            for key, scenario in chosen.items():
                outcomes += _tried(key, scenario, options.rounds, stock)
    except KeyboardInterrupt:
        sys.exit(130)  # everything has been taken down on the way here
    finally:
        if options.json:
            options.json.write_text(json.dumps(table.as_json(outcomes), indent=1) + "\n")
    return all(
        not outcome.runs[name].failures for outcome in outcomes for name in (OURS, IN_WORKER) if name in outcome.runs
    )


def _tried(key: str, scenario: Scenario, rounds: int, stock: Stock) -> Iterator[Outcome]:
    """The scenario's outcome, told; none where it cannot be run here, and why."""
    reason = why_not(scenario.link) if scenario.link else None
    if reason is None:
        try:
            outcome = run_scenario(key, scenario, rounds, stock, stock.folder.parent / key)
        except (Failed, subprocess.CalledProcessError) as error:
            reason = str(error)
        else:
            sys.stdout.write(table.text(outcome))
            yield outcome
    if reason is not None:
        sys.stdout.write(f"\n{key}: {scenario.title}: left out: {reason}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.download")
    parser.add_argument("--scenarios", default="", help=f"some of {','.join(SCENARIOS)}; all by default")
    parser.add_argument("--rounds", type=int, default=5, help="how often each contender runs")
    parser.add_argument("--megabytes", type=int, help="MiB of the one large file, where a scenario has one")
    parser.add_argument("--quick", action="store_true", help="one round of small files: does it all still run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    parser.add_argument("--folder", type=Path, help="where to write, on the disk to be measured; removed afterwards")
    return parser


def _chosen(options: argparse.Namespace) -> dict[str, Scenario]:
    keys = [key for key in options.scenarios.upper().split(",") if key] or list(QUICK if options.quick else SCENARIOS)
    unknown = [key for key in keys if key not in SCENARIOS]
    if unknown:
        sys.exit(f"unknown scenario {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    if options.quick:
        options.rounds = 1
    return {key: _sized(SCENARIOS[key], options) for key in keys}


def _sized(scenario: Scenario, options: argparse.Namespace) -> Scenario:
    if options.quick:
        megabytes = min(scenario.megabytes, QUICK_MEGABYTES)
        return replace(scenario, megabytes=megabytes, files=min(scenario.files, QUICK_FILES))
    if options.megabytes and scenario.megabytes == 1024:
        return replace(scenario, megabytes=options.megabytes)
    return scenario


def _say_where(folder: Path) -> None:
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=False).stdout
    sys.stdout.write(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, files on {kind.strip() or 'an unknown file system'}\n"
        "Every row: digest checked, file flushed. n: runs; CPU s, MiB: of all its processes, at their peak; sent: by\n"
        "the server over the files' size; conns: connections; last: seconds until the last of them was opened.\n"
    )


def _say_what_is_missing(scenarios: Iterable[Scenario]) -> None:
    wanted = dict.fromkeys(name for scenario in scenarios for name in scenario.peers)
    for peer in (PEERS[name] for name in wanted):
        if peer.missing:
            sys.stdout.write(f"{peer.name}: left out, not installed ({peer.missing})\n")
    if not nginx_is_here():
        sys.stdout.write("nginx: not installed (apt-get install nginx-light); our own sendfile server stands in\n")


if __name__ == "__main__":
    sys.exit(0 if run(parsed(sys.argv[1:])) else 1)
