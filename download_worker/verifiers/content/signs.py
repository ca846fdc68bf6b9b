"""A small language for what a header shows: `name`, `name[320,768]`, `!name`, alternatives with `|`.

A rule is a text of several signs that must all be there: a tensor of that name, of that shape (`*` is any size), or no
tensor of that name. The tables of markers are written in it, so that they can be read next to a list of tensors.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from download_worker.verifiers.content.families import Family, Kind
from download_worker.verifiers.content.heads import Tensors, Weight

_SIGN = re.compile(r"(!?)([^\s\[\]!]+)(?:\[([\d*,]+)\])?")
_PACKED = frozenset({"U8", "I8", "I32"})
"""Quantized weights: several numbers may share one element, so their last dimension says nothing."""

Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Sign:
    """One of `names` is there (in this shape, when there is one), or none of them when `absent`."""

    names: tuple[str, ...]
    shape: Shape | None = None
    absent: bool = False

    def holds(self, tensors: Tensors) -> bool:
        found = any(name in tensors and _shaped(tensors[name], self.shape) for name in self.names)
        return found is not self.absent


@dataclass(frozen=True, slots=True)
class Rule:
    """All its signs together mean a model of this kind, and of this family where that can be told."""

    kind: Kind
    family: Family | None
    signs: tuple[Sign, ...]

    def holds(self, tensors: Tensors) -> bool:
        return all(sign.holds(tensors) for sign in self.signs)


def rules_of(kind: Kind) -> Callable[[Family | None, str], Rule]:
    """Rules for one kind of model. Raises ValueError for a text that is none of this language."""
    return lambda family, text: Rule(kind, family, tuple(map(sign, text.split())))


def sign(text: str) -> Sign:
    """Raises ValueError."""
    match = _SIGN.fullmatch(text)
    if match is None:
        raise ValueError(f"not a sign: {text}")
    dimensions = match[3].split(",") if match[3] else None
    shape = None if dimensions is None else tuple(None if size == "*" else int(size) for size in dimensions)
    return Sign(tuple(match[2].split("|")), shape, absent=bool(match[1]))


def _shaped(weight: Weight, shape: Shape | None) -> bool:
    if shape is None:
        return True
    known = len(shape) - 1 if weight.dtype in _PACKED else len(shape)
    pairs = zip(weight.shape[:known], shape[:known], strict=False)
    return len(weight.shape) == len(shape) and all(wanted in (None, size) for size, wanted in pairs)
