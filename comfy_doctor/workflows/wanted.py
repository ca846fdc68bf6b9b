"""From a graph to its needs: which value of which node names a model, in which folder, and what the file says of it.

The value that counts is the truth; `properties.models` only adds a source to a name that some widget really holds
(entries that no widget holds are stale), and the workflow's own `models` list likewise (FACTS 1.5).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from comfy_doctor.needs import Candidate, FolderFrom, Key, Mention, Need, NodeUse, SelfFetched, Stated, Use
from comfy_doctor.sites import HubFile, site_of
from comfy_doctor.workflows.behaviour import Behaviour, behaviour_of, is_note, only_helps_typing
from comfy_doctor.workflows.core_nodes import FRONTEND_ONLY
from comfy_doctor.workflows.graph import Declared, Graph, Node, Value
from comfy_doctor.workflows.loaders import Slot, folder_by_input, folder_by_node, slots_of
from comfy_doctor.workflows.names import (
    Named,
    embeddings,
    has_suffix,
    looks_like_model,
    lora_rows,
    lora_tags,
    normalised,
    strings_in,
)
from comfy_doctor.workflows.node_classes import NodeClasses, Widget
from comfy_doctor.workflows.note_links import MAX_HINTS, helped
from download_worker.jobs.places import ALIASES

EMBEDDED_CONFIDENCE = 0.9
EMBEDDED_UNDER_ANOTHER_NAME_CONFIDENCE = 0.7
"""One of the 644 official templates 0.1.123 names one file and links to its sister."""
# Values by which loaders say "none" where a folder, not a file, is asked for.
_NO_FOLDER = frozenset({"", "none", "undefined"})
_FOLDERS_OF_FOLDERS = frozenset({"diffusers"})
_FOLDERS_WITHOUT_MODELS = frozenset({"configs", "custom_nodes", "datasets"})
# File types that only a loader of our own table takes.
_TABLE_ONLY_SUFFIXES = (".patch",)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Everything one workflow asks for. One entry in `models` per (folder, name)."""

    models: tuple[Need, ...] = ()
    self_fetched: tuple[SelfFetched, ...] = ()
    mentions: tuple[Mention, ...] = ()
    nodes: tuple[NodeUse, ...] = ()


class _Place(NamedTuple):
    folder: str | None
    known_by: FolderFrom
    input: str | None


def needs_of(graph: Graph, workflow: str, classes: NodeClasses | None = None) -> Wanted:
    """Pure. `workflow` is the path that every `Use` carries; `classes` are what a server knows of its nodes."""
    needs: list[Need] = []
    fetched: list[SelfFetched] = []
    mentions: list[Mention] = []
    texts = list(graph.texts)
    for node in graph.nodes:
        behaviour = behaviour_of(node.type)
        reader = _Reader(node, workflow, _widgets(node, classes))
        if behaviour is Behaviour.FETCHES:
            fetched += _fetched(node, workflow)
        else:
            needs += reader.needs(graph.declared, all_values=behaviour is Behaviour.LOADS)
        if behaviour is Behaviour.FETCHES or is_note(node.type):
            texts += [named.text for value in node.values for named in strings_in(value.value)]
        mentions += _mentions(node, workflow)
    nodes = (NodeUse(_use(node, workflow, None, ""), node.clue) for node in graph.nodes)
    return Wanted(helped(merged(needs), texts), tuple(fetched), tuple(mentions), tuple(nodes))


def merged(needs: Iterable[Need]) -> tuple[Need, ...]:
    """One need per (folder, name), with all uses and everything else that is said of it once, in the order it came."""
    groups: dict[Key, list[Need]] = {}
    for need in needs:
        groups.setdefault(need.key, []).append(need)
    return tuple(_one(group) for group in groups.values())


def _one(group: list[Need]) -> Need:
    if len(group) == 1:
        return group[0]
    return replace(
        group[0],
        uses=tuple(use for need in group for use in need.uses),
        candidates=tuple(dict.fromkeys(candidate for need in group for candidate in need.candidates)),
        stated=tuple(dict.fromkeys(stated for need in group for stated in need.stated)),
        hints=tuple(dict.fromkeys(hint for need in group for hint in need.hints))[:MAX_HINTS],
    )


