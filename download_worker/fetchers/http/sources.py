"""The places that may have one file, and what one attempt has learned of each: rules for whom to ask next. Pure.

The leader is asked as long as it answers. When it rests or fails, a mirror goes on at the same offsets, provided that
what it sends can be told from the file of somebody else (see `ranges.is_same_file`). A host that refuses a further
connection keeps those that it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from download_worker.errors import Code, Trouble, TryLater
from download_worker.room import Version, source_key
from download_worker.text import public_url

# What a moment may heal; the second set only where bytes came already: the host was there just now.
_BLIPS = frozenset({Code.CUT_SHORT, Code.STALLED})
_BLIPS_ON_THE_WAY = _BLIPS | {Code.NO_CONNECTION, Code.SERVER_ERROR}

MAX_FAILS = 5
"""Connections in a row that brought no byte; then a source is let alone for the rest of the attempt."""


class Useless(TryLater):
    """An answer that could not be gone on with. The next connection asks differently, so it need not wait long."""


@dataclass(eq=False)
class Source:
    """One URL. `giver` is its number in the journal, once it has brought bytes; `most_lanes` what it bears at once."""

    url: str
    most_lanes: int
    version: Version | None = None
    giver: int | None = None
    fails: int = 0
    odd_answers: int = 0
    brought_bytes: int = 0
    out: Trouble | None = None

    @property
    def bears(self) -> int:
        """How many connections at once: one, until it has shown that it has this file."""
        return self.most_lanes if self.giver is not None else 1

    @property
    def key(self) -> str:
        return source_key(self.url)

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    def brought(self, n_bytes: int) -> None:
        if n_bytes:
            self.brought_bytes += n_bytes
            self.fails = 0

    def failed(self, trouble: Trouble) -> None:
        """A connection ended with this: either a moment heals it, or this attempt asks here no more."""
        self.fails += 1
        trouble.host = self.host
        if not self._is_blip(trouble) or self.fails >= MAX_FAILS:
            self.out = trouble

    def let_go(self, trouble: Trouble) -> None:
        """This attempt asks here no more."""
        trouble.host = self.host
        self.out = trouble

    def _is_blip(self, trouble: Trouble) -> bool:
        if not isinstance(trouble, TryLater):
            return False
        blips = _BLIPS_ON_THE_WAY if self.brought_bytes else _BLIPS
        return isinstance(trouble, Useless) or trouble.code in blips

    def __str__(self) -> str:
        return public_url(self.url)


def next_source(sources: Sequence[Source], lanes: Sequence[Source], *, others_may_help: bool) -> Source | None:
    """Whom the next lane asks, while `lanes` are being asked; None when nobody is left to ask, or bears another lane.

    The one that failed least goes first, and the leader before its mirrors; mirrors only where they may help.
    """
    able = sources if others_may_help else sources[:1]
    free = [source for source in able if source.out is None and lanes.count(source) < source.bears]
    return min(free, key=lambda source: source.fails, default=None)
