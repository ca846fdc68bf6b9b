"""`diagnose` as a user calls it: beside a recorded ComfyUI, of URLs and containers, offline, and its exit codes."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests import container_images, containers
from tests.doctor.comfyui_server import VERSIONS, ComfyUI, directories, needs_recordings, place
from tests.doctor.drawing import node, saved, ui

from .house import House, Said

pytestmark = pytest.mark.slow

HERE, GONE = "sub/here.safetensors", "gone.safetensors"
KNOWN = "KnownNode"
"""The one type that the house's own Manager lists know."""


def drawn(*more: dict[str, Any]) -> dict[str, Any]:
    """One checkpoint that is in its place, a lora that is not, a core node and a note."""
    return ui(
        node(1, "CheckpointLoaderSimple", HERE),
        node(2, "LoraLoader", GONE, 1, 1),
        node(3, "KSampler"),
        node(4, "Note", "hello"),
        *more,
    )


def states(said: Said) -> dict[str, str]:
    return {model["name"]: model["state"] for model in said.envelope["data"]["models"]}


def types(said: Said) -> dict[str, str]:
    return {entry["type"]: entry["state"] for entry in said.envelope["data"]["nodes"]}


def flow(house: House, workflow: Any = None, name: str = "flow.json") -> Path:
    return saved(house.folder / name, workflow or drawn())


def with_checkpoint(house: House) -> None:
    place(house.models / "checkpoints" / HERE)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


# --- beside a server ---


@needs_recordings
@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_tells_its_version_what_it_lists_and_what_it_has_registered(house: House, version: str) -> None:
    with_checkpoint(house)
    place(Path(directories(version, house.comfyui)["checkpoints"][0]) / HERE)
    mystery = (node(5, KNOWN), node(6, "MysteryNode"), node(7, "BrandNew", properties={"cnr_id": "comfy-core"}))
    with ComfyUI(version, base=house.comfyui) as server:
        said = house.cli("diagnose", flow(house, drawn(*mystery)), "--server", server.url)
    assert said.exit_code == 1
    told = said.envelope["data"]["comfyui"]
    assert (told["version"], told["server"]) == (version, server.url)
    assert states(said) == {HERE: "present", GONE: "missing"}
    assert types(said) == {
        "CheckpointLoaderSimple": "core",
        "LoraLoader": "core",
        "KSampler": "core",
        "Note": "frontend",
        KNOWN: "missing",
        "MysteryNode": "missing",
        "BrandNew": "missing",
    }
    (known,) = (entry for entry in said.envelope["data"]["nodes"] if entry["type"] == KNOWN)
    assert (known["pack"]["repository"], known["remedy"]) == ("https://github.com/somebody/ComfyUI-Known", "install")
    assert said.envelope["data"]["workflows"][0]["runnable"] is False


@needs_recordings
def test_a_node_that_only_the_later_server_has_is_missing_on_the_earlier_one(house: House) -> None:
    found = {}
    for version in VERSIONS:
        with ComfyUI(version) as server:
            said = house.cli("diagnose", flow(house, ui(node(1, "ComfySwitchNode"))), "--server", server.url)
        found[version] = (said.exit_code, types(said))
    assert found["0.33.0"] == (0, {"ComfySwitchNode": "core"})
    assert found["0.3.64"] == (1, {"ComfySwitchNode": "missing"})


@needs_recordings
def test_a_file_that_the_server_does_not_list_is_not_present(house: House) -> None:
    with_checkpoint(house)
    with ComfyUI("0.33.0") as server:  # as it was recorded: it knows no file, and lies elsewhere
        said = house.cli("diagnose", flow(house), "--server", server.url)
    (model,) = (model for model in said.envelope["data"]["models"] if model["name"] == HERE)
    assert model["state"] == "elsewhere" and "the server does not list it" in model["reason"]


def test_a_server_that_does_not_answer_is_said_and_the_disk_decides(house: House) -> None:
    with_checkpoint(house)
    url = f"http://127.0.0.1:{closed_port()}"
    said = house.cli("diagnose", flow(house), "--server", url)
    assert (said.exit_code, states(said)) == (1, {HERE: "present", GONE: "missing"})
    assert said.envelope["data"]["comfyui"]["server"] is None
    (message,) = (message for message in said.envelope["messages"] if url in message)
    assert "only the disk was" in message
    shown = house.cli("diagnose", flow(house), "--server", url, as_json=False)
    assert message in shown.stdout


# --- URLs and containers ---


def test_a_workflow_at_a_url_is_diagnosed_and_offline_it_is_not_asked_for(house: House) -> None:
    with_checkpoint(house)
    url = house.hub.publish("/flows/w.json", json.dumps(drawn()).encode())
    said = house.cli("diagnose", url)
    assert (said.exit_code, states(said)) == (1, {HERE: "present", GONE: "missing"})
    asked = len(house.hub.hits)
    offline = house.cli("diagnose", url, "--offline")
    assert (offline.exit_code, offline.error_code, len(house.hub.hits)) == (4, "unreadable_workflow", asked)
    gone = house.cli("diagnose", f"{house.hub.base}/flows/none.json", flow(house, ui(node(1, "KSampler"))))
    assert (gone.exit_code, [w["runnable"] for w in gone.envelope["data"]["workflows"]]) == (4, [False, True])


@pytest.mark.parametrize(
    ("name", "container"),
    [
        ("clip.mp4", "mp4"),
        ("image.webp", "webp"),
        ("picture.png", "png"),
        ("sound.flac", "flac"),
        ("mislabelled.png", "webp"),
    ],
)
def test_containers_are_told_by_what_they_hold(house: House, name: str, container: str) -> None:
    texts = {"workflow": json.dumps(drawn())}
    made = {
        "mp4": containers.mp4_keys(texts),
        "webp": container_images.webp((b"EXIF", container_images.exif_prefixed(texts))),
        "png": container_images.png_text(texts),
        "flac": containers.flac(texts),
    }
    path = house.folder / name
    path.write_bytes(made[container])
    said = house.cli("diagnose", path)
    (workflow,) = said.envelope["data"]["workflows"]
    assert (workflow["container"], workflow["format"], workflow["models"]) == (container, "ui", 2)


# --- offline, and how it ends ---


def test_offline_nobody_is_asked(house: House) -> None:
    said = house.cli("diagnose", flow(house, ui(node(1, "MysteryNode"), node(2, KNOWN))), "--offline")
    assert (said.exit_code, house.hub.hits) == (1, [])
    assert types(said) == {"MysteryNode": "unknown", KNOWN: "missing"}


def test_exit_codes_are_those_that_interfaces_promises(house: House) -> None:
    with_checkpoint(house)
    well = flow(house, ui(node(1, "CheckpointLoaderSimple", HERE)), "well.json")
    muted = flow(house, ui(node(1, "LoraLoader", GONE, 1, 1, mode=4)), "muted.json")
    assert house.cli("diagnose", well, muted).exit_code == 0
    assert house.cli("diagnose", well, flow(house)).exit_code == 1
    assert house.cli("diagnose", house.folder / "nowhere.json").exit_code == 2
    missing = house.cli("diagnose", well, env={"COMFYUI_PATH": str(house.folder / "none")})
    assert (missing.exit_code, missing.error_code) == (3, "no_comfyui")
    url = f"http://127.0.0.1:{closed_port()}/w.json"
    assert house.cli("diagnose", well, url).exit_code == 4
    assert house.cli("diagnose", flow(house), url).exit_code == 1, "a finding counts before what could not be read"
