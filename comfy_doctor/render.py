"""Reports and progress for people: stdout gets what was asked for, stderr what is going on. A skin: it decides nothing.

Text from outside goes through `safe_text` and into `Text`, never into markup.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.prompt import Confirm
from rich.table import Table
from rich.text import Text

from comfy_doctor.plan import Plan
from download_worker.command_line import complain
from download_worker.jobs.job import Job, JobId, Status
from download_worker.jobs.ledger import Added
from download_worker.report import Report
from download_worker.text import safe_text

_TONES = MappingProxyType(
    {
        "present": ("✓", "green"),
        "elsewhere": ("→", "yellow"),
        "missing": ("✗", "red"),
        "unknown": ("?", "yellow"),
        "PENDING": ("·", "dim"),
        "DOWNLOADING": ("↓", "cyan"),
        "VERIFYING": ("≡", "blue"),
        "SUCCESS": ("✓", "green"),
        "FAILED": ("✗", "red"),
    }
)


_ACTIONS = MappingProxyType(
    {
        "download": ("get", "green"),
        "link": ("link", "green"),
        "relink": ("rename", "yellow"),
        "install": ("install", "green"),
        "ask": ("ask", "yellow"),
        "skip": ("skip", "dim"),
    }
)


def show(report: Report, *, quiet: bool, color: bool) -> None:
    console = Console(file=sys.stdout, no_color=not color, highlight=False, soft_wrap=False)
    picture = _PICTURES.get(report.command, _nothing)(report)
    if "text" in report.data:  # what was asked for by its form, as it is
        sys.stdout.write(report.data["text"])
    if picture is not None and not quiet:
        console.print(picture)
    if not quiet:
        for message in report.messages:
            console.print(Text(safe_text(message)), soft_wrap=True)
    complain(report)


def _nothing(report: Report) -> RenderableType | None:
    return None


def _diagnosis(report: Report) -> RenderableType | None:
    models = [model for model in report.data["models"] if model["active"] or model["state"] != "missing"]
    table = _table("", "model", "folder", "needed by")
    for model in sorted(models, key=lambda model: (model["state"] == "present", model["folder"] or "", model["name"])):
        users = ", ".join(sorted({use["workflow"].rpartition("/")[2] for use in model["needed_by"]}))
        note = model["relink"] or model["reason"] if model["state"] != "present" else ""
        name = _cell(model["name"])
        if note:
            name.append(f"\n{safe_text(note)}", style="dim")
        sign = "–" if not model["active"] else None
        table.add_row(_sign(model["state"], sign), name, _cell(model["folder"] or "?"), _cell(users))
    return Group(*([table] if models else []), _summary(report.data))


def _summary(data: Mapping[str, Any]) -> Text:
    active = [model for model in data["models"] if model["active"]]
    here = sum(model["state"] == "present" for model in active)
    files = [workflow for workflow in data["workflows"] if workflow["format"] != "not_a_workflow"]
    line = Text(f"{_many(len(files), 'workflow')}, {_many(len(active), 'model')} needed: {here} here")
    for state, word in (("elsewhere", "elsewhere"), ("missing", "missing"), ("unknown", "could not be looked for")):
        number = sum(model["state"] == state for model in active)
        if number:
            line.append(f", {number} {word}", style=_TONES[state][1])
    if data["self_fetching"]:
        line.append(f"; {len(data['self_fetching'])} more are fetched by their nodes on the first run")
    broken = [workflow for workflow in data["workflows"] if workflow["error"]]
    for workflow in broken:
        line.append(f"\n{safe_text(workflow['path'])}: {safe_text(workflow['error'])}", style="red")
    return line


def _plan(report: Report) -> RenderableType | None:
    return plan_picture(report.data) if "text" not in report.data else None


def plan_picture(data: Mapping[str, Any]) -> RenderableType:
    """A plan's data for people: what is fetched from where, what needs a person, what it costs."""
    table = _table("", "model", "folder", "size", "from")
    for item in data["items"]:
        table.add_row(*_plan_row(item))
    parts: list[RenderableType] = [table] if data["items"] else []
    return Group(*parts, *_costs(data))


