"""From `/object_info` to widgets in their order: the recordings of two servers, checked against real saved values."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfy_doctor.comfyui.object_info import node_classes, v3_combos
from comfy_doctor.workflows.node_classes import NodeClass, Widget
from tests.doctor.comfyui_server import VERSIONS, needs_recordings, recording


def one(inputs: dict[str, Any], **more: Any) -> NodeClass:
    return node_classes({"X": {"input": inputs, "python_module": "custom_nodes.pack", **more}})["X"]


@needs_recordings
@pytest.mark.parametrize("version", VERSIONS)
def test_every_recorded_class_is_understood(version: str) -> None:
    recorded = recording(version, "object_info")
    classes = node_classes(recorded)
    assert classes.keys() == recorded.keys()
    assert {node_class.module.split(".")[0] for node_class in classes.values()} == {
        "nodes",
        "comfy_extras",
        "comfy_api_nodes",
        "custom_nodes",
    }
    assert classes["SaveImageWebsocket"].pack_folder == "websocket_image_save"
    assert [widget.name for widget in classes["KSampler"].widgets] == [
        "seed",
        "steps",
        "cfg",
        "sampler_name",
        "scheduler",
        "denoise",
    ]
    assert classes["KSampler"].widgets[0].followers == 1
    assert classes["LoadImage"].widgets[1:] == (Widget("upload"),)


@needs_recordings
@pytest.mark.parametrize("version", VERSIONS)
def test_the_measured_table_names_the_folder_of_every_loader(version: str) -> None:
    classes = node_classes(recording(version, "object_info"))
    wrong = {}
    for key, listed in recording(version, "input_to_folder").items():
        node_type, _, name = key.partition(".")
        widget = next(widget for widget in classes[node_type].widgets if widget.name == name)
        folder = listed["folders"][0].replace("diffusersdir", "diffusers")
        if widget.folder != folder and folder != "configs":  # configurations are no models
            wrong[key] = (widget.folder, folder)
    assert wrong == {}


def test_the_three_forms_of_a_combo() -> None:
    widgets = one(
        {
            "required": {
                "old": [["a", "b"], {"tooltip": "x"}],
                "new": ["COMBO", {"options": ["a", 3], "multiselect": True}],
                "far": ["COMBO", {"remote": {"route": "/x"}}],
                "none": [[]],
            }
        }
    ).widgets
    assert [widget.options for widget in widgets] == [("a", "b"), ("a",), None, ()]


def test_sockets_and_hidden_inputs_are_no_widgets() -> None:
    inputs = {
        "required": {"model": ["MODEL"], "n": ["INT", {"forceInput": True}], "text": ["STRING", {"multiline": True}]},
        "optional": {"rate": ["FLOAT,INT", {"widgetType": "FLOAT"}], "any": ["*"]},
        "hidden": {"prompt": "PROMPT", "seed": ["INT"]},
    }
    assert [widget.name for widget in one(inputs).widgets] == ["text", "rate"]


def test_the_stated_order_counts_and_what_it_forgets_comes_last() -> None:
    inputs = {"optional": {"d": ["INT"]}, "required": {"a": ["INT"], "b": ["INT"], "c": ["INT"]}}
    stated = {"required": ["b", "a", "gone"], "optional": ["d"]}
    assert [widget.name for widget in one(inputs, input_order=stated).widgets] == ["b", "a", "c", "d"]


def test_what_the_frontend_adds_is_counted() -> None:
    inputs = {
        "required": {
            "seed": ["INT", {}],
            "n": ["INT", {}],
            "pick": [["a"], {"control_after_generate": True}],
            "noise_seed": ["INT", {"control_after_generate": False}],
            "sound": ["COMBO", {"audio_upload": True, "options": []}],
        },
        "optional": {"last": ["BOOLEAN"]},
    }
    widgets = one(inputs).widgets
    assert [widget.followers for widget in widgets[:5]] == [1, 0, 1, 0, 0]
    assert [widget.name for widget in widgets[5:]] == ["audioUI", "upload", "last"]


def test_nothing_is_said_of_widgets_whose_place_depends_on_a_choice() -> None:
    inputs = {"required": {"a": ["INT"], "kind": ["COMFY_DYNAMICCOMBO_V3", {"options": []}], "b": ["INT"]}}
    assert [widget.name for widget in one(inputs).widgets] == ["a", "kind"]


def test_a_combo_lists_the_folder_that_has_exactly_its_options() -> None:
    raw = {"X": {"input": {"required": {"n": [["a.pt", "b.pt"]], "m": [["c.pt"]], "e": [[]]}}}}
    lists = {"sams": ["b.pt", "a.pt"], "vae": ["c.pt"], "loras": ["c.pt"], "empty": []}
    assert [widget.folder for widget in node_classes(raw, lists)["X"].widgets] == ["sams", None, None]


def test_the_table_of_loaders_stands_above_equal_content() -> None:
    raw = {"LoraLoader": {"input": {"required": {"lora_name": [["a.pt"]]}}}}
    assert node_classes(raw, {"vae": ["a.pt"]})["LoraLoader"].widgets[0].folder == "loras"


def test_the_newer_form_is_told_apart() -> None:
    raw = {"X": {"input": {"required": {"old": [["a"]], "new": ["COMBO", {"options": []}]}}}}
    assert v3_combos(raw) == {("X", "new")}


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {"X": None},
        {"X": {"input": [1]}},
        {"X": {"input": {"required": 3, "optional": {"a": None, "b": [], "c": {}, "d": [["x"], 3], "e": [3]}}}},
        {"X": {"input": {"required": {"a": ["COMBO", []]}}, "input_order": {"required": [3, None]}}},
        {"X": {"input": {"required": {"a": ["INT"]}}, "input_order": [], "python_module": 3}},
    ],
)
def test_any_other_shape_is_no_error(raw: Any) -> None:
    assert set(node_classes(raw)) <= {"X"}
    v3_combos(raw)


# The order, against values that the frontend saved


def saved_nodes() -> Iterator[dict[str, Any]]:
    """The nodes of the official templates, those in subgraphs included."""
    templates = pytest.importorskip("comfyui_workflow_templates_json")
    for path in sorted(Path(templates.__file__).parent.rglob("*.json")):
        text = path.read_text(encoding="utf-8")
        if '"widgets_values_named"' in text and '"nodes"' in text:
            document = json.loads(text)
            subgraphs = document.get("definitions", {}).get("subgraphs", [])
            yield from (node for graph in (document, *subgraphs) for node in graph["nodes"])


@needs_recordings
def test_the_order_is_that_of_the_values_in_the_official_templates() -> None:
    """Where as many widgets are known as values were saved, each has the name that the frontend saved it under."""
    classes = node_classes(recording("0.33.0", "object_info"))
    agreed, wrong = 0, Counter[str]()
    for node in saved_nodes():
        values, named = node.get("widgets_values"), node.get("properties", {}).get("widgets_values_named")
        named = node.get("widgets_values_named") or named
        node_class = classes.get(node["type"])
        if (
            node_class is None
            or not isinstance(values, list)
            or not isinstance(named, dict)
            or len(named) != len(values)
        ):
            continue
        names = [name for widget in node_class.widgets for name in (widget.name, *[None] * widget.followers)]
        if len(names) == len(values):
            fits = all(name in (None, saved) for name, saved in zip(names, named, strict=True))
            agreed += fits
            wrong[node["type"]] += not fits
    assert agreed > 1_400
    assert +wrong == {}
