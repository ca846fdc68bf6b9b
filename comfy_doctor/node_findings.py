"""Which node types are here, which are missing, and which pack brings those.

A running server knows for certain what it has registered. Without one the disk is asked: does a pack lie in
custom_nodes that the workflow or the lists name, or whose own code registers the type? Only where a pack is known and
not there, or where a server says so, is a type missing; anything else is unknown.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

from comfy_doctor.comfyui.packs import InstalledPack, Packs, names_of, plain_name
from comfy_doctor.comfyui.server import Server
from comfy_doctor.comfyui.server_packs import drawing_folder, loaded_folder, switched_off
from comfy_doctor.needs import NodeUse, PackClue
from comfy_doctor.node_packs.owners import PackChoice
from comfy_doctor.workflows.core_nodes import FRONTEND_ONLY, is_core

NodeState = Literal["core", "installed", "missing", "frontend", "unknown"]
Remedy = Literal["install", "enable", "update", "restart", "update_comfyui", "replace"]
"""The next step for a type that is not here; None where nobody knows one."""
PackVersion = tuple[str, str]
"""(id in the Comfy registry, release)."""
NO_PACK = PackChoice()
_CORE_ID = "comfy-core"
_RELEASE = re.compile(r"v?(\d{1,9}(?:\.\d{1,9}){1,3})(?:[-+].*)?")


@dataclass(frozen=True, slots=True)
class NodeFinding:
    """One node type over all workflows. `folder` is the pack on this disk that brings it, where there is one.

    `warnings` are what the Comfy registry has against the version that the workflow names.
    """

    type: str
    state: NodeState
    reason: str
    uses: tuple[NodeUse, ...]
    pack: PackChoice = NO_PACK
    folder: Path | None = None
    remedy: Remedy | None = None
    warnings: tuple[str, ...] = ()

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

    @property
    def version(self) -> PackVersion | None:
        """The release of a pack that is not here, as the workflow names it: what would be installed."""
        pack_id, version = self.pack.id, self.pack.version
        if self.remedy != "install" or pack_id is None or version is None or _RELEASE.fullmatch(version) is None:
            return None
        return pack_id, version

    def public(self) -> dict[str, Any]:
        """As INTERFACES promises; `reason`, `remedy`, `guess` and `warnings` are additions."""
        return {
            "type": self.type,
            "state": self.state,
            "active": self.active,
            "pack": self.pack.public(),
            "alternatives": list(self.pack.alternatives),
            "guess": self.pack.guess,
            "reason": self.reason,
            "remedy": self.remedy,
            "warnings": list(self.warnings),
            "needed_by": [{"workflow": entry.use.workflow, "node_id": entry.use.node_id} for entry in self.uses],
        }


class Owners(Protocol):
    """Which pack brings each of these node types, and what is said against these versions of packs."""

    def owners(self, uses: Mapping[str, Sequence[NodeUse]]) -> Mapping[str, PackChoice]: ...

    def warnings(self, versions: Iterable[PackVersion]) -> Mapping[PackVersion, str]: ...

    @property
    def messages(self) -> tuple[str, ...]: ...


def node_findings(
    uses: Iterable[NodeUse], packs: Packs, server: Server | None = None, directory: Owners | None = None
) -> tuple[NodeFinding, ...]:
    """One finding per type, in the order in which the types appear. Never raises for what a far side does."""
    by_type: dict[str, list[NodeUse]] = defaultdict(list)
    for entry in uses:
        by_type[entry.use.node_type].append(entry)
    told = server if server is not None and server.classes else None  # it may have kept its classes to itself
    found = {t: finding for t, entries in by_type.items() if (finding := _own(t, tuple(entries), told))}
    foreign = {t: entries for t, entries in by_type.items() if t not in found}
    choices = directory.owners(foreign) if directory is not None and foreign else {}
    questions = [
        _Question(t, tuple(entries), choices.get(t) or _said(entries), packs, told) for t, entries in foreign.items()
    ]
    unseen = [question.type for question in questions if question.needs_code]
    registered = packs.find_types(unseen) if unseen else {}
    for question in questions:
        found[question.type] = _answer(question, registered.get(question.type))
    return _warned([found[node_type] for node_type in by_type], directory)


def _own(node_type: str, uses: tuple[NodeUse, ...], server: Server | None) -> NodeFinding | None:
    """ComfyUI's own types; None for everything else."""
    if node_type in FRONTEND_ONLY:
        return NodeFinding(node_type, "frontend", "drawn by the frontend, never sent to the server", uses)
    known = server.classes.get(node_type) if server is not None else None
    if known is not None:
        return None if known.pack_folder else NodeFinding(node_type, "core", "the server's own", uses)
    named = any(entry.clue.cnr_id == _CORE_ID for entry in uses)
    if not is_core(node_type) and not named:
        return None
    if server is None:
        why = "a node of ComfyUI itself" if is_core(node_type) else "the workflow says that it is ComfyUI's own"
        return NodeFinding(node_type, "core", why, uses)
    why, remedy = _not_in_this_version(node_type, server)
    return NodeFinding(node_type, "missing", why, uses, PackChoice(id=_CORE_ID), remedy=remedy)


