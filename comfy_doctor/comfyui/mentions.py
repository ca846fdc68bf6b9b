"""Models that a prompt speaks of, looked up on the shelves: `<lora:NAME:1>`, `embedding:NAME`, Lora Manager's rows.

They are written without an extension, LoRAs mostly without their subfolder (the packs that read such tags compare the
file's bare name). ComfyUI itself reads embeddings: it tries the name as it is, then with .safetensors, .pt and .bin,
below the embedding directories; a subfolder must be written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from comfy_doctor.comfyui.server import Server
from comfy_doctor.comfyui.shelves import Inventory, Lookup, Shelf, State
from comfy_doctor.needs import Mention
from comfy_doctor.workflows.names import normalised

FOLDER_OF_KIND: Mapping[str, str] = {"lora": "loras", "embedding": "embeddings"}
_ENDINGS = ("", ".safetensors", ".pt", ".bin", ".ckpt", ".pth", ".sft")


def look_up_mention(inventory: Inventory, mention: Mention, server: Server | None = None) -> Lookup:
    """What is here under this name. With a server, what it lists counts; a mention is a hint and never blocks a run."""
    folder = FOLDER_OF_KIND[mention.kind]
    disk = _on_shelf(inventory.shelf(folder), mention, folder)
    if server is None:
        return disk
    listing = server.folders.get(folder)
    names = server.embeddings if mention.kind == "embedding" else (listing.names if listing is not None else None)
    if names is None or (mention.kind == "embedding" and "/embeddings" in server.unanswered):
        return disk
    told = _named(dict.fromkeys(map(normalised, names), Path()), mention)
    if told is not None:
        return Lookup(State.PRESENT, "the server lists it", disk.path, listed=True)
    if disk.state is State.PRESENT:
        return replace(
            disk, state=State.ELSEWHERE, reason=f"it is at {disk.path}, but the server does not list it", listed=False
        )
    return replace(disk, listed=False)


def _on_shelf(shelf: Shelf, mention: Mention, folder: str) -> Lookup:
    found = _named(shelf.files, mention)
    if found is not None:
        return Lookup(State.PRESENT, "in its place", shelf.files[found])
    wanted = normalised(mention.name).rpartition("/")[2].lower()
    names = (name for ending in _ENDINGS for name in shelf.by_filename.get(wanted + ending, ()))
    near = min(names, key=lambda name: (name.count("/"), name), default=None)
    if near is not None:
        reason = f"the same name is in {folder} in another subfolder or in other letters"
        return Lookup(State.ELSEWHERE, reason, shelf.files[near], near.replace("/", os.sep))
    if shelf.unread:
        return Lookup(State.UNKNOWN, f"cannot read {shelf.unread[0]}")
    return Lookup(State.MISSING, f"no file of this name in {folder}")


def _named(files: Mapping[str, Path], mention: Mention) -> str | None:
    """The listed name that this mention is read as, None where there is none."""
    name = normalised(mention.name)
    exact = next((name + ending for ending in _ENDINGS if name + ending in files), None)
    if exact is not None or mention.kind == "embedding":
        return exact
    bare = name.rpartition("/")[2]
    fitting = (listed for listed in files if _bare(listed) == bare)
    return min(fitting, key=lambda listed: (listed.count("/"), listed), default=None)


def _bare(listed: str) -> str:
    filename = listed.rpartition("/")[2]
    return filename.rpartition(".")[0] or filename
