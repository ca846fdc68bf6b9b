"""What was said about the limits by hand: `state/limits.json`, replaced in one step, heard by every running worker."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from pydantic import ValidationError

from download_worker.errors import BadRequest, Code, TryLater
from download_worker.jobs.job import Job, JobId
from download_worker.limits import MAX_HOSTS, MAX_JOBS, Orders, check_floor, host_name, rate
from download_worker.room import storage_errors
from download_worker.settings import Settings

ORDERS_NAME = "limits.json"
MAX_ORDERS_BYTES = 1024 * 1024
LOCK_SECONDS = 10.0
RATES_HINT = "give a rate such as 20MiB/s, 500kB/s or unlimited; for one host or job as NAME=RATE"

FindJob = Callable[[JobId], Job]
"""The one job whose id begins so. Raises BadRequest(unknown_job)."""


@dataclass(frozen=True)
class Wish:
    """What a person asks for. `clear` forgets all that was ordered before; job ids are whole."""

    total: float | None
    hosts: Mapping[str, float]
    jobs: Mapping[str, float]
    clear: bool


def wish(total: str | None, hosts: Sequence[str], jobs: Sequence[str], *, clear: bool, find: FindJob) -> Wish:
    """From the words of the command line: a rate, and `NAME=RATE` for hosts and jobs.

    Raises:
        BadRequest: bad_setting, unknown_job.
    """
    with _wrong_option("--total"):
        whole = None if total is None else rate(total)
    by_host: dict[str, float] = {}
    for word in hosts:
        with _wrong_option("--host"):
            name, value = _pair(word)
            by_host[host_name(name)] = value
    by_job: dict[str, float] = {}
    for word in jobs:
        with _wrong_option("--job"):
            name, value = _pair(word)
        by_job[find(JobId(name)).job_id] = value
    return Wish(whole, by_host, by_job, clear)


def read_orders(state: Path) -> Orders:
    """What holds now; nothing when there is no file.

    Raises:
        BadRequest: bad_setting, naming the file. GiveUp: it cannot be read.
    """
    path = state / ORDERS_NAME
    try:
        with storage_errors(path), suppress(FileNotFoundError), path.open("rb") as file:
            return Orders.model_validate_json(file.read(MAX_ORDERS_BYTES))
        return Orders()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "its text"
        hint = "forget what was ordered with `download-worker limits --clear`"
        raise BadRequest(Code.BAD_SETTING, f"{path}: {where}: {first['msg']}", hint=hint) from error


def carry_out(wish: Wish, settings: Settings, find: FindJob) -> None:
    """Write the orders anew; those for jobs that have ended go.

    Raises:
        BadRequest: bad_setting, for what contradicts `min_bytes_per_second` (G5), or is too much.
        TryLater or GiveUp: the disk, or somebody else who does the same and does not end.
    """
    _check(wish, settings.min_bytes_per_second)
    path = settings.state / ORDERS_NAME
    with storage_errors(path):
        settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with FileLock(settings.state / "limits.lock", timeout=LOCK_SECONDS, mode=0o600):
                before = Orders() if wish.clear else read_orders(settings.state)
                _replace(path, _obeyed(wish, before, find))
        except TimeoutError as error:
            raise TryLater(Code.STORAGE, f"another process holds {path.with_suffix('.lock')}") from error


def _check(wish: Wish, floor: float) -> None:
    rates = {"--total": wish.total, **{f"--host {host}": value for host, value in wish.hosts.items()}}
    rates |= {f"--job {job_id}": value for job_id, value in wish.jobs.items()}
    for option, value in rates.items():
        if value is not None:
            with _wrong_option():
                check_floor(option, value, floor)


def _obeyed(wish: Wish, before: Orders, find: FindJob) -> Orders:
    live = {job_id: value for job_id, value in before.jobs.items() if _is_live(job_id, find)}
    hosts, jobs = {**before.hosts, **wish.hosts}, {**live, **wish.jobs}
    if len(hosts) > MAX_HOSTS or len(jobs) > MAX_JOBS:
        raise BadRequest(Code.BAD_SETTING, f"more than {MAX_HOSTS} hosts or {MAX_JOBS} jobs with a limit of their own")
    return Orders(total=before.total if wish.total is None else wish.total, hosts=hosts, jobs=jobs)


def _is_live(job_id: str, find: FindJob) -> bool:
    with suppress(BadRequest):
        return find(JobId(job_id)).live
    return False


def _replace(path: Path, orders: Orders) -> None:
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(orders.model_dump_json(exclude_defaults=True, indent=1))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _pair(word: str) -> tuple[str, float]:
    name, sign, value = word.rpartition("=")
    if not sign or not name:
        raise ValueError(f"“{word[:80]}” is not of the form NAME=RATE")
    return name, rate(value)


@contextmanager
def _wrong_option(option: str = "") -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise BadRequest(Code.BAD_SETTING, f"{option} {error}".strip(), hint=RATES_HINT) from error