def _widgets(node: Node, classes: NodeClasses | None) -> Mapping[str, Widget]:
    known = classes.get(node.type) if classes is not None else None
    return {widget.name: widget for widget in known.widgets} if known is not None else {}


def _use(node: Node, workflow: str, input_name: str | None, written: str, *, on: bool = True) -> Use:
    return Use(workflow, node.id, node.type, input_name, node.active and on, written)


class _Reader:
    """One node's values, read with what its class, the table and the file tell about them."""

    def __init__(self, node: Node, workflow: str, widgets: Mapping[str, Widget]) -> None:
        self._node = node
        self._workflow = workflow
        self._slots = slots_of(node.type)
        self._widgets = widgets

    def needs(self, workflow_models: tuple[Declared, ...], *, all_values: bool) -> Iterator[Need]:
        """`all_values`: also those of which the server does not say that they name a model."""
        for value, named in self._file_names():
            if not all_values and self._shelf(value) is None:
                continue
            place = self._place(value, named.text)
            name = normalised(named.text)
            said = tuple(_said_of(name, place.folder, self._node.declared, workflow_models))
            yield Need(
                folder=place.folder,
                name=name,
                uses=(_use(self._node, self._workflow, place.input, named.text, on=named.on),),
                folder_from=place.known_by,
                candidates=_candidates(name, place.folder, said),
                stated=_stated(said),
            )

    def _file_names(self) -> list[tuple[Value, Named]]:
        """The values of this node that name a file, without those that a link overrides."""
        found = []
        for value in self._node.values:
            slot = _slot(self._slots, value)
            if slot is not None and value.name is None and slot.input in self._node.overridden:
                continue
            if value.name is not None and only_helps_typing(value.name):
                continue
            found += [(value, named) for named in strings_in(value.value) if self._names_a_file(value, named.text)]
        nameless = [pair for pair in found if pair[0].name is None and _slot(self._slots, pair[0]) is None]
        known = _inputs(self._slots)
        fed = [name for name in self._node.overridden if folder_by_input(name) is not None and name not in known]
        if nameless and len(nameless) == len(fed):  # nothing tells which value is overridden; here it must be all
            return [pair for pair in found if pair not in nameless]
        return found

    def _names_a_file(self, value: Value, text: str) -> bool:
        if looks_like_model(text):
            return True
        slot, widget = _slot(self._slots, value), self._widgets.get(value.name or "")
        folder = self._shelf(value) or (slot.folder if slot is not None else None)
        if folder in _FOLDERS_OF_FOLDERS:
            return text.strip().lower() not in _NO_FOLDER
        if widget is not None and self._shelf(value) is not None:  # what always stands in the list is built in
            return has_suffix(text) and text not in (widget.options or ())
        return slot is not None and text.endswith(_TABLE_ONLY_SUFFIXES) and has_suffix(text)

    def _shelf(self, value: Value) -> str | None:
        """The folder that the server lists in this widget."""
        widget = self._widgets.get(value.name or "")
        folder = widget.folder if widget is not None else None
        return None if folder is None or folder in _FOLDERS_WITHOUT_MODELS else canonical(folder)

    def _place(self, value: Value, text: str) -> _Place:
        """The folder of this name: the loader's own list, the file's metadata, then convention."""
        shelf = self._shelf(value)
        if shelf is not None:
            return _Place(shelf, FolderFrom.TABLE, value.name)
        slot = _slot(self._slots, value)
        if slot is not None:
            return _Place(slot.folder, FolderFrom.TABLE, slot.input)
        by_name = folder_by_input(value.name) if value.name is not None else None
        folders = {slot.folder for slot in self._slots}
        if len(folders) == 1 and (by_name in (None, *folders) or all(slot.index is None for slot in self._slots)):
            only = self._slots[0].input if len(self._slots) == 1 else None
            return _Place(folders.pop(), FolderFrom.TABLE, value.name or only)
        declared = self._node.declared
        stated = next((entry.directory for entry in declared if _same_file(entry, text) and entry.directory), None)
        if stated is not None:
            return _Place(canonical(stated), FolderFrom.WORKFLOW, value.name)
        if by_name is not None:
            return _Place(by_name, FolderFrom.INPUT, value.name)
        by_node = folder_by_node(self._node.type)
        return _Place(by_node, FolderFrom.NOWHERE if by_node is None else FolderFrom.NODE, value.name)


