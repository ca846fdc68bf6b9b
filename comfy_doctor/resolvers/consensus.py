"""What several sources together say about one model: pure. Digests are compared, and a disagreement stops the item.

Two rules. A place (one file of one host) has one digest: who says otherwise is shown beside who says so. And what may
be fetched unasked must be one file: sources of which each would do by itself, but which name different bytes, are a
question for a person, never a silent pick.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from comfy_doctor.needs import Candidate, Need, Source
from comfy_doctor.resolvers.resolver import AUTOMATIC
from comfy_doctor.sites import place_of
from download_worker.errors import BadRequest
from download_worker.web.origins import parse_url

MAX_MIRRORS = 8
_DOUBTFUL = 0.5
_SHOWN_DIGITS = 12
ANYBODY = frozenset({"embedded", "note", "agent"})
"""Sources that anybody who sends a workflow can write: their digests settle the content and vouch for nothing."""

_HOSTS = frozenset({"huggingface", "civitai"})
_DEMANDED: Source = "embedded"
"""Whose word a digest is that only the workflow or a manifest demands, whoever named the place."""

Place = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Voice:
    """`by` says that the file at this place has this SHA-256."""

    place: Place
    sha256: str
    by: str


@dataclass(frozen=True, slots=True)
class Judged:
    """`candidates` the best first. `choice` may be fetched unasked; `stopped` says who disagrees about what."""

    candidates: tuple[Candidate, ...]
    choice: Candidate | None = None
    stopped: str | None = None


class Hearing:
    """Collects what sources say about one need, each place once."""

    def __init__(self, need: Need) -> None:
        self.need = need
        self._by_place: dict[Place, Candidate] = {}
        self._voices: list[Voice] = []
        self.hear(need.candidates, "the workflow")

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        return tuple(self._by_place.values())

    @property
    def pointer(self) -> Source | None:
        """Who of those that anybody can write has pointed somewhere: what is found there vouches for nothing."""
        if self.need.hints:
            return "note"
        return next((c.source for c in self._by_place.values() if c.source in ANYBODY), None)

    def hear(self, candidates: Iterable[Candidate], by: str, pointer: Source | None = None) -> None:
        """`pointer` led this source to what it says of new places; None where it looked by itself."""
        for candidate in candidates:
            place = place_of(candidate.url)
            if pointer is not None and place not in self._by_place and candidate.source in _HOSTS:
                candidate = replace(candidate, source=pointer)
            known = self._by_place.get(place)
            if candidate.sha256 is not None and not self._is_echo(candidate, place):
                self._voices.append(Voice(place, candidate.sha256, by))
            self._by_place[place] = candidate if known is None else combined(known, candidate)

    def _is_echo(self, candidate: Candidate, place: Place) -> bool:
        """A source that answers with the digest it was asked with, and has not looked at it itself, says nothing."""
        said = {voice.sha256 for voice in self._voices if voice.place == place}
        said = said or {entry.sha256 for entry in self.need.stated}
        return place in self._by_place and candidate.sha256 in said and candidate.proof in ("C", "D")

    def judge(self) -> Judged:
        return judge(self.need, self.candidates, self._voices)


def combined(known: Candidate, news: Candidate) -> Candidate:
    """The same file, better known. Who proposed it stays its source, because trust does not grow by a look-up; only
    a digest that was asked for by itself (`civitai_hash`) says more than the proposer. It shrinks where the digest is
    the word of somebody who is not to be trusted: what a digest is worth depends on who names it."""
    by_digest = news.source == "civitai_hash" or (
        known.sha256 is None and news.sha256 is not None and news.source in ANYBODY
    )
    trouble = news.obstacle is not None
    return replace(
        known,
        url=news.url,
        source=news.source if by_digest else known.source,
        mirrors=_once((*known.mirrors, *news.mirrors)),
        size=known.size if news.size is None else news.size,
        sha256=news.sha256 or known.sha256,
        proof=min(known.proof, news.proof),
        confidence=news.confidence if trouble else max(known.confidence, news.confidence),
        evidence=_once((*known.evidence, *news.evidence)),
        gated=news.gated or known.gated,
        token=news.token or known.token,
        obstacle=news.obstacle or known.obstacle,
        page=news.page or known.page,
    )


def judge(need: Need, candidates: Sequence[Candidate], voices: Sequence[Voice]) -> Judged:
    weighed, quarrels = _with_one_digest_each([_fetchable(candidate) for candidate in candidates], voices)
    weighed, stated = _against_what_was_stated(need, weighed)
    ranked = tuple(sorted(_united(weighed), key=_worth_showing, reverse=True))
    fit = [c for c in ranked if c.confidence >= AUTOMATIC and c.obstacle is None]
    stopped = stated or _quarrel_about(fit) or (quarrels if not fit else None)
    return Judged(ranked, None if stopped or not fit else fit[0], stopped)


def _fetchable(candidate: Candidate) -> Candidate:
    """A workflow may call anything a URL."""
    if candidate.source == "local":
        return candidate
    try:
        parse_url(candidate.url)
    except BadRequest as error:
        return replace(candidate, obstacle=candidate.obstacle or error.message)
    return candidate


def _with_one_digest_each(
    candidates: Sequence[Candidate], voices: Sequence[Voice]
) -> tuple[list[Candidate], str | None]:
    said: dict[Place, dict[str, list[str]]] = {}
    for voice in voices:
        said.setdefault(voice.place, {}).setdefault(voice.sha256, []).append(voice.by)
    weighed, quarrel = [], None
    for candidate in candidates:
        digests = said.get(place_of(candidate.url), {})
        if len(digests) > 1:
            quarrel = f"its sources disagree: {_who_said_what(digests)}"
            lowered = min(candidate.confidence, _DOUBTFUL)
            candidate = replace(candidate, obstacle=quarrel, confidence=lowered, proof="D")
        weighed.append(candidate)
    return weighed, quarrel


def _against_what_was_stated(need: Need, candidates: list[Candidate]) -> tuple[list[Candidate], str | None]:
    """A digest that is stated for the needed file itself decides: equal is certain, different is another file."""
    stated: dict[str, list[str]] = {}
    for entry in need.stated:
        stated.setdefault(entry.sha256, []).append(entry.by)
    if len(stated) > 1:
        return candidates, f"its digest is in dispute: {_who_said_what(stated)}"
    if not stated:
        return candidates, None
    ((wanted, by),) = stated.items()
    weighed = [_compared(candidate, wanted, by[0]) for candidate in candidates]
    others = [c for c in candidates if c.sha256 not in (None, wanted) and c.confidence >= AUTOMATIC]
    if others and not any(c.sha256 == wanted for c in candidates):
        words = _who_said_what({wanted: by, str(others[0].sha256): [others[0].url.split("/")[2]]})
        return weighed, f"what can be had is not what was asked for: {words}"
    return weighed, None


def _compared(candidate: Candidate, wanted: str, by: str) -> Candidate:
    if candidate.sha256 is None:
        asked = (*candidate.evidence, f"{by} asks for {_short(wanted)}")
        return replace(candidate, sha256=wanted, source=_DEMANDED, proof="D", evidence=asked)
    if candidate.sha256 == wanted:
        return replace(candidate, confidence=1.0)
    obstacle = f"another file: its SHA-256 is {_short(candidate.sha256)}, {by} asks for {_short(wanted)}"
    return replace(candidate, obstacle=obstacle, confidence=0.0)


def _united(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Places with equal bytes are one candidate with mirrors: the surest leads, what can be had comes first."""
    united: dict[str, Candidate] = {}
    single = []
    for candidate in sorted(candidates, key=_rank, reverse=True):
        if candidate.sha256 is None or candidate.source == "local":
            single.append(candidate)
            continue
        first = united.get(candidate.sha256)
        united[candidate.sha256] = candidate if first is None else _with_mirror(first, candidate)
    return [*(_as_sure(candidate, united.get(candidate.sha256 or "")) for candidate in single), *united.values()]


