"""The question every installer answers: put this proven file in its place, in one step, over nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from download_worker.jobs.job import Job
from download_worker.leash import Leash
from download_worker.room import Fetched


@dataclass(frozen=True)
class Installed:
    path: Path
    already_present: bool = False


class Installer(Protocol):
    def present(self, job: Job, leash: Leash) -> Installed | None:
        """The target, if it is there already with the digest that the job asks for.

        Raises GiveUp(conflict) when something else is there and no fetch could change that; Interrupted.
        """
        ...

    def install(self, job: Job, file: Fetched, leash: Leash) -> Installed:
        """Installing twice is installing once. Raises GiveUp(conflict, permission, storage), TryLater(disk_full)."""
        ...
