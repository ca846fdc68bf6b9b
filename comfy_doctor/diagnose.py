"""What these workflows need, and what of it is missing. Read-only.

A model is looked for in its own folder, as ComfyUI would, on this disk and in the lists of a running server where one
answers. What could not be looked for is `unknown`, never `missing`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from comfy_doctor.comfyui.install import Install
from comfy_doctor.comfyui.mentions import look_up_mention
from comfy_doctor.comfyui.packs import installed_packs
from comfy_doctor.comfyui.server import Server
from comfy_doctor.comfyui.shelves import Cause, Inventory, Lookup, State
from comfy_doctor.comfyui.truth import Truth
from comfy_doctor.findings import Complaint, ExitCode, Report
from comfy_doctor.needs import Criticality, FolderFrom, Mention, Need
from comfy_doctor.node_findings import NodeFinding, Owners, node_findings
from comfy_doctor.reading import Case, Fetch, read_cases
from comfy_doctor.resolvers.likeness import Names, Near, nearest
from comfy_doctor.troubles import DoctorCode, DoctorTrouble
from comfy_doctor.workflows.documents import Document
from comfy_doctor.workflows.raw_url import is_raw_url
from comfy_doctor.workflows.wanted import merged
from download_worker.text import public_url

__all__ = ["Diagnosis", "ModelFinding", "NodeFinding", "Sight", "State", "diagnose"]


@dataclass(frozen=True, slots=True)
class ModelFinding:
    """One model: what asks for it, and what disk and server say. `path` is the file; `relink` the name that works.

    `cause` says why ComfyUI does not list a file that is here.
    """

    need: Need
    state: State
    reason: str
    path: Path | None = None
    relink: str | None = None
    cause: Cause | None = None
    near: tuple[Near, ...] = ()
    """Names in the same folder that are like the missing one, the likest first; shown, and never applied."""

    @property
    def blocks(self) -> bool:
        """A workflow that is run now stops here."""
        wanted = self.need.active and self.need.criticality is Criticality.REQUIRED
        return wanted and self.state in (State.MISSING, State.ELSEWHERE)

    def public(self) -> dict[str, Any]:
        """As INTERFACES promises; `cause` and `near` are additions."""
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
            "cause": self.cause.value if self.cause else None,
            "near": [{"name": near.name, "score": near.score, "why": near.why} for near in self.near],
            "needed_by": [use.public() for use in need.uses],
        }


@dataclass(frozen=True, slots=True)
class MentionFinding:
    """A model that a prompt speaks of; a hint, it stops nothing."""

    mention: Mention
    found: Lookup

    def public(self) -> dict[str, Any]:
        return {
            "kind": self.mention.kind,
            "name": self.mention.name,
            "state": self.found.state.value,
            "path": str(self.found.path) if self.found.path else None,
            "reason": self.found.reason,
            "needed_by": [self.mention.use.public()],
        }


@dataclass(frozen=True)
class Sight:
    """What a diagnosis may look at beside the disk; nothing of it is required.

    `messages` say what of it could not be had: a server that does not answer.
    """

    server: Server | None = None
    owners: Owners | None = None
    fetch: Fetch | None = None
    messages: tuple[str, ...] = ()


DISK_ONLY = Sight()
MAX_NEAR = 3
MAX_NEAR_COMPARED = 5_000_000
"""Names that are compared with missing ones in one diagnosis: some seconds' work, in a library of 100,000 files."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything that was found. `models` carries the candidates that the workflows themselves name."""

    install: Install
    cases: tuple[Case, ...]
    models: tuple[ModelFinding, ...]
    nodes: tuple[NodeFinding, ...]
    messages: tuple[str, ...] = ()
    server: Server | None = None
    mentions: tuple[MentionFinding, ...] = ()

    def report(self) -> Report:
        errors = tuple(_complaint(case.document) for case in self.cases if case.document.failed)
        missing = any(model.blocks for model in self.models) or any(node.blocks for node in self.nodes)
        code = ExitCode.FINDINGS if missing else ExitCode.PARTLY if errors else ExitCode.OK
        return Report("diagnose", code, data=self.data(), messages=self.messages, errors=errors)

    def data(self) -> dict[str, Any]:
        """As INTERFACES promises; `mentions`, and `reason` of a node, are additions."""
        runnable = self._runnable()
        return {
            "comfyui": {
                "root": str(self.install.root),
                "server": self.server.url if self.server else None,
                "version": (self.server.version if self.server else None) or self.install.version,
            },
            "workflows": [_workflow(case, runnable.get(case.document.path, True)) for case in self.cases],
            "models": [model.public() for model in self.models],
            "self_fetching": [
                {"filename": entry.filename, "node_type": entry.use.node_type, "needed_by": [entry.use.public()]}
                for case in self.cases
                for entry in case.wanted.self_fetched
            ],
            "mentions": [mention.public() for mention in self.mentions],
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
            users = {entry.use.workflow for entry in node.uses if entry.use.active}
            if node.state == "unknown":
                unsure |= users
            elif node.state == "missing":
                stopped |= users
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
    code, hint = DoctorCode.UNREADABLE_WORKFLOW, None
    if is_raw_url(document.path):
        hint = "check the address, or save that file and name it"
    return DoctorTrouble(code, f"cannot read {document.path}: {document.error}", hint=hint).complaint


def diagnose(
    paths: Sequence[str | Path], install: Install, sight: Sight = DISK_ONLY, inventory: Inventory | None = None
) -> Diagnosis:
    """Files, folders of them, URLs, manifests, or nothing for ComfyUI's own workflows.

    An `inventory` that was walked a moment ago may serve again; without one the shelves are walked anew.

    Raises:
        DoctorTrouble: `no_workflow`, a path that is not there.
    """
    server = sight.server
    reading = read_cases(paths, install, classes=server.classes if server else None, fetch=sight.fetch)
    inventory, truth = inventory or Inventory(install), Truth(install, server)
    needs = merged(need for case in reading.cases for need in case.wanted.models)
    models = _with_near_names([_model(need, inventory, truth) for need in needs], inventory)
    uses = (entry for case in reading.cases for entry in case.wanted.nodes)
    nodes = node_findings(uses, installed_packs(install.node_roots), server, sight.owners)
    mentions = tuple(
        MentionFinding(entry, look_up_mention(inventory, entry, server))
        for case in reading.cases
        for entry in case.wanted.mentions
    )
    messages = [*reading.messages, *sight.messages, *truth.messages()]
    messages += sight.owners.messages if sight.owners is not None else ()
    unsure = sum(model.state is State.UNKNOWN and model.need.active for model in models)
    if unsure:
        messages.append(f"could not look for {unsure} of the models: their reasons say why")
    return Diagnosis(install, reading.cases, models, nodes, tuple(messages), server, mentions)


def _model(need: Need, inventory: Inventory, truth: Truth) -> ModelFinding:
    found = inventory.look_up(need.folder, need.name, written=_spelling(need))
    guessed = need.folder_from in (FolderFrom.INPUT, FolderFrom.NODE, FolderFrom.NOWHERE)
    if guessed and found.state in (State.MISSING, State.UNKNOWN):
        found = _guessed(need, found, inventory)
    found = truth.look_up(need, found)
    return ModelFinding(need, found.state, found.reason, found.path, found.relink, found.cause)


def _with_near_names(models: Sequence[ModelFinding], inventory: Inventory) -> tuple[ModelFinding, ...]:
    left = MAX_NEAR_COMPARED
    shelves: dict[str, Names] = {}
    found = []
    for model in models:
        folder = model.need.folder
        if model.state is State.MISSING and folder is not None and model.need.active:
            if folder not in shelves:
                shelves[folder] = Names(inventory.shelf(folder).files)
            left -= len(shelves[folder])
            if shelves[folder] and left >= 0:
                model = replace(model, near=nearest(model.need.name, shelves[folder], MAX_NEAR))
        found.append(model)
    return tuple(found)


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
