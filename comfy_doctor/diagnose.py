"""What these workflows need, and what of it is missing on this disk. Read-only.

A model is looked for in its own folder, as ComfyUI would. What could not be looked for is `unknown`, never `missing`;
and a node type is never called missing here, because neither a server nor a registry was asked.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from comfy_doctor.comfyui.install import Install
from comfy_doctor.comfyui.packs import Packs, installed_packs
from comfy_doctor.comfyui.shelves import Inventory, Lookup, State
from comfy_doctor.findings import Complaint, ExitCode, Report
from comfy_doctor.needs import Criticality, FolderFrom, Need, NodeUse, PackClue
from comfy_doctor.troubles import DoctorCode, DoctorTrouble
from comfy_doctor.workflows.api_graph import graph_of_api
from comfy_doctor.workflows.core_nodes import FRONTEND_ONLY, is_core
from comfy_doctor.workflows.documents import Document, read_document
from comfy_doctor.workflows.graph import TooLarge
from comfy_doctor.workflows.ui_graph import graph_of_ui
from comfy_doctor.workflows.wanted import Wanted, merged, needs_of
from download_worker.text import public_url

__all__ = ["Diagnosis", "ModelFinding", "NodeFinding", "State", "diagnose"]

MAX_WORKFLOWS = 50_000
_SUFFIXES = (".json", ".png")
_CORE_PACK = "comfy-core"

NodeState = Literal["core", "frontend", "installed", "unknown"]


@dataclass(frozen=True, slots=True)
class ModelFinding:
    """One model: what asks for it, and what the disk says. `path` is the file; `relink` the name that would work."""

    need: Need
    state: State
    reason: str
    path: Path | None = None
    relink: str | None = None

    @property
    def blocks(self) -> bool:
        """A workflow that is run now stops here."""
        wanted = self.need.active and self.need.criticality is Criticality.REQUIRED
        return wanted and self.state in (State.MISSING, State.ELSEWHERE)

    def public(self) -> dict[str, Any]:
        need = self.need
        best = need.best
        return {
            "filename": need.filename,
            "name": need.name,
            "folder": need.folder,
            "state": self.state.value,
            "active": need.active,
            "criticality": need.criticality.value,
            "path": str(self.path) if self.path else None,
            "relink": self.relink,
            "url": public_url(best.url) if best else None,
            "sha256": best.sha256 if best else None,
            "size": best.size if best else None,
            "reason": self.reason,
            "needed_by": [use.public() for use in need.uses],
        }


@dataclass(frozen=True, slots=True)
class NodeFinding:
    """One node type over all workflows."""

    type: str
    state: NodeState
    reason: str
    uses: tuple[NodeUse, ...]
    clue: PackClue

    def public(self) -> dict[str, Any]:
        return {
            "type": self.type,
            "state": self.state,
            "active": any(entry.use.active for entry in self.uses),
            "pack": _pack(self.clue),
            "alternatives": [],
            "reason": self.reason,
            "needed_by": [{"workflow": entry.use.workflow, "node_id": entry.use.node_id} for entry in self.uses],
        }


class Case(NamedTuple):
    """One file, and what it asks for when it is a workflow."""

    document: Document
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything that was found. `models` carries the candidates that the workflows themselves name."""

    install: Install
    cases: tuple[Case, ...]
    models: tuple[ModelFinding, ...]
    nodes: tuple[NodeFinding, ...]
    messages: tuple[str, ...] = ()

    def report(self) -> Report:
        errors = tuple(_complaint(case.document) for case in self.cases if case.document.failed)
        missing = any(model.blocks for model in self.models)
        code = ExitCode.FINDINGS if missing else ExitCode.PARTLY if errors else ExitCode.OK
        return Report("diagnose", code, data=self.data(), messages=self.messages, errors=errors)

    def data(self) -> dict[str, Any]:
        """As INTERFACES promises; `mentions`, and `reason` of a node, are additions."""
        runnable = self._runnable()
        return {
            "comfyui": {"root": str(self.install.root), "server": None, "version": self.install.version},
            "workflows": [_workflow(case, runnable.get(case.document.path, True)) for case in self.cases],
            "models": [model.public() for model in self.models],
            "self_fetching": [
                {"filename": entry.filename, "node_type": entry.use.node_type, "needed_by": [entry.use.public()]}
                for case in self.cases
                for entry in case.wanted.self_fetched
            ],
            "mentions": [
                {"kind": entry.kind, "name": entry.name, "needed_by": [entry.use.public()]}
                for case in self.cases
                for entry in case.wanted.mentions
            ],
            "nodes": [node.public() for node in self.nodes],
        }

    def _runnable(self) -> Mapping[str, bool | None]:
        """Workflow → False where something is known to stop it, None where we could not look at all of it."""
        stopped, unsure = set(), set()
        for model in self.models:
            users = {use.workflow for use in model.need.uses if use.active}
            if model.state is State.UNKNOWN:
                unsure |= users
            elif model.state is not State.PRESENT:
                stopped |= users
        for node in self.nodes:
            if node.state == "unknown":
                unsure |= {entry.use.workflow for entry in node.uses if entry.use.active}
        return dict.fromkeys(unsure, None) | dict.fromkeys(stopped, False)


def _workflow(case: Case, runnable: bool | None) -> dict[str, Any]:
    document = case.document
    return {
        "path": document.path,
        "format": document.format,
        "container": document.container,
        "models": len(case.wanted.models),
        "nodes": len(case.wanted.nodes),
        "runnable": runnable if document.format != "not_a_workflow" and not document.failed else False,
        "error": document.error,
    }


