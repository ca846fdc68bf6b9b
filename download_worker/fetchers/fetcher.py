"""The question every fetcher answers: bring this source into that room, whole and digested."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from download_worker.jobs.job import ModelInfo
from download_worker.leash import Leash
from download_worker.room import Fetched, Room

HEAD_BYTES = 64 * 1024
"""How much of a file is shown to `Inspect` before the rest may come."""

Inspect = Callable[[bytes], None]
"""Looks at the first bytes of a file and raises GiveUp when it can never be the file that was asked for."""


class Fetcher(Protocol):
    def fetch(
        self, url: str, mirrors: Sequence[str], wanted: ModelInfo, room: Room, leash: Leash, inspect: Inspect
    ) -> Fetched:
        """The file at `url`; its mirrors may help where what they send can be told from another file.

        Raises TryLater, GiveUp (with `elsewhere` when another source may do better), Refused, Interrupted.
        """
        ...
