"""What folds nodes away in the UI format: subgraph instances, and the group nodes that came before them.

A subgraph's definition is shared by its instances; each instance promotes some inner widgets, and its values beat the
inner ones (FACTS 1.3). A group node's instance carries the values of all its inner nodes, one after the other, and
they too win over the definition (FACTS 1.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comfy_doctor.workflows.graph import MAX_DEPTH
from comfy_doctor.workflows.loaders import slots_of
from comfy_doctor.workflows.names import looks_like_model
from comfy_doctor.workflows.pipes import Incoming, Kind
from comfy_doctor.workflows.ui_nodes import (
    RawNode,
    id_of,
    inputs_of,
    is_node,
    linked_widgets,
    listed_values,
    named_values,
    properties_of,
    widget_of,
)
from comfy_doctor.workflows.ui_scopes import SUBGRAPH_INPUT, Level, Scope, level_of, links_of

_GROUP_PREFIXES = ("workflow>", "workflow/")
_ITSELF = "-1"  # in proxyWidgets: a widget of the instance, not of an inner node


@dataclass(frozen=True, slots=True)
class Subgraph:
    """A definition, indexed once: the names of its slots, and in `widgets` those slots that feed an inner widget."""

    level: Level
    inputs: tuple[str, ...]
    widgets: tuple[int, ...]


def subgraphs_of(body: Mapping[str, Any]) -> dict[str, Subgraph]:
    """All definitions by id. A slot that leads to a nested instance counts when it feeds a widget in there."""
    raw = _definitions(body)
    levels = {key: level_of(entry.get("nodes"), entry.get("links")) for key, entry in raw.items()}
    feeds: dict[str, set[int]] = {key: set() for key in raw}
    for _ in range(MAX_DEPTH):  # each round sees one level deeper; real files settle after two
        before = sum(map(len, feeds.values()))
        for key, entry in raw.items():
            feeds[key] |= _feeding_slots(entry, levels[key], feeds)
        if sum(map(len, feeds.values())) == before:
            break
    return {
        key: Subgraph(levels[key], tuple(_slot_names(entry)), tuple(sorted(feeds[key]))) for key, entry in raw.items()
    }


def _definitions(body: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    definitions = body.get("definitions")
    entries = definitions.get("subgraphs") if isinstance(definitions, dict) else None
    if not isinstance(entries, list):
        return {}
    return {entry["id"]: entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)}


def _slot_names(definition: Mapping[str, Any]) -> list[str]:
    return [str(entry.get("name")) for entry in inputs_of(definition)]


def _feeding_slots(definition: Mapping[str, Any], level: Level, feeds: Mapping[str, set[int]]) -> set[int]:
    links = definition.get("links")
    found = set()
    for link in links_of(links if isinstance(links, list) else ()):
        target = level.by_id.get(link.target)
        if link.origin.node != SUBGRAPH_INPUT or target is None or link.target_slot is None:
            continue
        if _takes_a_value(target, link.target_slot, feeds):
            found.add(link.origin.slot)
    return found


def _takes_a_value(node: RawNode, slot: int, feeds: Mapping[str, set[int]]) -> bool:
    inputs = inputs_of(node)
    return (0 <= slot < len(inputs) and widget_of(inputs[slot]) is not None) or slot in feeds.get(node["type"], ())


def promoted(instance: RawNode, subgraph: Subgraph, scope: Scope) -> dict[int, Incoming]:
    """Slot → the value that the instance gives to it. A slot that is not in the answer leaves the inner value alone."""
    given = _given_values(instance, subgraph, scope)
    return {slot: Incoming(Kind.VALUE, value) for slot, value in given.items() if value is not None}


def feeds(instance: RawNode, subgraph: Subgraph) -> dict[int, str]:
    """Slot → the link that leads into the instance there: it beats the instance's own value."""
    by_name = {str(entry.get("name")): entry.get("link") for entry in inputs_of(instance)}
    links = ((slot, by_name.get(name)) for slot, name in enumerate(subgraph.inputs))
    return {slot: str(link) for slot, link in links if link is not None}


def _given_values(instance: RawNode, subgraph: Subgraph, scope: Scope) -> dict[int, Any]:
    slots = {name: slot for slot, name in enumerate(subgraph.inputs)}
    listed, proxies = listed_values(instance), _proxies(instance)
    given: dict[int, Any] = {}
    if len(listed) == len(subgraph.widgets):
        given = dict(zip(subgraph.widgets, listed, strict=True))
    elif len(listed) == len(proxies):
        given = {
            slots[name]: value
            for (inner, name), value in zip(proxies, listed, strict=True)
            if inner == _ITSELF and name in slots
        }
    named = {slots[name]: value for name, value in named_values(instance).items() if name in slots}
    given = named | given  # where the two disagree the list is right, see `ui_nodes`
    own = id_of(instance)
    return given | {slot: scope.proxied[own, name] for name, slot in slots.items() if (own, name) in scope.proxied}


