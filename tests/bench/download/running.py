"""One scenario, run interleaved: in every round each contender once, in an order that rotates, then the limits.

A peer that failed, or that took far longer than the best one in the first round, is not asked again: it cannot be the
best, and the table says how often it ran.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.download.contenders import PEERS, run_peer
from tests.bench.download.goods import MIB, Certificates, Stock, Ware, certificates
from tests.bench.download.limits import Limits, measured_limits
from tests.bench.download.longpipe import long_pipe
from tests.bench.download.measuring import Cost, Failed
from tests.bench.download.ours import IN_WORKER, OURS, run_ours, running_worker
from tests.bench.download.scenarios import Scenario
from tests.bench.download.servers import Place, Server, Told, serving

HOPELESS_RATIO = 2.0
HOPELESS_SECONDS = 4.0

Contend = Callable[[Path], Cost]


@dataclass(slots=True)
class Runs:
    """What one contender did, round after round."""

    costs: list[Cost] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Outcome:
    key: str
    scenario: Scenario
    server: str
    runs: dict[str, Runs]
    limits: list[Limits]
    load: float


def run_scenario(key: str, scenario: Scenario, rounds: int, stock: Stock, folder: Path) -> Outcome:
    """`folder` is new, and everything is below it. Raises Failed, CalledProcessError: the surroundings."""
    folder.mkdir()
    wares = stock.wares(scenario.files, scenario.megabytes * MIB)
    with ExitStack() as stack:
        place = stack.enter_context(long_pipe(scenario.link, folder)) if scenario.link else Place()
        made = certificates(folder / "tls", place.host)
        server = stack.enter_context(serving(stock.folder, folder / "server", scenario.door, place, made))
        contenders = _contenders(scenario, server, wares, made, place)
        home = folder / "worker"
        home.mkdir()
        worker = stack.enter_context(running_worker(home, server.base, made.authority, place.client_side))
        contenders[IN_WORKER] = lambda below: worker.run(server.base, wares, below)
        outcome = Outcome(key, scenario, server.program, {name: Runs() for name in contenders}, [], os.getloadavg()[0])
        for number in range(rounds):
            _round(number, contenders, outcome, server, folder)
            if not scenario.link_seconds():
                sizes = {server.url(ware.name): ware.size_bytes for ware in wares}
                outcome.limits.append(measured_limits(sizes, folder, made.authority))
                server.told()
    return outcome


def _contenders(
    scenario: Scenario, server: Server, wares: Sequence[Ware], made: Certificates, place: Place
) -> dict[str, Contend]:
    around = (made.authority, place.client_side)
    found: dict[str, Contend] = {OURS: lambda below: run_ours(server.base, wares, below, *around)}
    for peer in (PEERS[name] for name in scenario.peers):
        if peer.missing is None:
            found[peer.name] = lambda below, peer=peer: run_peer(peer, server.base, wares, below, *around)  # type: ignore[misc]
    return found


def _round(number: int, contenders: dict[str, Contend], outcome: Outcome, server: Server, folder: Path) -> None:
    names = [name for name in contenders if not _hopeless(name, outcome)]
    first = number % len(names)
    for name in (*names[first:], *names[:first]):
        runs = outcome.runs[name]
        with tempfile.TemporaryDirectory(dir=folder) as below:
            try:
                runs.costs.append(contenders[name](Path(below)))
                runs.told.append(server.told())
                word = f"{runs.costs[-1].seconds:.2f} s"
            except Failed as failed:
                runs.failures.append(str(failed))
                word = f"failed: {failed}"
        sys.stderr.write(f"{outcome.key} round {number + 1}  {name:20} {word}\n")


def _hopeless(name: str, outcome: Outcome) -> bool:
    if name in (OURS, IN_WORKER):
        return False
    peers = [runs.costs for peer, runs in outcome.runs.items() if runs.costs and peer not in (OURS, IN_WORKER)]
    best = min((costs[0].seconds for costs in peers), default=0.0)
    runs = outcome.runs[name]
    slowest_allowed = max(HOPELESS_SECONDS, HOPELESS_RATIO * best)
    return bool(runs.failures) or min((cost.seconds for cost in runs.costs), default=0.0) > slowest_allowed
