"""One node of the UI format as it stands in the file: total accessors over JSON that may hold anything.

`widgets_values` is a list in widget order with extra values in between, or a dict, or missing; the newest frontends
write `widgets_values_named` beside it (FACTS 1.2). Where the two disagree the list is right: so in all 16 of the 2,521
nodes of the official templates 0.1.123; three of them are model loaders, and their `properties.models` say the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeGuard

from comfy_doctor.needs import PackClue
from comfy_doctor.workflows.graph import Value
from comfy_doctor.workflows.node_classes import NodeClasses

RawNode = Mapping[str, Any]

MODE_NEVER = 2  # "muted"
MODE_BYPASSED = 4
_AFTER_SEED = frozenset({"fixed", "randomize", "increment", "decrement"})


def is_node(node: Any) -> TypeGuard[RawNode]:
    return isinstance(node, dict) and isinstance(node.get("type"), str)


def id_of(node: RawNode) -> str:
    return str(node.get("id"))


def is_on(node: RawNode) -> bool:
    return node.get("mode") not in (MODE_NEVER, MODE_BYPASSED)


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


class LinkedWidget(NamedTuple):
    name: str
    link: str
    type: str


def linked_widgets(node: RawNode) -> Iterator[LinkedWidget]:
    """Every widget that a link feeds."""
    for entry in inputs_of(node):
        name = widget_of(entry)
        if name is not None and entry.get("link") is not None:
            yield LinkedWidget(name, str(entry["link"]), type_of(entry))


def type_of(entry: Mapping[str, Any]) -> str:
    """The type of a slot. Old files write the options of a combo in its place."""
    kind = entry.get("type")
    return kind if isinstance(kind, str) else "COMBO"


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


def values_of(node: RawNode, classes: NodeClasses | None = None) -> tuple[Value, ...]:
    """All widget values, with the names that the file or the server's `classes` tell."""
    named, listed = named_values(node), listed_values(node)
    if named and len(named) != len(listed):
        return tuple(Value(value, name) for name, value in named.items())
    names = dict(enumerate(named)) if named else _names(node, listed, classes)
    return tuple(Value(value, names.get(index), index) for index, value in enumerate(listed))


def _names(node: RawNode, listed: list[Any], classes: NodeClasses | None) -> dict[int, str]:
    """Index → widget name: the class where it adds up, else the inputs where they do, else the class's first ones.

    The frontend deals the list out by place, so an old file's shorter list still begins with the same widgets.
    """
    slots = _class_slots(node["type"], classes)
    if len(slots) == len(listed):
        return _told(slots)
    widgets = [name for name in map(widget_of, inputs_of(node)) if name is not None]
    return _aligned(widgets, listed) or _told(slots[: len(listed)])


def _class_slots(node_type: str, classes: NodeClasses | None) -> list[str | None]:
    """The names of the class's values in their order, None for those that the frontend adds."""
    known = classes.get(node_type) if classes is not None else None
    slots: list[str | None] = []
    for widget in known.widgets if known is not None else ():
        slots += [widget.name, *[None] * widget.followers]
    return slots


def _told(slots: list[str | None]) -> dict[int, str]:
    return {index: name for index, name in enumerate(slots) if name is not None}


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
