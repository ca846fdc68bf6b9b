"""Everything about one job as text to read: where it stands, why, which file, on what evidence, and its history.

Pure: a job, a moment and a width in; lines of toned parts out. Every text of the job came from outside and is made
safe here; URLs are shown without their secrets.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.cells import cell_len

from comfy_doctor.tui import figures
from comfy_doctor.tui.rows import folder_of, gauge_of, gauge_parts, host_of, left_of, size_of, total_of
from comfy_doctor.tui.tones import LOOKS, Part, Tone, foreign, joined
from download_worker.errors import NEXT_STEP, Code, Refused
from download_worker.jobs.job import Job, Status, Verdict
from download_worker.text import public_url

MAX_FACTS_PER_STEP = 40
MAX_STEPS = 40
MAX_FACT_CHARS = 400
_LABEL_CELLS = 10
_BAR_CELLS_MAX = 60
_PROOFS = {
    "A": "a publisher's digest",
    "B": "our registry's or fleet's digest",
    "C": "exact size and structure",
    "D": "none",
}

Line = tuple[Part, ...]


def story(job: Job, now: datetime, cells: int) -> tuple[Part, ...]:
    """The whole detail, in lines of at most this many cells (from 40 on), the newest history first."""
    sections = (
        _head(job, now, cells),
        _why(job, now, cells),
        _file(job, now, cells),
        _verdict(job.result.verdict, cells),
        _evidence(job.result.verdict, cells),
        _history(job, now, cells),
    )
    parts: list[Part] = []
    for section in sections:
        lines = list(section)
        if lines and parts:
            parts.append(Part("\n"))
        for line in lines:
            parts.extend((*line, Part("\n")))
    return tuple(parts)


def peek(job: Job, now: datetime, cells: int) -> tuple[Line, Line]:
    """The two lines below a narrow table: the whole name of the selected job, and what its columns had no room for."""
    name = figures.middle(f"{folder_of(job)}/{foreign(job.model_info.expected_filename)}", cells)
    if job.status is Status.FAILED:
        return (Part(name, Tone.STRONG),), (Part(figures.end(reason_of(job), cells), Tone.BAD),)
    facts = (size_of(job), host_of(job), _tries(job), _priority(job), gauge_of(job, now).note)
    text = figures.end(" · ".join(fact for fact in facts if fact), cells)
    return (Part(name, Tone.STRONG),), (Part(text, Tone.QUIET),)


def reason_of(job: Job) -> str:
    result = job.result
    return foreign(result.reason or result.code or "no reason was noted")


def next_step_of(job: Job) -> str:
    """The registered next step for the job's code; empty where there is none."""
    try:
        return NEXT_STEP[Code(job.result.code or "")]
    except ValueError:
        return ""


def _head(job: Job, now: datetime, cells: int) -> Iterator[Line]:
    for text in figures.folded(foreign(job.model_info.expected_filename), cells):
        yield (Part(text, Tone.STRONG),)
    look = LOOKS[job.status]
    gauge = gauge_of(job, now)
    note = () if job.status in (Status.FAILED, Status.SUCCESS) else (Part(gauge.note, gauge.tone),)
    yield joined(((Part(f"{look.sign} {job.status}", look.tone),), note, (Part(size_of(job)),)))
    if job.status is not Status.DOWNLOADING:
        return
    yield gauge_parts(gauge._replace(note=""), min(cells, _BAR_CELLS_MAX))
    speed, left = job.progress.bytes_per_second, left_of(job)
    yield joined(
        (
            (Part(figures.speed_text(speed) if speed else "no byte right now"),),
            (Part(f"{figures.span_text(left)} left" if left is not None else ""),),
            (
                Part(
                    figures.count_text(job.progress.connections, "connection") if job.progress.connections else "",
                    Tone.QUIET,
                ),
            ),
        )
    )
    if job.progress.retries:
        why = foreign(job.progress.trouble or "")
        yield from _field("setbacks", f"{job.progress.retries}; {why}", cells, Tone.WARN)


def _why(job: Job, now: datetime, cells: int) -> Iterator[Line]:
    if job.status is Status.FAILED:
        yield _title("Why it failed")
        yield from _field("reason", reason_of(job), cells, Tone.BAD)
        if job.result.code:
            yield from _field("code", foreign(job.result.code), cells)
        if step := next_step_of(job):
            yield from _field("next", step, cells, Tone.GOOD)
    elif job.live and job.not_before and job.history and gauge_of(job, now).note:
        yield _title("Why it waits")
        yield from _field("reason", foreign(job.history[-1].event), cells, Tone.WARN)
        yield from _field("until", _when(job.not_before, now), cells)


