"""Some megabytes beside the ledger that are let go when its volume is full, so that the ends of jobs are still recorded
(FAULTS D2)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from loguru import logger

from download_worker.errors import Code, TryLater

Result = TypeVar("Result")

BALLAST_BYTES = 4 * 1024**2


@dataclass
class Ballast:
    """Some megabytes beside the ledger that can be let go when its volume is full, so that ends are still recorded."""

    path: Path
    n_bytes: int = BALLAST_BYTES
    reserve_bytes: int = 0
    free_bytes: Callable[[Path], int] = field(default=lambda folder: shutil.disk_usage(folder).free)

    def take(self) -> None:
        """Have it, if there is room enough. Never raises."""
        with suppress(OSError):
            if self.path.exists() or self.free_bytes(self.path.parent) < self.n_bytes + self.reserve_bytes:
                return
            fresh = self.path.with_suffix(".new")
            with fresh.open("wb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, self.n_bytes)
                else:
                    file.write(bytes(self.n_bytes))
            fresh.replace(self.path)

    def let_go(self) -> bool:
        """Whether there was some. Never raises."""
        with suppress(OSError):
            self.path.unlink()
            logger.warning("the volume of {} is full: its ballast was removed, so that jobs are recorded", self.path)
            return True
        return False


def with_ballast(ballast: Ballast, work: Callable[[], Result]) -> Result:
    """Do it; where the disk is too full for it, once more without the ballast. Raises what it raises."""
    try:
        return work()
    except TryLater as trouble:
        if trouble.code is Code.DISK_FULL and ballast.let_go():
            return work()
        raise
