"""The limits as a Report: what holds now for this home, and who said so."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from download_worker.limits import InForce, Limits, Orders, Schedule, in_force, rate_text
from download_worker.report import Report


def limits_report(limits: Limits, orders: Orders, now: datetime) -> Report:
    """`now` is local. Rates in the data are bytes per second, null where there is no limit."""
    held = in_force(limits, orders, now.time())
    data = {
        "total": _rate(held.total, held.total_from),
        "per_job": _rate(held.per_job, "file"),
        "hosts": {host: _rate(value, _host_from(host, orders)) for host, value in held.hosts.items()},
        "jobs": {job: _rate(value, "order") for job, value in held.jobs.items()},
        "schedules": {name: _schedule(window, now) for name, window in limits.schedules.items()},
    }
    return Report("limits", data=data, messages=tuple(_lines(held, limits, orders, now)))


def _rate(value: float, said_by: str) -> dict[str, Any]:
    return {"bytes_per_second": None if math.isinf(value) else value, "from": said_by}


def _host_from(host: str, orders: Orders) -> str:
    return "order" if host in orders.hosts else "file"


def _schedule(window: Schedule, now: datetime) -> dict[str, Any]:
    hours = {"opens": f"{window.opens:%H:%M}", "closes": f"{window.closes:%H:%M}"}
    return hours | {
        "bytes_per_second": None if math.isinf(window.rate) else window.rate,
        "open": window.is_open(now.time()),
    }


def _lines(held: InForce, limits: Limits, orders: Orders, now: datetime) -> Iterator[str]:
    yield f"total: {rate_text(held.total)} ({held.total_from})"
    yield f"each job: {rate_text(held.per_job)} (file)"
    for host, value in held.hosts.items():
        yield f"host {host}: {rate_text(value)} ({_host_from(host, orders)})"
    for job, value in held.jobs.items():
        yield f"job {job}: {rate_text(value)} (order)"
    for name, window in limits.schedules.items():
        state = "open" if window.is_open(now.time()) else "closed"
        yield f"schedule {name}: {window.opens:%H:%M}-{window.closes:%H:%M} {rate_text(window.rate)}, {state} now"
