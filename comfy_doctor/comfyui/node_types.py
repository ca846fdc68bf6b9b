"""Does this ComfyUI have a node type, and who brings it? By the server's own classes, else by what lies on the disk.

The server decides where it was asked; types that only JavaScript draws never stand among its classes (FACTS 1.7), there
the scripts that it serves count. On the disk a pack is believed when the workflow names it or its own code registers
the type; what nobody confirms is `unknown`, and without a server or registry nothing is called missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Literal

from comfy_doctor.comfyui.packs import InstalledPack, Packs, names_of, plain_name
from comfy_doctor.comfyui.server import ManagedPack, Server
from comfy_doctor.needs import PackClue
from comfy_doctor.workflows.core_nodes import FRONTEND_ONLY, is_core

CORE_PACK = "comfy-core"

NodeState = Literal["core", "frontend", "installed", "missing", "unknown"]

# Drawn by a pack's JavaScript alone (FACTS 1.7): type → the pack, normalised.
_SCRIPTED = MappingProxyType(
    {
        **dict.fromkeys(("SetNode", "GetNode"), "comfyui-kjnodes"),
        **dict.fromkeys(("easy setNode", "easy getNode", "easy bookmark"), "comfyui-easy-use"),
        **dict.fromkeys(("Mute / Bypass Relay (rgthree)", "Mute / Bypass Repeater (rgthree)"), "rgthree-comfy"),
    }
)


@dataclass(frozen=True, slots=True)
class TypeLookup:
    """`pack` is what lies on this disk; `pack_folder` is what the server says; `replaced_by` is ComfyUI's new type."""

    state: NodeState
    reason: str
    pack: InstalledPack | None = None
    pack_folder: str | None = None
    replaced_by: str | None = None


def look_up_types(
    clues: Mapping[str, PackClue], packs: Packs, server: Server | None = None
) -> Mapping[str, TypeLookup]:
    """For every node type, with what workflows say of its pack. The packs' code is searched for what stays open."""
    asked = server if server is not None and server.classes else None
    found = {node_type: _quickly(node_type, clue, packs, asked) for node_type, clue in clues.items()}
    undecided = [node_type for node_type, lookup in found.items() if lookup is None]
    brought = packs.find_types(undecided)
    return {
        node_type: lookup or _slowly(node_type, clues[node_type], brought.get(node_type), packs, asked)
        for node_type, lookup in found.items()
    }


def _quickly(node_type: str, clue: PackClue, packs: Packs, server: Server | None) -> TypeLookup | None:
    """What needs no search; None where the packs' code has to be looked into."""
    if node_type in FRONTEND_ONLY:
        return TypeLookup("frontend", "drawn by the frontend, never sent to the server")
    if server is not None:
        return _by_server(node_type, packs, server)
    if is_core(node_type):
        return TypeLookup("core", "a node of ComfyUI itself")
    if clue.cnr_id == CORE_PACK:
        return TypeLookup("core", "the workflow says that it is ComfyUI's own")
    if packs.has(clue):
        return TypeLookup("installed", "the pack that the workflow names is in custom_nodes", packs.find(clue))
    return None


def _by_server(node_type: str, packs: Packs, server: Server) -> TypeLookup | None:
    node_class = server.classes.get(node_type)
    if node_class is not None:
        folder = node_class.pack_folder
        if folder is None:
            return TypeLookup("core", f"a node of ComfyUI itself, the server has it{_version(server)}")
        return TypeLookup("installed", f"the server has it from the pack {folder}", _in_folder(packs, folder), folder)
    bare = node_type.strip()
    new = server.replacements.get(node_type) or (bare if bare in server.classes else None)
    if new is not None:
        why = f"ComfyUI replaced it by {new}: open the workflow in ComfyUI, accept that, and save it"
        return TypeLookup("missing", why, replaced_by=new)
    if not is_core(node_type):
        return None
    if "--disable-api-nodes" in server.argv:
        return TypeLookup("missing", "the server has no such node; it was started with --disable-api-nodes")
    why = f"a node of ComfyUI itself, but not of the one that runs{_version(server)}: update ComfyUI"
    return TypeLookup("missing", why)


