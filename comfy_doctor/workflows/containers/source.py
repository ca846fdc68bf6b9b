"""A file of which only some places are read, and what a hostile one may cost us at most.

Every look at the file goes through `Source`: it counts steps (chunks, boxes, pages, tags) and bytes, and never
reads beyond the end, whatever size a header tells. All sizes and offsets are bytes.
"""

from __future__ import annotations

import os
from typing import BinaryIO, NamedTuple

MAX_WORKFLOW_BYTES = 64 * 1024**2
MAX_TOTAL_BYTES = 2 * MAX_WORKFLOW_BYTES + 16 * 1024**2
MAX_STEPS = 200_000
"""A PNG of 1.6 GB in chunks of 8 KiB, or a Matroska file of 20 GB in clusters of 100 KB, stay below."""


class Unreadable(Exception):
    """This file cannot be read (further) as what it seems to be. The text says why, without the path."""


class Text(NamedTuple):
    """A text found in a file and what the file calls it; `data` is UTF-8 wherever the file tells its encoding."""

    key: str
    data: bytes


class Source:
    """A seekable file. `damage` is the first thing that could not be read although the rest can be."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, os.SEEK_END)
        self._bytes_left = MAX_TOTAL_BYTES
        self._steps_left = MAX_STEPS
        self.damage: str | None = None

    def note(self, damage: str) -> None:
        self.damage = self.damage or damage

    def spend(self, count: int) -> None:
        """Count bytes that are held in memory. Raises Unreadable beyond MAX_TOTAL_BYTES."""
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise Unreadable(f"more than {MAX_TOTAL_BYTES} bytes of metadata")

    def step(self) -> None:
        """Count one part of the file that is looked at. Raises Unreadable beyond MAX_STEPS."""
        self._steps_left -= 1
        if self._steps_left < 0:
            raise Unreadable(f"more than {MAX_STEPS} parts")

    def read(self, offset: int, size: int) -> bytes:
        """A header: what is there of these `size` bytes. Raises Unreadable when the bounds are reached."""
        self.step()
        size = min(size, self.size - offset)
        if offset < 0 or size <= 0:
            return b""
        self.spend(size)
        self._file.seek(offset)
        return self._file.read(size)

    def body(self, offset: int, size: int) -> bytes:
        """A whole text: what is there of it, nothing (and damage noted) when it is larger than any workflow."""
        if min(size, self.size - offset) > MAX_WORKFLOW_BYTES:
            self.note(f"its text is larger than {MAX_WORKFLOW_BYTES} bytes")
            return b""
        return self.read(offset, size)
