"""One node of the UI format as it stands in the file: total accessors over JSON that may hold anything.

`widgets_values` is a list in widget order with extra values in between, or a dict, or missing; the newest frontends
write `widgets_values_named` beside it (FACTS 1.2). Where the two disagree the list is right: so in all 16 of the 2,521
nodes of the official templates 0.1.123; three of them are model loaders, and their `properties.models` say the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from comfy_doctor.needs import PackClue
from comfy_doctor.workflows.graph import Value

RawNode = Mapping[str, Any]

_OFF_MODES = (2, 4)  # never (muted), bypassed
_AFTER_SEED = frozenset({"fixed", "randomize", "increment", "decrement"})


def is_node(node: Any) -> TypeGuard[RawNode]:
    return isinstance(node, dict) and isinstance(node.get("type"), str)


def id_of(node: RawNode) -> str:
    return str(node.get("id"))


def is_on(node: RawNode) -> bool:
    return node.get("mode") not in _OFF_MODES


def properties_of(node: RawNode) -> Mapping[str, Any]:
    properties = node.get("properties")
    return properties if isinstance(properties, dict) else {}


def inputs_of(node: RawNode) -> list[Mapping[str, Any]]:
    inputs = node.get("inputs")
    return [entry for entry in inputs if isinstance(entry, dict)] if isinstance(inputs, list) else []


def widget_of(entry: Mapping[str, Any]) -> str | None:
    """The name of the widget behind this input, None for a plain socket."""
    widget = entry.get("widget")
    name = widget.get("name") if isinstance(widget, dict) else widget
    return name if isinstance(name, str) else None


def linked_widgets(node: RawNode) -> Iterator[tuple[str, str]]:
    """(widget name, link id) of every widget that a link feeds."""
    for entry in inputs_of(node):
        name = widget_of(entry)
        if name is not None and entry.get("link") is not None:
            yield name, str(entry["link"])


def listed_values(node: RawNode) -> list[Any]:
    values = node.get("widgets_values")
    return values if isinstance(values, list) else []


def named_values(node: RawNode) -> Mapping[str, Any]:
    """Values by name, where the file has them so; else empty."""
    named = node.get("widgets_values_named") or properties_of(node).get("widgets_values_named")
    if isinstance(named, dict) and named:
        return named
    values = node.get("widgets_values")
    return values if isinstance(values, dict) else {}


def values_of(node: RawNode) -> tuple[Value, ...]:
    """All widget values with what the file tells about their names."""
    named, listed = named_values(node), listed_values(node)
    if named and len(named) != len(listed):
        return tuple(Value(value, name) for name, value in named.items())
    widgets = [name for name in map(widget_of, inputs_of(node)) if name is not None]
    names = dict(enumerate(named)) if named else _aligned(widgets, listed)
    return tuple(Value(value, names.get(index), index) for index, value in enumerate(listed))


def _aligned(names: list[str], values: list[Any]) -> dict[int, str]:
    """Index → widget name, where the inputs name every widget (new frontends); empty where they do not add up.

    After a seed there is one extra value without a name ("randomize").
    """
    found: dict[int, str] = {}
    index = 0
    for name in names:
        found[index] = name
        index += 1
        if "seed" in name and index < len(values) and values[index] in _AFTER_SEED:
            index += 1
    return found if index == len(values) else {}


def clue_of(node: RawNode) -> PackClue:
    properties = properties_of(node)
    return PackClue(*(_text(properties.get(key)) for key in ("cnr_id", "aux_id", "ver")))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
