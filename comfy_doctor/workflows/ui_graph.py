"""The UI format as a graph: every level walked, folded nodes unfolded, every widget with the value that will count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from comfy_doctor.workflows.graph import MAX_DEPTH, Budget, Graph, Node, TooLarge, Value, declared_models, texts_of
from comfy_doctor.workflows.node_classes import NodeClasses
from comfy_doctor.workflows.pipes import Incoming, Kind
from comfy_doctor.workflows.ui_folds import (
    Subgraph,
    feeds,
    group_level,
    group_name,
    group_size,
    groups_of,
    promoted,
    proxied,
    subgraphs_of,
)
from comfy_doctor.workflows.ui_links import overrides
from comfy_doctor.workflows.ui_nodes import RawNode, clue_of, id_of, inputs_of, is_on, properties_of, values_of
from comfy_doctor.workflows.ui_scopes import Scope, level_of


def graph_of_ui(body: Mapping[str, Any], classes: NodeClasses | None = None) -> Graph:
    """Schema 0.4 and schema version 1; `classes` name the widgets of every node that the server knows.

    Raises:
        TooLarge
    """
    unfolding = _Unfolding(subgraphs_of(body), groups_of(body), classes)
    root = Scope(level_of(body.get("nodes"), body.get("links")), unfolding.budget, unfolding.enter)
    return Graph(tuple(unfolding.nodes(root)), declared_models(body.get("models")), texts_of(body))


class _Unfolding:
    """One walk over one workflow, within its budget."""

    def __init__(
        self, subgraphs: Mapping[str, Subgraph], groups: Mapping[str, Any], classes: NodeClasses | None
    ) -> None:
        self._subgraphs = subgraphs
        self._groups = groups
        self._classes = classes
        self.budget = Budget()
        self._entered: dict[tuple[int, int], Scope | None] = {}

    def nodes(self, scope: Scope) -> Iterator[Node]:
        for node in scope.level.nodes:
            self.budget.enter(1 + len(inputs_of(node)) + len(scope.proxied))
            inner = self.enter(node, scope)
            if inner is not None:
                yield from self.nodes(inner)
            elif node["type"] not in self._subgraphs:
                yield self.budget.emit(self._node(node, scope))

    def enter(self, node: RawNode, scope: Scope) -> Scope | None:
        """The scope inside this instance, None when it is a plain node. A link may ask before the walk comes here.

        Raises:
            TooLarge
        """
        if node["type"] not in self._subgraphs and group_name(node["type"]) is None:
            return None
        key = (id(scope), id(node))  # both live as long as this walk
        if key not in self._entered:
            self._entered[key] = self._inside(node, scope)
        return self._entered[key]

    def _inside(self, node: RawNode, scope: Scope) -> Scope | None:
        if scope.depth >= MAX_DEPTH:
            raise TooLarge(f"subgraphs more than {MAX_DEPTH} levels deep")
        subgraph = self._subgraphs.get(node["type"])
        if subgraph is not None:
            self.budget.spend(len(subgraph.inputs))
            return Scope(
                subgraph.level,
                promoted=promoted(node, subgraph, scope),
                feeds=feeds(node, subgraph),
                proxied=proxied(node, subgraph),
                **_enclosed(node, scope),
            )
        name = group_name(node["type"])
        definition = self._groups.get(name) if name is not None else None
        if not isinstance(definition, dict):
            return None
        self.budget.spend(group_size(definition))
        level = group_level(node, definition)
        return None if level is None else Scope(level, **_enclosed(node, scope))

    def _node(self, node: RawNode, scope: Scope) -> Node:
        replaced = overrides(node, scope)
        return Node(
            id=scope.prefix + id_of(node),
            type=node["type"],
            active=scope.active and is_on(node),
            values=_replaced(values_of(node, self._classes), replaced),
            declared=(*declared_models(properties_of(node).get("models")), *scope.declared),
            clue=clue_of(node),
            overridden=frozenset(replaced),
        )


def _enclosed(instance: RawNode, scope: Scope) -> dict[str, Any]:
    return {
        "budget": scope.budget,
        "enter": scope.enter,
        "outer": scope,
        "prefix": f"{scope.prefix}{id_of(instance)}:",
        "active": scope.active and is_on(instance),
        "depth": scope.depth + 1,
        "declared": (*scope.declared, *declared_models(properties_of(instance).get("models"))),
    }


def _replaced(values: tuple[Value, ...], replaced: Mapping[str, Incoming]) -> tuple[Value, ...]:
    kept = tuple(value for value in values if value.name not in replaced)
    return kept + tuple(Value(entry.value, name) for name, entry in replaced.items() if entry.kind is Kind.VALUE)
