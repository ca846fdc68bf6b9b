"""The whole cure: look, plan, ask, carry out, watch, look again. Only the second look may say that it was mended.

The verb asks and tells through the small protocols below; who answers them (a terminal, a script, a test) is not its
business.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from comfy_doctor.apply import carry_out, link_what_came, tasks_of
from comfy_doctor.diagnose import Diagnosis, ModelFinding
from comfy_doctor.job_verbs import public
from comfy_doctor.plan import Item, Plan, Volume, disk_at, make_plan
from comfy_doctor.rewrite import renames_of, rewrite
from download_worker.errors import Code, Trouble
from download_worker.jobs.counter import Counter
from download_worker.jobs.job import LIVE, Job, JobId, Status
from download_worker.jobs.ledger import Added, Question
from download_worker.report import Complaint, ExitCode, Report

WATCH_SECONDS = 0.2
MAX_LIVE_JOBS = 10_000


class Audience(Protocol):
    """Who watches, on this side of the screen."""

    def planned(self, plan: Plan) -> bool:
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
    """`plan` asks all sources. `rewrites` lets a workflow be taught the names under which its models are here."""

    look: Callable[[], Diagnosis]
    plan: Callable[[Diagnosis], Plan]
    models_root: Path
    counter: Counter
    workers: Workers
    audience: Audience
    rewrites: bool = False


def fix(cure: Cure) -> Report:
    before = cure.look()
    plan = cure.plan(before)
    if not plan.items:
        word = "nothing to do: every model is in its place" if before.models else "nothing to do: no model is asked for"
        more = ("node packs are missing: `comfy-doctor diagnose` names them",) if plan.nodes else ()
        return _report(before, plan, {}, before.report().exit_code, word, *more)
    if not any(_can_be_done(item, cure) for item in plan.items):
        choice = any(item.candidates for item in plan.items)
        word = "nothing to fetch" + (": `comfy-doctor plan` shows what there is to choose from" if choice else "")
        return _report(before, plan, {}, ExitCode.FINDINGS, word, *_left(plan, cure))
    crowded = tuple(_does_not_fit(volume) for volume in with_what_came(plan, cure.counter) if not volume.fits)
    if crowded:
        return _report(before, plan, {}, ExitCode.SURROUNDINGS, "nothing was changed", errors=crowded)
    if not cure.audience.planned(plan):
        return _report(before, plan, {}, ExitCode.FINDINGS, "nothing was changed: add --yes to go on unasked")
    return _carried_out(cure, plan)


def _carried_out(cure: Cure, plan: Plan) -> Report:
    done = carry_out(tasks_of(plan.items), cure.counter, cure.models_root)
    for entry in done.added:
        cure.audience.dispatched(entry)
    ended, waiting = _watch(cure, [entry.job.job_id for entry in done.added])
    later = link_what_came(done.waiting, cure.counter, cure.models_root)
    taught, refused = _rewritten(cure, [item.model for item in plan.items if item.action == "relink"])
    after = cure.look()

    jobs = {entry.job.job_id: public(Added(ended[entry.job.job_id], entry.deduplicated)) for entry in done.added}
    still = {item.model.need.key for item in make_plan(after.models)}
    mended = sum(item.model.need.key not in still for item in plan.items)
    number = len(plan.items)
    verb = "is in its" if mended == 1 else "are in their"
    word = f"{mended} of {number} model{'s' * (number != 1)} {verb} place now"
    code = _outcome(after.report().exit_code, mended, len(still))
    failed = tuple(_complaint(job) for job in ended.values() if job.status is Status.FAILED)
    changes = (*done.linked, *later.linked, *taught)
    errors = (*done.errors, *later.errors, *refused, *failed)
    return _report(after, plan, jobs, code, word, *changes, *waiting, *_left(plan, cure), errors=errors)


def _outcome(looked: ExitCode, mended: int, still: int) -> ExitCode:
    """All is well, or something was done and something is left (a node pack, a model), or nothing could be done."""
    if still == 0 and looked is not ExitCode.FINDINGS:
        return looked
    return ExitCode.PARTLY if mended else ExitCode.FINDINGS


def _can_be_done(item: Item, cure: Cure) -> bool:
    return item.action in ("download", "link") or (item.action == "relink" and cure.rewrites)


def with_what_came(plan: Plan, counter: Counter) -> Iterator[Volume]:
    """What jobs for the same targets have fetched already is on the volume, and is not needed there again."""
    targets = {item.target for item in plan.downloads}
    came: dict[int, int] = defaultdict(int)
    for job in counter.jobs(Question(LIVE, limit=MAX_LIVE_JOBS)):
        if job.target in targets:
            came[disk_at(job.target.parent).volume] += job.progress.bytes
    for volume in plan.volumes:
        yield replace(volume, needed=max(0, volume.needed - came[disk_at(volume.path).volume]))


def _does_not_fit(volume: Volume) -> Complaint:
    free, needed, reserve = (f"{size / 1e9:,.1f} GB" for size in (volume.free, volume.needed, volume.reserve))
    message = f"{volume.path} has {free} free; {needed} are needed, and {reserve} are always left free"
    return Complaint(str(Code.DISK_FULL), message, "free some space on that volume, or fetch less of it")


def _rewritten(cure: Cure, models: Sequence[ModelFinding]) -> tuple[list[str], list[Complaint]]:
    taught, refused = [], []
    for workflow, renames in renames_of(models).items() if cure.rewrites else ():
        try:
            backup = rewrite(Path(workflow), renames)
            taught.append(f"{workflow} says the names of this machine now; as it was: {backup.name}")
        except Trouble as trouble:
            refused.append(Complaint(str(trouble.code), trouble.message, trouble.hint))
    return taught, refused


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
    words += [
        f"{job.model_info.expected_filename}: {job.history[-1].event}; it is looked at again after {job.not_before}"
        for job in live
        if _held(job) and not job.paused
    ]
    if queue_paused and live:
        words.append("the queue is paused: let it go on with `comfy-doctor jobs resume`")
    return words


def _held(job: Job) -> bool:
    return job.status is Status.VERIFYING and job.worker is None and job.not_before is not None


def _left(plan: Plan, cure: Cure) -> list[str]:
    items = (item for item in plan.items if item.action != "skip" and not _can_be_done(item, cure))
    return [f"{item.model.need.name}: {item.why}" for item in items]


def _report(
    diagnosis: Diagnosis,
    plan: Plan,
    jobs: Mapping[JobId, Mapping[str, object]],
    code: ExitCode,
    *messages: str,
    errors: tuple[Complaint, ...] = (),
) -> Report:
    looked = diagnosis.report()
    data = {**looked.data, **plan.data(), "jobs": list(jobs.values())}
    return Report("fix", code, data=data, messages=(*looked.messages, *messages), errors=(*looked.errors, *errors))
