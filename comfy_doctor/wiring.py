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
from download_worker.errors import Code, GiveUp, Trouble, TryLater
from download_worker.report import Report

if TYPE_CHECKING:
    from comfy_doctor.asking import Asker
    from comfy_doctor.choices import Form, Which
    from comfy_doctor.comfyui.install import Install
    from comfy_doctor.diagnose import Diagnosis, Sight
    from comfy_doctor.needs import Candidate
    from comfy_doctor.node_packs.channel import Channel
    from comfy_doctor.plan import Sources
    from comfy_doctor.render import Narrator
    from comfy_doctor.resolve import Tell
    from comfy_doctor.resolvers.probe import Probe
    from comfy_doctor.resolvers.resolver import Resolver
    from comfy_doctor.settings import DoctorSettings
    from comfy_doctor.watch import Shows
    from download_worker.engines.local import LocalEngine
    from download_worker.jobs.counter import Counter
    from download_worker.leash import Leash
    from download_worker.settings import Settings
    from download_worker.web.session import Web

STOP_SECONDS = 6


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


def web_of(here: Desk) -> Web:
    """The door to the web; what the settings name by themselves (a server, moved endpoints) may be asked."""
    from download_worker.web.session import Web

    return Web(here.worker.model_copy(update={"allow_hosts": (*here.worker.allow_hosts, *_named_hosts(here))}))


def _named_hosts(here: Desk) -> Iterator[str]:
    from urllib.parse import urlsplit

    from comfy_doctor.settings import MANAGER_CHANNEL, REGISTRY_HOME

    doctor = here.doctor
    moved = (doctor.manager_channel, MANAGER_CHANNEL), (doctor.registry_endpoint, REGISTRY_HOME)
    for url in (doctor.server, doctor.search_url, *(url for url, usual in moved if url != usual)):
        parts = urlsplit(url or "")
        if parts.scheme in ("http", "https") and parts.hostname:
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            yield f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def asker_of(here: Desk, web: Web) -> Asker:
    from comfy_doctor.asking import AnswerCache, Asker

    cache = AnswerCache(here.worker.state / "answers.db")
    return Asker(web, cache, offline=here.doctor.offline)


@dataclass(frozen=True)
class Outlook:
    """What one run looks out of: the web, whom it asks there, and what it can see beside the disk."""

    web: Web
    asker: Asker
    channel: Channel
    sight: Sight


def outlook(here: Desk, install: Install) -> Outlook:
    from functools import partial

    from comfy_doctor.comfyui.server import Server, read_server
    from comfy_doctor.diagnose import Sight
    from comfy_doctor.node_packs.channel import Channel, installed_lists
    from comfy_doctor.node_packs.directory import PackDirectory
    from comfy_doctor.node_packs.registry import Registry
    from comfy_doctor.workflows.raw_url import read_url_document

    web = web_of(here)
    asker = asker_of(here, web)
    offline = here.doctor.offline
    answer = read_server(here.doctor.server, web) if here.doctor.server else None
    server = answer if isinstance(answer, Server) else None
    silence = (answer.why,) if answer is not None and not isinstance(answer, Server) else ()
    channel = Channel(
        here.doctor.manager_channel,
        web=None if offline else web,
        cache=here.worker.state / "cache" / "manager",
        installed=installed_lists(install.root, install.node_roots),
    )
    registry = None if offline else Registry(asker, here.doctor.registry_endpoint)
    fetch = None if offline else partial(read_url_document, web=web)
    return Outlook(web, asker, channel, Sight(server, PackDirectory(channel, registry), fetch, silence))


def diagnosis_of(here: Desk, paths: Sequence[str], install: Install, seen: Outlook) -> Diagnosis:
    from comfy_doctor.diagnose import diagnose

    return diagnose(paths, install, seen.sight)


def diagnose(here: Desk, paths: Sequence[str]) -> Report:
    install = install_of(here)
    return diagnosis_of(here, paths, install, outlook(here, install)).report()


def sources(here: Desk, install: Install, seen: Outlook, tell: Tell) -> Sources:
    """Whom a plan asks, in the order of proof: this list is the policy."""
    import os

    from comfy_doctor.comfyui.shelves import Inventory
    from comfy_doctor.library.digests import Digests
    from comfy_doctor.plan import Sources, disk_at
    from comfy_doctor.resolvers.agent import HostSearches, agent_of
    from comfy_doctor.resolvers.civitai import CivitaiPlaces, CivitaiSearch
    from comfy_doctor.resolvers.huggingface import HuggingFaceFiles, HuggingFaceSearch
    from comfy_doctor.resolvers.local import LocalFiles, shelves_of
    from comfy_doctor.resolvers.manager_list import ManagerList
    from comfy_doctor.resolvers.probe import probe
    from comfy_doctor.resolvers.templates import Templates

    state, asker, offline = here.worker.state, seen.asker, here.doctor.offline
    agent = agent_of(here.worker, HostSearches(asker, here.doctor.search_url), offline=offline)
    resolvers: tuple[Resolver, ...] = (
        Templates(state / "cache"),
        ManagerList(lambda: _model_list(seen.channel)),
        HuggingFaceFiles(asker),
        CivitaiPlaces(asker),
        LocalFiles(lambda: shelves_of(Inventory(install)), Digests(state / "digests.db")),
        HuggingFaceSearch(asker),
        CivitaiSearch(asker),
        *([agent] if agent is not None else []),
    )

    def look(candidates: Sequence[Candidate], leash: Leash) -> Sequence[Probe]:
        return asker.side_by_side(lambda candidate: probe(candidate, seen.web, leash), candidates)

    return Sources(
        resolvers,
        None if offline else look,
        disk_at,
        is_set=lambda variable: bool(os.environ.get(variable)) or _has_token(here, variable),
        reserve=here.worker.disk_reserve_bytes,
        tell=tell,
    )


