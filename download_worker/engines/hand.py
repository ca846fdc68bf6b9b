"""A thread at work on one job, as the engine sees it: what it holds, and why its leash was pulled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from download_worker.jobs import moves
from download_worker.jobs.job import Job
from download_worker.jobs.ledger import Order
from download_worker.jobs.moves import Move
from download_worker.leash import Leash

# What an owner records that was told to let go; whoever lost the claim records nothing.
ANSWERS: Mapping[Order, Callable[[str], Move]] = MappingProxyType(
    {
        Order.CANCEL: moves.cancelled,
        Order.PAUSE: lambda at: moves.given_back(at, "Paused; the bytes stay"),
        Order.MAKE_WAY: lambda at: moves.given_back(at, "Makes way for a job of higher priority; the bytes stay"),
        Order.GO_ON: lambda at: moves.given_back(at, "Given back: the worker stops"),
    }
)


@dataclass(eq=False)
class Hand:
    """`order` is why its leash was pulled."""

    job: Job
    leash: Leash = field(default_factory=Leash)
    order: Order = Order.GO_ON
    _arrived_bytes: int | None = None

    def pull(self, order: Order) -> None:
        if self.order is Order.GO_ON:
            self.order = order
        self.leash.pull()

    def answering_host(self) -> str | None:
        """Asked with every heartbeat: the host whose bytes came since the last one, if any did. They are an answer: it
        is back while its probe still downloads."""
        progress = self.leash.read()
        if not progress.connections:
            return None
        former, self._arrived_bytes = self._arrived_bytes, progress.bytes
        came = former is not None and former != progress.bytes
        return (progress.source or self.job.model_info.host) if came else None
