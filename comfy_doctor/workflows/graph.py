"""One graph for every format: nodes by execution path, their values as they will count, and what metadata says.

Subgraphs and group nodes are already unfolded, promoted and converted widgets already carry the value that wins, and
`active` already knows the enclosing instances. A value that a link overrides is not there, unless the file does not
tell which value it is: then only its name stands in `overridden`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from comfy_doctor.needs import PackClue
from download_worker.text import without_credentials

MAX_NODES = 100_000
MAX_DEPTH = 32
MAX_STEPS = 5_000_000
MAX_DECLARED = 500
_CHARS_PER_STEP = 64
_DESCRIPTIONS = ("description", "comment", "notes")


class TooLarge(Exception):
    """The graph unfolds beyond `MAX_NODES` nodes, `MAX_DEPTH` levels or `MAX_STEPS` steps. The text says which."""


class Budget:
    """Counts what one graph costs, because a few kilobytes of instances and links can unfold to gigabytes."""

    def __init__(self) -> None:
        self._nodes = 0
        self._steps = 0

    def enter(self, steps: int) -> None:
        """Raises TooLarge."""
        self._nodes += 1
        self.spend(steps)

    def spend(self, steps: int) -> None:
        """Raises TooLarge."""
        self._steps += steps
        if self._nodes > MAX_NODES or self._steps > MAX_STEPS:
            raise TooLarge(f"it unfolds to more than {MAX_NODES} nodes or {MAX_STEPS} steps")

    def emit(self, node: Node) -> Node:
        """The node itself, when its values can still be afforded. Raises TooLarge."""
        self.spend(_weight([value.value for value in node.values]))
        return node


def _weight(value: Any) -> int:
    """Steps that it costs to look at this JSON value; without recursion, it may be nested deeply."""
    weight, waiting = 0, [value]
    while waiting:
        value = waiting.pop()
        weight += 1
        if isinstance(value, str):
            weight += len(value) // _CHARS_PER_STEP
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
    return weight


@dataclass(frozen=True, slots=True)
class Value:
    """One widget's value. `name` is None where the file does not tell; `index` is its place in `widgets_values`."""

    value: Any
    name: str | None = None
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Declared:
    """One entry of `properties.models` or of the workflow's own `models`."""

    name: str
    url: str | None = None
    directory: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Node:
    id: str
    type: str
    active: bool
    values: tuple[Value, ...] = ()
    declared: tuple[Declared, ...] = ()
    clue: PackClue = field(default_factory=PackClue)
    overridden: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Graph:
    """`texts` are what the file says about itself outside its nodes."""

    nodes: tuple[Node, ...]
    declared: tuple[Declared, ...] = ()
    texts: tuple[str, ...] = ()


def texts_of(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The descriptions that people write beside the graph: `description`, `extra.info` and the like."""
    extra = body.get("extra")
    info = extra.get("info") if isinstance(extra, dict) else None
    places = [place for place in (body, extra, info) if isinstance(place, dict)]
    told = (place.get(key) for place in places for key in _DESCRIPTIONS)
    return tuple(text for text in told if isinstance(text, str) and text)


def declared_models(entries: Any) -> tuple[Declared, ...]:
    """The well-formed ones of the first `MAX_DECLARED` entries of a `models` list, whatever else is in it."""
    if not isinstance(entries, list):
        return ()
    kept = (entry for entry in entries[:MAX_DECLARED] if isinstance(entry, dict) and isinstance(entry.get("name"), str))
    return tuple(_declared(entry) for entry in kept)


def _declared(entry: Mapping[str, Any]) -> Declared:
    digest = entry.get("hash")
    kind = str(entry.get("hash_type") or "").replace("-", "").lower()
    sha256 = digest.lower() if isinstance(digest, str) and kind == "sha256" and _is_sha256(digest) else None
    return Declared(entry["name"], _source(entry.get("url")), _text(entry.get("directory")), sha256)


def _is_sha256(digest: str) -> bool:
    return len(digest) == 64 and all(c in "0123456789abcdefABCDEF" for c in digest)


def _source(value: Any) -> str | None:
    """Without tokens, which some people leave in the workflows that they share; None when it is no URL at all."""
    try:
        return without_credentials(value) if isinstance(value, str) and value else None
    except ValueError:
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
