"""Which node types are here, which are missing, and which pack brings those.

A running server knows for certain what it has registered. Without one the disk is asked: does a pack lie in
custom_nodes that the workflow or the lists name, or whose own code registers the type? Only where a pack is known and
not there, or where a server says so, is a type missing; anything else is unknown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from comfy_doctor.comfyui.packs import InstalledPack, Packs
from comfy_doctor.comfyui.server import Server
from comfy_doctor.needs import NodeUse, PackClue
from comfy_doctor.node_packs.owners import PackChoice
from comfy_doctor.workflows.core_nodes import FRONTEND_ONLY, is_core

NodeState = Literal["core", "installed", "missing", "frontend", "unknown"]
NO_PACK = PackChoice()
_CORE_ID = "comfy-core"


@dataclass(frozen=True, slots=True)
class NodeFinding:
    """One node type over all workflows. `folder` is the pack on this disk that brings it, where there is one."""

    type: str
    state: NodeState
    reason: str
    uses: tuple[NodeUse, ...]
    pack: PackChoice = NO_PACK
    folder: Path | None = None

    @property
    def active(self) -> bool:
        return any(entry.use.active for entry in self.uses)

    @property
    def blocks(self) -> bool:
        """A workflow that is run now stops here."""
        return self.active and self.state == "missing"

    @property
    def repository(self) -> str | None:
        return self.pack.repository

    def public(self) -> dict[str, Any]:
        """As INTERFACES promises; `reason` and `guess` are additions."""
        return {
            "type": self.type,
            "state": self.state,
            "active": self.active,
            "pack": self.pack.public(),
            "alternatives": list(self.pack.alternatives),
            "guess": self.pack.guess,
            "reason": self.reason,
            "needed_by": [{"workflow": entry.use.workflow, "node_id": entry.use.node_id} for entry in self.uses],
        }


class Owners(Protocol):
    """Which pack brings each of these node types."""

    def owners(self, uses: Mapping[str, Sequence[NodeUse]]) -> Mapping[str, PackChoice]: ...

    @property
    def messages(self) -> tuple[str, ...]: ...


def node_findings(
    uses: Iterable[NodeUse], packs: Packs, server: Server | None = None, directory: Owners | None = None
) -> tuple[NodeFinding, ...]:
    by_type: dict[str, list[NodeUse]] = defaultdict(list)
    for entry in uses:
        by_type[entry.use.node_type].append(entry)
    found = {t: finding for t, entries in by_type.items() if (finding := _own(t, entries, server))}
    foreign = {t: entries for t, entries in by_type.items() if t not in found}
    choices = directory.owners(foreign) if directory is not None and foreign else {}
    found |= {t: finding for t, entries in foreign.items() if (finding := _settled(t, entries, choices.get(t), server))}
    in_doubt = {t: entries for t, entries in foreign.items() if t not in found}
    registered = packs.find_types(_unmatched(in_doubt, choices, packs)) if in_doubt else {}
    for t, entries in in_doubt.items():
        found[t] = _on_disk(t, entries, choices.get(t), registered.get(t), packs, server)
    return tuple(found[node_type] for node_type in by_type)


def _own(node_type: str, entries: Sequence[NodeUse], server: Server | None) -> NodeFinding | None:
    """ComfyUI's own types; None for everything else."""
    uses = tuple(entries)
    if node_type in FRONTEND_ONLY:
        return NodeFinding(node_type, "frontend", "drawn by the frontend, never sent to the server", uses)
    known = server.classes.get(node_type) if server is not None else None
    if known is not None:
        return None if known.pack_folder else NodeFinding(node_type, "core", "the server's own", uses)
    named = any(entry.clue.cnr_id == _CORE_ID for entry in entries)
    if not is_core(node_type) and not named:
        return None
    if server is None or not server.classes:
        why = "a node of ComfyUI itself" if is_core(node_type) else "the workflow says that it is ComfyUI's own"
        return NodeFinding(node_type, "core", why, uses)
    return NodeFinding(node_type, "missing", _not_in_this_version(node_type, server), uses, PackChoice(id=_CORE_ID))


def _not_in_this_version(node_type: str, server: Server) -> str:
    instead = server.replacements.get(node_type)
    if instead is not None:
        return f"ComfyUI {server.version or ''} puts {instead} in its place".replace("  ", " ")
    return f"a node of another ComfyUI than yours ({server.version or 'version unknown'}): update ComfyUI"


