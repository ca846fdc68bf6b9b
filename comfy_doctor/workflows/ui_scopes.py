"""One level of a UI graph: its nodes, its links, and what comes in from the instance that encloses it.

What a linked widget really gets is found by walking its link backwards: through reroutes, into a primitive's value,
or out of the subgraph to the value that the instance promotes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from comfy_doctor.workflows.api_graph import TEXT_NODES
from comfy_doctor.workflows.graph import Declared
from comfy_doctor.workflows.ui_nodes import (
    RawNode,
    id_of,
    inputs_of,
    is_node,
    linked_widgets,
    listed_values,
    named_values,
)

MAX_HOPS = 200
_SUBGRAPH_INPUT = "-10"  # the frontend's fixed id of a subgraph's own input node
_REROUTES = frozenset({"Reroute", "Reroute (rgthree)", "ReroutePrimitive|pysssss"})
_CONSTANTS = TEXT_NODES | {"PrimitiveNode"}


class Kind(Enum):
    OWN = "own"
    """Nothing comes in: the widget's own value counts."""
    VALUE = "value"
    """This value replaces the widget's own."""
    LINK = "link"
    """Something computed at run time replaces it."""


class Incoming(NamedTuple):
    kind: Kind
    value: Any = None


OWN = Incoming(Kind.OWN)
LINK = Incoming(Kind.LINK)


class Origin(NamedTuple):
    node: str
    slot: int


@dataclass(frozen=True, slots=True)
class Level:
    """The nodes and links of the root or of one definition, indexed once."""

    nodes: tuple[RawNode, ...]
    by_id: Mapping[str, RawNode]
    origins: Mapping[str, Origin]


@dataclass(frozen=True, slots=True)
class Scope:
    """A level as one instance sees it. `promoted` is by slot of the subgraph, `proxied` by (inner id, widget)."""

    level: Level
    prefix: str = ""
    active: bool = True
    depth: int = 0
    promoted: Mapping[int, Incoming] = field(default_factory=dict)
    proxied: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    declared: tuple[Declared, ...] = ()


def level_of(nodes: Any, links: Any) -> Level:
    kept = tuple(filter(is_node, nodes)) if isinstance(nodes, list) else ()
    entries = links if isinstance(links, list) else ()
    return Level(kept, {id_of(node): node for node in kept}, dict(_origins(entries)))


def _origins(links: Iterable[Any]) -> Iterable[tuple[str, Origin]]:
    """Links are lists `[id, from, from_slot, to, to_slot, type]` or objects with `origin_id` and `origin_slot`."""
    for link in links:
        if isinstance(link, dict):
            link = [link.get("id"), link.get("origin_id"), link.get("origin_slot")]
        if isinstance(link, list) and len(link) >= 3 and isinstance(link[2], int):
            yield str(link[0]), Origin(str(link[1]), link[2])


def incoming(scope: Scope, link: str) -> Incoming:
    """What this link brings to a widget."""
    next_link: str | None = link
    for _ in range(MAX_HOPS):
        origin = scope.level.origins.get(next_link) if next_link is not None else None
        if origin is None:
            return OWN  # a link to nowhere: the frontend drops it
        if origin.node == _SUBGRAPH_INPUT:
            return scope.promoted.get(origin.slot, OWN)
        node = scope.level.by_id.get(origin.node)
        if node is None:
            return OWN
        if node["type"] in _CONSTANTS:
            fed = next((link for _, link in linked_widgets(node)), None)
            if fed is None:
                return _constant(node)
            next_link = fed
        elif node["type"] in _REROUTES:
            next_link = next((str(e["link"]) for e in inputs_of(node) if e.get("link") is not None), None)
        else:
            return LINK
    return LINK


def _constant(node: RawNode) -> Incoming:
    values = listed_values(node) or list(named_values(node).values())
    return Incoming(Kind.VALUE, values[0]) if values else OWN


def overrides(node: RawNode, scope: Scope) -> dict[str, Incoming]:
    """Widget name → what replaces its own value, for every widget of this node that something replaces."""
    found = {name: incoming(scope, link) for name, link in linked_widgets(node)}
    found |= {
        name: Incoming(Kind.VALUE, value)
        for (inner, name), value in scope.proxied.items()
        if inner == id_of(node) and name not in found
    }
    return {name: entry for name, entry in found.items() if entry.kind is not Kind.OWN}
