"""Where every missing model can be had: all sources are asked in their order, and what they say is judged together.

Nothing is written and nothing is fetched but heads: before a large download some kilobytes tell what it is, so that
a file of the wrong kind is refused here and not after 20 GB.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from comfy_doctor.needs import Candidate, Key, Need
from comfy_doctor.resolvers.consensus import Hearing, Judged
from comfy_doctor.resolvers.likeness import families_in
from comfy_doctor.resolvers.probe import Probe
from comfy_doctor.resolvers.resolver import AUTOMATIC, Answer, Quest, Resolver, Word
from download_worker.errors import Code, Trouble
from download_worker.leash import Leash
from download_worker.verifiers.content.families import Word as Fit
from download_worker.verifiers.content.families import families_agree

MAX_PROBES = 3
"""A second and a third candidate may take the place of one whose head is of the wrong kind."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Who was asked about a model, and the answer in a word."""

    source: str
    word: Word
    why: str = ""


@dataclass(frozen=True, slots=True)
class Resolution:
    """All that is known of one model's sources. `choice` may be fetched unasked; without one `why` says why not."""

    need: Need
    candidates: tuple[Candidate, ...] = ()
    choice: Candidate | None = None
    why: str = ""
    asked: tuple[Asked, ...] = ()
    notes: tuple[str, ...] = ()
    """What a person should know although it stops nothing: a lora for another family of base models."""


class Look(Protocol):
    """Reads the heads of these candidates, side by side; an answer for each, in their order. Raises Interrupted."""

    def __call__(self, candidates: Sequence[Candidate], leash: Leash) -> Sequence[Probe]: ...


Tell = Callable[[str], None]


@dataclass
class _Page:
    """What is written down about one need while sources are asked."""

    hearing: Hearing
    families: frozenset[str]
    asked: list[Asked] = field(default_factory=list)
    seen: dict[str, Probe] = field(default_factory=dict)
    unseen: str = ""
    """Why nothing is chosen any more: so many heads were of the wrong kind that no further one is read."""

    def quest(self) -> Quest:
        return Quest(self.hearing.need, self.hearing.judge().candidates, self.families)

    def hear(self, resolver: Resolver, answer: Answer) -> None:
        """What a look-up (not a search) finds beside what it was asked about is the word of whoever sent it there."""
        self.asked.append(Asked(resolver.name, answer.word, answer.why))
        pointer = None if resolver.search else self.hearing.pointer
        self.hearing.hear(answer.candidates, resolver.name, pointer)


def resolve(
    needs: Sequence[Need],
    resolvers: Sequence[Resolver],
    look: Look | None = None,
    *,
    leash: Leash | None = None,
    tell: Tell = lambda text: None,
) -> Mapping[Key, Resolution]:
    """Raises Interrupted."""
    leash = leash or Leash()
    near = _families_of_workflows(needs)
    pages = {need.key: _Page(Hearing(need), _families_around(need, near)) for need in needs}
    for resolver in resolvers:
        quests = [page.quest() for page in pages.values()]
        quests = [quest for quest in quests if not (resolver.search and quest.settled)]
        if quests:
            tell(f"looking for {len(quests)} model{'s' * (len(quests) != 1)}: {resolver.name}")
            for key, answer in _answers(resolver, quests, leash).items():
                pages[key].hear(resolver, answer)
    if look is not None:
        _look_at_heads(pages.values(), look, leash)
    return {key: _resolution(page) for key, page in pages.items()}


def _answers(resolver: Resolver, quests: Sequence[Quest], leash: Leash) -> Mapping[Key, Answer]:
    try:
        return resolver.look(quests, leash)
    except Trouble as trouble:
        return {quest.need.key: Answer(Word.COULD_NOT_LOOK, why=trouble.message) for quest in quests}


def _look_at_heads(pages: Iterable[_Page], look: Look, leash: Leash) -> None:
    """The head of each choice; one that is refused makes room for the next."""
    waiting = list(pages)
    for _ in range(MAX_PROBES):
        chosen = [(page, choice) for page in waiting if (choice := _judged(page).choice) is not None]
        fresh = [(page, choice) for page, choice in chosen if choice.url not in page.seen]
        if not fresh:
            return
        for (page, choice), seen in zip(fresh, look([choice for _, choice in fresh], leash), strict=True):
            page.seen[choice.url] = seen
        waiting = [page for page, choice in fresh if _as_seen(choice, page.seen[choice.url]).obstacle is not None]
    for page in waiting:
        page.unseen = f"the heads of {MAX_PROBES} candidates were read, and none of them is such a file"


