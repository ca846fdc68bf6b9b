"""Packs on the server's side: scripts that draw node types, what is loaded, what is switched off."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_doctor.comfyui.object_info import node_classes
from comfy_doctor.comfyui.packs import InstalledPack
from comfy_doctor.comfyui.server import ManagedPack, Server
from comfy_doctor.comfyui.server_packs import drawing_folder, loaded_folder, switched_off
from tests.doctor.comfyui_server import needs_recordings, recording


def serving(**scripts: str) -> Server:
    return Server("http://x", scripts={name.replace("_", "-"): (script,) for name, script in scripts.items()})


@pytest.mark.parametrize(
    ("node_type", "folder", "script"),
    [
        ("SetNode", "ComfyUI_KJNodes", "setgetnodes.js"),
        ("easy setNode", "comfyui_easy_use", "easyuse.js"),
        ("Fast Groups Muter (rgthree)", "rgthree_comfy", "comfyui/fast_groups_muter.js"),
        ("Mute / Bypass Relay (rgthree)", "rgthree_comfy", "comfyui/node_mode_relay.js"),
    ],
)
def test_types_that_only_javascript_draws_are_there_when_their_script_is(
    node_type: str, folder: str, script: str
) -> None:
    assert drawing_folder(node_type, serving(another="x.js", **{folder: script})) == folder.replace("_", "-")
    assert drawing_folder(node_type, serving(another=script)) is None
    assert drawing_folder("Another (rgthree)", serving(**{folder: script})) is None


def test_a_pack_on_this_disk_that_draws_it_must_be_served_too() -> None:
    drawer = InstalledPack(Path("custom_nodes/my_pack"))
    assert drawing_folder("Drawn", serving(my_pack="a.js"), drawer) == "my-pack"
    assert drawing_folder("Drawn", serving(other="a.js"), drawer) is None


@needs_recordings
def test_a_recorded_pack_is_loaded_by_its_classes() -> None:
    classes = node_classes(recording("0.33.0", "manager_v4/object_info_custom_nodes_only"))
    server = Server("http://x", classes=classes)
    assert loaded_folder({"comfyui-gguf"}, server) == "ComfyUI-GGUF"
    assert loaded_folder({"comfyui-impact-pack"}, server) is None
    assert classes["Power Lora Loader (rgthree)"].pack_folder == "rgthree-comfy"


def test_a_pack_that_the_manager_switched_off_is_found_by_any_of_its_names() -> None:
    off = ManagedPack("folder", "the-id", "https://github.com/o/Repo_Name", "1", enabled=False)
    on = ManagedPack("folder-2", "on", None, "1", enabled=True)
    server = Server("http://x", packs=(on, off))
    assert [switched_off({name}, server) for name in ("folder", "the-id", "repo-name")] == [off] * 3
    assert switched_off({"on"}, server) is None
