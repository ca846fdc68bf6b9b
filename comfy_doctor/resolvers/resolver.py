"""The question that every source answers: where can these models be had, and how sure is that?

There are three answers, and the third is never shown as the second: candidates, not found, could not look. A resolver
is asked about all open models at once, so that it can look side by side, or in bulk where its API has that.

`Candidate.confidence` is the probability that these are the bytes that the author of the workflow meant:
1.0 the digest that was asked for; 0.95 and more: named by somebody who knows, and confirmed by its host;
`AUTOMATIC` and more: may be fetched unasked; below: shown, and a person chooses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from comfy_doctor.needs import Candidate, Key, Need
from download_worker.leash import Leash

AUTOMATIC = 0.9


class Word(StrEnum):
    FOUND = "found"
    NOT_FOUND = "not found"
    COULD_NOT_LOOK = "could not look"


@dataclass(frozen=True, slots=True)
class Answer:
    """`why` says what was looked at, or what stood in the way; it is shown."""

    word: Word
    candidates: tuple[Candidate, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Quest:
    """One model that is looked for, with what earlier sources said of it.

    `families` are those of the same workflows' other models, as far as their names tell ("sdxl", "flux", "wan").
    """

    need: Need
    known: tuple[Candidate, ...] = ()
    families: frozenset[str] = frozenset()

    @property
    def settled(self) -> bool:
        """Something may be fetched unasked: only a search would still be of no use."""
        return any(c.confidence >= AUTOMATIC and c.obstacle is None for c in self.known)


class Resolver(Protocol):
    """`name` is shown. A `search` is asked only about models for which nothing is settled yet."""

    @property
    def name(self) -> str: ...

    @property
    def search(self) -> bool: ...

    def look(self, quests: Sequence[Quest], leash: Leash) -> Mapping[Key, Answer]:
        """An answer for every quest that this source has something to say about; never raises for a far side.

        A candidate for a place that is already `known` replaces that one: it is the same file, better known.

        Raises:
            Interrupted: the leash was pulled.
        """
        ...
