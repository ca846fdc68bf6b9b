"""Whether a node type is there: by a server's classes and scripts, else by what lies in custom_nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_doctor.comfyui.node_types import TypeLookup, look_up_types
from comfy_doctor.comfyui.object_info import node_classes
from comfy_doctor.comfyui.packs import installed_packs
from comfy_doctor.comfyui.server import ManagedPack, Server
from comfy_doctor.needs import PackClue
from comfy_doctor.workflows.node_classes import NodeClass
from tests.doctor.comfyui_server import needs_recordings, read_recorded, recording

NOBODY = PackClue()


def pack(root: Path, name: str, code: str = "", file: str = "__init__.py") -> None:
    path = root / name / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code, encoding="utf-8")


def look(root: Path, node_type: str, server: Server | None = None, clue: PackClue = NOBODY) -> TypeLookup:
    return look_up_types({node_type: clue}, installed_packs([root]), server)[node_type]


def running(*types: str, **more: object) -> Server:
    classes = {name: NodeClass(name, "nodes") for name in ("KSampler", *types)}
    return Server("http://x", version="0.3.64", classes=classes, **more)  # type: ignore[arg-type]


@needs_recordings
@pytest.mark.parametrize("version", ["0.3.64", "0.33.0"])
def test_the_classes_of_the_running_version_decide(version: str, tmp_path: Path) -> None:
    server = read_recorded(version)
    types = ("KSampler", "LatentUpscaleModelLoader", "Note", "NoSuchNode", "SaveImageWebsocket", "ConditioningAverage ")
    found = look_up_types(dict.fromkeys(types, NOBODY), installed_packs([tmp_path]), server)
    new = version == "0.33.0"
    assert {name: lookup.state for name, lookup in found.items()} == {
        "KSampler": "core",
        "LatentUpscaleModelLoader": "core" if new else "missing",
        "Note": "frontend",
        "NoSuchNode": "missing",
        "SaveImageWebsocket": "installed",
        "ConditioningAverage ": "missing",
    }
    assert found["ConditioningAverage "].replaced_by == "ConditioningAverage"
    if not new:
        assert "update ComfyUI" in found["LatentUpscaleModelLoader"].reason
        assert "0.3.64" in found["LatentUpscaleModelLoader"].reason


@needs_recordings
def test_a_recorded_pack_is_installed_and_its_folder_told(tmp_path: Path) -> None:
    pack(tmp_path, "rgthree-comfy")
    server = Server("http://x", classes=node_classes(recording("0.33.0", "manager_v4/object_info_custom_nodes_only")))
    found = look(tmp_path, "Power Lora Loader (rgthree)", server)
    assert (found.state, found.pack_folder) == ("installed", "rgthree-comfy")
    assert found.pack is not None and found.pack.folder == tmp_path / "rgthree-comfy"
    assert look(tmp_path, "UnetLoaderGGUF", server).pack is None, "the server has it, this disk does not"


def test_without_a_server_nothing_is_missing_that_is_only_unknown(tmp_path: Path) -> None:
    assert look(tmp_path, "Whatever").state == "unknown"
    assert look(tmp_path, "KSampler").state == "core"
    assert look(tmp_path, "BrandNew", clue=PackClue("comfy-core")).state == "core"
    pack(tmp_path, "named")
    assert look(tmp_path, "Whatever", clue=PackClue("named")).state == "installed"
    pack(tmp_path, "other", 'NODE_CLASS_MAPPINGS = {"Whatever": 1}')
    found = look(tmp_path, "Whatever")
    assert found.state == "installed" and found.pack is not None and found.pack.name == "other"


def test_a_server_that_did_not_tell_its_classes_is_not_asked(tmp_path: Path) -> None:
    assert look(tmp_path, "Whatever", Server("http://x")).state == "unknown"


def test_a_pack_that_is_switched_off_is_named(tmp_path: Path) -> None:
    pack(tmp_path, ".disabled/off@1_0", 'NODE_CLASS_MAPPINGS = {"Whatever": 1}')
    for server in (None, running()):
        found = look(tmp_path, "Whatever", server)
        assert found.state == "missing" and "off is switched off" in found.reason
    managed = running(packs=(ManagedPack("far", "far-id", None, "1", enabled=False),))
    assert "far is switched off" in look(tmp_path, "Other", managed, PackClue("far-id")).reason


def test_a_pack_that_is_here_and_not_loaded_wants_a_restart(tmp_path: Path) -> None:
    pack(tmp_path, "mine", 'NODE_CLASS_MAPPINGS = {"Whatever": 1}')
    found = look(tmp_path, "Whatever", running())
    assert found.state == "missing" and "restart ComfyUI" in found.reason
    assert found.pack is not None and found.pack.name == "mine"


@pytest.mark.parametrize(
    ("node_type", "scripts"),
    [
        ("SetNode", {"ComfyUI-KJNodes": ("setgetnodes.js",)}),
        ("easy setNode", {"comfyui-easy-use": ("easyuse.js",)}),
        ("Fast Groups Muter (rgthree)", {"rgthree-comfy": ("comfyui/fast_groups_muter.js",)}),
        ("Mute / Bypass Relay (rgthree)", {"rgthree-comfy": ("comfyui/node_mode_relay.js",)}),
    ],
)
def test_types_that_only_javascript_draws_are_there_when_their_script_is(
    tmp_path: Path, node_type: str, scripts: dict[str, tuple[str, ...]]
) -> None:
    found = look(tmp_path, node_type, running(scripts=scripts))
    assert (found.state, found.pack_folder) == ("installed", next(iter(scripts)))
    assert look(tmp_path, node_type, running(scripts={"another": ("x.js",)})).state == "missing"


def test_a_script_that_is_on_the_disk_must_be_loaded_by_the_server_too(tmp_path: Path) -> None:
    pack(tmp_path, "mine", 'LiteGraph.registerNodeType("Drawn", X)', "web/a.js")
    assert look(tmp_path, "Drawn", running(scripts={"mine": ("a.js",)})).state == "installed"
    assert look(tmp_path, "Drawn", running()).state == "missing"


def test_a_loaded_pack_without_this_class_leaves_it_open(tmp_path: Path) -> None:
    found = look(tmp_path, "Whatever", running(scripts={"some_pack": ("x.js",)}), PackClue("some-pack"))
    assert (found.state, found.pack_folder) == ("unknown", "some_pack")
    assert look(tmp_path, "Whatever", running(), PackClue("some-pack")).state == "missing"


def test_api_nodes_that_were_switched_off_are_named_so(tmp_path: Path) -> None:
    server = running(argv=("main.py", "--disable-api-nodes"))
    assert "--disable-api-nodes" in look(tmp_path, "KlingImageGenerationNode", server).reason
