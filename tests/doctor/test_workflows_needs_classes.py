"""What a server's own word on its classes changes: names of widgets, and which lists are model folders."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_doctor.needs import FolderFrom
from comfy_doctor.workflows.api_graph import graph_of_api
from comfy_doctor.workflows.node_classes import NodeClass, NodeClasses, Widget
from comfy_doctor.workflows.ui_graph import graph_of_ui
from comfy_doctor.workflows.wanted import Wanted, needs_of

from .drawing import Json, node, ui, widget


def known(kind: str, *widgets: Widget) -> NodeClasses:
    return {kind: NodeClass(kind, "custom_nodes.pack", widgets)}


def combo(name: str, folder: str | None, *options: str, followers: int = 0) -> Widget:
    return Widget(name, options, folder, followers)


FANCY = known(
    "Fancy",
    Widget("seed", followers=1),
    combo("first", "vae_approx", "None"),
    Widget("strength"),
    combo("second", "sams", "built-in.v1", "here.pt"),
)


def wanted(body: Json, classes: NodeClasses | None = FANCY) -> Wanted:
    return needs_of(graph_of_ui(body, classes), "w", classes)


def keys(found: Wanted) -> list[tuple[str | None, str, str | None]]:
    return [(need.folder, need.name, need.uses[0].input) for need in found.models]


def test_the_server_names_the_widgets_and_their_folders() -> None:
    found = wanted(ui(node(1, "Fancy", 7, "randomize", "a.pt", 1.0, "b.pt")))
    assert keys(found) == [("vae_approx", "a.pt", "first"), ("sams", "b.pt", "second")]
    assert {need.folder_from for need in found.models} == {FolderFrom.TABLE}


def test_without_a_server_the_same_node_says_less() -> None:
    found = wanted(ui(node(1, "Fancy", 7, "randomize", "a.pt", 1.0, "b.pt")), None)
    assert keys(found) == [(None, "a.pt", None), (None, "b.pt", None)]


def test_an_older_file_with_fewer_values_begins_with_the_same_widgets() -> None:
    assert keys(wanted(ui(node(1, "Fancy", 7, "randomize", "a.pt")))) == [("vae_approx", "a.pt", "first")]


def test_a_link_overrides_a_widget_that_only_the_server_can_place() -> None:
    body = ui(
        node(1, "SomeSwitch"),
        node(2, "Fancy", 7, "fixed", "stale.pt", 1.0, "b.pt", inputs=[widget("first", 5)]),
        links=[[5, 1, 0, 2, 0, "COMBO"]],
    )
    assert keys(wanted(body)) == [("sams", "b.pt", "second")]


def test_the_api_format_gets_its_folders_from_the_server_too() -> None:
    body = {"1": {"class_type": "Fancy", "inputs": {"first": "a.pt", "second": "b.pt"}}}
    assert keys(needs_of(graph_of_api(body), "w", FANCY)) == [
        ("vae_approx", "a.pt", "first"),
        ("sams", "b.pt", "second"),
    ]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("model.engine", "model.engine"),  # no extension of ours, but the list is of files
        ("sub\\model.npz", "sub/model.npz"),
        ("built-in.v1", None),  # always offered, so no file of the folder
        ("None", None),
        ("taesd", None),
        ("", None),
        (3, None),
    ],
)
def test_what_the_list_of_a_folder_holds_is_a_file_of_any_kind(value: Any, name: str | None) -> None:
    found = wanted(ui(node(1, "Fancy", 7, "fixed", "None", 1.0, value)))
    assert [need.name for need in found.models] == ([name] if name else [])


def test_a_missing_model_of_a_folder_of_folders_is_a_name_without_extension() -> None:
    classes = known("Pipe", combo("model_path", "diffusers"))
    assert keys(wanted(ui(node(1, "Pipe", "sdxl-turbo")), classes)) == [("diffusers", "sdxl-turbo", "model_path")]


def test_the_server_is_right_where_the_table_says_something_else() -> None:
    classes = known("VAELoader", combo("vae_name", "vae_approx"))
    assert keys(wanted(ui(node(1, "VAELoader", "a.pt")), classes)) == [("vae_approx", "a.pt", "vae_name")]


def test_an_old_word_of_a_server_is_the_same_folder() -> None:
    classes = known("X", combo("m", "unet_gguf"))
    assert keys(wanted(ui(node(1, "X", "a.gguf")), classes)) == [("diffusion_models", "a.gguf", "m")]


def test_configurations_are_no_models() -> None:
    classes = known("CheckpointLoader", combo("config_name", "configs", "v1.yaml"), combo("ckpt_name", "checkpoints"))
    found = wanted(ui(node(1, "CheckpointLoader", "v9.yaml", "a.ckpt")), classes)
    assert keys(found) == [("checkpoints", "a.ckpt", "ckpt_name")]


def test_a_node_that_sounds_like_a_text_loads_what_the_server_says_that_it_lists() -> None:
    classes = known("Text Styler", Widget("text"), combo("style", "embeddings"))
    found = wanted(ui(node(1, "Text Styler", "see x.safetensors", "a.pt")), classes)
    assert keys(found) == [("embeddings", "a.pt", "style")]


def test_a_helper_for_typing_is_none_even_when_it_lists_a_folder() -> None:
    classes = known("ImpactWildcardEncode", combo("Select to add LoRA", "loras", "Select the LoRA to add to the text"))
    assert keys(wanted(ui(node(1, "ImpactWildcardEncode", "x.safetensors")), classes)) == []


def test_a_self_fetching_node_keeps_fetching_by_itself() -> None:
    classes = known("DownloadAndLoadThing", combo("model", "sams", "a.pt"))
    found = wanted(ui(node(1, "DownloadAndLoadThing", "b.pt")), classes)
    assert found.models == ()
    assert [entry.filename for entry in found.self_fetched] == ["b.pt"]
