"""One limit, shared fairly by the jobs that count for it: a token bucket with a debt for every job. Pure.

Bytes are paid for after they came. What time brings in, at the rate of the limit, is shared out equally among the jobs
that are in debt (none gets more than it owes, so whoever is slow for another reason leaves its share to the others).
With no job in debt it becomes credit, but only a little: what was not used does not come back as a burst.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

BURST_SECONDS = 0.25
"""The credit of an idle bucket, with which a thread makes up for waking late. It pays for one buffer at least."""
BUFFER_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Bucket:
    """`at_seconds` is steady time, `idle_bytes` what time brought since the last debt was paid; debts are in bytes."""

    at_seconds: float
    idle_bytes: float = 0.0
    debts: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def at(self, now_seconds: float, rate: float) -> Bucket:
        """The bucket at that time, after `rate` bytes per second flowed in. Never goes back."""
        rest = max(0.0, now_seconds - self.at_seconds) * rate
        debts = {}
        for place, (job, debt) in enumerate(sorted(self.debts.items(), key=lambda owed: owed[1])):
            paid = min(debt, rest / (len(self.debts) - place))
            rest -= paid
            if debt - paid >= 1:
                debts[job] = debt - paid
        idle = 0.0 if debts else rest if self.debts else self.idle_bytes + rest
        return Bucket(max(now_seconds, self.at_seconds), idle, MappingProxyType(debts))

    def charged(self, job: str, n_bytes: int, rate: float) -> Bucket:
        """With these bytes on this job's account. While a buffer filled the bucket was idle, so that pays for it, also
        where the limit is so low that this took longer than `BURST_SECONDS`."""
        credit = min(self.idle_bytes, max(rate * BURST_SECONDS, min(n_bytes, BUFFER_BYTES)))
        debt, idle = max(0.0, n_bytes - credit), max(0.0, credit - n_bytes)
        debts = {**self.debts, job: self.debts.get(job, 0.0) + debt} if debt else self.debts
        return Bucket(self.at_seconds, idle, MappingProxyType(dict(debts)))

    def wait_seconds(self, job: str, rate: float) -> float:
        """Until this job's debt is paid, if nobody spends more meanwhile."""
        own = self.debts.get(job, 0.0)
        return sum(min(debt, own) for debt in self.debts.values()) / rate
