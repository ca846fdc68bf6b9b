"""The API format ("prompt") as a graph: every input has its name, ids are execution paths already, all is active.

A link is a list `[node id, slot]`; a real list is wrapped as `{"__value__": […]}`. A link from a node that only holds
a text hands its text on; any other link leaves no value behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_doctor.workflows.graph import Budget, Graph, Node, Value

# Core nodes whose only value is a text that others take in by link.
TEXT_NODES = frozenset({"PrimitiveString", "PrimitiveStringMultiline"})


def graph_of_api(body: Mapping[str, Any]) -> Graph:
    """Raises TooLarge."""
    entries = {key: node for key, node in body.items() if isinstance(node, dict) and _is_node(node)}
    budget = Budget()
    nodes = []
    for key, node in entries.items():
        budget.enter(len(node["inputs"]))
        nodes.append(budget.emit(_node(key, node, entries)))
    return Graph(tuple(nodes))


def _is_node(node: Mapping[str, Any]) -> bool:
    return isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)


def _node(key: str, node: Mapping[str, Any], entries: Mapping[str, Mapping[str, Any]]) -> Node:
    values = []
    for name, given in node["inputs"].items():
        if _is_link(given):
            origin = entries.get(str(given[0]))
            if origin is None or origin["class_type"] not in TEXT_NODES:
                continue
            given = origin["inputs"].get("value")
        values.append(Value(_unwrapped(given), name))
    return Node(key, node["class_type"], active=True, values=tuple(values))


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
