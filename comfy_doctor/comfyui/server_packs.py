"""What a server says of node packs beside its classes: which scripts it serves, which packs are loaded or switched off.

Types that only JavaScript draws never stand among its classes (FACTS 1.7): KJNodes' SetNode, rgthree's muters. There
the scripts count that the server hands to the frontend.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePosixPath
from types import MappingProxyType

from comfy_doctor.comfyui.packs import InstalledPack, plain_name
from comfy_doctor.comfyui.server import ManagedPack, Server

# Drawn by a pack's JavaScript alone, in a file of another name: type → the pack, normalised.
_SCRIPTED = MappingProxyType(
    {
        **dict.fromkeys(("SetNode", "GetNode"), "comfyui-kjnodes"),
        **dict.fromkeys(("easy setNode", "easy getNode", "easy bookmark"), "comfyui-easy-use"),
        **dict.fromkeys(("Mute / Bypass Relay (rgthree)", "Mute / Bypass Repeater (rgthree)"), "rgthree-comfy"),
    }
)


def drawing_folder(node_type: str, server: Server, drawer: InstalledPack | None = None) -> str | None:
    """The pack folder whose JavaScript draws this type on that server, as the names of packs and scripts tell.

    `drawer` is a pack on this disk whose scripts register the type (`Packs.draws`). None: nothing tells.
    """
    names = drawer.names if drawer is not None else frozenset({_SCRIPTED.get(node_type, "")})
    fitting = (
        folder
        for folder, scripts in server.scripts.items()
        if plain_name(folder) in names or _drawn_by(node_type, folder, scripts)
    )
    return next(fitting, None)


def loaded_folder(names: Collection[str], server: Server) -> str | None:
    """The folder of a pack of these normalised names, where the server has a class or a script of it."""
    loaded = dict.fromkeys(node_class.pack_folder for node_class in server.classes.values())
    return next((folder for folder in (*loaded, *server.scripts) if folder and plain_name(folder) in names), None)


def switched_off(names: Collection[str], server: Server) -> ManagedPack | None:
    """A pack of these normalised names that ComfyUI-Manager has switched off there."""
    return next((pack for pack in server.packs if not pack.enabled and not names_of(pack).isdisjoint(names)), None)


def names_of(pack: ManagedPack) -> frozenset[str]:
    repository = pack.repository.rpartition("/")[2] if pack.repository else None
    return frozenset(plain_name(name) for name in (pack.folder, pack.id, repository) if name)


def _drawn_by(node_type: str, folder: str, scripts: tuple[str, ...]) -> bool:
    """`Fast Groups Muter (rgthree)` is drawn by rgthree-comfy's fast_groups_muter.js."""
    bare, _, signature = node_type.partition(" (")
    if not signature or _letters(signature) not in _letters(folder):
        return False
    return _letters(bare) in {_letters(PurePosixPath(script).stem) for script in scripts}


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))