def proxied(instance: RawNode, subgraph: Subgraph) -> dict[tuple[str, str], Any]:
    """(inner id, widget) → the instance's value, for instances that list their values in the order of the proxies.

    Most instances with `proxyWidgets` carry no values of their own: then the inner ones hold.
    """
    listed, proxies = listed_values(instance), _proxies(instance)
    if not listed or len(listed) == len(subgraph.widgets) or len(listed) != len(proxies):
        return {}
    pairs = zip(proxies, listed, strict=True)
    return {key: value for key, value in pairs if key[0] != _ITSELF and value is not None}


def _proxies(instance: RawNode) -> list[tuple[str, str]]:
    entries = properties_of(instance).get("proxyWidgets")
    if not isinstance(entries, list):
        return []
    return [(str(entry[0]), str(entry[1])) for entry in entries if isinstance(entry, list) and len(entry) >= 2]


def group_name(node_type: str) -> str | None:
    """The name of the group behind `workflow>NAME`, None for every other type."""
    return node_type[len(_GROUP_PREFIXES[0]) :] if node_type.startswith(_GROUP_PREFIXES) else None


def groups_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    extra = body.get("extra")
    groups = extra.get("groupNodes") if isinstance(extra, dict) else None
    return groups if isinstance(groups, dict) else {}


def group_size(definition: Mapping[str, Any]) -> int:
    nodes = definition.get("nodes")
    return sum(1 + len(listed_values(node)) for node in nodes if is_node(node)) if isinstance(nodes, list) else 0


def group_level(instance: RawNode, definition: Mapping[str, Any]) -> Level | None:
    """The inner nodes with the instance's values in them; None where the values cannot be told apart."""
    nodes = definition.get("nodes")
    inner = [node for node in nodes if is_node(node)] if isinstance(nodes, list) else []
    links = _inner_links(definition, inner)
    wired = [_wired(node, links) for node in _numbered(inner)]
    shares = _shares(listed_values(instance), wired)
    if shares is None:
        return None
    filled = [{**node, "widgets_values": share} for node, share in zip(wired, shares, strict=True)]
    return level_of(filled, links, outputs_known=False)


def _numbered(inner: list[RawNode]) -> list[RawNode]:
    return [{**node, "id": node.get("index", place)} for place, node in enumerate(inner)]


def _inner_links(definition: Mapping[str, Any], inner: list[RawNode]) -> list[list[Any]]:
    """Root links of `[from place, from slot, to place, to slot, …]`, with ids of their own."""
    links = definition.get("links")
    ids = [node["id"] for node in _numbered(inner)]
    wired = (
        (number, link)
        for number, link in enumerate(links if isinstance(links, list) else ())
        if isinstance(link, list) and len(link) >= 4 and all(isinstance(end, int) for end in link[:4])
    )
    return [
        [f"inner {number}", ids[link[0]], link[1], ids[link[2]], link[3]]
        for number, link in wired
        if 0 <= link[0] < len(ids) and 0 <= link[2] < len(ids)
    ]


def _wired(node: RawNode, links: list[list[Any]]) -> RawNode:
    """With its inputs fed by the inner links only: whatever else they name is from where the group was made."""
    fed = {slot: link for link, _, _, target, slot in links if str(target) == id_of(node)}
    inputs = [{**entry, "link": fed.get(slot)} for slot, entry in enumerate(inputs_of(node))]
    return {**node, "inputs": inputs}


def _shares(given: list[Any], inner: list[RawNode]) -> list[list[Any]] | None:
    """The instance's values dealt out to the inner nodes, in order."""
    own = [listed_values(node) for node in inner]
    if not given:
        return own
    if len(given) == sum(map(len, own)):
        values = iter(given)
        return [[next(values) for _ in share] for share in own]
    # Some inner widgets are fed by inner links and have no value here: only model names can still be told apart.
    shown = [_shown(node) for node in inner]
    names = [value for value in given if looks_like_model(value)]
    if len(names) != sum(map(len, shown)):
        return None
    dealt = iter(names)
    return [
        [next(dealt) if place in places else value for place, value in enumerate(share)]
        for share, places in zip(own, shown, strict=True)
    ]


def _shown(node: RawNode) -> set[int]:
    """The places of model names that the instance repeats: all but those that an inner link feeds."""
    named = {place for place, value in enumerate(listed_values(node)) if looks_like_model(value)}
    fed = {widget.name for widget in linked_widgets(node)}
    hidden = {slot.index for slot in slots_of(node["type"]) if slot.input in fed}
    if len(named) == len(fed) and not hidden:
        return set()
    return named - hidden
