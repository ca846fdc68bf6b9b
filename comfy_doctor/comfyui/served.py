"""The install that a running server uses, put together from the directories that it tells.

So `--server` alone is enough on the machine of that server: `--base-directory`, `--output-directory`, every
extra_model_paths.yaml and folders that packs have added are in those directories already.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from comfy_doctor.comfyui.causes import base_of, tells_this_disk
from comfy_doctor.comfyui.extra_paths import ExtraRoot
from comfy_doctor.comfyui.install import Install
from comfy_doctor.comfyui.server import Listing, Server

_SAVED_CHECKPOINTS = "checkpoints"


def install_of(server: Server) -> Install | None:
    """What this server searches, as an install; None where that is not on this disk, or is not told."""
    base = base_of(server)
    if base is None or not tells_this_disk(server) or not Path(base, "models").is_dir():
        return None
    bare = Install(Path(base), server.version, output=_output(server, Path(base)))
    own = {"custom_nodes": bare.node_roots}
    directories = {name: listing.directories for name, listing in server.folders.items()}
    directories["custom_nodes"] = server.node_directories
    extra = tuple(
        root
        for folder, paths in directories.items()
        for root in _extra(folder, paths, own.get(folder, bare.roots(folder)))
    )
    return Install(bare.root, bare.version, extra, bare.output)


def _output(server: Server, base: Path) -> Path | None:
    """Where nodes save: the one directory of checkpoints that is called so and is not below models."""
    option = server.option("--output-directory")
    if option:
        return Path(option)
    paths = map(Path, server.folders.get("checkpoints", Listing()).directories)
    saved = [path.parent for path in paths if path.name == _SAVED_CHECKPOINTS and path.parent.name == "output"]
    return next((path for path in saved if path != base / "output"), None)


def _extra(folder: str, paths: tuple[str, ...], own: tuple[Path, ...]) -> Iterator[ExtraRoot]:
    """The directories that ComfyUI would not search by itself; those before its own ones come first."""
    first = True
    for path in map(Path, paths):
        if path in own:
            first = False
        else:
            yield ExtraRoot(folder, path, first)
