"""A running server is asked once and in full; whatever it does instead of answering is told and never raised."""

from __future__ import annotations

import threading
from time import monotonic

import pytest

from comfy_doctor.comfyui.server import Server, Silence, read_server
from download_worker.errors import Interrupted
from download_worker.leash import Leash
from tests.doctor.comfyui_server import (
    VERSIONS,
    ComfyUI,
    directories,
    needs_recordings,
    read,
    read_recorded,
    recording,
    web,
)

pytestmark = needs_recordings


@pytest.mark.parametrize("version", VERSIONS)
def test_a_recorded_server_is_read_in_full(version: str) -> None:
    server = read_recorded(version)
    assert (server.version, server.windows, server.argv[0]) == (version, False, "main.py")
    assert server.option("--port") in ("8188", "8189") and server.option("--base-directory") is None
    assert len(server.classes) == len(recording(version, "object_info")) >= 496
    assert {name: list(listing.directories) for name, listing in server.folders.items()} == {
        name: paths
        for name, paths in directories(version, "/opt/ComfyUI").items()
        if name not in ("custom_nodes", "datasets")
    }
    assert server.folders["configs"].names == tuple(recording(version, "models/configs"))
    assert server.folders["loras"].names == ()
    assert server.unanswered == ()


def test_what_only_newer_servers_tell_is_taken_where_it_is_told() -> None:
    newer, older = read_recorded("0.33.0"), read_recorded("0.3.64")
    assert newer.replacements["ConditioningAverage "] == "ConditioningAverage" and not older.replacements
    assert ".safetensors" in (newer.folders["loras"].extensions or ()) and older.folders["loras"].extensions is None
    assert older.unchecked and not newer.unchecked
    assert ("UpscaleModelLoader", "model_name") in older.unchecked
    assert ("LoraLoader", "lora_name") not in older.unchecked


def test_scripts_and_packs_are_told_by_their_folder() -> None:
    installed = {"ComfyUI-GGUF": {"ver": "795e", "cnr_id": "", "aux_id": "city96/ComfyUI-GGUF", "enabled": True}}
    off = {"rgthree-comfy": {"ver": "1.0", "cnr_id": "rgthree-comfy", "aux_id": "repo", "enabled": False}}
    said = {
        "/extensions": [
            "/extensions/core/a.js",
            "/extensions/rgthree-comfy/x/label.js",
            "/extensions/my%20pack/b.js",
            3,
        ],
        "/customnode/installed": installed,
        "/v2/customnode/installed": off,
    }
    with ComfyUI("0.3.64", said=said) as comfyui:
        server = read(comfyui)
    assert server.scripts == {"rgthree-comfy": ("x/label.js",), "my pack": ("b.js",)}
    gguf, rgthree = server.packs
    assert (gguf.folder, gguf.id, gguf.repository, gguf.enabled) == (
        "ComfyUI-GGUF",
        None,
        "https://github.com/city96/ComfyUI-GGUF",
        True,
    )
    assert (rgthree.id, rgthree.repository, rgthree.enabled) == ("rgthree-comfy", None, False)


@pytest.mark.parametrize("fault", ["500", "html", "404", "hang up"])
def test_a_server_that_answers_nonsense_is_silent_and_says_why(fault: str) -> None:
    with ComfyUI("0.3.64", faults={"*": fault}) as comfyui:  # type: ignore[dict-item]
        found = read_server(comfyui.url, web(comfyui.url))
    assert isinstance(found, Silence)
    assert comfyui.url in found.why and "could not be asked" in found.why


@pytest.mark.parametrize("body", [[], {"system": []}, {"nodes": []}])
def test_something_else_than_comfyui_is_told_apart(body: object) -> None:
    with ComfyUI("0.3.64", said={"/system_stats": body}) as comfyui:
        found = read_server(comfyui.url, web(comfyui.url))
    assert isinstance(found, Silence) and "not as ComfyUI" in found.why


def test_nobody_there_is_silence() -> None:
    with ComfyUI("0.3.64") as comfyui:
        url = comfyui.url
    found = read_server(url, web(url))
    assert isinstance(found, Silence) and url in found.why


@pytest.mark.slow
def test_an_address_without_a_scheme_is_understood_and_one_that_is_none_is_silence() -> None:
    with ComfyUI("0.3.64") as comfyui:
        bare = comfyui.url.removeprefix("http://") + "/"
        assert isinstance(read_server(bare, web(comfyui.url)), Server)
    assert isinstance(read_server("http://", web(comfyui.url)), Silence)


def test_a_server_that_hangs_is_left_after_its_time() -> None:
    with ComfyUI("0.3.64", faults={"/system_stats": "hang"}) as comfyui:
        found = read_server(comfyui.url, web(comfyui.url), read_seconds=0.05)
    assert isinstance(found, Silence) and "0.05 seconds" in found.why


@pytest.mark.parametrize("fault", ["500", "html", "hang up"])
def test_one_route_that_fails_spoils_nothing_else(fault: str) -> None:
    broken = ("/extensions", "/models/loras", "/object_info")
    with ComfyUI("0.3.64", faults=dict.fromkeys(broken, fault)) as comfyui:  # type: ignore[arg-type]
        server = read(comfyui)
    assert set(server.unanswered) == set(broken)
    assert server.classes == {} and server.folders["vae"].names == ()


def test_a_folder_that_could_not_be_asked_is_not_an_empty_one() -> None:
    faults = {"/models/loras": "500", "/experiment/models/loras": "500"}
    with ComfyUI("0.3.64", faults=faults) as comfyui:  # type: ignore[arg-type]
        assert read(comfyui).folders["loras"].names is None


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1},
        [1, [2], {"name": 3, "size": "big"}],
        *(pytest.param(plain, marks=pytest.mark.slow) for plain in (3, None, "x")),
    ],
)
def test_lists_of_the_wrong_shape_are_no_answer_and_no_error(value: object) -> None:
    routes = ("/models", "/experiment/models", "/internal/folder_paths", "/embeddings", "/extensions", "/object_info")
    more = ("/node_replacements", "/customnode/installed", "/models/loras", "/experiment/models/loras")
    with ComfyUI("0.3.64", said=dict.fromkeys((*routes, *more), value)) as comfyui:
        server = read(comfyui)
    assert server.classes == {} and server.scripts == {} and server.packs == ()


def test_a_folder_whose_name_no_url_can_carry_spoils_nothing_else() -> None:
    with ComfyUI("0.3.64", said={"/models": ["\ud800", "x\n", "loras"], "/models/loras": ["\udcff.pt"]}) as comfyui:
        server = read(comfyui)
    assert set(server.folders) >= {"loras"} and server.folders["loras"].names == ("\udcff.pt",)


@pytest.mark.parametrize("route", ["/system_stats", "/object_info"])
def test_a_pulled_leash_ends_the_reading_at_once(route: str) -> None:
    leash = Leash()
    with ComfyUI("0.3.64", faults={route: "hang"}) as comfyui:
        threading.Timer(0.1, leash.pull).start()
        begun = monotonic()
        with pytest.raises(Interrupted):
            read_server(comfyui.url, web(comfyui.url), leash)
        assert monotonic() - begun < 20, "the answer was waited for"
