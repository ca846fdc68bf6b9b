"""The door to the bandwidth limits: whoever has received bytes says so, and is told how long to wait before more."""

from __future__ import annotations

from typing import Protocol

from download_worker.leash import Leash

HEAR_SECONDS = 1.0
"""A wait is asked for anew so often, so that a limit that was lifted meanwhile ends it."""


class Pace(Protocol):
    def spend(self, host: str, job: str, n_bytes: int) -> float:
        """Seconds to wait before reading on; 0.0 means go on. From any thread; never raises, never blocks for long.

        `host` is that of the source's own URL, whichever CDN it leads to. With 0 bytes nothing is spent: the answer
        is what all that this job has received would still have to wait now.
        """
        ...


class _Unlimited:
    """The twin that never waits."""

    def spend(self, host: str, job: str, n_bytes: int) -> float:
        return 0.0


UNLIMITED: Pace = _Unlimited()


def hold_back(pace: Pace, leash: Leash, host: str, job: str, n_bytes: int) -> float:
    """Spend, and wait as long as it takes. Returns the seconds waited. Raises Interrupted when the leash is pulled.

    Also after the last bytes of a file, else its end is faster than the limit.
    """
    left = pace.spend(host, job, n_bytes)
    waited = 0.0
    while left > 0:
        pause = min(left, HEAR_SECONDS)
        leash.wait(pause)
        waited += pause
        left -= pause
        if left > 0:
            left = min(left, pace.spend(host, job, 0))
    return waited
