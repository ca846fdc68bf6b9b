"""The question every engine answers: work through the jobs until told to stop, or until nothing is left."""

from __future__ import annotations

from typing import Protocol


class Engine(Protocol):
    def run(self, *, drain: bool = False) -> bool:
        """Blocks until `stop`, or with `drain` until nothing is left to do now or later.

        True when no job failed meanwhile and, with `drain`, none was left behind.
        """
        ...

    def stop(self) -> None:
        """From any thread or a signal handler: take nothing more, finish or give back, return from `run`."""
        ...