def _settled(
    node_type: str, entries: Sequence[NodeUse], choice: PackChoice | None, server: Server | None
) -> NodeFinding | None:
    """What needs no look at the disk: the server has registered it, or it is ComfyUI's own after all."""
    uses = tuple(entries)
    known = server.classes.get(node_type) if server is not None else None
    if known is not None:
        return NodeFinding(
            node_type, "installed", f"the server has it from {known.pack_folder}", uses, choice or _said(entries)
        )
    if choice is not None and choice.core:
        if server is not None and server.classes:
            return NodeFinding(node_type, "missing", _not_in_this_version(node_type, server), uses, choice)
        return NodeFinding(node_type, "core", choice.why, uses, choice)
    return None


def _unmatched(entries: Mapping[str, Sequence[NodeUse]], choices: Mapping[str, PackChoice], packs: Packs) -> list[str]:
    """Types for which no installed pack fits by its name: only for these is code read."""
    return [t for t, uses in entries.items() if _by_name(uses, choices.get(t), packs) is None]


def _by_name(entries: Sequence[NodeUse], choice: PackChoice | None, packs: Packs) -> InstalledPack | None:
    clues = [entry.clue for entry in entries if entry.clue.cnr_id or entry.clue.aux_id]
    if choice is not None and (choice.id or choice.repository):
        clues.append(_clue_of(choice.id, choice.repository))
    for clue in clues:
        pack = packs.find(clue)
        if pack is not None:
            return pack
    return None


def _clue_of(pack_id: str | None, repository: str | None) -> PackClue:
    owner_and_name = "/".join(repository.removesuffix(".git").rstrip("/").split("/")[-2:]) if repository else None
    return PackClue(cnr_id=pack_id, aux_id=owner_and_name)


def _on_disk(
    node_type: str,
    entries: Sequence[NodeUse],
    choice: PackChoice | None,
    registered: InstalledPack | None,
    packs: Packs,
    server: Server | None,
) -> NodeFinding:
    uses, known = tuple(entries), choice or _said(entries)
    pack = registered or _by_name(entries, choice, packs)
    if pack is None:
        return _nowhere(node_type, uses, known, packs, server)
    here = replace(known, repository=known.repository or pack.repository, id=known.id or pack.id)
    if pack.disabled:
        return NodeFinding(node_type, "missing", f"its pack {pack.name} is switched off", uses, here, pack.folder)
    if server is not None and server.classes and not _drawn_only(pack, server):
        why = f"its pack {pack.name} is in custom_nodes, but not loaded by the server: restart ComfyUI, or read its log"
        return NodeFinding(node_type, "missing", why, uses, here, pack.folder)
    return NodeFinding(node_type, "installed", f"its pack {pack.name} is in custom_nodes", uses, here, pack.folder)


def _drawn_only(pack: InstalledPack, server: Server) -> bool:
    """The frontend loads scripts of this pack: a type that only they register is in no list of the server."""
    return pack.folder.name in server.scripts


def _nowhere(
    node_type: str, uses: tuple[NodeUse, ...], choice: PackChoice, packs: Packs, server: Server | None
) -> NodeFinding:
    if server is not None and server.classes:
        why = choice.why or "the server does not know it, and nobody knows its pack"
        return NodeFinding(node_type, "missing", why, uses, choice)
    if not packs.read:
        return NodeFinding(node_type, "unknown", "custom_nodes cannot be read", uses, choice)
    if choice.repository is None and choice.id is None:
        return NodeFinding(node_type, "unknown", choice.why or "nobody knows which pack brings it", uses, choice)
    return NodeFinding(node_type, "missing", choice.why or "its pack is not in custom_nodes", uses, choice)


def _said(entries: Sequence[NodeUse]) -> PackChoice:
    """What the workflow itself says of the pack, where no list was asked."""
    clue = next((entry.clue for entry in entries if entry.clue.cnr_id or entry.clue.aux_id), None)
    if clue is None:
        return PackChoice(why="no list and no server was asked")
    repository = f"https://github.com/{clue.aux_id}" if clue.aux_id else None
    return PackChoice(repository, clue.cnr_id, clue.version, "workflow", why="the workflow names this pack")
