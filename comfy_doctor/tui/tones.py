"""Pieces of text with a tone, and how they become Textual content. The only place where text meets a style.

`Content` is built from plain text and spans, so nothing in a text can be markup; `foreign` makes what came from
outside safe to show. Tones name the theme's own variables: without colour, words and signs still say everything.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from textual.content import Content

from download_worker.jobs.job import Status
from download_worker.text import safe_text

foreign = safe_text


class Tone(StrEnum):
    """A style of Textual for each thing a text may mean."""

    PLAIN = ""
    STRONG = "bold"
    QUIET = "$text-muted"
    FAINT = "$text-disabled"
    MOVING = "$primary"
    CHECKING = "$secondary"
    GOOD = "$success"
    WARN = "$warning"
    BAD = "$error"
    HEADING = "bold $primary"


class Part(NamedTuple):
    text: str
    tone: Tone = Tone.PLAIN


class Look(NamedTuple):
    """How a status is shown: its sign carries it where there is no colour."""

    sign: str
    tone: Tone


LOOKS = MappingProxyType(
    {
        Status.PENDING: Look("○", Tone.QUIET),
        Status.DOWNLOADING: Look("↓", Tone.MOVING),
        Status.VERIFYING: Look("◆", Tone.CHECKING),
        Status.SUCCESS: Look("✓", Tone.GOOD),
        Status.FAILED: Look("✗", Tone.BAD),
    }
)


def content(parts: Iterable[Part]) -> Content:
    return Content.assemble(*((part.text, str(part.tone)) for part in parts))


def joined(groups: Iterable[Iterable[Part]], separator: str = " · ") -> tuple[Part, ...]:
    """The groups in one line, with a quiet separator between those that are not empty."""
    line: list[Part] = []
    for group in groups:
        parts = [part for part in group if part.text]
        if parts and line:
            line.append(Part(separator, Tone.FAINT))
        line.extend(parts)
    return tuple(line)
