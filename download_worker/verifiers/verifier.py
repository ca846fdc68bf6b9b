"""The question every verifier answers: what do you find in this file? And the chain that ends in a verdict.

A verifier returns evidence, or raises Rejected (the file is wrong) or TryLater (no verdict yet). Only the last one, the
rubric, speaks a verdict; all before it must have found nothing wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from download_worker.errors import Code, GiveUp
from download_worker.jobs.job import JobId, ModelInfo, Verdict
from download_worker.leash import Leash
from download_worker.room import Fetched


@dataclass(frozen=True)
class Evidence:
    """What one step found: bounded JSON facts, already safe to show (see `text.safe_text`)."""

    step: str
    facts: Mapping[str, Any]

    def document(self) -> dict[str, Any]:
        return {"step": self.step, **self.facts}


@dataclass(frozen=True)
class Specimen:
    """The file under examination, and everything a verifier may know about it."""

    job_id: JobId
    file: Fetched
    wanted: ModelInfo


class Rejected(GiveUp):
    """The file is not what was asked for. `evidence` is what led to it; `by` is who said so."""

    def __init__(
        self,
        code: Code,
        reason: str,
        *,
        evidence: Mapping[str, Any] | None = None,
        by: str = "rules",
        elsewhere: bool = True,
    ) -> None:
        super().__init__(code, reason, elsewhere=elsewhere)
        self.evidence = dict(evidence or {})
        self.by = by

    def verdict(self) -> Verdict:
        return Verdict(verdict="REJECTED", reason=self.message, by=self.by, evidence=(self.evidence,))


class Verifier(Protocol):
    name: str

    def examine(self, specimen: Specimen, leash: Leash) -> Evidence:
        """Raises Rejected, TryLater or Interrupted."""
        ...


class Rubric(Protocol):
    def foresee(self, wanted: ModelInfo) -> None:
        """Before a byte is fetched. Raises Rejected when no bytes could earn a VERIFIED."""
        ...

    def judge(self, specimen: Specimen, evidence: Sequence[Evidence], leash: Leash) -> Verdict:
        """The last step. Raises Rejected, TryLater(no_verdict) or Interrupted."""
        ...


def prove(specimen: Specimen, verifiers: Sequence[Verifier], rubric: Rubric, leash: Leash) -> Verdict:
    """The whole chain. Raises Rejected, TryLater, Interrupted."""
    evidence: list[Evidence] = []
    for verifier in verifiers:
        leash.check()
        evidence.append(verifier.examine(specimen, leash))
    leash.check()
    return rubric.judge(specimen, evidence, leash)
