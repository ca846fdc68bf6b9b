"""From a graph to its needs: which value of which node names a model, in which folder, and what the file says of it.

The value that counts is the truth; `properties.models` only adds a source to a name that some widget really holds
(entries that no widget holds are stale), and the workflow's own `models` list likewise (FACTS 1.5).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from comfy_doctor.needs import Candidate, FolderFrom, Mention, Need, NodeUse, SelfFetched, Use
from comfy_doctor.workflows.behaviour import Behaviour, behaviour_of, only_helps_typing
from comfy_doctor.workflows.core_nodes import FRONTEND_ONLY
from comfy_doctor.workflows.graph import Declared, Graph, Node, Value
from comfy_doctor.workflows.loaders import Slot, folder_by_input, folder_by_node, slots_of
from comfy_doctor.workflows.names import (
    Named,
    embeddings,
    looks_like_model,
    lora_rows,
    lora_tags,
    normalised,
    strings_in,
)
from download_worker.jobs.places import ALIASES

EMBEDDED_CONFIDENCE = 0.9
# Values by which loaders say "none" where a folder, not a file, is asked for.
_NO_FOLDER = frozenset({"", "none", "undefined"})
_FOLDERS_OF_FOLDERS = frozenset({"diffusers"})
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


def needs_of(graph: Graph, workflow: str) -> Wanted:
    """Pure. `workflow` is the path that every `Use` carries."""
    needs: list[Need] = []
    fetched: list[SelfFetched] = []
    mentions: list[Mention] = []
    for node in graph.nodes:
        behaviour = behaviour_of(node.type)
        if behaviour is Behaviour.FETCHES:
            fetched += _fetched(node, workflow)
        elif behaviour is Behaviour.LOADS:
            needs += _loaded(node, workflow, graph.declared)
        mentions += _mentions(node, workflow)
    nodes = (NodeUse(_use(node, workflow, None, ""), node.clue) for node in graph.nodes)
    return Wanted(merged(needs), tuple(fetched), tuple(mentions), tuple(nodes))


def merged(needs: Iterable[Need]) -> tuple[Need, ...]:
    """One need per (folder, name), with all uses and every candidate once, in the order they came."""
    found: dict[tuple[str, str], Need] = {}
    for need in needs:
        known = found.get(need.key)
        if known is None:
            found[need.key] = need
            continue
        fresh = tuple(candidate for candidate in need.candidates if candidate not in known.candidates)
        found[need.key] = replace(known, uses=known.uses + need.uses, candidates=known.candidates + fresh)
    return tuple(found.values())


def _use(node: Node, workflow: str, input_name: str | None, written: str, *, on: bool = True) -> Use:
    return Use(workflow, node.id, node.type, input_name, node.active and on, written)


def _loaded(node: Node, workflow: str, workflow_models: tuple[Declared, ...]) -> Iterator[Need]:
    slots = slots_of(node.type)
    for value, named in _file_names(node, slots):
        place = _place(node, slots, value, named.text)
        name = normalised(named.text)
        yield Need(
            folder=place.folder,
            name=name,
            uses=(_use(node, workflow, place.input, named.text, on=named.on),),
            folder_from=place.known_by,
            candidates=_candidates(name, place.folder, node.declared, workflow_models),
        )


def _file_names(node: Node, slots: tuple[Slot, ...]) -> list[tuple[Value, Named]]:
    """The values of this node that name a file, without those that a link overrides."""
    found = []
    for value in node.values:
        slot = _slot(slots, value)
        if slot is not None and value.name is None and slot.input in node.overridden:
            continue
        if value.name is not None and only_helps_typing(value.name):
            continue
        found += [(value, named) for named in strings_in(value.value) if _names_a_file(named.text, slot)]
    nameless = [pair for pair in found if pair[0].name is None and _slot(slots, pair[0]) is None]
    fed = [name for name in node.overridden if folder_by_input(name) is not None and name not in _inputs(slots)]
    if nameless and len(nameless) == len(fed):  # no name tells which value is overridden; here it must be all of them
        return [pair for pair in found if pair not in nameless]
    return found


def _names_a_file(text: str, slot: Slot | None) -> bool:
    if looks_like_model(text):
        return True
    if slot is None:
        return False
    if slot.folder in _FOLDERS_OF_FOLDERS:
        return text.strip().lower() not in _NO_FOLDER
    return text.endswith(_TABLE_ONLY_SUFFIXES) and looks_like_model(text + ".bin")


def _inputs(slots: tuple[Slot, ...]) -> set[str]:
    return {slot.input for slot in slots}


def _slot(slots: tuple[Slot, ...], value: Value) -> Slot | None:
    """The row of the table for this value: by its name, else by its place."""
    if value.name is not None:
        return next((slot for slot in slots if slot.input == value.name), None)
    return next((slot for slot in slots if slot.index is not None and slot.index == value.index), None)


def _place(node: Node, slots: tuple[Slot, ...], value: Value, text: str) -> _Place:
    """The folder of this name: the loader's own list, the file's metadata, then convention."""
    slot = _slot(slots, value)
    if slot is not None:
        return _Place(slot.folder, FolderFrom.TABLE, slot.input)
    by_name = folder_by_input(value.name) if value.name is not None else None
    folders = {slot.folder for slot in slots}
    if len(folders) == 1 and by_name in (None, *folders):
        only = slots[0].input if len(slots) == 1 else None
        return _Place(folders.pop(), FolderFrom.TABLE, value.name or only)
    stated = next((entry.directory for entry in node.declared if _same_file(entry, text) and entry.directory), None)
    if stated is not None:
        return _Place(canonical(stated), FolderFrom.WORKFLOW, value.name)
    if by_name is not None:
        return _Place(by_name, FolderFrom.INPUT, value.name)
    by_node = folder_by_node(node.type)
    return _Place(by_node, FolderFrom.NOWHERE if by_node is None else FolderFrom.NODE, value.name)


def canonical(folder: str) -> str:
    """ComfyUI's own word for a folder; a word that nobody knows stays as it is."""
    return ALIASES.get(folder.lower(), folder)


def _same_file(entry: Declared, text: str) -> bool:
    stated, held = normalised(entry.name), normalised(text)
    return stated == held or stated == held.rpartition("/")[2]


def _candidates(
    name: str, folder: str | None, declared: tuple[Declared, ...], workflow_models: tuple[Declared, ...]
) -> tuple[Candidate, ...]:
    found: dict[str, Candidate] = {}
    for entry, where in [(e, "the node's metadata") for e in declared] + [
        (e, "the workflow's metadata") for e in workflow_models
    ]:
        if entry.url is None or entry.url in found or not _same_file(entry, name) or not _fits(entry, folder):
            continue
        found[entry.url] = Candidate(
            url=entry.url,
            filename=name.rpartition("/")[2],
            folder=folder or canonical(entry.directory or ""),
            source="embedded",
            sha256=entry.sha256,
            confidence=EMBEDDED_CONFIDENCE,
            evidence=(f"{where} names this file and this URL",)
            + ((f"and the SHA-256 {entry.sha256}",) if entry.sha256 else ()),
        )
    return tuple(found.values())


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