def _judged(page: _Page) -> Judged:
    """The hearing's judgement, without what its head has disproved."""
    judged = page.hearing.judge()
    candidates = tuple(_as_seen(candidate, page.seen.get(candidate.url)) for candidate in judged.candidates)
    if judged.choice is None:
        return replace(judged, candidates=candidates)
    fit = [c for c in candidates if c.confidence >= AUTOMATIC and c.obstacle is None]
    if page.unseen and fit and fit[0].url not in page.seen:
        return replace(judged, candidates=candidates, choice=None, stopped=page.unseen)
    return replace(judged, candidates=candidates, choice=fit[0] if fit else None)


def _is_refused(seen: Probe) -> bool:
    return seen.fit.word is Fit.NO


def _as_seen(candidate: Candidate, seen: Probe | None) -> Candidate:
    if seen is None:
        return candidate
    if _is_refused(seen):
        return replace(candidate, obstacle=seen.why, confidence=0.0)
    if seen.trouble is not None and seen.trouble.code == Code.NOT_FOUND and not candidate.mirrors:
        return replace(candidate, obstacle=seen.why.removeprefix("could not look: "))
    if None not in (candidate.size, seen.size_bytes) and candidate.size != seen.size_bytes:
        words = f"another file: it has {seen.size_bytes} bytes at its host, {candidate.size} are asked for"
        return replace(candidate, obstacle=words, confidence=0.0)
    told = seen.why or (f"its head is that of {seen.kind}" if seen.kind else "")
    evidence = (*candidate.evidence, told) if told else candidate.evidence
    return replace(candidate, size=seen.size_bytes if candidate.size is None else candidate.size, evidence=evidence)


def _resolution(page: _Page) -> Resolution:
    judged = _judged(page)
    why = "" if judged.choice else judged.stopped or _why_none(judged.candidates, page.asked)
    notes = _notes(page, judged.choice)
    return Resolution(page.hearing.need, judged.candidates, judged.choice, why, tuple(page.asked), notes)


def _why_none(candidates: Sequence[Candidate], asked: Sequence[Asked]) -> str:
    """The most telling reason: what stands in the way, what is unsure, who could not look, or that nobody has it."""
    about = _about(candidates) if candidates else ""
    silent = [(entry.source, entry.why) for entry in asked if entry.word is Word.COULD_NOT_LOOK]
    failed = [f"{source}: {why.removeprefix(f'{about}; ')}" for source, why in silent if why != about]
    unlooked = f"could not look everywhere: {'; '.join(failed)}" if failed else ""
    if candidates:
        return "; ".join(filter(None, (about, unlooked)))
    if unlooked:
        return unlooked
    if not asked:
        return "no source knows it"
    return f"not found at {', '.join(dict.fromkeys(entry.source for entry in asked))}"


def _about(candidates: Sequence[Candidate]) -> str:
    if candidates[0].obstacle:
        return candidates[0].obstacle
    if len(candidates) == 1:
        return "1 candidate, not sure enough to fetch unasked: choose it if it is the right one"
    return f"{len(candidates)} candidates, none sure enough to fetch unasked: choose one of them"


Crowd = Mapping[str, Counter[str]]
"""Workflow → how many of its models speak of each family by their names."""


def _families_of_workflows(needs: Sequence[Need]) -> Crowd:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for need in needs:
        families = families_in(need.name)
        for workflow in {use.workflow for use in need.uses} if families else ():
            found[workflow].update(families)
    return found


def _families_around(need: Need, crowd: Crowd) -> frozenset[str]:
    """Families that the names of the same workflows' other models speak of."""
    own = families_in(need.name)
    workflows = {use.workflow for use in need.uses}
    return frozenset(
        family
        for workflow in workflows
        for family, number in crowd.get(workflow, {}).items()
        if number > (family in own)
    )


def _notes(page: _Page, choice: Candidate | None) -> tuple[str, ...]:
    """What stops nothing and is worth knowing: another family than the workflow's, a host that does not answer now."""
    seen = page.seen.get(choice.url) if choice is not None else None
    if seen is None:
        return ()
    agreement = families_agree(seen.family, page.families)
    foreign = (agreement.why,) if agreement.word is Fit.NO else ()
    return (*foreign, *((seen.trouble.message,) if seen.trouble is not None else ()))
