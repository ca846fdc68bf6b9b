"""A thread at work on one job, as the engine sees it: what it holds, and why its leash was pulled."""

from __future__ import annotations

from dataclasses import dataclass, field

from download_worker.jobs.job import Job
from download_worker.jobs.ledger import Order
from download_worker.leash import Leash


@dataclass(eq=False)
class Hand:
    """`order` is why its leash was pulled. `arrived_bytes` is what had come at the last heartbeat."""

    job: Job
    leash: Leash = field(default_factory=Leash)
    order: Order = Order.GO_ON
    arrived_bytes: int | None = None

    def pull(self, order: Order) -> None:
        if self.order is Order.GO_ON:
            self.order = order
        self.leash.pull()