def _plan_row(item: Mapping[str, Any]) -> tuple[Text, ...]:
    need, choice = item["need"], item["choice"]
    name = _cell(need["name"] if item["kind"] == "model" else need["type"])
    for note in ([] if item["action"] == "download" else [item["why"]]) + list(item.get("notes", ())):
        name.append(f"\n{safe_text(note)}", style="dim")
    if item["action"] == "ask" and item["candidates"]:
        name.append(f"\n{safe_text(_how_to_choose(item))}", style="dim")
    sign, tone = _ACTIONS[item["action"]]
    size = _size(choice["size"]) if choice and choice["size"] is not None else ""
    folder = need["folder"] or "?" if item["kind"] == "model" else "custom_nodes"
    source = f"{_host(choice['url'])} ({choice['source']}, {choice['confidence']:.2f})" if choice else ""
    return Text(sign, style=tone, no_wrap=True), name, _cell(folder), _cell(size), _cell(source)


def _how_to_choose(item: Mapping[str, Any]) -> str:
    best, need = item["candidates"][0], item["need"]
    if best["obstacle"]:
        return f"best candidate: {best['url']}"
    words = ["comfy-doctor enqueue", f"'{best['url']}'", f"--type {need['folder']}", f"--filename '{need['filename']}'"]
    words += [f"--sha256 {best['sha256']}"] if best["sha256"] else []
    return f"best candidate ({best['confidence']:.2f}): {' '.join(words)}"


def _costs(data: Mapping[str, Any]) -> list[RenderableType]:
    downloads = [item for item in data["items"] if item["action"] == "download"]
    lines = [Text(f"{_many(len(downloads), 'file')} to fetch, {_size(data['bytes'])}")] if downloads else []
    for volume in data["volumes"]:
        unsized = f", and {_many(volume['unsized'], 'file')} of unknown size" if volume["unsized"] else ""
        words = f"{volume['path']}: {_size(volume['needed'])} needed{unsized}, {_size(volume['free'])} free"
        lines.append(Text(safe_text(words), style="" if volume["fits"] else "red"))
    for token in data["tokens"]:
        if not token["set"]:
            lines.append(Text(safe_text(f"set {token['variable']} for {', '.join(token['for'])}"), style="yellow"))
    for licence in data["licences"]:
        words = f"accept the licence on {licence['page']} for {', '.join(licence['for'])}"
        lines.append(Text(safe_text(words), style="yellow"))
    return list(lines)


def _host(url: str) -> str:
    return urlsplit(url).hostname or "this disk"


def _listed(report: Report) -> RenderableType | None:
    jobs = report.data["jobs"]
    counts = report.data.get("counts", {})
    line = Text("no jobs yet: `comfy-doctor fix WORKFLOW` or `comfy-doctor enqueue URL --type FOLDER` makes some")
    if any(counts.values()):
        line = Text(", ".join(f"{number} {word}" for word, number in counts.items() if number))
    if report.data.get("queue_paused"):
        line.append("; the queue is paused (`comfy-doctor jobs resume`)", style="yellow")
    return Group(_job_table(jobs), line) if jobs else line