def _complaint(document: Document) -> Complaint:
    code = DoctorCode.UNREADABLE_WORKFLOW
    return DoctorTrouble(code, f"cannot read {document.path}: {document.error}").complaint


def diagnose(paths: Sequence[Path], install: Install) -> Diagnosis:
    """Files, folders of them, or nothing for ComfyUI's own workflows.

    Raises:
        DoctorTrouble: `no_workflow`, a path that is not there.
    """
    messages: list[str] = []
    files = _files(paths, install, messages)
    cases = tuple(_case(file) for file in files)
    named = {str(path) for path in paths}
    for case in cases:
        document = case.document
        if document.path in named and document.format == "not_a_workflow" and not document.failed:
            messages.append(f"{document.path} is no workflow" + (f": {document.error}" if document.error else ""))
    inventory = Inventory(install)
    models = tuple(_model(need, inventory) for need in merged(need for case in cases for need in case.wanted.models))
    unsure = sum(model.state is State.UNKNOWN and model.need.active for model in models)
    if unsure:
        messages.append(f"{unsure} models could not be looked for: their reasons say why")
    nodes = _nodes((entry for case in cases for entry in case.wanted.nodes), installed_packs(install.node_roots))
    return Diagnosis(install, cases, models, nodes, tuple(messages))


def _files(paths: Sequence[Path], install: Install, messages: list[str]) -> list[Path]:
    if not paths:
        found = list(_in_folder(install.workflows)) if install.workflows.is_dir() else []
        if not found:
            messages.append(f"no workflows in {install.workflows}")
        return found
    found = []
    for path in paths:
        if path.is_dir():
            inside = list(_in_folder(path))
            found += inside
            if not inside:
                messages.append(f"no workflows in {path}")
        elif path.exists():
            found.append(path)
        else:
            raise DoctorTrouble(DoctorCode.NO_WORKFLOW, f"there is no file {path}")
    return list(dict.fromkeys(found))


def _in_folder(folder: Path) -> Iterator[Path]:
    """JSON and PNG files below this folder in a steady order, without hidden ones; links to folders are not followed.

    Raises:
        DoctorTrouble: `no_workflow`, more files than `MAX_WORKFLOWS`.
    """
    count = 0
    for directory, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.startswith(".") or not name.lower().endswith(_SUFFIXES):
                continue
            count += 1
            if count > MAX_WORKFLOWS:
                raise DoctorTrouble(DoctorCode.NO_WORKFLOW, f"more than {MAX_WORKFLOWS} files in {folder}")
            yield Path(directory, name)


def _case(file: Path) -> Case:
    """The document without its body: thousands of them are held at once."""
    document = read_document(file)
    if document.body is None:
        return Case(document, Wanted())
    try:
        graph = graph_of_ui(document.body) if document.format == "ui" else graph_of_api(document.body)
    except TooLarge as error:
        return Case(replace(document, body=None, error=str(error), failed=True), Wanted())
    return Case(replace(document, body=None), needs_of(graph, document.path))


def _model(need: Need, inventory: Inventory) -> ModelFinding:
    found = inventory.look_up(need.folder, need.name, written=_spelling(need))
    guessed = need.folder_from in (FolderFrom.INPUT, FolderFrom.NODE, FolderFrom.NOWHERE)
    if guessed and found.state in (State.MISSING, State.UNKNOWN):
        found = _guessed(need, found, inventory)
    return ModelFinding(need, found.state, found.reason, found.path, found.relink)


def _guessed(need: Need, found: Lookup, inventory: Inventory) -> Lookup:
    """A folder that is only guessed may be the wrong one: a file of that name in another one leaves it open."""
    other = inventory.anywhere(need.name)
    if other is not None:
        reason = f"a file of this name is at {other}, but nothing tells whether its node looks there"
        return Lookup(State.UNKNOWN, reason, other)
    if need.folder is None:
        return found
    return replace(found, reason=f"{found.reason} (the folder is a guess by {need.folder_from.value})")


def _spelling(need: Need) -> str:
    """The spelling that counts: of several, one that this system does not understand."""
    native = need.name.replace("/", os.sep)
    spellings = [use.written for use in need.uses if use.active and use.written]
    return next((written for written in spellings if written != native), native)


def _nodes(uses: Iterable[NodeUse], packs: Packs) -> tuple[NodeFinding, ...]:
    by_type: dict[str, list[NodeUse]] = defaultdict(list)
    for entry in uses:
        by_type[entry.use.node_type].append(entry)
    return tuple(_node(node_type, tuple(entries), packs) for node_type, entries in by_type.items())


def _node(node_type: str, uses: tuple[NodeUse, ...], packs: Packs) -> NodeFinding:
    clues = [entry.clue for entry in uses]
    clue = next((clue for clue in clues if clue.cnr_id or clue.aux_id), PackClue())
    if node_type in FRONTEND_ONLY:
        return NodeFinding(node_type, "frontend", "drawn by the frontend, never sent to the server", uses, PackClue())
    if is_core(node_type):
        return NodeFinding(node_type, "core", "a node of ComfyUI itself", uses, PackClue())
    if clue.cnr_id == _CORE_PACK:
        return NodeFinding(node_type, "core", "the workflow says that it is ComfyUI's own", uses, PackClue())
    if packs.has(clue):
        return NodeFinding(node_type, "installed", "the pack that the workflow names is in custom_nodes", uses, clue)
    return NodeFinding(node_type, "unknown", "no server and no registry was asked", uses, clue)


def _pack(clue: PackClue) -> dict[str, Any] | None:
    if not clue.cnr_id and not clue.aux_id:
        return None
    repository = f"https://github.com/{clue.aux_id}" if clue.aux_id else None
    return {"id": clue.cnr_id, "repository": repository, "version": clue.version, "from": "workflow"}
