"""The UI format as a graph: every level walked, folded nodes unfolded, every widget with the value that will count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from comfy_doctor.workflows.graph import (
    MAX_DEPTH,
    Budget,
    Graph,
    Node,
    TooLarge,
    Value,
    declared_models,
)
from comfy_doctor.workflows.ui_folds import (
    Subgraph,
    group_level,
    group_name,
    group_size,
    groups_of,
    promoted,
    proxied,
    subgraphs_of,
)
from comfy_doctor.workflows.ui_nodes import RawNode, clue_of, id_of, inputs_of, is_on, properties_of, values_of
from comfy_doctor.workflows.ui_scopes import Incoming, Kind, Scope, level_of, overrides


def graph_of_ui(body: Mapping[str, Any]) -> Graph:
    """Raises TooLarge."""
    unfolding = _Unfolding(subgraphs_of(body), groups_of(body))
    root = Scope(level_of(body.get("nodes"), body.get("links")))
    return Graph(tuple(unfolding.nodes(root)), declared_models(body.get("models")))


class _Unfolding:
    """One walk over one workflow, within its budget."""

    def __init__(self, subgraphs: Mapping[str, Subgraph], groups: Mapping[str, Any]) -> None:
        self._subgraphs = subgraphs
        self._groups = groups
        self._budget = Budget()

    def nodes(self, scope: Scope) -> Iterator[Node]:
        if scope.depth > MAX_DEPTH:
            raise TooLarge(f"subgraphs more than {MAX_DEPTH} levels deep")
        for node in scope.level.nodes:
            self._budget.enter(1 + len(inputs_of(node)) + len(scope.proxied))
            inner = self._inside(node, scope)
            if inner is not None:
                yield from self.nodes(inner)
            elif node["type"] not in self._subgraphs:
                yield self._budget.emit(_node(node, scope))

    def _inside(self, node: RawNode, scope: Scope) -> Scope | None:
        """The scope inside this instance, None when it is a plain node."""
        subgraph = self._subgraphs.get(node["type"])
        if subgraph is not None:
            self._budget.spend(len(subgraph.inputs))
            return Scope(
                subgraph.level,
                promoted=promoted(node, subgraph, scope),
                proxied=proxied(node, subgraph),
                **_enclosed(node, scope),
            )
        name = group_name(node["type"])
        definition = self._groups.get(name) if name is not None else None
        if not isinstance(definition, dict):
            return None
        self._budget.spend(group_size(definition))
        level = group_level(node, definition)
        return None if level is None else Scope(level, **_enclosed(node, scope))


def _enclosed(instance: RawNode, scope: Scope) -> dict[str, Any]:
    return {
        "prefix": f"{scope.prefix}{id_of(instance)}:",
        "active": scope.active and is_on(instance),
        "depth": scope.depth + 1,
        "declared": (*scope.declared, *declared_models(properties_of(instance).get("models"))),
    }


def _node(node: RawNode, scope: Scope) -> Node:
    replaced = overrides(node, scope)
    return Node(
        id=scope.prefix + id_of(node),
        type=node["type"],
        active=scope.active and is_on(node),
        values=_replaced(values_of(node), replaced),
        declared=(*declared_models(properties_of(node).get("models")), *scope.declared),
        clue=clue_of(node),
        overridden=frozenset(replaced),
    )


def _replaced(values: tuple[Value, ...], replaced: Mapping[str, Incoming]) -> tuple[Value, ...]:
    kept = tuple(value for value in values if value.name not in replaced)
    return kept + tuple(Value(entry.value, name) for name, entry in replaced.items() if entry.kind is Kind.VALUE)
