"""Everything that one walk needs, as one frozen value: the tools are chosen in `wiring.py`, once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from download_worker.clock import Clock, iso
from download_worker.fetchers.fetcher import Fetcher, Inspect
from download_worker.hosts import Hosts
from download_worker.installers.installer import Installer
from download_worker.jobs.ledger import Ledger
from download_worker.quarantine import Quarantine
from download_worker.settings import Settings
from download_worker.verifiers.verifier import Rubric, Verifier
from download_worker.volumes import Volumes


@dataclass(frozen=True)
class Workshop:
    """The order of the verifiers is the policy: cheapest first, the first refusal stands."""

    settings: Settings
    clock: Clock
    ledger: Ledger
    fetcher: Fetcher
    inspect: Callable[[str], Inspect]
    verifiers: Sequence[Verifier]
    rubric: Rubric
    installer: Installer
    quarantine: Quarantine
    hosts: Hosts = field(default_factory=Hosts)
    volumes: Volumes = field(default_factory=Volumes)

    def at(self) -> str:
        return iso(self.clock.now())
