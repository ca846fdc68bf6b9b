"""What a person gets to see of a conversation: candidates that our searches returned, or an honest other word. Pure.

A model's word moves a candidate up or down below what its name alone deserves; it never makes one that may be fetched
unasked. Size, digest and address are the host's. What could not be looked at is never called "not found".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import urlsplit

from loguru import logger

from comfy_doctor.needs import Candidate
from comfy_doctor.resolvers.agent.actions import Conclusion, Status
from comfy_doctor.resolvers.agent.conversation import Ending
from comfy_doctor.resolvers.agent.desk import Desk
from comfy_doctor.resolvers.agent.searches import Hit
from comfy_doctor.resolvers.likeness import OTHER_FORMAT, Near, nearest
from comfy_doctor.resolvers.resolver import Answer, Quest, Word
from comfy_doctor.sites import CivitaiPlace, site_of
from download_worker.text import safe_text

MAX_CONFIDENCE = 0.85
"""Below `AUTOMATIC` whatever the model says: a person approves what it proposes (T24)."""
MAX_UNCERTAIN = 0.5
_MAX_BY_STATUS = {Status.FOUND: MAX_CONFIDENCE, Status.UNCERTAIN: MAX_UNCERTAIN, None: 0.3}
_MAX_OF_KIN = 0.45
_MAX_OF_OTHERS = 0.25
_LEAST_LIKENESS = 0.6
MAX_CANDIDATES = 5

UNCERTAIN = "uncertain"
"""The first word of every answer from which a person has to choose."""


class _Named(NamedTuple):
    """A real result, and what the model thinks of it: None where it did not say."""

    hit: Hit
    confidence: float | None


def answer_of(quest: Quest, ending: Ending, desk: Desk, redact: Callable[[str], str]) -> Answer:
    """`ending.conclusion` weighed against what the searches of `desk` really returned."""
    if ending.conclusion is None:
        return _unjudged(quest, desk, f"the model was of no help: {ending.why}", otherwise=Word.COULD_NOT_LOOK)
    conclusion = replace(ending.conclusion, reason=redact(ending.conclusion.reason))
    if conclusion.status is Status.NOT_FOUND:
        return _nothing(desk, conclusion.reason)
    real = [_Named(hit, pick.confidence) for pick in conclusion.picks if (hit := desk.hit(pick.url)) is not None]
    invented = _invented(len(conclusion.picks) - len(real))
    if invented:
        logger.info("the agent about {}: {}", safe_text(quest.need.filename), invented)
    if not real:
        looked = desk.looked and not desk.troubles
        otherwise = Word.NOT_FOUND if looked else Word.COULD_NOT_LOOK
        return _unjudged(quest, desk, invented or "the model names no candidate", otherwise=otherwise)
    candidates = _candidates(quest, real, conclusion, invented)
    sure = conclusion.status is Status.FOUND and candidates[0].confidence > MAX_UNCERTAIN
    why = "the model is sure; a person has to approve it" if sure else f"{UNCERTAIN}: a person has to choose"
    return Answer(Word.FOUND, candidates, _joined(why, invented))


def _invented(count: int) -> str:
    if count == 0:
        return ""
    what = "an address that no search returned was" if count == 1 else f"{count} addresses that no search returned were"
    return f"{what} thrown away"


def _nothing(desk: Desk, reason: str) -> Answer:
    """The model says that there is nothing; that counts as far as it has looked."""
    if desk.troubles:
        return Answer(Word.COULD_NOT_LOOK, why=_blocked(desk))
    if not desk.looked:
        return Answer(Word.COULD_NOT_LOOK, why="the model made no search")
    searches = "one search" if desk.looked == 1 else f"{desk.looked} searches"
    return Answer(Word.NOT_FOUND, why=_joined(f"{searches} brought nothing that fits", reason and f"“{reason}”"))


def _blocked(desk: Desk) -> str:
    return _joined("not every search could be made", safe_text(desk.troubles[0])) if desk.troubles else ""


def _unjudged(quest: Quest, desk: Desk, why: str, *, otherwise: Word) -> Answer:
    """No word of the model counts; what its searches returned is real all the same where the name is alike."""
    names = [hit.filename for hit in desk.hits]
    alike = {near.name for near in nearest(quest.need.filename, names, len(names)) if near.score >= _LEAST_LIKENESS}
    real = [_Named(hit, None) for hit in desk.hits if hit.filename in alike]
    if real:
        told = f"{UNCERTAIN}: {why}; these are the nearest names of its searches"
        return Answer(Word.FOUND, _candidates(quest, real), told)
    return Answer(otherwise, why=_joined(why, _blocked(desk)))


def _candidates(
    quest: Quest, real: Sequence[_Named], conclusion: Conclusion | None = None, note: str = ""
) -> tuple[Candidate, ...]:
    """The best first, each place once."""
    once = {named.hit.url: named for named in real}
    found = [_candidate(quest, named, conclusion, note) for named in once.values()]
    return tuple(sorted(found, key=lambda candidate: -candidate.confidence)[:MAX_CANDIDATES])


def _candidate(quest: Quest, named: _Named, conclusion: Conclusion | None, note: str) -> Candidate:
    hit, need = named.hit, quest.need
    near = next(iter(nearest(need.filename, [hit.filename], 1)), None)
    status = None if conclusion is None else conclusion.status
    ceiling = min(_ceiling(need.filename, hit.filename, near), _MAX_BY_STATUS[status])
    on_civitai = isinstance(site_of(hit.url), CivitaiPlace)
    return Candidate(
        url=hit.url,
        filename=hit.filename,
        folder=need.folder or "",
        source="agent",
        size=hit.size,
        sha256=hit.sha256,
        proof="D" if hit.size is None and hit.sha256 is None else "C",
        confidence=ceiling if named.confidence is None else round(min(ceiling, named.confidence), 4),
        evidence=_evidence(hit, near, conclusion, note),
        gated=hit.gated,
        token="HF_TOKEN" if hit.gated else "CIVITAI_API_TOKEN" if on_civitai else None,
        obstacle=hit.obstacle,
        page=hit.page,
    )


def _ceiling(wanted: str, found: str, near: Near | None) -> float:
    if wanted.casefold() == found.casefold():
        return MAX_CONFIDENCE
    if near is not None and near.why.startswith("same") and near.why != OTHER_FORMAT:
        return _MAX_OF_KIN
    return _MAX_OF_OTHERS


def _evidence(hit: Hit, near: Near | None, conclusion: Conclusion | None, note: str) -> tuple[str, ...]:
    host = urlsplit(hit.url).hostname or "the web"
    likeness = near.why if near is not None else "another name"
    told = [
        f"a search on {host} returned it",
        f"{likeness}: {hit.filename}",
        f"{host} publishes its digest" if hit.sha256 else "",
        f"the model says: “{conclusion.reason}”" if conclusion is not None and conclusion.reason else "",
        note,
    ]
    return tuple(safe_text(line) for line in told if line)


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
