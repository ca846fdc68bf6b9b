"""What all pictures share: signs and their colours, safe cells, numbers in words."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from rich.table import Table
from rich.text import Text

from download_worker.text import safe_text

TONES = MappingProxyType(
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

NOTE_INDENT = "      "


def table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold" if heading in ("model", "note", "file") else "ellipsis")
    return table


def sign(state: str, text: str | None = None) -> Text:
    sign, tone = TONES[state]
    return Text(text or sign, style=tone, no_wrap=True)


def cell(value: object) -> Text:
    return Text(safe_text(value))


def many(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def size_of(size: int | None) -> str:
    """Decimal units with three digits, as disks and model pages give them."""
    value = float(size or 0)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def entry(sign: str, tone: str, name: object, details: str = "", notes: Iterable[str] = ()) -> Text:
    """One thing on one line, and below it what is to be said of it; nothing is cut, so that it can be copied."""
    line = Text(f"{sign:<2} ", style=tone)
    line.append(safe_text(name), style="default")
    if details:
        line.append(f"  {safe_text(details)}", style="dim")
    for note in notes:
        line.append(f"\n{NOTE_INDENT}{safe_text(note)}", style="dim")
    return line
