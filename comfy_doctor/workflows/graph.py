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

MAX_NODES = 100_000
MAX_DEPTH = 32
MAX_STEPS = 2_000_000


class TooLarge(Exception):
    """The graph unfolds beyond `MAX_NODES` nodes, `MAX_DEPTH` levels or `MAX_STEPS` steps. The text says which."""


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
    nodes: tuple[Node, ...]
    declared: tuple[Declared, ...] = ()


def declared_models(entries: Any) -> tuple[Declared, ...]:
    """The well-formed entries of a `models` list, whatever else is in it."""
    if not isinstance(entries, list):
        return ()
    return tuple(_declared(e) for e in entries if isinstance(e, dict) and isinstance(e.get("name"), str))


def _declared(entry: Mapping[str, Any]) -> Declared:
    digest = entry.get("hash")
    kind = str(entry.get("hash_type") or "").replace("-", "").lower()
    sha256 = digest.lower() if isinstance(digest, str) and kind == "sha256" and _is_sha256(digest) else None
    return Declared(entry["name"], _text(entry.get("url")), _text(entry.get("directory")), sha256)


def _is_sha256(digest: str) -> bool:
    return len(digest) == 64 and all(c in "0123456789abcdefABCDEF" for c in digest)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
