"""Carry out a plan: hand in its downloads, link what is here already, say what is left. Twice changes nothing more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from comfy_doctor.job_verbs import public
from comfy_doctor.library.links import link, size_here
from comfy_doctor.plan import Item, job_of
from download_worker.errors import Code, GiveUp, Refused, Trouble
from download_worker.jobs.counter import Counter
from download_worker.jobs.job import ModelInfo
from download_worker.jobs.ledger import Added
from download_worker.report import Complaint, ExitCode, Report


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to do: a download when `info` is there, a link when `link_from` is, else nothing, and `why`.

    `size` is that of the file to link, in bytes, where the plan knew it.
    """

    name: str
    why: str
    target: Path | None = None
    info: ModelInfo | None = None
    link_from: Path | None = None
    size: int | None = None


@dataclass
class Applied:
    """What came of it. `waiting` links need a file that is still to come, `kept` ones were there already; `refused`
    counts the errors that are policy's word."""

    added: list[Added] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    waiting: list[Task] = field(default_factory=list)
    left: list[Task] = field(default_factory=list)
    errors: list[Complaint] = field(default_factory=list)
    refused: int = 0

    def words(self) -> list[str]:
        """What was done, and why the rest was not."""
        fresh = [entry.job.model_info.expected_filename for entry in self.added if not entry.deduplicated]
        left = [f"{task.name}: {task.why}" for task in (*self.waiting, *self.left)]
        return [*(f"queued: {name}" for name in fresh), *self.linked, *left]


class Consent(Protocol):
    """Who watches: asked once, told of each job."""

    def asked(self, question: str) -> bool: ...

    def say(self, text: str) -> None: ...


def apply(tasks: Sequence[Task], counter: Counter, models_root: Path, audience: Consent, *, own: bool) -> Report:
    """A plan's file, after one question. `own` is False for a plan that this home did not write as it is."""
    for task in tasks:
        audience.say(f"  {_verb(task):5} {task.name}: {task.why}")
    words = [] if own else [_FOREIGN]
    if not any(_verb(task) != "leave" for task in tasks):
        return _applied(Applied(left=list(tasks)), ExitCode.FINDINGS if tasks else ExitCode.OK, "nothing to do", *words)
    if not audience.asked("Carry out this plan?"):
        return _applied(Applied(), ExitCode.FINDINGS, "nothing was changed: add --yes to go on unasked", *words)
    done = carry_out(tasks, counter, models_root)
    words += [f"{task.name}: linked once its file is here; apply the plan again then" for task in done.waiting]
    return _applied(done, _outcome(done), *words)


def _outcome(done: Applied) -> ExitCode:
    """Refused is what ends with nothing but refusals; a link that is there already is as good as one that was made."""
    if not (done.errors or done.waiting or done.left):
        return ExitCode.OK
    if done.added or done.linked or done.kept:
        return ExitCode.PARTLY
    if done.refused and done.refused == len(done.errors) and not (done.waiting or done.left):
        return ExitCode.REFUSED
    return ExitCode.FINDINGS


_FOREIGN = "this plan was not made here, or was edited: its digests bind the files, and vouch for no pickle"


def _verb(task: Task) -> str:
    return "get" if task.info is not None else "link" if task.link_from is not None else "leave"


def _applied(done: Applied, code: ExitCode, *words: str) -> Report:
    left = [f"{task.name}: {task.why}" for task in done.left]
    data = {"jobs": [public(entry) for entry in done.added], "linked": done.linked}
    return Report("apply", code, data=data, messages=(*words, *done.linked, *left), errors=tuple(done.errors))


def carry_out(tasks: Iterable[Task], counter: Counter, models_root: Path) -> Applied:
    done = Applied()
    for task in tasks:
        try:
            _do(task, counter, models_root, done)
        except Trouble as trouble:
            done.errors.append(Complaint(str(trouble.code), f"{task.name}: {trouble.message}", trouble.hint))
            done.refused += isinstance(trouble, Refused)
    return done


def link_what_came(waiting: Iterable[Task], counter: Counter, models_root: Path) -> Applied:
    """The second look at links whose file was still to come."""
    came = [task for task in waiting if task.link_from and size_here(task.link_from) is not None]
    return carry_out(came, counter, models_root)


def _do(task: Task, counter: Counter, models_root: Path, done: Applied) -> None:
    if task.info is not None:
        done.added.append(counter.submit(task.info, models_root))
    elif task.link_from is not None and task.target is not None:
        size = size_here(task.link_from)
        if size is None:
            done.waiting.append(task)
            return
        if task.size not in (None, size):
            what = f"{task.link_from} is no longer the file of {task.size} bytes that was meant"
            raise GiveUp(Code.CONFLICT, what, hint="diagnose again: its file has changed")
        made = link(task.link_from, task.target)
        if made == "already there":
            done.kept.append(task.name)
        else:
            done.linked.append(f"{task.name}: a {made} to {task.link_from}")
    else:
        done.left.append(task)


def tasks_of(items: Sequence[Item]) -> tuple[Task, ...]:
    return tuple(_task(item) for item in items if item.action != "skip")


def _task(item: Item) -> Task:
    need = item.model.need
    if item.action == "link":
        return Task(need.name, item.why, target=item.target, link_from=item.link_from, size=item.size)
    if item.action != "download" or item.choice is None or need.folder is None:
        return Task(need.name, item.why)
    info = job_of(need, item.choice)
    return Task(need.name, item.why, target=item.target, info=info)
