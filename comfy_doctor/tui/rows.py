"""One job as one line of the table: what each column says, and which columns fit into a width.

Pure: a job and a moment in, tones and text out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from comfy_doctor.tui import figures
from comfy_doctor.tui.tones import LOOKS, Part, Tone, foreign
from download_worker.jobs.job import Job, JobId, Status

_GAP = "  "
_PERCENT_CELLS = 6
_ON_THE_CLOCK_SECONDS = 3600


class Gauge(NamedTuple):
    """The progress column: a bar where something moves, else a note. A note may keep its percentage."""

    fraction: float | None
    note: str
    tone: Tone


@dataclass(frozen=True)
class Row:
    """A job as the table shows it. Equal rows look equal, so only rows that differ are drawn again."""

    job_id: JobId
    status: Status
    name: str
    folder: str
    gauge: Gauge
    size: str
    speed: str
    left: str
    tries: str
    priority: str
    host: str


def row_of(job: Job, now: datetime, *, worked: bool = True) -> Row:
    """`worked`: a worker runs, so that a speed is of now."""
    moving = worked and job.status is Status.DOWNLOADING
    progress = job.progress
    left = left_of(job) if moving else None
    return Row(
        job_id=job.job_id,
        status=job.status,
        name=foreign(job.model_info.expected_filename),
        folder=folder_of(job),
        gauge=gauge_of(job, now),
        size=size_of(job),
        speed=figures.speed_text(progress.bytes_per_second) if moving and progress.bytes_per_second else "",
        left=figures.span_text(left) if left is not None else "",
        tries=str(job.attempts) if job.attempts else "",
        priority=f"{job.priority:+d}" if job.priority else "",
        host=host_of(job),
    )


def folder_of(job: Job) -> str:
    info = job.model_info
    return foreign(f"{info.model_type}/{info.subfolder}" if info.subfolder else info.model_type)


def host_of(job: Job) -> str:
    try:
        return foreign((job.progress.source if job.live else None) or job.model_info.host)
    except ValueError:  # no URL at all: it cannot come from the counter, but an old row must not end the dashboard
        return ""


def total_of(job: Job) -> int | None:
    return job.progress.total if job.progress.total is not None else job.model_info.size


def size_of(job: Job) -> str:
    """Bytes there and in all while it is on its way; the whole before and after; nothing where nothing is known."""
    total, done = total_of(job), job.progress.bytes
    if not job.live or not done:
        return figures.bytes_text(total) if total else ""
    return figures.amount_text(done, total)


def left_of(job: Job) -> float | None:
    progress = job.progress
    if progress.eta_seconds is not None:
        return progress.eta_seconds
    return figures.left_seconds(progress.bytes, total_of(job), progress.bytes_per_second)


def gauge_of(job: Job, now: datetime) -> Gauge:
    fraction = figures.fraction_of(job.progress.bytes, total_of(job))
    if job.status is Status.SUCCESS:
        return Gauge(None, ended_text(job, now), Tone.QUIET)
    if job.status is Status.FAILED:
        return Gauge(None, foreign(job.result.code or "failed", max_chars=40), Tone.BAD)
    kept = fraction if job.progress.bytes and job.status is not Status.VERIFYING else None
    if note := waiting_note(job, now):
        return Gauge(kept, note, Tone.WARN)
    if job.status is Status.DOWNLOADING:
        return Gauge(fraction, "" if fraction is not None else "size unknown", Tone.MOVING)
    if job.status is Status.VERIFYING:
        return Gauge(
            None, "putting in place" if job.promoting else "checking" if job.worker else "waits", Tone.CHECKING
        )
    return Gauge(kept, "in line", Tone.QUIET)


def waiting_note(job: Job, now: datetime) -> str:
    """Why a live job does not move, where there is a reason: cancelling, paused, or waiting until a moment."""
    if job.cancel_requested:
        return "cancelling"
    if job.paused:
        return "pausing" if job.worker else "paused"
    due = figures.moment_of(job.not_before)
    if due is None or job.worker or due <= now:
        return ""
    seconds = (due - now).total_seconds()
    if seconds < _ON_THE_CLOCK_SECONDS:
        return f"again in {figures.span_text(seconds)}"
    return f"again at {due.astimezone(now.tzinfo):%H:%M}" if seconds < 86_400 else f"in {figures.span_text(seconds)}"


def ended_text(job: Job, now: datetime) -> str:
    ended = figures.moment_of(job.history[-1].timestamp) if job.history else None
    return figures.age_text(ended, now) if ended else ""


class Column(NamedTuple):
    title: str
    cells: int
    right: bool = False


class Wanted(NamedTuple):
    """A column, the least it needs, and how early it gets its place (0: always)."""

    title: str
    cells: int
    rank: int
    right: bool = False


FILE, PROGRESS, FOLDER, HOST = "FILE", "PROGRESS", "FOLDER", "HOST"
# In the order of the screen.
WANTED = (
    Wanted("STATUS", 13, 0),
    Wanted(FILE, 22, 0),
    Wanted(FOLDER, 16, 4),
    Wanted(PROGRESS, 14, 0),
    Wanted("SIZE", 12, 3, right=True),
    Wanted("SPEED", 9, 2, right=True),
    Wanted("LEFT", 7, 1, right=True),
    Wanted("TRIES", 5, 6, right=True),
    Wanted("PRIO", 5, 7, right=True),
    Wanted(HOST, 18, 5),
)
# Who takes the room that is left, in this order, and up to which width.
_GROWS = MappingProxyType({FILE: 38, PROGRESS: 24, FOLDER: 24, HOST: 26})
_FILE_CELLS_MAX = 80


def columns_for(width: int) -> tuple[Column, ...]:
    """The columns that fit into this many cells, and together fill it as far as that helps to read."""
    kept = [wanted for wanted in WANTED if wanted.rank == 0]
    for wanted in sorted(WANTED, key=lambda wanted: wanted.rank):
        if wanted.rank and _cells_of([*kept, wanted]) <= width:
            kept.append(wanted)
        elif wanted.rank:
            break
    kept.sort(key=WANTED.index)
    return _grown(kept, width)


def line_of(row: Row, columns: tuple[Column, ...]) -> tuple[Part, ...]:
    """The row as parts that fill every column to its width."""
    parts: list[Part] = []
    for column in columns:
        if parts:
            parts.append(Part(_GAP))
        parts.extend(_CELLS[column.title](row, column))
    return tuple(parts)


def heading(columns: tuple[Column, ...]) -> str:
    return _GAP.join(figures.fitted(column.title, column.cells, right=column.right) for column in columns)


def gauge_parts(gauge: Gauge, cells: int) -> tuple[Part, ...]:
    """Exactly this many cells."""
    if gauge.note:
        percent = f" · {figures.percent_text(gauge.fraction)}" if gauge.fraction is not None else ""
        both = gauge.note + percent
        text = both if figures.end(both, cells) == both else gauge.note
        return (Part(figures.fitted(figures.end(text, cells), cells), gauge.tone),)
    fraction = gauge.fraction or 0.0
    bar = figures.bar_text(fraction, max(1, cells - _PERCENT_CELLS))
    percent = figures.fitted(figures.percent_text(fraction), _PERCENT_CELLS, right=True)
    return (Part(bar.filled, gauge.tone), Part(bar.rest, Tone.FAINT), Part(percent))


def _cells_of(columns: list[Wanted]) -> int:
    return sum(column.cells for column in columns) + len(_GAP) * (len(columns) - 1)


def _grown(kept: list[Wanted], width: int) -> tuple[Column, ...]:
    spare = width - _cells_of(kept)
    cells = {column.title: column.cells for column in kept}
    cells[FILE] += min(spare, 0)
    for title, most in (*_GROWS.items(), (FILE, _FILE_CELLS_MAX)):
        if title in cells and spare > 0:
            more = min(spare, most - cells[title])
            cells[title] += more
            spare -= more
    cells[FILE] = max(cells[FILE], 4)
    return tuple(Column(column.title, cells[column.title], column.right) for column in kept)


def _status_cell(row: Row, column: Column) -> tuple[Part, ...]:
    look = LOOKS[row.status]
    return (Part(figures.fitted(f"{look.sign} {row.status}", column.cells), look.tone),)


def _plain(read: Callable[[Row], str], tone: Tone = Tone.QUIET) -> Callable[[Row, Column], tuple[Part, ...]]:
    return lambda row, column: (Part(figures.fitted(read(row), column.cells, right=column.right), tone),)


_CELLS: MappingProxyType[str, Callable[[Row, Column], tuple[Part, ...]]] = MappingProxyType(
    {
        "STATUS": _status_cell,
        FILE: _plain(lambda row: row.name, Tone.PLAIN),
        FOLDER: _plain(lambda row: row.folder),
        PROGRESS: lambda row, column: gauge_parts(row.gauge, column.cells),
        "SIZE": _plain(lambda row: row.size),
        "SPEED": _plain(lambda row: row.speed, Tone.PLAIN),
        "LEFT": _plain(lambda row: row.left, Tone.PLAIN),
        "TRIES": _plain(lambda row: row.tries),
        "PRIO": _plain(lambda row: row.priority),
        HOST: _plain(lambda row: row.host),
    }
)
