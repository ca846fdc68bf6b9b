"""What these workflows need, and what of it is missing on this disk. Read-only.

A model is looked for in its own folder, as ComfyUI would. What could not be looked for is `unknown`, never `missing`;
and a node type is never called missing here, because neither a server nor a registry was asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from comfy_doctor.comfyui.install import Install
from comfy_doctor.comfyui.packs import Packs, installed_packs
from comfy_doctor.comfyui.shelves import Inventory, Lookup, State
from comfy_doctor.findings import ExitCode, Report
from comfy_doctor.needs import Criticality, FolderFrom, Need, NodeUse, PackClue
from comfy_doctor.troubles import DoctorCode, DoctorTrouble
from comfy_doctor.workflows.api_graph import graph_of_api
from comfy_doctor.workflows.core_nodes import FRONTEND_ONLY, is_core
from comfy_doctor.workflows.documents import Document, read_document
from comfy_doctor.workflows.graph import TooLarge
from comfy_doctor.workflows.ui_graph import graph_of_ui
from comfy_doctor.workflows.wanted import Wanted, merged, needs_of

__all__ = ["Diagnosis", "ModelFinding", "NodeFinding", "State", "diagnose"]

MAX_WORKFLOWS = 50_000
_SUFFIXES = (".json", ".png")
_CORE_PACK = "comfy-core"


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
        best = need.candidates[0] if need.candidates else None
        return {
            "filename": need.filename,
            "name": need.name,
            "folder": need.folder,
            "state": self.state.value,
            "active": need.active,
            "criticality": need.criticality.value,
            "path": str(self.path) if self.path else None,
            "relink": self.relink,
            "url": best.url if best else None,
            "sha256": best.sha256 if best else None,
            "size": best.size if best else None,
            "reason": self.reason,
            "needed_by": [use.public() for use in need.uses],
        }


@dataclass(frozen=True, slots=True)
class NodeFinding:
    """One node type over all workflows. `state`: core, frontend, installed or unknown."""

    type: str
    state: str
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
            "needed_by": [{"workflow": e.use.workflow, "node_id": e.use.node_id} for e in self.uses],
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
    messages: tuple[str, ...] = field(default=())

    def report(self) -> Report:
        errors = tuple(_unread(case.document).complaint for case in self.cases if case.document.failed)
        missing = any(model.blocks for model in self.models)
        code = ExitCode.FINDINGS if missing else ExitCode.PARTLY if errors else ExitCode.OK
        return Report("diagnose", code, data=self.data(), messages=self.messages, errors=errors)

    def data(self) -> dict[str, Any]:
        """As INTERFACES promises; `mentions` and `reason` of nodes are additions."""
        return {
            "comfyui": {"root": str(self.install.root), "server": None, "version": self.install.version},
            "workflows": [self._workflow(case) for case in self.cases],
            "models": [model.public() for model in self.models],
            "self_fetching": [
                {"filename": entry.filename, "node_type": entry.use.node_type}
                | {"active": entry.use.active, "needed_by": [entry.use.public()]}
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

    def _workflow(self, case: Case) -> dict[str, Any]:
        document = case.document
        return {
            "path": document.path,
            "format": document.format,
            "container": document.container,
            "models": len(case.wanted.models),
            "nodes": len(case.wanted.nodes),
            "runnable": self._runnable(document),
            "error": document.error,
        }

    def _runnable(self, document: Document) -> bool | None:
        """False when something is known to stop it, None when we could not look at all of it."""
        if document.format == "not_a_workflow":
            return False
        mine = [model for model in self.models if any(_here(use, document) for use in model.need.uses)]
        if any(model.state in (State.MISSING, State.ELSEWHERE) for model in mine):
            return False
        unsure = any(model.state is State.UNKNOWN for model in mine)
        unsure = unsure or any(
            node.state == "unknown" and any(_here(entry.use, document) for entry in node.uses) for node in self.nodes
        )
        return None if unsure else True
