"""Numbers, times and names as people read them: pure functions from a value to a short text of known width in cells.

Sizes are decimal (1 GB = 10⁹ bytes), as the model hosts print them. Widths are terminal cells, so that wide characters
(CJK, emoji) count twice. Nothing here makes foreign text safe: see `download_worker.text.safe_text`.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from rich.cells import cell_len

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_LONGEST_DAYS = 99
# What a line may take of one text: more signs than this per cell can only be zero-width ones.
_MAX_CHARS_PER_CELL = 4


def bytes_text(count: float) -> str:
    """`0 B`, `999 B`, `4.81 GB`, `48.1 GB`: three digits, at most 7 cells below 1000 PB."""
    unit = _unit_of(count)
    return f"{_digits(count, unit)} {_UNITS[unit]}"


def amount_text(done: int, total: int | None) -> str:
    """`4.81/11.9 GB` in the unit of the whole; `4.81 GB` where the whole is not known."""
    if total is None:
        return bytes_text(done)
    unit = _unit_of(total)
    if done >= total:
        return bytes_text(total)
    return f"{_digits(done, unit)}/{_digits(total, unit)} {_UNITS[unit]}"


def speed_text(bytes_per_second: float) -> str:
    return bytes_text(bytes_per_second) + "/s"


def span_text(seconds: float) -> str:
    """A length of time: `0:42`, `3:05`, `1:02:09`, `3 d 4 h`, `> 99 d`. Never negative."""
    whole = max(0, round(min(seconds, (_LONGEST_DAYS + 1) * _DAY)))
    if whole >= _LONGEST_DAYS * _DAY:
        return f"> {_LONGEST_DAYS} d"
    if whole >= _DAY:
        return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"
    hours, rest = divmod(whole, _HOUR)
    minutes, left = divmod(rest, _MINUTE)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def left_seconds(done: int, total: int | None, bytes_per_second: float | None) -> float | None:
    """What is missing at this speed; None where nobody can say."""
    if total is None or not bytes_per_second or bytes_per_second <= 0:
        return None
    return max(0, total - done) / bytes_per_second


def fraction_of(done: int, total: int | None) -> float | None:
    """Between 0 and 1; None where the whole is not known."""
    return min(1.0, max(0.0, done / total)) if total else None


def percent_text(fraction: float) -> str:
    """`42 %`; 100 only when it is all there."""
    return f"{int(fraction * 100)} %"


class Bar(NamedTuple):
    """A bar in two pieces. Their signs differ, so that it can be read without colour."""

    filled: str
    rest: str


def bar_text(fraction: float, cells: int) -> Bar:
    """`━━━━╸` and `─────`: halves of a cell are shown; full only when it is all there."""
    halves = int(fraction * cells * 2)
    filled = "━" * (halves // 2) + "╸" * (halves % 2)
    return Bar(filled, "─" * (cells - len(filled)))


def moment_of(iso_text: str | None) -> datetime | None:
    """The moment of an ISO-8601 text with a zone; None for anything else."""
    if iso_text is None:
        return None
    try:
        moment = datetime.fromisoformat(iso_text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def age_text(moment: datetime, now: datetime) -> str:
    """`just now`, `42 s ago`, `3 min ago`, `5 h ago`, `231 d ago`."""
    seconds = (now - moment).total_seconds()
    if seconds < 5:
        return "just now"
    for limit, size, unit in ((_MINUTE, 1, "s"), (_HOUR, _MINUTE, "min"), (_DAY, _HOUR, "h")):
        if seconds < limit:
            return f"{int(seconds // size)} {unit} ago"
    return f"{int(seconds // _DAY):,} d ago"


def clock_text(moment: datetime, now: datetime) -> str:
    """The time of day where `now` lives, with the date in front unless it is today's."""
    there = moment.astimezone(now.tzinfo)
    return f"{there:%H:%M:%S}" if there.date() == now.date() else f"{there:%Y-%m-%d %H:%M}"


def count_text(count: int, one: str, many: str | None = None) -> str:
    """`1 job`, `1,204 jobs`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def middle(text: str, cells: int) -> str:
    """At most this many cells: what does not fit is taken from the middle, so that a name keeps its ending."""
    clipped = text[: max(0, cells) * _MAX_CHARS_PER_CELL]
    if clipped == text and cell_len(text) <= cells:
        return text
    if cells <= 1:
        return "…"[: max(0, cells)]
    tail_cells = min((cells - 1) * 3 // 5, 18)
    return _head(clipped, cells - 1 - tail_cells) + "…" + _tail(text, tail_cells)


def end(text: str, cells: int) -> str:
    """At most this many cells: what does not fit is taken from the end."""
    if len(text) <= cells * _MAX_CHARS_PER_CELL and cell_len(text) <= cells:
        return text
    return _head(text, cells - 1) + "…" if cells > 0 else ""


def fitted(text: str, cells: int, *, right: bool = False) -> str:
    """Exactly this many cells: padded, or shortened in the middle."""
    short = middle(text, cells)
    padding = " " * (cells - cell_len(short))
    return padding + short if right else short + padding


def folded(text: str, cells: int) -> list[str]:
    """The text in lines of at most this many cells (at least 2), broken at a space or after a slash near the edge."""
    width = max(2, cells)
    lines: list[str] = []
    rest = text
    while len(rest) > width * _MAX_CHARS_PER_CELL or cell_len(rest) > width:
        line = _head(rest, width)
        if rest[len(line)] != " ":
            line = line[: _break_in(line)]
        lines.append(line.rstrip())
        rest = rest[len(line) :].lstrip(" ")
    return [*lines, rest]


def _break_in(line: str) -> int:
    """Where a line that ends within a word is better broken: at its last space, else after its last slash."""
    for place in (line.rfind(" "), line.rfind("/") + 1):
        if place > len(line) // 3:
            return place
    return len(line)


def _unit_of(count: float) -> int:
    """The first unit in which three digits are enough; 999.6 kB is already 1.00 MB."""
    unit = 0
    while unit < len(_UNITS) - 1 and count / 1000**unit >= 999.5:
        unit += 1
    return unit


def _digits(count: float, unit: int) -> str:
    value = count / 1000**unit
    if unit == 0 or value == 0:
        return f"{value:.0f}"
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f}"


def _head(text: str, cells: int) -> str:
    """The longest beginning of the text that fits, with at least one sign where there is room for one."""
    used = 0
    for index, char in enumerate(text):
        used += cell_len(char)
        if used > cells or index >= cells * _MAX_CHARS_PER_CELL:
            return _trimmed(text[:index], cells)
    return _trimmed(text, cells)


def _trimmed(text: str, cells: int) -> str:
    """Signs that join (an emoji and its variation selector) are wider together than one by one."""
    while cell_len(text) > cells:
        text = text[:-1]
    return text


def _tail(text: str, cells: int) -> str:
    return _head(text[::-1], cells)[::-1]
