"""One level of a UI graph: its nodes, its links, and what comes in from the instance that encloses it.

Links are lists at the root of schema 0.4, and objects in subgraph definitions and at the root of schema version 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from comfy_doctor.workflows.graph import Budget, Declared
from comfy_doctor.workflows.pipes import Incoming
from comfy_doctor.workflows.ui_nodes import RawNode, id_of, is_node, values_of

SUBGRAPH_INPUT = "-10"
SUBGRAPH_OUTPUT = "-20"  # both are the frontend's fixed ids
GETTERS = {"GetNode": "SetNode", "easy getNode": "easy setNode"}
"""Wires without a line (KJNodes, Easy-Use): a getter stands for the setter of the same name."""


class Origin(NamedTuple):
    node: str
    slot: int


class RawLink(NamedTuple):
    id: str
    origin: Origin
    target: str
    target_slot: int | None


@dataclass(frozen=True, slots=True)
class Level:
    """The nodes and links of the root or of one definition, indexed once.

    `outputs` is slot of the subgraph → the link that leads there; None where they are not known (group nodes).
    """

    nodes: tuple[RawNode, ...]
    by_id: Mapping[str, RawNode]
    origins: Mapping[str, Origin]
    outputs: Mapping[int, str] | None
    setters: Mapping[tuple[str, str], RawNode]


@dataclass(frozen=True, slots=True)
class Scope:
    """A level as one instance sees it.

    `promoted` are the values that the instance gives, by slot of the subgraph, `feeds` the links that lead into the
    instance, and `proxied` its values by (inner id, widget). `enter` opens an instance that stands in this level.
    """

    level: Level
    budget: Budget
    enter: Callable[[RawNode, Scope], Scope | None]
    outer: Scope | None = None
    prefix: str = ""
    active: bool = True
    depth: int = 0
    promoted: Mapping[int, Incoming] = field(default_factory=dict)
    feeds: Mapping[int, str] = field(default_factory=dict)
    proxied: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    declared: tuple[Declared, ...] = ()


def level_of(nodes: Any, links: Any, *, outputs_known: bool = True) -> Level:
    kept = tuple(filter(is_node, nodes)) if isinstance(nodes, list) else ()
    entries = tuple(links_of(links if isinstance(links, list) else ()))
    outputs = {
        link.target_slot: link.id for link in entries if link.target == SUBGRAPH_OUTPUT and link.target_slot is not None
    }
    return Level(
        kept,
        {id_of(node): node for node in kept},
        {link.id: link.origin for link in entries},
        outputs if outputs_known else None,
        _setters(kept),
    )


def links_of(links: Iterable[Any]) -> Iterator[RawLink]:
    """The well-formed ones: lists `[id, from, from_slot, to, to_slot, type]`, or objects with the long names."""
    for link in links:
        if isinstance(link, dict):
            link = [link.get(key) for key in ("id", "origin_id", "origin_slot", "target_id", "target_slot")]
        if not isinstance(link, list) or len(link) < 3:
            continue
        key, origin, slot, target, target_slot = (*link[:5], None, None)[:5]
        left = _slot(slot)
        if left is not None:
            yield RawLink(str(key), Origin(str(origin), left), str(target), _slot(target_slot))


def _slot(value: Any) -> int | None:
    """Slots are numbers; the schema also takes them as text."""
    return int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()) else None


def _setters(nodes: Iterable[RawNode]) -> dict[tuple[str, str], RawNode]:
    """The first of each name, as the packs themselves look for it."""
    found: dict[tuple[str, str], RawNode] = {}
    for node in nodes:
        if node["type"] in GETTERS.values():
            found.setdefault((node["type"], wire_name(node)), node)
    return found


def wire_name(node: RawNode) -> str:
    return next((value.value for value in values_of(node) if isinstance(value.value, str)), "")
