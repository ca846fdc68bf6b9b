"""Where the house is put together: the only module that knows every room, and the order in which they are asked.

Rooms are imported when their verb is called, so that `--help` and the doctor's own questions do not pay for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from download_worker.clock import SystemClock
from download_worker.text import Redactor

if TYPE_CHECKING:
    from datetime import datetime

    from download_worker.ballast import Ballast
    from download_worker.engines.local import LocalEngine
    from download_worker.jobs.bell import Bell
    from download_worker.jobs.counter import Counter
    from download_worker.jobs.ledger import Ledger
    from download_worker.owners import Owners
    from download_worker.settings import Settings
    from download_worker.traffic import Traffic, Waiting
    from download_worker.web.session import Web
    from download_worker.workshop import Workshop


def settings(home: Path | None, **options: object) -> Settings:
    from download_worker.settings import find_home, load

    return load(find_home(home), **options)


def owners(settings: Settings) -> Owners:
    from download_worker.owners import Owners

    return Owners(settings.state / "workers")


def ballast_of(settings: Settings) -> Ballast:
    from download_worker.ballast import Ballast

    return Ballast(settings.state / "ballast", reserve_bytes=settings.disk_reserve_bytes)


@contextmanager
def ledger_of(settings: Settings) -> Iterator[Ledger]:
    from download_worker.ballast import with_ballast
    from download_worker.database import open_engine
    from download_worker.jobs.sql_ledger import SqlLedger

    engine = with_ballast(ballast_of(settings), lambda: open_engine(settings.database_url))
    ledger = SqlLedger(engine, longest_wait=settings.longest_wait)
    try:
        yield ledger
    finally:
        ledger.close()


def traffic_of(ledger: Ledger, now: datetime) -> tuple[tuple[Traffic, ...], tuple[Waiting, ...]]:
    """What the hosts are sending now, and the jobs that wait for them."""
    from download_worker.jobs.job import LIVE
    from download_worker.jobs.ledger import Question
    from download_worker.traffic import MAX_JOBS_LOOKED_AT, by_host, waiting_by_host

    jobs = ledger.jobs(Question(statuses=LIVE, limit=MAX_JOBS_LOOKED_AT))
    return by_host(jobs), waiting_by_host(jobs, now)


@contextmanager
def bell_of(settings: Settings) -> Iterator[Bell]:
    from download_worker.jobs.persist_queue import PersistQueueBell

    bell = PersistQueueBell(settings.state / "queue")
    try:
        yield bell
    finally:
        bell.close()


@contextmanager
def counter_of(settings: Settings) -> Iterator[Counter]:
    """The counter of this home. A bell that cannot be opened now is no reason to refuse a job."""
    from download_worker.jobs.counter import Counter
    from download_worker.mounts import Mounts
    from download_worker.web.origins import check_url

    with ledger_of(settings) as ledger, bell_of(settings) as bell:
        yield Counter(ledger, bell, SystemClock(), lambda url: check_url(url, settings), Mounts(settings.state).check)


@contextmanager
def engine_of(settings: Settings, umask: int) -> Iterator[LocalEngine]:
    """A worker, ready to run. `umask` is the user's own: models are placed for everybody that it lets read.

    Raises TryLater(storage) where the system gives no more threads, and what the settings' web, ledger and bell do.
    """
    from concurrent.futures import ThreadPoolExecutor

    from download_worker.threads import thread_errors
    from download_worker.web.session import Web

    def web_and_libmagic() -> Web:
        import download_worker.verifiers.filetype  # noqa: F401 - asks ldconfig where libmagic is, or a compiler

        return Web(settings)  # OpenSSL reads certificates for 35 ms

    beside = ThreadPoolExecutor(1, "start")  # for what does not wait for Python; meanwhile we import the rest
    with thread_errors():
        web = beside.submit(web_and_libmagic)
    beside.shutdown(wait=False)

    from download_worker.engines.local import LocalEngine

    with ledger_of(settings) as ledger, bell_of(settings) as bell:
        shop = workshop(settings, ledger, umask, web.result)
        yield LocalEngine(shop, bell, owners(settings), ballast_of(settings))


def workshop(settings: Settings, ledger: Ledger, umask: int, make_web: Callable[[], Web] | None = None) -> Workshop:
    """What one walk needs. `make_web` where the web is being made already."""
    from download_worker.fetchers.http import HttpFetcher
    from download_worker.hosts import Hosts
    from download_worker.installers.model_file import FILE_MODE, ModelFileInstaller
    from download_worker.mounts import Mounts
    from download_worker.pace import SharedPace
    from download_worker.quarantine import Quarantine
    from download_worker.verifiers.digest import DigestVerifier
    from download_worker.verifiers.filetype import FiletypeVerifier, inspect_head
    from download_worker.verifiers.published import CivitaiPublished
    from download_worker.verifiers.rubric import ModelRubric
    from download_worker.verifiers.safetensors_file import SafetensorsVerifier
    from download_worker.volumes import Volumes
    from download_worker.web.session import Web
    from download_worker.workshop import Workshop

    web = make_web() if make_web else Web(settings)
    clock = SystemClock()
    volumes = Volumes(clock, mounts=Mounts(settings.state), reserve_bytes=settings.disk_reserve_bytes)
    hosts = Hosts(
        clock,
        probe_cap_seconds=settings.probe_cap_seconds,
        outage_patience_seconds=settings.outage_patience_seconds,
        network_patience_seconds=settings.network_patience_seconds,
    )
    return Workshop(
        settings=settings,
        clock=clock,
        ledger=ledger,
        fetcher=HttpFetcher(
            *(web, settings),
            pace=SharedPace(settings, clock=clock),
            free_bytes=volumes.free_bytes,
            file_mode=FILE_MODE & ~umask,
        ),
        inspect=inspect_head,
        verifiers=(DigestVerifier(), FiletypeVerifier(), SafetensorsVerifier()),
        rubric=ModelRubric(settings, CivitaiPublished(settings, web.get_json)),
        installer=ModelFileInstaller(umask),
        quarantine=Quarantine(settings.state, keep=settings.quarantine == "keep", keep_days=settings.keep_days),
        hosts=hosts,
        volumes=volumes,
    )


def set_up_logs(settings: Settings, *, verbose: bool = False, terminal: bool = True, file: bool = True) -> Redactor:
    from download_worker.logs import set_up

    redact = Redactor(settings.secrets())
    set_up(settings.state if file else None, redact, level="DEBUG" if verbose else "INFO", terminal=terminal)
    return redact


def close_logs() -> None:
    """Let go of the log file, so that its folder can be removed."""
    from loguru import logger

    logger.remove()