def _file(job: Job, now: datetime, cells: int) -> Iterator[Line]:
    info, total = job.model_info, total_of(job)
    yield _title("File")
    facts = (
        ("target", _target(job)),
        ("url", foreign(public_url(info.download_url))),
        *(("mirror", foreign(public_url(mirror))) for mirror in info.mirrors),
        ("source", foreign(info.source)),
        ("size", f"{figures.bytes_text(total)} ({total:,} bytes)" if total is not None else "not known"),
        ("sha256", foreign(info.sha256 or job.result.sha256 or "not known")),
        ("proof", _proof(job.result.proof)),
        ("attempts", str(job.attempts)),
        ("priority", str(job.priority)),
        ("added", _when(job.added_at, now)),
        ("worker", foreign(job.worker or "")),
        ("job", foreign(job.job_id)),
    )
    yield from _fields([(label, value) for label, value in facts if value], cells)


def _verdict(verdict: Verdict | None, cells: int) -> Iterator[Line]:
    if verdict is None:
        return
    yield _title("Verdict")
    tone = Tone.GOOD if verdict.verdict == "VERIFIED" else Tone.BAD
    yield from _field("verdict", f"{verdict.verdict} by {foreign(verdict.by)}", cells, tone)
    yield from _field("reason", foreign(verdict.reason), cells)
    if verdict.prompt_version:
        yield from _field("prompt", foreign(verdict.prompt_version), cells)


def _evidence(verdict: Verdict | None, cells: int) -> Iterator[Line]:
    if verdict is None or not verdict.evidence:
        return
    yield _title("Evidence")
    steps = verdict.evidence[:MAX_STEPS]
    yield from _fields([(_step(step), " · ".join(_facts(step)) or "nothing to note") for step in steps], cells)


def _step(document: Mapping[str, Any]) -> str:
    return foreign(document.get("step", "step"), max_chars=40)


def _facts(document: Mapping[str, Any]) -> Iterator[str]:
    for name, value in list(document.items())[:MAX_FACTS_PER_STEP]:
        if name != "step":
            yield f"{foreign(name, max_chars=60)} {_fact(name, value)}"


def _fact(name: str, value: object) -> str:
    """Numbers with their thousands, yes and no, texts as they are, and the rest as JSON."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return foreign(public_url(text) if name.endswith("url") else text, max_chars=MAX_FACT_CHARS)


def _history(job: Job, now: datetime, cells: int) -> Iterator[Line]:
    if not job.history:
        return
    yield _title("History")
    events = job.history[::-1]
    yield from _fields([(_clock(event.timestamp, now), foreign(event.event)) for event in events], cells)


def _fields(facts: Sequence[tuple[str, str]], cells: int) -> Iterator[Line]:
    """Labels and values in two columns; the first is as wide as its labels, up to half of it all."""
    label_cells = min(cells // 2, max(_LABEL_CELLS, *(cell_len(label) + 2 for label, _ in facts)))
    for label, value in facts:
        yield from _field(label, value, cells, label_cells=label_cells)


def _field(
    label: str, value: str, cells: int, tone: Tone = Tone.PLAIN, *, label_cells: int = _LABEL_CELLS
) -> Iterator[Line]:
    """A label and its value beside it; the value goes on below itself. A long label gets a line of its own."""
    if cell_len(label) >= label_cells:
        yield (Part(figures.middle(label, cells), Tone.QUIET),)
        label = ""
    for text in figures.folded(value, cells - label_cells):
        yield (Part(figures.fitted(label, label_cells), Tone.QUIET), Part(text, tone))
        label = ""


def _title(text: str) -> Line:
    return (Part(text, Tone.HEADING),)


def _target(job: Job) -> str:
    if job.result.path:
        return foreign(job.result.path)
    try:
        return foreign(job.target)
    except Refused as refused:
        return foreign(f"none: {refused.message}")


def _proof(proof: str | None) -> str:
    return f"{foreign(proof)}: {_PROOFS[proof]}" if proof in _PROOFS else foreign(proof or "")


def _when(iso_text: str, now: datetime) -> str:
    """The time, and how far away it is."""
    moment = figures.moment_of(iso_text)
    if moment is None:
        return foreign(iso_text)
    away = f"in {figures.span_text((moment - now).total_seconds())}" if moment > now else figures.age_text(moment, now)
    return f"{figures.clock_text(moment, now)} ({away})"


def _clock(iso_text: str, now: datetime) -> str:
    moment = figures.moment_of(iso_text)
    return figures.clock_text(moment, now) if moment else foreign(iso_text, max_chars=20)


def _tries(job: Job) -> str:
    return figures.count_text(job.attempts, "try", "tries") if job.attempts else ""


def _priority(job: Job) -> str:
    return f"priority {job.priority:+d}" if job.priority else ""


def plain(lines: Iterable[Part]) -> str:
    """The same without tones: for tests and for the log."""
    return "".join(part.text for part in lines)
