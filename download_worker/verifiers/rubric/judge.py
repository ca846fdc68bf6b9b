"""The verdict on one file: deterministic checks passed AND (the publisher knows the bytes OR the model says VERIFIED).

Every step before has found nothing wrong, or this room is not reached; so a model can only tighten. It is not asked
when Civitai itself publishes these bytes, nor when none is configured, and the reason says which. Silence, nonsense and
refusals are never a verdict: the job waits.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any

from loguru import logger

from download_worker.clock import Clock, SystemClock
from download_worker.errors import Code, TryLater
from download_worker.jobs.job import ModelInfo, Verdict
from download_worker.jobs.proof import CIVITAI_HASH
from download_worker.leash import Leash
from download_worker.room import MORE_FILES
from download_worker.settings import Settings
from download_worker.text import Redactor, safe_text
from download_worker.verifiers.published import PublishedDigest, nobody_publishes
from download_worker.verifiers.rubric.answer import Answer, Unusable, read_answer
from download_worker.verifiers.rubric.evidence import Facts, Question, digest_of, gathered
from download_worker.verifiers.rubric.prompt import versioned_prompt
from download_worker.verifiers.rubric.proof import best_proof, in_words, may_run_code, proof_of
from download_worker.verifiers.verifier import Evidence, Rejected, Specimen

if TYPE_CHECKING:
    from download_worker.verifiers.rubric.model import LanguageModel, Message

RULES = "rules"
ECHOED_CHARS = 1_000


class RejectedByRubric(Rejected):
    """A rejection that carries its whole verdict: evidence, prompt and digests."""

    def __init__(self, verdict: Verdict) -> None:
        record = {"evidence_sha256": verdict.evidence_sha256, "prompt_sha256": verdict.prompt_sha256}
        super().__init__(Code.REJECTED_BY_RUBRIC, verdict.reason, evidence=record, by=verdict.by, elsewhere=False)
        self._verdict = verdict

    def verdict(self) -> Verdict:
        return self._verdict


class ModelRubric:
    """Implements `Rubric`. One instance serves all jobs of a process."""

    def __init__(
        self,
        settings: Settings,
        published: PublishedDigest = nobody_publishes,
        *,
        clock: Clock | None = None,
        nonce: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._settings = settings
        self._published = published
        self._clock = clock or SystemClock()
        self._nonce = nonce
        self._redact = Redactor(settings.secrets())

    def foresee(self, wanted: ModelInfo) -> None:
        """Raises Rejected for a file that can run code and that nobody whom we trust can vouch for."""
        if may_run_code(wanted) and best_proof(wanted) not in ("A", "B"):
            raise RejectedByRubric(Verdict(verdict="REJECTED", reason=_no_voucher(wanted), by=RULES))

    def judge(self, specimen: Specimen, evidence: Sequence[Evidence], leash: Leash) -> Verdict:
        """Raises Rejected(rejected_by_rubric), TryLater(no_verdict) or Interrupted."""
        wanted, sha256 = specimen.wanted, specimen.file.sha256
        published = wanted.source == CIVITAI_HASH and self._published(wanted, sha256, leash)
        proof = proof_of(wanted, evidence, published=published)
        proven = in_words(wanted, evidence, published=published)
        facts = gathered(specimen, evidence, self._redact)
        draft = {"proof": proof, "evidence": facts, "evidence_sha256": digest_of(facts)}
        if may_run_code(wanted) and proof not in ("A", "B"):
            raise RejectedByRubric(Verdict(verdict="REJECTED", reason=_no_voucher(wanted), by=RULES, **draft))
        if published:
            return _verified(f"the language model was not asked: {proven}", draft)
        if self._settings.llm_model is None:
            return _verified(f"no language model is configured; proven by rules: {proven}", draft)
        return self._asked(specimen, facts, draft, leash)

    @cached_property
    def _model(self) -> LanguageModel:
        """Raises TryLater(storage): where nothing more can be opened, Python finds no modules either."""
        try:
            from download_worker.verifiers.rubric.model import LanguageModel  # noqa: PLC0415 - loads openai: a second
        except (ImportError, OSError) as error:
            message = f"the client of the language model cannot be loaded: {safe_text(error, max_chars=200)}"
            raise TryLater(Code.STORAGE, message, hint=f"{MORE_FILES} if it is reached, else install openai") from error
        return LanguageModel(self._settings, self._clock)

    def _asked(self, specimen: Specimen, facts: Facts, draft: dict[str, Any], leash: Leash) -> Verdict:
        question = Question(self._nonce(), specimen.job_id, specimen.file.sha256, facts)
        answer = self._answer(question, leash)
        prompt, reason = versioned_prompt(), self._redact(answer.reason)
        logger.info("{} says {} of {} (prompt {})", self._model.name, answer.verdict, question.sha256, prompt.sha256)
        draft = draft | {"by": self._model.name, "prompt_version": prompt.version, "prompt_sha256": prompt.sha256}
        if answer.verdict == "REJECTED":
            raise RejectedByRubric(Verdict(verdict="REJECTED", reason=f"rejected by agent: {reason}", **draft))
        return Verdict(verdict="VERIFIED", reason=reason, **draft)

    def _answer(self, question: Question, leash: Leash) -> Answer:
        """Ask, and where the answer cannot be used, say why and ask once more. One deadline for both.

        Raises TryLater(no_verdict, storage) or Interrupted.
        """
        model = self._model
        deadline = monotonic() + self._settings.llm_timeout_seconds
        messages = _conversation(question)
        said = ""
        try:
            said = model.ask(messages, leash, deadline)
            return read_answer(said, question)
        except Unusable as error:
            logger.warning("{} gave no usable answer ({}); asking once more", model.name, error)
            messages = [*messages, *_repair(said, error)]
        try:
            return read_answer(model.ask(messages, leash, deadline, simpler=True), question)
        except Unusable as error:
            raise TryLater(Code.NO_VERDICT, f"{safe_text(model.name)} gave no usable verdict twice: {error}") from error


def _verified(reason: str, draft: dict[str, Any]) -> Verdict:
    return Verdict(verdict="VERIFIED", reason=reason, by=RULES, **draft)


def _no_voucher(wanted: ModelInfo) -> str:
    return (
        f"{wanted.expected_filename} can run code when it is loaded (it is no safetensors, GGUF or ONNX file),"
        " and no digest that we trust vouches for it: give its SHA-256 with --sha256, or choose a safetensors file"
    )


def _conversation(question: Question) -> list[Message]:
    return [
        {"role": "system", "content": versioned_prompt().text},
        {"role": "user", "content": question.document()},
    ]


def _repair(said: str, error: Unusable) -> list[Message]:
    """The bad answer goes back escaped and shortened, so that roles alternate as many chat templates demand."""
    complaint = (
        f"That answer cannot be used: {error}. Judge the same evidence again. Answer with exactly one JSON object with"
        " the keys nonce, job_id, sha256, verdict and reason as described, without a code fence or any other text."
    )
    shown = safe_text(said, max_chars=ECHOED_CHARS) or "(nothing)"
    return [{"role": "assistant", "content": shown}, {"role": "user", "content": complaint}]