def _inputs(slots: tuple[Slot, ...]) -> set[str]:
    return {slot.input for slot in slots}


def _slot(slots: tuple[Slot, ...], value: Value) -> Slot | None:
    """The row of the table for this value: by its name, else by its place."""
    if value.name is not None:
        return next((slot for slot in slots if slot.input == value.name), None)
    return next((slot for slot in slots if slot.index is not None and slot.index == value.index), None)


def canonical(folder: str) -> str:
    """ComfyUI's own word for a folder; a word that nobody knows stays as it is."""
    return ALIASES.get(folder.lower(), folder)


def _same_file(entry: Declared, text: str) -> bool:
    stated, held = normalised(entry.name), normalised(text)
    return stated == held or stated == held.rpartition("/")[2]


def _said_of(
    name: str, folder: str | None, declared: tuple[Declared, ...], workflow_models: tuple[Declared, ...]
) -> Iterator[tuple[Declared, str]]:
    """The entries of the metadata that are about this file, and whose metadata it is."""
    for entries, where in ((declared, "the node's metadata"), (workflow_models, "the workflow's metadata")):
        yield from ((entry, where) for entry in entries if _same_file(entry, name) and _fits(entry, folder))


def _candidates(name: str, folder: str | None, said: Iterable[tuple[Declared, str]]) -> tuple[Candidate, ...]:
    found: dict[str, Candidate] = {}
    for entry, where in said:
        if entry.url is None or entry.url in found:
            continue
        found[entry.url] = _embedded(entry, where, name.rpartition("/")[2], folder)
    return tuple(found.values())


def _embedded(entry: Declared, where: str, filename: str, folder: str | None) -> Candidate:
    site = site_of(entry.url or "")
    renamed = isinstance(site, HubFile) and site.filename != filename
    evidence = [f"{where} names this file and this URL"]
    if renamed:
        evidence.append("but the URL leads to a file of another name")
    if entry.sha256:
        evidence.append(f"and the SHA-256 {entry.sha256}")
    return Candidate(
        url=entry.url or "",
        filename=filename,
        folder=folder or canonical(entry.directory or ""),
        source="embedded",
        sha256=entry.sha256,
        confidence=EMBEDDED_UNDER_ANOTHER_NAME_CONFIDENCE if renamed else EMBEDDED_CONFIDENCE,
        evidence=tuple(evidence),
    )


def _stated(said: Iterable[tuple[Declared, str]]) -> tuple[Stated, ...]:
    return tuple(dict.fromkeys(Stated(entry.sha256, where) for entry, where in said if entry.sha256 is not None))


def _fits(entry: Declared, folder: str | None) -> bool:
    """The same name in another folder is another file (24 names in the official templates)."""
    return folder is None or entry.directory is None or canonical(entry.directory) == folder


def _fetched(node: Node, workflow: str) -> Iterator[SelfFetched]:
    for value in node.values:
        for named in strings_in(value.value):
            if looks_like_model(named.text):
                filename = normalised(named.text).rpartition("/")[2]
                yield SelfFetched(filename, _use(node, workflow, value.name, named.text, on=named.on))


def _mentions(node: Node, workflow: str) -> Iterable[Mention]:
    """Each name once per node; a Lora Manager node says its names twice, in its text and in its list."""
    if node.type in FRONTEND_ONLY:
        return ()
    found: dict[tuple[str, str], Mention] = {}
    for value in node.values:
        for kind, row in _spoken_of(value.value):
            use = _use(node, workflow, value.name, row.text, on=row.on)
            found[kind, row.text] = Mention(kind, row.text, use)
    return found.values()


def _spoken_of(value: Any) -> Iterator[tuple[Literal["lora", "embedding"], Named]]:
    if isinstance(value, str):
        yield from (("lora", Named(name)) for name in lora_tags(value))
        yield from (("embedding", Named(name)) for name in embeddings(value))
    else:
        yield from (("lora", row) for row in lora_rows(value) if not looks_like_model(row.text))