def _job_table(jobs: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("", "job", "file", "folder", "done", "note")
    for job in jobs:
        info, progress, result = job["model_info"], job["progress"], job["result"]
        done = (
            f"{_size(progress['bytes'])} of {_size(progress['total'])}"
            if progress["total"]
            else _size(progress["bytes"])
        )
        note = result["reason"] or (f"waits until {job['not_before']}" if job["not_before"] else "")
        note = "paused" if job["paused"] and job["status"] not in ("SUCCESS", "FAILED") else note
        row = (job["job_id"][:8], info["expected_filename"], info["model_type"], done, note.partition(";")[0])
        table.add_row(_sign(job["status"], f"{_TONES[job['status']][0]} {job['status']}"), *map(_cell, row))
    return table


def _shown(report: Report) -> RenderableType | None:
    parts: list[RenderableType] = []
    for job in report.data["jobs"]:
        info, result = job["model_info"], job["result"]
        table = Table.grid(padding=(0, 2))
        facts = {
            "job": job["job_id"],
            "status": job["status"],
            "file": "/".join(filter(None, (info["model_type"], info["subfolder"], info["expected_filename"]))),
            "from": info["download_url"],
            "mirrors": ", ".join(info["mirrors"]),
            "source": info["source"],
            "sha256": result["sha256"] or info["sha256"],
            "place": result["path"],
            "proof": result["proof"],
            "reason": result["reason"],
            "attempts": job["attempts"],
            "waits until": job["not_before"],
        }
        for name, value in facts.items():
            if value not in (None, "", 0):
                table.add_row(Text(name, style="dim"), _cell(value))
        parts.append(table)
        for step in (result["verdict"] or {}).get("evidence", ()):
            fields = ", ".join(f"{key}: {value}" for key, value in step.items() if key != "step")
            parts.append(
                Padding(Text(f"evidence, {safe_text(step.get('step', '?'))}: {safe_text(fields)}", style="dim"), (0, 2))
            )
        for event in job["history"]:
            parts.append(Text(f"{event['timestamp']}  {safe_text(event['event'])}"))
    return Group(*parts)


_PICTURES: Mapping[str, Callable[[Report], RenderableType | None]] = MappingProxyType(
    {
        "diagnose": _diagnosis,
        "plan": _plan,
        "apply": _listed,
        "fix": _nothing,
        "demo": _nothing,
        "jobs list": _listed,
        "jobs show": _shown,
    }
)


class Narrator:
    """Tells on stderr what is going on: the plan, each job as it is handed in, live bars, each end."""

    def __init__(self, *, quiet: bool, color: bool, ask: bool, agreed: bool) -> None:
        self._console = Console(stderr=True, quiet=quiet, no_color=not color, highlight=False)
        self._ask = ask
        self._agreed = agreed
        self._live = self._console.is_terminal and not quiet
        self._progress = Progress(
            TextColumn("{task.fields[sign]}"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._tasks: dict[JobId, TaskID] = {}
        self._told: dict[JobId, Status] = {}

    def __enter__(self) -> Narrator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._progress.stop()

    def say(self, text: str, style: str = "") -> None:
        self._console.print(Text(safe_text(text), style=style), soft_wrap=True)

    def planned(self, plan: Plan) -> bool:
        return self.asked("Carry out this plan?", plan_picture(plan.data()))

    def asked(self, question: str, picture: RenderableType | None = None) -> bool:
        """Show what it is about, and ask once unless that was answered beforehand."""
        quiet = self._console.quiet
        self._console.quiet = quiet and not self._ask  # who is asked must see what about
        try:
            return self._consent(question, picture)
        finally:
            self._console.quiet = quiet

    def _consent(self, question: str, picture: RenderableType | None) -> bool:
        if picture is not None:
            self._console.print(picture)
        if self._agreed:
            return True
        if not self._ask:
            self.say("nothing is done without --yes when there is no terminal to ask on", "yellow")
            return False
        try:
            return Confirm.ask(question, console=self._console, default=True)
        except EOFError:  # Ctrl-D is no consent
            return False

    def dispatched(self, added: Added) -> None:
        job = added.job
        word = (
            "already queued" if added.deduplicated and job.live else "already there" if added.deduplicated else "queued"
        )
        self.say(f"  {word}: {job.model_info.expected_filename} → {job.model_info.model_type} (job {job.job_id[:8]})")

    def watching(self, jobs: Sequence[Job]) -> None:
        if self._live:
            self._progress.start()
        for job in jobs:
            self._bar(job)
            if self._told.get(job.job_id) is not job.status:
                self._told[job.job_id] = job.status
                if not job.live:
                    self._ended(job)

    def _bar(self, job: Job) -> None:
        if not self._live:
            return
        name = safe_text(job.model_info.expected_filename, max_chars=40)
        task = self._tasks.get(job.job_id)
        if task is None:
            task = self._tasks[job.job_id] = self._progress.add_task(name, sign="", total=None)
        done, total = job.progress.bytes, job.progress.total
        self._progress.update(task, completed=done, total=total, sign=_TONES[job.status][0], visible=job.live)

    def _ended(self, job: Job) -> None:
        sign, tone = _TONES[job.status]
        word = job.result.path if job.status is Status.SUCCESS else job.result.reason
        self.say(f"  {sign} {job.model_info.expected_filename}: {word}", tone)


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold" if heading in ("model", "note", "file") else "ellipsis")
    return table


def _sign(state: str, text: str | None = None) -> Text:
    sign, tone = _TONES[state]
    return Text(text or sign, style=tone, no_wrap=True)


def _cell(value: object) -> Text:
    return Text(safe_text(value))


def _many(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def _size(size: int | None) -> str:
    """Decimal units with three digits, as disks and model pages give them."""
    value = float(size or 0)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
