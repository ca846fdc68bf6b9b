"""`download-worker`: run the worker, look at it, make a service of it. Commands only carry options to verbs."""

from __future__ import annotations

import os
import signal
import sys
import threading
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from download_worker import service, wiring
from download_worker.clock import SystemClock
from download_worker.command_line import Common, complain, private_umask, program_options, run, verb
from download_worker.report import ExitCode, Report
from download_worker.text import safe_text

if TYPE_CHECKING:
    from download_worker.engines.engine import Engine
    from download_worker.jobs.job import Job, JobId
    from download_worker.settings import Settings

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Fetches, proves and places the files that comfy-doctor asked for.",
)
app.callback()(program_options)


def main() -> int:
    return run(app, "download-worker")


def _render(report: Report, common: Common) -> None:
    complain(report)
    if not common.quiet:
        for message in report.messages:
            sys.stdout.write(f"{safe_text(message)}\n")


@verb(app, Common, _render, "run")
def run_worker(
    common: Common,
    jobs: Annotated[int | None, typer.Option(help="Jobs at once.", min=1, max=64, show_default=False)] = None,
    drain: Annotated[bool, typer.Option("--drain", help="End when nothing is left to do, now or later.")] = False,
) -> Report:
    """Work until SIGTERM, which finishes or gives back within 5 seconds; a second one ends at once.

    Example: download-worker run --jobs 4
    """
    umask = private_umask()
    settings = wiring.settings(common.home, jobs=jobs)
    wiring.set_up_logs(settings, verbose=common.verbose, terminal=not common.quiet)
    with wiring.engine_of(settings, umask) as engine:
        _obey_signals(engine)
        well = engine.run(drain=drain)
    if not drain:
        return Report("run", messages=("the worker has stopped; what was not finished resumes where it was",))
    word = "every job ended in SUCCESS" if well else "not every job ended in SUCCESS: see `comfy-doctor jobs`"
    return Report("run", ExitCode.OK if well else ExitCode.FINDINGS, messages=(word,))


@verb(app, Common, _render, "status")
def status(common: Common) -> Report:
    """Which workers run, how many jobs are in which state, how fast each host sends, and which jobs wait and why.

    Example: download-worker status --json
    """
    private_umask()
    settings = wiring.settings(common.home)
    wiring.set_up_logs(settings, terminal=not common.json and not common.quiet, file=False)
    with wiring.ledger_of(settings) as ledger, wiring.bell_of(settings) as bell:
        workers = wiring.owners(settings).living()
        held = [holding.claim for holding in ledger.holdings()]
        counts = {str(word): number for word, number in ledger.counts().items()}
        hosts, waiting = wiring.traffic_of(ledger, SystemClock().now())
        data = {
            "home": str(settings.home),
            "workers": [
                {"worker": worker, "jobs": [claim.job_id for claim in held if claim.worker == worker]}
                for worker in workers
            ],
            "jobs": counts,
            "hosts": [host.as_json() for host in hosts],
            "waiting": [each.as_json() for each in waiting],
            "queue_paused": ledger.queue_paused(),
            "rings_set_aside": bell.aside_count(),
        }
    running = f"{len(workers)} worker{'s' * (len(workers) != 1)} running" if workers else "no worker is running"
    line = ", ".join(f"{number} {word}" for word, number in counts.items())
    messages = (f"{running} in {settings.home}", line, *map(str, (*hosts, *waiting)))
    return Report("status", data=data, messages=messages)


@verb(app, Common, _render, "limits")
def limits(
    common: Common,
    total: Annotated[str | None, typer.Option(metavar="RATE", help="For all together.", show_default=False)] = None,
    host: Annotated[
        list[str] | None, typer.Option(metavar="HOST=RATE", help="Of one host; again for others.", show_default=False)
    ] = None,
    job: Annotated[
        list[str] | None, typer.Option(metavar="ID=RATE", help="Of one job; again for others.", show_default=False)
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Forget what was said here before.")] = False,
) -> Report:
    """How fast downloads may be; a change is heard by running workers within 2 seconds, and outranks the config file.

    Example: download-worker limits --total 20MiB/s --host huggingface.co=5MB/s
    """
    from download_worker.pace import orders, telling  # noqa: PLC0415 - pydantic, which `--help` must not wait for

    private_umask()
    settings = wiring.settings(common.home)
    wiring.set_up_logs(settings, terminal=not common.json and not common.quiet, file=False)
    if total is not None or host or job or clear:
        find = partial(_find_job, settings)
        orders.carry_out(orders.wish(total, host or (), job or (), clear=clear, find=find), settings, find)
    now = SystemClock().now().astimezone()
    return telling.limits_report(settings.limits, orders.read_orders(settings.state), now)


def _find_job(settings: Settings, job_id: JobId) -> Job:
    """Opens the ledger only here: a limit for all must not wait for it."""
    with wiring.ledger_of(settings) as ledger:
        return ledger.get(job_id)


@verb(app, Common, _render, "install-service")
def install_service(
    common: Common,
    user: Annotated[bool, typer.Option("--user", help="For this user only; needs no root.")] = False,
    print_only: Annotated[bool, typer.Option("--print", help="Only show the unit.")] = False,
) -> Report:
    """Make a systemd service of the worker, and start it.

    Example: download-worker install-service --user --print
    """
    settings = wiring.settings(common.home)
    path, unit = service.unit_path(user=user), service.unit_text(settings.home, user=user)
    if print_only:
        if not common.json:
            sys.stdout.write(unit)
        return Report("install-service", data={"path": str(path), "unit": unit})
    path, commands = service.install(settings.home, user=user)
    data = {"path": str(path), "unit": unit, "commands": list(commands)}
    return Report("install-service", data=data, messages=(f"wrote {path}", *(f"ran: {c}" for c in commands)))


def _obey_signals(engine: Engine) -> None:
    """The first signal stops the engine; the second one, whichever it is, ends the process.

    So does patience: whatever holds the stop up (a ledger that somebody else keeps locked), every step is resumable.
    """

    def obey(_number: int, _frame: FrameType | None) -> None:
        for either in _STOPS:
            signal.signal(either, lambda number, _frame: os._exit(128 + number))
        last_resort = threading.Timer(STOP_LIMIT_SECONDS, os._exit, (ExitCode.OK,))
        last_resort.daemon = True
        last_resort.start()
        engine.stop()

    for either in _STOPS:
        signal.signal(either, obey)


STOP_LIMIT_SECONDS = 4.7
_STOPS = (signal.SIGTERM, signal.SIGINT)
