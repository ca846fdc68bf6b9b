"""The whole cure: look, plan, ask, hand in, watch, look again. Only the second look may say that something was mended.

The verb asks and tells through the small protocols below; who answers them (a terminal, a script, a test) is not its
business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from comfy_doctor.diagnose import Diagnosis
from comfy_doctor.job_verbs import public
from comfy_doctor.plan import Item, make_plan
from download_worker.errors import Trouble
from download_worker.jobs.counter import Counter
from download_worker.jobs.job import Job, JobId, ModelInfo, Status
from download_worker.jobs.ledger import Added
from download_worker.report import Complaint, ExitCode, Report

WATCH_SECONDS = 0.2


class Audience(Protocol):
    """Who watches, on this side of the screen."""

    def planned(self, plan: Sequence[Item]) -> bool:
        """Show the plan; True to go on."""
        ...

    def dispatched(self, added: Added) -> None: ...

    def watching(self, jobs: Sequence[Job]) -> None:
        """The same jobs again and again until they have ended."""
        ...


class Workers(Protocol):
    """Who does the work: a worker elsewhere, or one that is started here when there is none."""

    def make_sure_one_runs(self) -> None: ...

    def wait(self, seconds: float) -> None: ...


@dataclass(frozen=True)
class Cure:
    look: Callable[[], Diagnosis]
    models_root: Path
    counter: Counter
    workers: Workers
    audience: Audience


def fix(cure: Cure) -> Report:
    before = cure.look()
    plan = make_plan(before.models)
    to_fetch = [item for item in plan if item.action == "download"]
    if not plan:
        word = "nothing to do: every model is in its place" if before.models else "nothing to do: no model is asked for"
        return _report(before, plan, {}, before.report().exit_code, word)
    if not to_fetch:
        return _report(before, plan, {}, ExitCode.FINDINGS, "nothing to fetch", *_left(plan))
    if not cure.audience.planned(plan):
        return _report(before, plan, {}, ExitCode.FINDINGS, "nothing was changed: add --yes to go on unasked")

    added, errors = _hand_in(cure, to_fetch)
    ended, waiting = _watch(cure, [entry.job.job_id for entry in added])
    after = cure.look()
    jobs = {entry.job.job_id: public(Added(ended[entry.job.job_id], entry.deduplicated)) for entry in added}
    still = {item.model.need.key for item in make_plan(after.models)}
    mended = sum(item.model.need.key not in still for item in plan)
    word = f"{mended} of {len(plan)} models are in their place now"
    code = after.report().exit_code if not still else ExitCode.PARTLY if mended else ExitCode.FINDINGS
    failed = tuple(_complaint(job) for job in ended.values() if job.status is Status.FAILED)
    return _report(after, plan, jobs, code, word, *waiting, *_left(plan), errors=(*errors, *failed))


def _hand_in(cure: Cure, items: Sequence[Item]) -> tuple[list[Added], tuple[Complaint, ...]]:
    added, errors = [], []
    for item in items:
        try:
            entry = cure.counter.submit(_info(item), cure.models_root)
        except Trouble as trouble:
            errors.append(Complaint(str(trouble.code), f"{item.model.need.name}: {trouble.message}", trouble.hint))
            continue
        cure.audience.dispatched(entry)
        added.append(entry)
    return added, tuple(errors)


def _complaint(job: Job) -> Complaint:
    """A failed job's reason ends with its next step, as every trouble's text does."""
    what, _, hint = (job.result.reason or "it failed").partition("; ")
    message = f"{job.model_info.expected_filename}: {what}"
    return Complaint(
        job.result.code or "", message, hint or f"look at it with `comfy-doctor jobs show {job.job_id[:8]}`"
    )


def _watch(cure: Cure, job_ids: Sequence[JobId]) -> tuple[Mapping[JobId, Job], list[str]]:
    """Until every job has ended or waits for somebody else; the words say for whom."""
    while True:
        jobs = {job_id: cure.counter.get(job_id) for job_id in job_ids}
        cure.audience.watching(list(jobs.values()))
        live = [job for job in jobs.values() if job.live]
        going = [job for job in live if not job.paused and not _held(job)]
        queue_paused = cure.counter.queue_paused()
        if not going or (queue_paused and all(job.worker is None for job in going)):
            return jobs, _waiting(live, queue_paused)
        cure.workers.make_sure_one_runs()
        cure.workers.wait(WATCH_SECONDS)


def _waiting(live: Sequence[Job], queue_paused: bool) -> list[str]:
    """What a person can do about jobs that nothing moves now."""
    words = [
        f"{job.model_info.expected_filename} is paused: let it go on with `comfy-doctor jobs resume {job.job_id[:8]}`"
        for job in live
        if job.paused
    ]
    if queue_paused and live:
        words.append("the queue is paused: let it go on with `comfy-doctor jobs resume`")
    return words


def _held(job: Job) -> bool:
    return job.status is Status.VERIFYING and job.worker is None and job.not_before is not None


def _info(item: Item) -> ModelInfo:
    need, choice = item.model.need, item.choice
    if choice is None or need.folder is None:
        raise ValueError(f"{need.name} has no source")
    return ModelInfo(
        expected_filename=need.filename,
        subfolder=need.subfolder,
        model_type=need.folder,
        download_url=choice.url,
        mirrors=choice.mirrors,
        source=choice.source,
        sha256=choice.sha256,
        size=choice.size,
    )


def _left(plan: Sequence[Item]) -> list[str]:
    return [f"{item.model.need.name}: {item.why}" for item in plan if item.action != "download"]


def _report(
    diagnosis: Diagnosis,
    plan: Sequence[Item],
    jobs: Mapping[JobId, Mapping[str, object]],
    code: ExitCode,
    *messages: str,
    errors: tuple[Complaint, ...] = (),
) -> Report:
    looked = diagnosis.report()
    data = {**looked.data, "items": [item.public() for item in plan], "jobs": list(jobs.values())}
    return Report("fix", code, data=data, messages=(*looked.messages, *messages), errors=(*looked.errors, *errors))
