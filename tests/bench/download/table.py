"""Medians, ratios and targets of one scenario, as text and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tests.bench.download.goods import MIB
from tests.bench.download.ours import IN_WORKER, OURS
from tests.bench.download.running import Outcome, Runs
from tests.bench.download.scenarios import BEST, LIMIT, Target

COLUMNS = (
    ("n", 3),
    ("median", 8),
    ("min", 8),
    ("max", 8),
    ("CPU s", 8),
    ("MiB", 6),
    ("sent", 7),
    ("conns", 6),
    ("last", 6),
)
MAX_SPREAD = 1.5
RATIOS = (("×limit", 8), ("×ours", 7))
HEAD = " " * 20 + "".join(f"{name:>{width}}" for name, width in (*COLUMNS, *RATIOS))


class Row(NamedTuple):
    """Medians of one contender. `sent` is what the server sent over the files' size; `last_seconds` is when its last
    connection was opened, counted from its first."""

    name: str
    n: int
    seconds: float
    min_seconds: float
    max_seconds: float
    cpu_seconds: float
    peak_mib: float | None
    sent: float
    connections: int
    last_seconds: float


class Verdict(NamedTuple):
    """`met` is None where the limit that it stands on was not sound."""

    target: str
    found: float
    met: bool | None

    @property
    def word(self) -> str:
        return {True: "met", False: "MISSED", None: "UNSURE"}[self.met]


def rows(outcome: Outcome) -> dict[str, Row]:
    """Of those that ended well at least once and never failed."""
    whole = outcome.scenario.files * outcome.scenario.megabytes * MIB
    return {name: _row(name, runs, whole) for name, runs in outcome.runs.items() if runs.costs and not runs.failures}


def _row(name: str, runs: Runs, whole_bytes: int) -> Row:
    seconds = [cost.seconds for cost in runs.costs]
    peaks = [cost.peak_bytes for cost in runs.costs if cost.peak_bytes is not None]
    return Row(
        name,
        len(seconds),
        statistics.median(seconds),
        min(seconds),
        max(seconds),
        statistics.median(cost.cpu_seconds for cost in runs.costs),
        statistics.median(peaks) / MIB if peaks else None,
        statistics.median(told.sent_bytes for told in runs.told) / whole_bytes,
        int(statistics.median(told.connections for told in runs.told)),
        statistics.median(told.last_opened_seconds for told in runs.told),
    )


def limit_seconds(outcome: Outcome) -> float:
    """The longest of the least seconds seen for each: a busy neighbour only ever adds to a limit."""
    return outcome.scenario.link_seconds() or max(min(seconds) for seconds in _each_limit(outcome))


def limit_is_sound(outcome: Outcome) -> bool:
    """False when the machine was too busy to tell its limits: they varied, or somebody was faster than they are."""
    if not outcome.limits:
        return True
    steady = all(statistics.median(seconds) <= MAX_SPREAD * min(seconds) for seconds in _each_limit(outcome))
    return steady and all(row.min_seconds >= limit_seconds(outcome) for row in rows(outcome).values())


def _each_limit(outcome: Outcome) -> list[tuple[float, ...]]:
    return list(zip(*outcome.limits, strict=True))


def verdicts(outcome: Outcome) -> list[Verdict]:
    """What became of each target; one that has nothing to be compared with is left out."""
    found = rows(outcome)
    judged_names = (OURS, IN_WORKER) if outcome.scenario.process_is_judged else (IN_WORKER,)
    peers = [row for name, row in found.items() if name not in (OURS, IN_WORKER)]
    best = min(peers, key=lambda row: row.seconds, default=None)
    named = {row.name: row for row in peers} | ({BEST: best} if best else {})
    judged = (
        (target, _judged(target, found[name], named, limit_seconds(outcome)))
        for name in judged_names
        if name in found
        for target in outcome.scenario.targets
    )
    sound = limit_is_sound(outcome)
    return [
        verdict if sound or target.over != LIMIT or target.of != "seconds" else verdict._replace(met=None)
        for target, verdict in judged
        if verdict is not None
    ]


def _judged(target: Target, ours: Row, peers: dict[str, Row], limit: float) -> Verdict | None:
    peer = peers.get(target.over)
    if target.of == "MiB":
        name, found = f"peak ≤ {target.ratio:.0f} MiB", ours.peak_mib
    elif target.of == "sent":
        name, found = f"sent ≤ {target.ratio} × the file", ours.sent
    elif target.over == LIMIT:
        name, found = f"≤ {target.ratio} × the limit", ours.seconds / limit
    elif peer is None:
        return None
    elif target.of == "cpu":
        name, found = f"CPU ≤ {target.ratio} × {peer.name}", ours.cpu_seconds / peer.cpu_seconds
    else:
        name, found = f"≤ {target.ratio} × {target.over}, {peer.name}", ours.seconds / peer.seconds
    if found is None:
        return None
    return Verdict(f"{'as a process' if ours.name == OURS else ours.name}: {name}", found, found <= target.ratio)


def text(outcome: Outcome) -> str:
    return "\n".join(_lines(outcome)) + "\n"


def _lines(outcome: Outcome) -> Iterator[str]:
    scenario, found = outcome.scenario, rows(outcome)
    count = f"{scenario.files} × " if scenario.files > 1 else ""
    at = f"{count}{scenario.megabytes} MiB, {outcome.server}, load {outcome.load:.1f}"
    yield f"\n{outcome.key}: {scenario.title} ({at})"
    yield _limit_line(outcome)
    yield HEAD
    for row in sorted(found.values(), key=lambda row: (row.name not in (OURS, IN_WORKER), row.seconds)):
        ours = f"{row.seconds / found[OURS].seconds:7.2f}" if OURS in found else ""
        yield f"{_row_text(row)}{row.seconds / limit_seconds(outcome):8.2f}{ours}"
    for name, runs in outcome.runs.items():
        if runs.failures:
            yield f"{name:20} failed {len(runs.failures)} × : {runs.failures[0]}"
    for verdict in verdicts(outcome):
        yield f"  {verdict.word:6}  {verdict.target}: {verdict.found:.2f}"


def _row_text(row: Row) -> str:
    peak = f"{row.peak_mib:6.0f}" if row.peak_mib is not None else f"{'–':>6}"
    seconds = f"{row.seconds:8.2f}{row.min_seconds:8.2f}{row.max_seconds:8.2f}{row.cpu_seconds:8.2f}"
    return f"{row.name:20}{row.n:3}{seconds}{peak}{row.sent:7.3f}{row.connections:6}{row.last_seconds:6.1f}"


def _limit_line(outcome: Outcome) -> str:
    if not outcome.limits:
        return f"limit {limit_seconds(outcome):.2f} s: all bytes at the full rate"
    parts = zip(("receive", "write + fsync", "SHA-256"), _each_limit(outcome), strict=True)
    said = " · ".join(f"{name} {min(seconds):.2f} ({statistics.median(seconds):.2f})" for name, seconds in parts)
    busy = "" if limit_is_sound(outcome) else "; the machine was too busy to tell"
    return f"limit {limit_seconds(outcome):.2f} s: the longest of {said}; least (median) of {len(outcome.limits)}{busy}"


def as_json(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    return [
        {
            "scenario": outcome.key,
            "title": outcome.scenario.title,
            "server": outcome.server,
            "load": outcome.load,
            "limit_seconds": limit_seconds(outcome),
            "limit_is_sound": limit_is_sound(outcome),
            "limits": [limits._asdict() for limits in outcome.limits],
            "contenders": [row._asdict() for row in rows(outcome).values()],
            "runs": {name: [cost._asdict() for cost in runs.costs] for name, runs in outcome.runs.items()},
            "failures": {name: runs.failures for name, runs in outcome.runs.items() if runs.failures},
            "targets": [verdict._asdict() for verdict in verdicts(outcome)],
        }
        for outcome in outcomes
    ]
