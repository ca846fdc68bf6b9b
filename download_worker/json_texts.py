"""JSON from outside, bounded by its values: sixty million bytes of `[],` are twenty million lists, 1.75 GB of memory.

So the signs with which values begin or follow each other are counted before anything is built. Those within texts
count, too: the bound is far beyond what real documents have.
"""

from __future__ import annotations

import json
from typing import Any

MAX_VALUES = 4_000_000
"""In one text. Each costs 60 bytes of memory or more; the largest real workflows and lists have a tenth of it."""
_SIGNS = ("{", "[", ",")


class TooManyValues(ValueError):
    """The message says how many are taken."""


def check_values(text: bytes | str) -> None:
    """Raises TooManyValues for a text of more than MAX_VALUES of them."""
    values = sum(text.count(sign) for sign in _SIGNS) if isinstance(text, str) else _in_bytes(text)
    if values > MAX_VALUES:
        raise TooManyValues(f"JSON of more than {MAX_VALUES} values")


def _in_bytes(text: bytes) -> int:
    """In whatever Unicode encoding: none writes these signs without their ASCII bytes."""
    return sum(text.count(sign.encode("ascii")) for sign in _SIGNS)


def bounded_json(text: bytes) -> Any:
    """What this JSON says. Raises ValueError: no JSON, nested too deep, of more than MAX_VALUES values."""
    check_values(text)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("JSON nested too deep") from error
