"""Two clocks: the wall for people, and one that no jump of the wall moves for leases.

`CLOCK_BOOTTIME` counts seconds since boot, suspend included, and together with the boot id it tells whether a reading
belongs to this boot. Where there is none (macOS, Windows) the monotonic clock, which also starts at boot there, and an
empty boot id stand in; a lease that then seems to begin in the future is void (see `Lease.holds`).
"""

from __future__ import annotations

import errno
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol


class Instant(NamedTuple):
    """A reading of the steady clock: which boot, and seconds since then."""

    boot_id: str
    seconds: float


class Clock(Protocol):
    def now(self) -> datetime:
        """Wall time, UTC, aware. For people and for `not_before`; never for leases."""
        ...

    def steady(self) -> Instant:
        """Steady time. Never goes back while the machine runs."""
        ...


class SystemClock:
    def __init__(self) -> None:
        self._clock_id: int | None = getattr(time, "CLOCK_BOOTTIME", None)
        self._boot_id = _boot_id()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def steady(self) -> Instant:
        seconds = time.monotonic() if self._clock_id is None else time.clock_gettime(self._clock_id)
        return Instant(self._boot_id, seconds)


def _boot_id() -> str:
    """Linux names each boot in this file (random.c in the kernel); elsewhere there is no such name.

    Raises OSError where too many files are open: without the name, leases of this very boot would look void.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        return ""


@dataclass
class FakeClock:
    """The twin for tests: stands still until it is told to move."""

    wall: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    instant: Instant = field(default_factory=lambda: Instant("boot-1", 1000.0))

    def now(self) -> datetime:
        return self.wall

    def steady(self) -> Instant:
        return self.instant

    def advance(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.instant = self.instant._replace(seconds=self.instant.seconds + seconds)

    def reboot(self) -> None:
        self.instant = Instant(self.instant.boot_id + "'", 1.0)


def iso(moment: datetime) -> str:
    """UTC ISO-8601 with Z, to the millisecond: the only form of time that leaves the house."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
