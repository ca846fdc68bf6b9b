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
    from comfy_doctor.choices import Form, Which
    from comfy_doctor.comfyui.install import Install
    from comfy_doctor.outlook import Outlook
    from comfy_doctor.render import Narrator
    from comfy_doctor.resolve import Tell
    from comfy_doctor.settings import DoctorSettings
    from comfy_doctor.watch import Shows
    from download_worker.engines.local import LocalEngine
    from download_worker.jobs.counter import Counter
    from download_worker.settings import Settings

STOP_SECONDS = 6
GLANCE_SECONDS = 2.0
"""For so long a look at the server and the shelves serves a watch."""


@dataclass(frozen=True)
class Desk:
    """Both halves of the settings of one home."""

    worker: Settings
    doctor: DoctorSettings


def desk(
    home: Path | None,
    comfyui: Path | None = None,
    server: str | None = None,
    extra_paths: Path | None = None,
    *,
    offline: bool = False,
) -> Desk:
    from comfy_doctor.settings import load_doctor
    from download_worker.settings import find_home, load

    found = find_home(home)
    doctor = load_doctor(found, comfyui=comfyui, server=server, extra_paths=extra_paths, offline=offline)
    return Desk(load(found), doctor)


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


def look_out(here: Desk) -> Outlook:
    """Raises DoctorTrouble(no_comfyui, several_comfyui, bad_extra_paths)."""
    from comfy_doctor.outlook import look_out

    return look_out(here.worker, here.doctor, install_of(here))


def diagnose(here: Desk, paths: Sequence[str]) -> Report:
    return look_out(here).diagnosis(paths).report()


def plan(
    here: Desk, paths: Sequence[str], which: Which, output: Path | None, *, nodes: bool, form: Form, tell: Tell
) -> Report:
    """Raises DoctorTrouble(bad_plan) where the file cannot be written."""
    from comfy_doctor.plan import plan_for, plan_report
    from comfy_doctor.plan_file import write_plan
    from comfy_doctor.plan_forms import FORMS
    from comfy_doctor.sources import sources_of

    seen = look_out(here)
    diagnosis = seen.diagnosis(paths)
    made = plan_for(diagnosis, sources_of(seen, tell), which, with_nodes=nodes)
    report = plan_report(diagnosis, made)
    if output is not None:
        write_plan(output, made, plan_key(here))
        report = replace(report, messages=(*report.messages, f"written to {output}"))
    if form != "plan":
        report = replace(report, data={**report.data, "text": FORMS[form](made.items)})
    return report


def plan_key(here: Desk) -> Path:
    return here.worker.state / "plan.key"


def apply(here: Desk, file: Path, narrator: Narrator) -> Report:
    from comfy_doctor.apply import apply
    from comfy_doctor.plan_file import read_plan

    install = install_of(here)
    tasks, own = read_plan(file, install.models_root, plan_key(here))
    with counter_of(here) as counter, narrator:
        report = apply(tasks, counter, install.models_root, narrator, own=own)
    return _with_word_about_workers(here, report)


def fix(
    here: Desk,
    paths: Sequence[str],
    narrator: Narrator,
    umask: int,
    which: Which = "required",
    *,
    rewrites: bool = False,
) -> Report:
    from comfy_doctor.fix import Cure, fix
    from comfy_doctor.plan import plan_for
    from comfy_doctor.sources import sources_of

    seen = look_out(here)
    workers = WorkerAtHand(here, umask)
    with counter_of(here) as counter, narrator:
        cure = Cure(
            look=lambda: seen.diagnosis(paths),
            plan=lambda found: plan_for(found, sources_of(seen, narrator.say), which),
            models_root=seen.install.models_root,
            counter=counter,
            workers=workers,
            audience=narrator,
            rewrites=rewrites,
        )
        try:
            return fix(cure)
        finally:
            workers.stop()


def restore(here: Desk, file: Path, narrator: Narrator, umask: int, which: Which) -> Report:
    """Raises DoctorTrouble(no_manifest)."""
    from comfy_doctor.manifests.manifest import place_of_manifest
    from comfy_doctor.troubles import DoctorCode, DoctorTrouble

    manifest = place_of_manifest(file)
    if manifest is None or not manifest.is_file():
        raise DoctorTrouble(DoctorCode.NO_MANIFEST, f"{file} is no lock file and no manifest")
    return fix(here, [str(file)], narrator, umask, which)


def lock(here: Desk, paths: Sequence[str], output: Path) -> Report:
    """Raises DoctorTrouble(bad_lock)."""
    from functools import partial

    from comfy_doctor.comfyui.packs import read_packs
    from comfy_doctor.library.digests import Digests
    from comfy_doctor.lock import fetched_from, lock
    from download_worker.leash import Leash

    seen = look_out(here)
    digests = Digests(here.worker.state / "digests.db")
    packs = read_packs(seen.install.node_roots)
    with counter_of(here) as counter:
        fetched = partial(fetched_from, counter)
        return lock(seen.diagnosis(paths), packs, output, lambda path: digests.digest_of(path, Leash()), fetched)


def watch(here: Desk, folder: Path, shown: Shows, tell: Tell, *, apply: bool) -> Report:
    """Until interrupted. Raises DoctorTrouble(bad_watch)."""
    import threading
    import time

    from comfy_doctor.apply import carry_out, tasks_of
    from comfy_doctor.comfyui.shelves import Inventory
    from comfy_doctor.plan import plan_for
    from comfy_doctor.sources import sources_of
    from comfy_doctor.watch import Looked, watch

    seen, shelves, until = look_out(here), Inventory(install_of(here)), 0.0

    def look(path: Path) -> Looked:
        nonlocal seen, shelves, until
        if time.monotonic() >= until:  # servers and files come and go; many files of one moment share one look
            seen, shelves, until = look_out(here), Inventory(install_of(here)), time.monotonic() + GLANCE_SECONDS
        diagnosis = seen.diagnosis([path], shelves)
        report = diagnosis.report()
        whole = not any(case.document.error for case in diagnosis.cases)
        if not (apply and whole):
            return Looked(report, whole)
        items = plan_for(diagnosis, sources_of(seen, tell), with_nodes=False).items
        with counter_of(here) as counter:
            done = carry_out(tasks_of(items), counter, seen.install.models_root)
        messages = (*report.messages, *done.words())
        return Looked(replace(report, messages=messages, errors=(*report.errors, *done.errors)), whole)

    return watch(folder, look, shown, threading.Event(), tell=tell)


def reporter(*, as_json: bool, quiet: bool, color: bool) -> Shows:
    """Shows one report after another: for people, or one JSON document per line."""
    import json

    def shown(report: Report) -> None:
        if as_json:
            sys.stdout.write(json.dumps(report.envelope(), sort_keys=True) + "\n")
            sys.stdout.flush()
        else:
            show(report, quiet=quiet, color=color)

    return shown


def _with_word_about_workers(here: Desk, report: Report) -> Report:
    if workers_alive(here) or not report.data.get("jobs"):
        return report
    return replace(report, messages=(*report.messages, "no worker is running: start one with `download-worker run`"))


def enqueue(here: Desk, filename: str | None, request: Mapping[str, Any], priority: int) -> Report:
    from comfy_doctor.job_verbs import enqueue, filename_in
    from download_worker.jobs.job import ModelInfo

    info = ModelInfo(expected_filename=filename or filename_in(request["download_url"]), **request)
    models_root = install_of(here).models_root
    with counter_of(here) as counter:
        return _with_word_about_workers(here, enqueue(counter, info, models_root, priority=priority))


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