def _not_in_this_version(node_type: str, server: Server) -> tuple[str, Remedy]:
    instead = server.replacements.get(node_type)
    if instead is not None:
        version = f"ComfyUI {server.version}" if server.version else "this ComfyUI"
        return f"{version} has {instead} in its place: open the workflow there, and let it replace the node", "replace"
    why = f"a node of another ComfyUI than yours ({server.version or 'version unknown'}): update ComfyUI"
    return why, "update_comfyui"


@dataclass(frozen=True)
class _Question:
    """One type that ComfyUI itself does not bring. `server` is None where none tells its classes."""

    type: str
    uses: tuple[NodeUse, ...]
    choice: PackChoice
    packs: Packs
    server: Server | None

    @property
    def served_from(self) -> str | None:
        """The pack folder from which the server has registered the type."""
        known = self.server.classes.get(self.type) if self.server is not None else None
        return known.pack_folder if known is not None else None

    @property
    def settled(self) -> bool:
        """No look at the disk is needed: the server has it, or it is ComfyUI's own after all."""
        return self.served_from is not None or self.choice.core

    @property
    def needs_code(self) -> bool:
        """Names do not decide it: only then is the code of packs read."""
        if self.settled:
            return False
        pack = self.named
        return self.server is not None or pack is None or pack.disabled or self.is_older(pack)

    @cached_property
    def clues(self) -> tuple[PackClue, ...]:
        """By what its pack may be recognised: the workflow's word, the lists' choice, and all of them for a guess."""
        choice = self.choice
        said = [entry.clue for entry in self.uses if entry.clue.cnr_id or entry.clue.aux_id]
        chosen = [_clue_of(choice.id, choice.repository)] if choice.id or choice.repository else []
        guessed = [_clue_of(None, repository) for repository in choice.alternatives] if choice.guess else []
        return tuple(dict.fromkeys((*said, *chosen, *guessed)))

    @cached_property
    def named(self) -> InstalledPack | None:
        """The pack on this disk that the clues fit; one that is switched off only where no other does."""
        fitting = [pack for clue in self.clues if (pack := self.packs.find(clue)) is not None]
        return min(fitting, key=lambda pack: pack.disabled, default=None)

    def is_older(self, pack: InstalledPack) -> bool:
        """The workflow was made with a later release of this very pack."""
        wanted, here = _release(self.choice.version), _release(pack.version)
        same = self.choice.id is not None and pack.id is not None and plain_name(self.choice.id) == plain_name(pack.id)
        return same and wanted is not None and here is not None and here < wanted

    def found(
        self, state: NodeState, why: str, pack: InstalledPack | None = None, remedy: Remedy | None = None
    ) -> NodeFinding:
        choice = self.choice if pack is None else _settled_on(pack, self.choice)
        return NodeFinding(self.type, state, why, self.uses, choice, pack.folder if pack is not None else None, remedy)

    def absent(self, why: str) -> NodeFinding:
        """Nowhere here: it is to be installed, if anybody knows what."""
        known = self.choice.repository is not None or self.choice.id is not None
        return self.found("missing", self.choice.why or why, remedy="install" if known else None)


def _answer(question: _Question, registered: InstalledPack | None) -> NodeFinding:
    """`registered` is the pack on this disk whose code brings the type, as far as code was read."""
    server = question.server
    if question.choice.core and question.served_from is None:
        if server is not None:
            why, remedy = _not_in_this_version(question.type, server)
            return question.found("missing", why, remedy=remedy)
        return question.found("core", question.choice.why)
    if server is not None:
        return _on_server(question, registered, server)
    return _on_disk(question, registered)


def _on_server(question: _Question, registered: InstalledPack | None, server: Server) -> NodeFinding:
    drawer = registered if question.packs.draws(question.type) else None
    folder = question.served_from or drawing_folder(question.type, server, drawer)
    if folder is not None:
        word = "the server has it from" if question.served_from else "drawn by scripts that the server has from"
        pack, on_disk = _pack_in(folder, question.packs, server)
        choice = _settled_on(pack, question.choice)
        where = pack.folder if on_disk else None
        return NodeFinding(question.type, "installed", f"{word} {folder}", question.uses, choice, where)
    pack_here = registered or question.named
    names = frozenset(name for clue in question.clues for name in names_of(clue))
    names |= pack_here.names if pack_here is not None else frozenset()
    loaded = loaded_folder(names, server)
    if loaded is not None:
        return _lacking(question, registered, loaded, server)
    off = switched_off(names, server)
    if pack_here is not None and not pack_here.disabled and off is None:
        why = f"its pack {pack_here.name} is in custom_nodes, but not loaded by the server: restart it, or read its log"
        return question.found("missing", why, pack_here, "restart")
    if off is not None or pack_here is not None:
        name = pack_here.name if pack_here is not None else off.folder if off is not None else ""
        return question.found("missing", _is_off(name), pack_here, "enable")
    return question.absent("the server does not know it, and nobody knows its pack")