def _as_sure(here: Candidate, elsewhere: Candidate | None) -> Candidate:
    """Equal bytes are equally sure to be meant, whoever has them: what lies here is not fetched again."""
    if elsewhere is None or elsewhere.obstacle is not None or here.obstacle is not None:
        return here
    return replace(here, confidence=max(here.confidence, elsewhere.confidence))


def _with_mirror(first: Candidate, other: Candidate) -> Candidate:
    urls = () if other.obstacle is not None else (other.url, *other.mirrors)
    mirrors = tuple(url for url in _once((*first.mirrors, *urls)) if url != first.url)[:MAX_MIRRORS]
    surer = max(first.confidence, other.confidence) if first.obstacle is None else first.confidence
    evidence = _once((*first.evidence, *other.evidence))
    return replace(first, mirrors=mirrors, confidence=surer, proof=min(first.proof, other.proof), evidence=evidence)


def _quarrel_about(fit: Sequence[Candidate]) -> str | None:
    """Several that would do by themselves must be the same bytes, as far as their digests are known."""
    digests: dict[str, list[str]] = {}
    for candidate in fit:
        if candidate.sha256 is not None:
            digests.setdefault(candidate.sha256, []).append(candidate.source)
    if len(digests) > 1:
        return f"its sources name different files: {_who_said_what(digests)}"
    sizes = {candidate.size: candidate.source for candidate in fit if candidate.size is not None}
    if len(sizes) > 1:
        words = "; ".join(f"{size} bytes says {by}" for size, by in sorted(sizes.items()))
        return f"its sources name different files: {words}"
    return None


def _who_said_what(digests: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{_short(digest)} says {' and '.join(_once(by))}" for digest, by in sorted(digests.items()))


def _short(digest: str) -> str:
    return f"{digest[:_SHOWN_DIGITS]}…"


def _rank(candidate: Candidate) -> tuple[bool, float, bool]:
    """Of equal bytes the place that can be had leads, and of those the surest."""
    return (candidate.obstacle is None, candidate.confidence, candidate.sha256 is not None)


def _worth_showing(candidate: Candidate) -> tuple[float, bool, bool]:
    """A likely file behind a licence is worth more to a person than an unlikely one that is free."""
    sure = candidate.confidence if candidate.obstacle is None or candidate.gated else 0.0
    return (sure, candidate.obstacle is None, candidate.sha256 is not None)


def _once(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))
