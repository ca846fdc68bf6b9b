"""What one source has found for each model while it looked, and the word that this comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from comfy_doctor.needs import Candidate, Key
from comfy_doctor.resolvers.resolver import Answer, Word

MAX_CANDIDATES = 20
MAX_REASONS = 3


@dataclass
class Page:
    """`looked` says where nothing was, `failed` what stood in the way of looking."""

    candidates: list[Candidate] = field(default_factory=list)
    looked: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def answer(self) -> Answer:
        best = sorted(self.candidates, key=lambda candidate: -candidate.confidence)[:MAX_CANDIDATES]
        if best:
            return Answer(Word.FOUND, tuple(best), _told(self.failed))
        if self.failed:
            return Answer(Word.COULD_NOT_LOOK, why=_told(self.failed))
        return Answer(Word.NOT_FOUND, why=_told(self.looked))


class Notebook:
    """A page for every model that there is something to say about."""

    def __init__(self) -> None:
        self._pages: dict[Key, Page] = {}

    def page(self, key: Key) -> Page:
        return self._pages.setdefault(key, Page())

    def answers(self) -> Mapping[Key, Answer]:
        return {key: page.answer() for key, page in self._pages.items()}


def _told(reasons: list[str]) -> str:
    return "; ".join(list(dict.fromkeys(reasons))[:MAX_REASONS])
