"""What of a job's file is durable, as its rooms say: the stretches that no later life may fetch again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from download_worker.room import Journal, Room

Spans = tuple[tuple[int, int], ...]
"""Bytes [start, end) each."""


def spans_of(journal: Journal | None) -> Spans:
    return tuple((start, end) for start, end, _ in journal.durable) if journal is not None else ()


def furthest(hall: Path) -> Journal | None:
    """The journal of the most advanced of a job's rooms."""
    journals = [Room(path).journal() for path in hall.glob("[0-9]*") if path.name.isdigit()]
    return max((each for each in journals if each is not None), key=lambda each: each.durable_bytes, default=None)


def asked_again(starts: Iterable[int], durable: Spans) -> Sequence[int]:
    """Which of these first bytes lie where bytes were durable already."""
    return [at for at in starts if any(start <= at < end for start, end in durable)]
