"""The API format ("prompt") as a graph: every input has its name, ids are execution paths already, all is active.

A link is a list `[node id, slot]`; a real list is wrapped as `{"__value__": […]}`. A link from a node that only holds
a text, or only chooses among others, hands its text on; any other link leaves no value behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_doctor.workflows.graph import Budget, Graph, Node, Value
from comfy_doctor.workflows.pipes import CHOICE_HOPS, LINK, MAX_HOPS, OWN, Incoming, Kind, handed_on


def graph_of_api(body: Mapping[str, Any]) -> Graph:
    """Raises TooLarge."""
    entries = {key: node for key, node in body.items() if isinstance(node, dict) and _is_node(node)}
    budget = Budget()
    nodes = []
    for key, node in entries.items():
        budget.enter(len(node["inputs"]))
        nodes.append(budget.emit(_node(key, node, entries, budget)))
    return Graph(tuple(nodes))


def _is_node(node: Mapping[str, Any]) -> bool:
    return isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)


def _node(key: str, node: Mapping[str, Any], entries: Mapping[str, Mapping[str, Any]], budget: Budget) -> Node:
    walked = ((name, _Walk(entries, budget).taken(given)) for name, given in node["inputs"].items())
    values = tuple(Value(found.value, name) for name, found in walked if found.kind is Kind.VALUE)
    return Node(key, node["class_type"], active=True, values=values)


class _Walk:
    """From one input back to the value that counts, in at most `MAX_HOPS` links."""

    def __init__(self, entries: Mapping[str, Mapping[str, Any]], budget: Budget) -> None:
        self._entries = entries
        self._budget = budget
        self._hops = MAX_HOPS

    def taken(self, given: Any) -> Incoming:
        if not _is_link(given):
            return Incoming(Kind.VALUE, _unwrapped(given))
        self._budget.spend(1)
        origin = self._entries.get(str(given[0]))
        self._hops -= CHOICE_HOPS
        if origin is None or self._hops < 0:
            return LINK
        inputs = origin["inputs"]
        return handed_on(
            origin["class_type"], int(given[1]), lambda name: self.taken(inputs[name]) if name in inputs else OWN
        )


def _is_link(value: Any) -> bool:
    """`[node id, slot]`, as ComfyUI's own `is_link` sees it."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str | int)
        and isinstance(value[1], int | float)
        and not isinstance(value[1], bool)
    )


def _unwrapped(value: Any) -> Any:
    return value["__value__"] if isinstance(value, dict) and "__value__" in value else value