def _lacking(question: _Question, registered: InstalledPack | None, folder: str, server: Server) -> NodeFinding:
    """The pack is loaded, and the type is not of it: another version, a class that failed, or drawn in a way unseen."""
    pack = registered or question.named
    if registered is not None:
        why = f"the server has loaded its pack {folder}, but not this type of it: restart it, or read its log"
        return question.found("missing", why, pack, "restart")
    if folder in server.scripts and question.choice.came_from != "manager-map":
        why = f"the server has loaded its pack {folder}; whether scripts of it draw this type is not known"
        return question.found("unknown", why, pack)
    why = f"the server has loaded its pack {folder}, which lacks this type: update it"
    return question.found("missing", why, pack, "update")


def _pack_in(folder: str, packs: Packs, server: Server) -> tuple[InstalledPack, bool]:
    """What is known of the pack in a folder of the server: from this disk, else from its Manager; and which of both."""
    here = next((pack for pack in packs.packs if pack.folder.name.removesuffix(".py") == folder), None)
    if here is not None:
        return here, True
    told = next((pack for pack in server.packs if pack.folder == folder), None)
    if told is None:
        return InstalledPack(Path(folder)), False
    return InstalledPack(Path(folder), told.id, told.repository, told.version), False


def _on_disk(question: _Question, registered: InstalledPack | None) -> NodeFinding:
    named = question.named
    both = [pack for pack in (registered, named) if pack is not None]
    pack = min(both, key=lambda pack: pack.disabled, default=None)
    if pack is None:
        return _nowhere(question)
    if pack.disabled:
        return question.found("missing", _is_off(pack.name), pack, "enable")
    if pack is not registered and question.is_older(pack):
        older = f"its pack {pack.name} is {pack.version} here and {question.choice.version} in the workflow"
        why = f"{older}, and no code of it was seen to bring this type: update it"
        return question.found("unknown", why, pack, "update")
    return question.found("installed", f"its pack {pack.name} is in custom_nodes", pack)


def _is_off(name: str) -> str:
    return f"its pack {name} is switched off: switch it on in ComfyUI-Manager"


def _nowhere(question: _Question) -> NodeFinding:
    choice = question.choice
    if not question.packs.read:
        return question.found("unknown", "custom_nodes cannot be read")
    if choice.repository is None and choice.id is None:
        return question.found("unknown", choice.why or "nobody knows which pack brings it")
    return question.absent("its pack is not in custom_nodes")


def _settled_on(pack: InstalledPack, choice: PackChoice) -> PackChoice:
    """The choice in the light of the pack that is here: a guess no more, and another repository if need be."""
    if choice.repository is None or plain_name(choice.repository.rpartition("/")[2]) in pack.names:
        repository = choice.repository or pack.repository
        return replace(choice, repository=repository, id=choice.id or pack.id, guess=False)
    repositories = [other for other in choice.alternatives if plain_name(other.rpartition("/")[2]) in pack.names]
    repository = repositories[0] if repositories else pack.repository
    if repository is None:
        return choice
    others = tuple(other for other in (choice.repository, *choice.alternatives) if other != repository)
    came_from = choice.came_from if repositories else None
    return PackChoice(repository, pack.id, None, came_from, others, f"it is installed as {pack.name}")


def _clue_of(pack_id: str | None, repository: str | None) -> PackClue:
    owner_and_name = "/".join(repository.removesuffix(".git").rstrip("/").split("/")[-2:]) if repository else None
    return PackClue(cnr_id=pack_id, aux_id=owner_and_name)


def _release(version: str | None) -> tuple[int, ...] | None:
    found = _RELEASE.fullmatch(version or "")
    return tuple(map(int, found[1].split("."))) if found else None


def _said(entries: Sequence[NodeUse]) -> PackChoice:
    """What the workflow itself says of the pack, where no list was asked."""
    clue = next((entry.clue for entry in entries if entry.clue.cnr_id or entry.clue.aux_id), None)
    if clue is None:
        return PackChoice(why="no list and no server was asked")
    repository = f"https://github.com/{clue.aux_id}" if clue.aux_id else None
    return PackChoice(repository, clue.cnr_id, clue.version, "workflow", why="the workflow names this pack")


def _warned(findings: Sequence[NodeFinding], directory: Owners | None) -> tuple[NodeFinding, ...]:
    """The findings with what the registry has against a version that would be installed; asked once for all."""
    versions = {finding.version for finding in findings if finding.version is not None}
    said = directory.warnings(versions) if directory is not None and versions else {}
    told = [(finding, said.get(finding.version) if finding.version is not None else None) for finding in findings]
    return tuple(replace(finding, warnings=(word,)) if word is not None else finding for finding, word in told)
