"""How a cell may end, as rules: never with a wrong file that anything could have revealed, and with the right code.

An end is one of four words or the code of a FAILED job:

- `right`: SUCCESS with the bytes that were published.
- `changed`: SUCCESS with the whole file that replaced them (never with a splice of both).
- `unrevealed`: SUCCESS with wrong bytes of a sound structure, where nobody knew a digest; its proof is C or D.
- `WRONG`, `hung`, `waiting` and `internal` are never allowed.
"""

from __future__ import annotations

from collections.abc import Callable

from download_worker.errors import Code
from tests.faults.stage import Cell, Known

RIGHT, CHANGED, UNREVEALED = "right", "changed", "unrevealed"
WRONG, HUNG, WAITING = "WRONG", "hung", "waiting"

Ends = frozenset[str]
Rule = Callable[[Cell], Ends]


def ends(*allowed: str) -> Rule:
    return lambda cell: frozenset(allowed)


well = ends(RIGHT)


def by_known(*, digest: Rule | None = None, size: Rule | None = None, nothing: Rule | None = None) -> Rule:
    """Another rule for what is known of the file; well where none is given."""
    rules = {Known.DIGEST: digest, Known.SIZE: size, Known.NOTHING: nothing}
    return lambda cell: (rules[cell.known] or well)(cell)


def by_share(*, fresh: Rule = well, resumed: Rule = well) -> Rule:
    return lambda cell: (fresh if cell.fresh else resumed)(cell)


one_of_two_versions = by_known(
    digest=ends(RIGHT, Code.HASH_MISMATCH), size=ends(RIGHT, CHANGED), nothing=ends(RIGHT, CHANGED)
)
"""The file was replaced by another whole one: either is a file, the digest knows which was meant, no splice is."""

nothing_reveals_it = by_known(
    digest=ends(RIGHT, Code.HASH_MISMATCH), size=ends(RIGHT, UNREVEALED), nothing=ends(RIGHT, UNREVEALED)
)
"""Wrong bytes of the right number in a sound structure: only a digest tells."""

another_length = by_known(
    digest=ends(Code.HASH_MISMATCH, Code.SIZE_MISMATCH, Code.LYING_SERVER, Code.CUT_SHORT),
    size=ends(Code.SIZE_MISMATCH, Code.LYING_SERVER, Code.CUT_SHORT),
    nothing=ends(Code.BROKEN_STRUCTURE, Code.SIZE_MISMATCH, Code.LYING_SERVER, Code.CUT_SHORT, Code.WRONG_TYPE),
)
"""The host insists on a wrong length for ever."""

too_slow = ends(Code.TOO_SLOW, Code.STALLED, Code.NO_CONNECTION, Code.CUT_SHORT)