def _model_list(channel: Channel) -> bytes:
    """Raises TryLater where the list is nowhere to be had."""
    import json

    from comfy_doctor.node_packs.channel import MODEL_LIST

    file = channel.file(MODEL_LIST)
    if file.document is None:
        raise TryLater(Code.NO_CONNECTION, file.message or "the Manager's list is nowhere to be had")
    return json.dumps(file.document).encode()


def _has_token(here: Desk, variable: str) -> bool:
    return getattr(here.worker, variable.lower(), None) is not None


def plan(
    here: Desk, paths: Sequence[str], which: Which, output: Path | None, *, nodes: bool, form: Form, tell: Tell
) -> Report:
    """Raises DoctorTrouble(bad_plan) where the file cannot be written."""
    from comfy_doctor.plan import plan_for, plan_report
    from comfy_doctor.plan_file import write_plan
    from comfy_doctor.plan_forms import FORMS

    install = install_of(here)
    seen = outlook(here, install)
    diagnosis = diagnosis_of(here, paths, install, seen)
    made = plan_for(diagnosis, sources(here, install, seen, tell), which, with_nodes=nodes)
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

    install = install_of(here)
    seen = outlook(here, install)
    workers = WorkerAtHand(here, umask)
    with counter_of(here) as counter, narrator:
        cure = Cure(
            look=lambda: diagnosis_of(here, paths, install, seen),
            plan=lambda found: plan_for(found, sources(here, install, seen, narrator.say), which),
            models_root=install.models_root,
            counter=counter,
            workers=workers,
            audience=narrator,
            rewrites=rewrites,
        )
        try:
            return fix(cure)
        finally:
            workers.stop()


def lock(here: Desk, paths: Sequence[str], output: Path) -> Report:
    """Raises DoctorTrouble(bad_lock)."""
    from functools import partial

    from comfy_doctor.comfyui.packs import read_packs
    from comfy_doctor.library.digests import Digests
    from comfy_doctor.lock import fetched_from, lock
    from download_worker.leash import Leash

    install = install_of(here)
    diagnosis = diagnosis_of(here, paths, install, outlook(here, install))
    digests = Digests(here.worker.state / "digests.db")
    with counter_of(here) as counter:
        return lock(
            diagnosis,
            read_packs(install.node_roots),
            output,
            lambda path: digests.digest_of(path, Leash()),
            partial(fetched_from, counter),
        )


def watch(here: Desk, folder: Path, shown: Shows, tell: Tell, *, apply: bool) -> Report:
    """Until interrupted. Raises DoctorTrouble(bad_watch)."""
    import threading

    from comfy_doctor.apply import carry_out, tasks_of
    from comfy_doctor.plan import plan_for
    from comfy_doctor.watch import Looked, watch

    install = install_of(here)

    def look(path: Path) -> Looked:
        seen = outlook(here, install)
        diagnosis = diagnosis_of(here, [str(path)], install, seen)
        report = diagnosis.report()
        whole = not any(case.document.error for case in diagnosis.cases)
        if not (apply and whole):
            return Looked(report, whole)
        items = plan_for(diagnosis, sources(here, install, seen, lambda text: None), with_nodes=False).items
        with counter_of(here) as counter:
            done = carry_out(tasks_of(items), counter, install.models_root)
        words = [f"queued: {entry.job.model_info.expected_filename}" for entry in done.added if not entry.deduplicated]
        words += [f"{task.name}: {task.why}" for task in done.left]
        return Looked(
            replace(report, messages=(*report.messages, *done.linked, *words), errors=(*report.errors, *done.errors)),
            whole,
        )

    return watch(folder, look, shown, threading.Event(), tell=tell)


def reporter(*, as_json: bool, quiet: bool, color: bool) -> Shows:
    """Shows one report after another: for people, or one JSON document per line."""
    import json

    def shown(report: Report) -> None:
        if as_json:
            sys.stdout.write(json.dumps(report.envelope(), sort_keys=True, ensure_ascii=False) + "\n")
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
