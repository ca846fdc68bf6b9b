"""Where the doctor is put together: the counter and the install that a verb needs, and who watches.

Rooms are imported when their verb is called, so that `--help` waits for none of them.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from download_worker import wiring as worker_wiring
from download_worker.errors import Code, GiveUp, Trouble
from download_worker.report import Report

if TYPE_CHECKING:
    from comfy_doctor.comfyui.install import Install
    from comfy_doctor.render import Narrator
    from comfy_doctor.settings import DoctorSettings
    from download_worker.engines.local import LocalEngine
    from download_worker.jobs.counter import Counter
    from download_worker.settings import Settings

STOP_SECONDS = 6


@dataclass(frozen=True)
class Desk:
    """Both halves of the settings of one home."""

    worker: Settings
    doctor: DoctorSettings


def desk(
    home: Path | None, comfyui: Path | None = None, server: str | None = None, extra_paths: Path | None = None
) -> Desk:
    from comfy_doctor.settings import load_doctor
    from download_worker.settings import find_home, load

    found = find_home(home)
    return Desk(load(found), load_doctor(found, comfyui=comfyui, server=server, extra_paths=extra_paths))


def set_up_logs(here: Desk, *, verbose: bool) -> None:
    """The doctor narrates by itself; the log of a worker in this process goes to the file."""
    worker_wiring.set_up_logs(here.worker, verbose=verbose, terminal=verbose)


def install_of(here: Desk) -> Install:
    """The ComfyUI that is meant. Raises DoctorTrouble(no_comfyui, several_comfyui, bad_extra_paths)."""
    from comfy_doctor.comfyui.install import find_install

    return find_install(here.doctor.comfyui, extra_paths=here.doctor.extra_paths)


@contextmanager
def counter_of(here: Desk) -> Iterator[Counter]:
    with worker_wiring.counter_of(here.worker) as counter:
        yield counter


def workers_alive(here: Desk) -> int:
    return len(worker_wiring.owners(here.worker).living())


def show(report: Report, *, quiet: bool, color: bool) -> None:
    from comfy_doctor.render import show

    show(report, quiet=quiet, color=color)


def narrator(*, quiet: bool, color: bool, ask: bool, agreed: bool) -> Narrator:
    from comfy_doctor.render import Narrator

    return Narrator(quiet=quiet, color=color, ask=ask, agreed=agreed)


def diagnose(here: Desk, paths: Sequence[Path]) -> Report:
    from comfy_doctor.diagnose import diagnose

    return diagnose(paths, install_of(here)).report()


def fix(here: Desk, paths: Sequence[Path], narrator: Narrator, umask: int) -> Report:
    from comfy_doctor.diagnose import diagnose
    from comfy_doctor.fix import Cure, fix

    install = install_of(here)
    workers = WorkerAtHand(here, umask)
    with counter_of(here) as counter, narrator:
        try:
            return fix(Cure(lambda: diagnose(paths, install), install.models_root, counter, workers, narrator))
        finally:
            workers.stop()


def enqueue(here: Desk, filename: str | None, request: Mapping[str, Any], priority: int) -> Report:
    from comfy_doctor.job_verbs import enqueue, filename_in
    from download_worker.jobs.job import ModelInfo

    info = ModelInfo(expected_filename=filename or filename_in(request["download_url"]), **request)
    models_root = install_of(here).models_root
    with counter_of(here) as counter:
        report = enqueue(counter, info, models_root, priority=priority)
    if workers_alive(here):
        return report
    return replace(report, messages=(*report.messages, "no worker is running: start one with `download-worker run`"))


def list_jobs(here: Desk, statuses: Sequence[str], text: str, limit: int) -> Report:
    from comfy_doctor.job_verbs import list_jobs

    with counter_of(here) as counter:
        return list_jobs(counter, statuses, text, limit)


def change_jobs(here: Desk, command: str, job_id: str | None) -> Report:
    """show, retry, cancel, pause, resume: one job, or with None all that the command means then."""
    from comfy_doctor.job_verbs import change

    with counter_of(here) as counter:
        return change(counter, command, job_id)


def prioritise(here: Desk, job_id: str, number: int) -> Report:
    from comfy_doctor.job_verbs import prioritise

    with counter_of(here) as counter:
        return prioritise(counter, job_id, number)


def prune(here: Desk, days: float) -> Report:
    with counter_of(here) as counter:
        gone = counter.prune(days)
    return Report("jobs prune", data={"jobs": [], "pruned": gone}, messages=(f"forgot {gone} jobs; their files stay",))


def dashboard(here: Desk, *, as_json: bool) -> Report:
    """Raises DoctorTrouble(no_terminal)."""
    from comfy_doctor.troubles import DoctorCode, DoctorTrouble

    if as_json:
        raise DoctorTrouble(DoctorCode.NO_TERMINAL, "the dashboard is a picture, and has nothing to say as JSON")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):  # textual draws on stderr
        raise DoctorTrouble(DoctorCode.NO_TERMINAL, "the dashboard needs a terminal, and this is none")
    from comfy_doctor.tui.app import run_dashboard

    with counter_of(here) as counter:
        run_dashboard(counter, workers=lambda: workers_alive(here))
    return Report("dashboard")


def demo(narrator: Narrator, umask: int) -> Report:
    from comfy_doctor.demo.story import tell

    @contextmanager
    def stage(home: Path, endpoint: str) -> Iterator[tuple[Counter, WorkerAtHand]]:
        from comfy_doctor.settings import DoctorSettings
        from download_worker.settings import Settings

        # Constructed, so that nothing of the user's environment comes in: no token, no model, and not their ledger.
        settings = Settings.model_construct(home=home, hf_endpoint=endpoint, backoff_base_seconds=0.2)
        here = Desk(settings, DoctorSettings())
        set_up_logs(here, verbose=False)
        workers = WorkerAtHand(here, umask)
        with counter_of(here) as counter:
            try:
                yield counter, workers
            finally:
                workers.stop()
                worker_wiring.close_logs()

    return tell(narrator, stage)


class WorkerAtHand:
    """Whoever works for this home: a worker elsewhere, or one in this process that is started when there is none."""

    def __init__(self, here: Desk, umask: int) -> None:
        self._here = here
        self._umask = umask
        self._engine: LocalEngine | None = None
        self._thread: threading.Thread | None = None
        self._trouble: Trouble | None = None
        self._stopping = threading.Event()

    def make_sure_one_runs(self) -> None:
        """Raises the Trouble that the worker of this process has died of."""
        if self._trouble is not None:
            raise self._trouble
        if self._thread is None and not workers_alive(self._here):
            self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
            self._thread.start()

    def wait(self, seconds: float) -> None:
        self._stopping.wait(seconds)

    def stop(self) -> None:
        """Finish or give back, as a worker does on SIGTERM; one that is still starting does not begin."""
        self._stopping.set()
        if self._engine is not None:
            self._engine.stop()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        try:
            with worker_wiring.engine_of(self._here.worker, self._umask) as engine:
                self._engine = engine
                if not self._stopping.is_set():  # looked at after the line above: `stop` does both in the other order
                    engine.run()
        except Trouble as trouble:
            self._trouble = trouble
        except Exception as error:  # noqa: BLE001 - whoever waits for this thread must hear that it has died
            from loguru import logger

            logger.opt(exception=error).error("the worker met a fault of ours")
            self._trouble = GiveUp(Code.INTERNAL, f"{type(error).__name__} in our own worker")