def _slowly(
    node_type: str, clue: PackClue, brought: InstalledPack | None, packs: Packs, server: Server | None
) -> TypeLookup:
    pack = brought or packs.find(clue)
    if pack is not None and pack.disabled:
        return TypeLookup("missing", f"its pack {pack.name} is switched off: switch it on and restart ComfyUI", pack)
    if server is not None:
        return _not_a_class(node_type, clue, brought, packs, server)
    if pack is None:
        return TypeLookup("unknown", "no server and no registry was asked")
    return TypeLookup("installed", f"the code of the pack {pack.folder.name} registers it", pack)


def _not_a_class(
    node_type: str, clue: PackClue, brought: InstalledPack | None, packs: Packs, server: Server
) -> TypeLookup:
    """The server has no class of this type: then JavaScript draws it, or it is missing."""
    drawn = _drawing_folder(node_type, brought if packs.draws(node_type) else None, server)
    if drawn is not None:
        why = f"drawn by the JavaScript of the pack {drawn}, which the server loads"
        return TypeLookup("installed", why, brought or _in_folder(packs, drawn), drawn)
    pack = brought or packs.find(clue)
    if brought is None:
        folder = _loaded_folder(clue, pack, server)
        if folder is not None:
            why = f"the server loads the pack {folder}, but has no such class: JavaScript draws it, or another version"
            return TypeLookup("unknown", why, pack, folder)
    if pack is None:
        off = next((entry for entry in server.packs if not entry.enabled and _is_named(entry, clue)), None)
        if off is not None:
            return TypeLookup("missing", f"its pack {off.folder} is switched off: switch it on and restart ComfyUI")
        return TypeLookup("missing", "the server does not have it")
    why = (
        f"its pack {pack.folder.name} is in custom_nodes, but the server does not have this type: restart ComfyUI, and "
        "if it is still missing, its log says why the pack could not be imported"
    )
    return TypeLookup("missing", why, pack)


def _drawing_folder(node_type: str, drawer: InstalledPack | None, server: Server) -> str | None:
    """The pack whose JavaScript draws this type, as the names of packs and scripts tell or the pack's own code."""
    names = drawer.names if drawer is not None else frozenset({_SCRIPTED.get(node_type, "")})
    fitting = (
        folder
        for folder, scripts in server.scripts.items()
        if plain_name(folder) in names or _drawn_by(node_type, folder, scripts)
    )
    return next(fitting, None)


def _loaded_folder(clue: PackClue, pack: InstalledPack | None, server: Server) -> str | None:
    """The folder of the pack that the workflow names, where the server loads something of it."""
    names = names_of(clue) | (pack.names if pack is not None else frozenset())
    loaded = dict.fromkeys(node_class.pack_folder for node_class in server.classes.values())
    return next((folder for folder in (*loaded, *server.scripts) if folder and plain_name(folder) in names), None)


def _is_named(pack: ManagedPack, clue: PackClue) -> bool:
    repository = pack.repository.rpartition("/")[2] if pack.repository else None
    return not names_of(clue).isdisjoint(plain_name(name) for name in (pack.folder, pack.id, repository) if name)


def _drawn_by(node_type: str, folder: str, scripts: tuple[str, ...]) -> bool:
    """`Fast Groups Muter (rgthree)` is drawn by rgthree-comfy's fast_groups_muter.js."""
    bare, _, signature = node_type.partition(" (")
    if not signature or _letters(signature) not in _letters(folder):
        return False
    return _letters(bare) in {_letters(PurePosixPath(script).stem) for script in scripts}


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))


def _in_folder(packs: Packs, folder: str) -> InstalledPack | None:
    return next((pack for pack in packs.packs if pack.folder.name.removesuffix(".py") == folder), None)


def _version(server: Server) -> str:
    return f" (ComfyUI {server.version})" if server.version else ""
