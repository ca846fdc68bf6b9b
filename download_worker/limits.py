"""How fast downloads may be: the words of the config file and the command line, and what they mean at an hour. Pure.

Rates are bytes per second, `math.inf` where there is no limit. `Limits` is what the file says, `Orders` what was said
by hand while the worker ran; an order outranks the file, and a schedule that is open outranks the file's `total`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time
from types import MappingProxyType
from typing import Annotated, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

MAX_HOSTS = 1_000
MAX_JOBS = 1_000
MAX_SCHEDULES = 100
MAX_RATE = float(1024**4)
"""A tebibyte per second: whoever writes more means no limit."""

_UNITS = MappingProxyType(
    {"B": 1, "kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
)
_RATE = re.compile(rf"(\d{{1,16}}(?:\.\d{{1,9}})?)\s*({'|'.join(_UNITS)})?(?:/s)?", re.ASCII)
_WINDOW = re.compile(r"(\d\d?:\d\d)\s*[-–]\s*(\d\d?:\d\d)\s+(\S.*)", re.ASCII)
_HOUR = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)
_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?|[0-9a-f:.]{2,45}", re.ASCII)


def rate(word: object) -> float:
    """Bytes per second of `20 MiB/s`, `500kB/s`, `unlimited`, or a plain number. Raises ValueError."""
    if word == math.inf or (isinstance(word, str) and word.strip() == "unlimited"):
        return math.inf
    found = _RATE.fullmatch(word.strip() if isinstance(word, str) else _plain(word))
    if found is None:
        raise ValueError(f"{_shown(word)} is no rate such as “20 MiB/s”, “500 kB/s” or “unlimited”")
    value = float(found[1]) * _UNITS[found[2] or "B"]
    if not 1 <= value <= MAX_RATE:
        raise ValueError(f"{_shown(word)} is not between 1 B/s and 1024 GiB/s; to stop all downloads pause the queue")
    return value


def rate_text(value: float) -> str:
    """The shortest words that `rate` reads back as this value, but for fractions of a byte."""
    if math.isinf(value):
        return "unlimited"
    for unit in ("GiB", "GB", "MiB", "MB", "KiB", "kB"):
        number = value / _UNITS[unit]
        if number >= 1 and round(number, 2) * _UNITS[unit] == value:
            return f"{f'{number:.2f}'.rstrip('0').rstrip('.')} {unit}/s"
    return f"{value:.0f} B/s"


def check_floor(name: str, value: float, floor: float) -> None:
    """Raises ValueError: who downloads as slowly as this limit would be taken for stuck (G5)."""
    if value < floor:
        raise ValueError(f"{name} ({rate_text(value)}) is below min_bytes_per_second ({rate_text(floor)}): change one")


def _plain(word: object) -> str:
    whole = isinstance(word, int | float) and not isinstance(word, bool) and math.isfinite(word)
    return f"{word:.3f}" if whole else ""


def _shown(word: object) -> str:
    return f"“{str(word)[:60]}”"


Rate = Annotated[float, BeforeValidator(rate), PlainSerializer(rate_text)]


def host_name(word: object) -> str:
    """A host as downloads name it: lower case, no port. Raises ValueError."""
    name = str(word).strip().lower().removeprefix("[").removesuffix("]").rstrip(".")
    if not _HOST.fullmatch(name):
        raise ValueError(f"{_shown(word)} is no host name such as “huggingface.co”")
    return name


class Schedule(NamedTuple):
    """From `opens` until just before `closes`, by the clock on the wall, every day."""

    opens: time
    closes: time
    rate: float

    def is_open(self, at: time) -> bool:
        """By what the clock shows, so that an hour that comes twice, or not at all, needs no thought."""
        if self.opens < self.closes:
            return self.opens <= at < self.closes
        return at >= self.opens or at < self.closes


def schedule(word: object) -> Schedule:
    """`23:00-07:00 unlimited`. Raises ValueError."""
    found = _WINDOW.fullmatch(word.strip()) if isinstance(word, str) else None
    if found is None:
        other = "the keys that are no schedules are total, per_job and hosts"
        raise ValueError(f"{_shown(word)} is no schedule such as “23:00-07:00 unlimited”; {other}")
    opens, closes = _hour(found[1]), _hour("0:00" if found[2] == "24:00" else found[2])
    if opens == closes:
        raise ValueError(f"{_shown(word)} closes when it opens")
    return Schedule(opens, closes, rate(found[3]))


def _hour(word: str) -> time:
    found = _HOUR.fullmatch(word)
    if found is None:
        raise ValueError(f"{_shown(word)} is no time of day such as “07:00”")
    return time(int(found[1]), int(found[2]))


_Host = Annotated[str, BeforeValidator(host_name)]
_Hosts = Annotated[dict[_Host, Rate], Field(max_length=MAX_HOSTS)]


class Limits(BaseModel):
    """The table `[limits]`. Every key that it does not know is the name of a schedule, the first open one counts."""

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)
    __pydantic_extra__: dict[str, Annotated[Schedule, BeforeValidator(schedule)]] = Field(init=False)

    total: Rate = math.inf
    per_job: Rate = math.inf
    hosts: _Hosts = {}

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        return self.__pydantic_extra__

    def named(self) -> Mapping[str, float]:
        """Every rate with the name of its key."""
        hosts = {f"hosts.{host}": value for host, value in self.hosts.items()}
        windows = {name: window.rate for name, window in self.schedules.items()}
        return {"total": self.total, "per_job": self.per_job, **hosts, **windows}


class Orders(BaseModel):
    """What was said by hand. `total` is None where nothing was said of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    total: Rate | None = None
    hosts: _Hosts = {}
    jobs: Annotated[dict[str, Rate], Field(max_length=MAX_JOBS)] = {}


class Scope(NamedTuple):
    """Who shares one limit, as `total`, `host huggingface.co` or `job 1234`."""

    name: str
    rate: float


@dataclass(frozen=True)
class InForce:
    """The limits that hold now. `total_from` says who set the total: `file`, `order` or `schedule NAME`."""

    total: float = math.inf
    total_from: str = "file"
    per_job: float = math.inf
    hosts: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    jobs: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def unlimited(self) -> bool:
        return all(map(math.isinf, (self.total, self.per_job, *self.hosts.values(), *self.jobs.values())))

    def scopes(self, host: str, job: str) -> tuple[Scope, ...]:
        """The limits that a byte of this job from this host counts for; none where nothing limits it."""
        scopes = (
            Scope("total", self.total),
            Scope(f"host {host}", self.hosts.get(host, math.inf)),
            Scope(f"job {job}", self.jobs.get(job, self.per_job)),
        )
        return tuple(scope for scope in scopes if math.isfinite(scope.rate))


def in_force(limits: Limits, orders: Orders, at: time) -> InForce:
    """What holds at this local time of day."""
    total, total_from = limits.total, "file"
    window = next(((name, window) for name, window in limits.schedules.items() if window.is_open(at)), None)
    if orders.total is not None:
        total, total_from = orders.total, "order"
    elif window is not None:
        total, total_from = window[1].rate, f"schedule {window[0]}"
    return InForce(total, total_from, limits.per_job, limits.hosts | orders.hosts, orders.jobs)
