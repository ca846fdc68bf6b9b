"""What a linked widget really gets: its link walked backwards, as the frontend does before it queues a prompt.

Through reroutes, native ones drawn only; by name from a getter to its setter; into a subgraph's output and out at its
input; through a bypassed node by its matching input. A link that ends at a muted node or nowhere is dropped, and the
widget sends its own value (ComfyUI_frontend, `ExecutableNodeDTO` and `executionUtil`; KJNodes, `setgetnodes.js`).
"""

from __future__ import annotations

from typing import NamedTuple

from comfy_doctor.workflows.pipes import CHOICE_HOPS, CONSTANTS, LINK, MAX_HOPS, OWN, Incoming, Kind, handed_on
from comfy_doctor.workflows.ui_nodes import (
    MODE_BYPASSED,
    MODE_NEVER,
    RawNode,
    id_of,
    inputs_of,
    linked_widgets,
    listed_values,
    named_values,
    type_of,
    values_of,
)
from comfy_doctor.workflows.ui_scopes import GETTERS, SUBGRAPH_INPUT, Scope, wire_name

_PASSING = frozenset({"Reroute", "Reroute (rgthree)", "ReroutePrimitive|pysssss", *GETTERS.values()})
_ANYTHING = ("*", "")


class _Hop(NamedTuple):
    """The next link to walk, in its level; None where the way ends."""

    scope: Scope
    link: str | None


class _End(NamedTuple):
    """The output slot where a way begins."""

    scope: Scope
    node: RawNode
    slot: int


def overrides(node: RawNode, scope: Scope) -> dict[str, Incoming]:
    """Widget name → what replaces its own value, for every widget of this node that something replaces."""
    found = {widget.name: incoming(scope, widget.link, widget.type) for widget in linked_widgets(node)}
    found |= {
        name: Incoming(Kind.VALUE, value)
        for (inner, name), value in scope.proxied.items()
        if inner == id_of(node) and name not in found
    }
    return {name: entry for name, entry in found.items() if entry.kind is not Kind.OWN}


def incoming(scope: Scope, link: str, wanted: str) -> Incoming:
    """What this link brings to an input of the type `wanted`."""
    return _Walk().along(scope, link, wanted)


class _Walk:
    """One question, in at most `MAX_HOPS` links, whatever branches on the way."""

    def __init__(self) -> None:
        self._hops = MAX_HOPS

    def along(self, scope: Scope, link: str, wanted: str) -> Incoming:
        end = self._end(scope, link, wanted)
        return self._handed_on(end) if isinstance(end, _End) else end

    def _end(self, scope: Scope, link: str | None, wanted: str) -> _End | Incoming:
        while link is not None:
            scope.budget.spend(1)
            self._hops -= 1
            if self._hops < 0:
                return LINK
            origin = scope.level.origins.get(link)
            if origin is None:
                return OWN
            if origin.node == SUBGRAPH_INPUT:
                return self._outside(scope, origin.slot, wanted)
            node = scope.level.by_id.get(origin.node)
            if node is None:
                return OWN
            hop = _passed(node, origin.slot, scope, wanted)
            if hop is None:
                return _End(scope, node, origin.slot)
            scope, link = hop
        return OWN

    def _outside(self, scope: Scope, slot: int, wanted: str) -> _End | Incoming:
        """What comes into the enclosing instance at this slot."""
        link = scope.feeds.get(slot)
        fed = self._end(scope.outer, link, wanted) if scope.outer is not None else OWN
        return scope.promoted.get(slot, OWN) if fed == OWN else fed

    def _handed_on(self, end: _End) -> Incoming:
        self._hops -= CHOICE_HOPS
        if self._hops < 0:
            return LINK
        if end.node["type"] == "PrimitiveNode":
            return self._primitive(end)
        return handed_on(end.node["type"], end.slot, lambda name: self._taken(end, name))

    def _primitive(self, end: _End) -> Incoming:
        fed = (self.along(end.scope, widget.link, widget.type) for widget in linked_widgets(end.node))
        return next((found for found in fed if found.kind is not Kind.OWN), _first_value(end.node))

    def _taken(self, end: _End, name: str) -> Incoming:
        for entry in inputs_of(end.node):
            if entry.get("name") == name and entry.get("link") is not None:
                fed = self.along(end.scope, str(entry["link"]), type_of(entry))
                if fed.kind is not Kind.OWN:
                    return fed
        own = next((value for value in values_of(end.node) if value.name == name), None)
        if own is not None:
            return Incoming(Kind.VALUE, own.value)
        return _first_value(end.node) if CONSTANTS.get(end.node["type"]) == name else OWN


def _first_value(node: RawNode) -> Incoming:
    values = listed_values(node) or list(named_values(node).values())
    return Incoming(Kind.VALUE, values[0]) if values else OWN


def _passed(node: RawNode, slot: int, scope: Scope, wanted: str) -> _Hop | None:
    """Where this output really comes from, None where this node itself makes it."""
    kind, mode = node["type"], node.get("mode")
    if kind == "PrimitiveNode":  # it writes its value into its targets, whatever its mode
        return None
    if mode == MODE_NEVER:
        return _Hop(scope, None)
    if mode == MODE_BYPASSED:
        return _Hop(scope, _bypassed(node, slot, wanted))
    if kind in GETTERS:
        return _set_elsewhere(node, scope)
    if kind in _PASSING:
        return _Hop(scope, _first_link(node))
    inner = scope.enter(node, scope)
    return None if inner is None or inner.level.outputs is None else _Hop(inner, inner.level.outputs.get(slot))


def _set_elsewhere(getter: RawNode, scope: Scope) -> _Hop:
    """A setter of the same name in this level, else in the nearest that encloses it."""
    key = (GETTERS[getter["type"]], wire_name(getter))
    looking: Scope | None = scope
    while looking is not None:
        setter = looking.level.setters.get(key)
        if setter is not None:
            return _Hop(looking, _first_link(setter))
        looking = looking.outer
    return _Hop(scope, None)


def _first_link(node: RawNode) -> str | None:
    return next((str(entry["link"]) for entry in inputs_of(node) if entry.get("link") is not None), None)


def _bypassed(node: RawNode, slot: int, wanted: str) -> str | None:
    """The link of the input that stands in for this output: the frontend's own choice."""
    inputs = inputs_of(node)
    index = _stand_in([type_of(entry) for entry in inputs], _output_type(node, slot), slot, wanted)
    link = inputs[index].get("link") if index is not None else None
    return None if link is None else str(link)


def _stand_in(types: list[str], output: str, slot: int, wanted: str) -> int | None:
    if not types:
        return None
    if wanted in _ANYTHING:
        return slot if 0 <= slot < len(types) else 0
    fitting = [index for index, kind in enumerate(types) if _fits(kind, output) and _fits(kind, wanted)]
    if slot in fitting:
        return slot
    return next((index for index, kind in enumerate(types) if kind == wanted), next(iter(fitting), None))


def _fits(one: str, other: str) -> bool:
    if one in _ANYTHING or other in _ANYTHING:
        return True
    return bool(set(one.lower().split(",")) & set(other.lower().split(",")))


def _output_type(node: RawNode, slot: int) -> str:
    outputs = node.get("outputs")
    entry = outputs[slot] if isinstance(outputs, list) and 0 <= slot < len(outputs) else None
    return type_of(entry) if isinstance(entry, dict) else "*"
