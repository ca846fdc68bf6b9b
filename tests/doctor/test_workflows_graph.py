"""Which value counts: modes, links, subgraphs, group nodes, and the order of widget values."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_doctor.workflows import graph
from comfy_doctor.workflows.api_graph import graph_of_api
from comfy_doctor.workflows.graph import TooLarge
from comfy_doctor.workflows.ui_graph import graph_of_ui
from comfy_doctor.workflows.wanted import needs_of

from .drawing import Json, link, loader_inside, node, socket, subgraph, ui, widget


def names(body: Json) -> dict[str, bool]:
    """Name → active, for every model that this drawing asks for."""
    return {need.name: need.active for need in needs_of(graph_of_ui(body), "w").models}


def ids(body: Json) -> list[str]:
    return [use.node_id for need in needs_of(graph_of_ui(body), "w").models for use in need.uses]


LOADER = "CheckpointLoaderSimple"


@pytest.mark.parametrize(("mode", "active"), [(0, True), (1, True), (3, True), (2, False), (4, False)])
def test_muted_and_bypassed_nodes_are_inactive(mode: int, active: bool) -> None:
    assert names(ui(node(1, LOADER, "a.ckpt", mode=mode))) == {"a.ckpt": active}


def test_a_model_is_active_when_one_of_its_users_is() -> None:
    assert names(ui(node(1, LOADER, "a.ckpt", mode=4), node(2, LOADER, "a.ckpt"))) == {"a.ckpt": True}


def test_a_value_that_a_link_overrides_is_no_need() -> None:
    body = ui(
        node(1, "SomeSwitch"),
        node(2, LOADER, "stale.ckpt", inputs=[widget("ckpt_name", 5)]),
        links=[[5, 1, 0, 2, 0, "COMBO"]],
    )
    assert names(body) == {}


def test_an_overridden_value_of_a_known_loader_is_found_by_its_place() -> None:
    """Old frontends list only the converted widget, so nothing but the table tells which value it is."""
    values = ["stale.safetensors", "Baked VAE", -1, "kept.safetensors", 1, 1]
    body = ui(
        node(1, "easy ckptNames", "real.safetensors"),
        node(2, "easy a1111Loader", *values, inputs=[widget("positive"), widget("ckpt_name", 5)]),
        links=[[5, 1, 0, 2, 1, "COMBO"]],
    )
    assert names(body) == {"real.safetensors": True, "kept.safetensors": True}


def test_an_overridden_value_of_an_unknown_loader_is_dropped_when_it_is_the_only_one() -> None:
    body = ui(
        node(1, "SomeSwitch"),
        node(2, "FancyThing", "stale.safetensors", 1.0, "x", inputs=[widget("lora_name", 5)]),
        links=[[5, 1, 0, 2, 0, "COMBO"]],
    )
    assert names(body) == {}


def test_a_link_to_nowhere_leaves_the_value_alone() -> None:
    assert names(ui(node(2, LOADER, "a.ckpt", inputs=[widget("ckpt_name", 99)]))) == {"a.ckpt": True}


@pytest.mark.parametrize("links", [[[5, 1, 0, 2, 0, "COMBO"]], [link(5, 1, 2)]])
def test_a_primitive_hands_its_value_on(links: list[Any]) -> None:
    body = ui(
        node(1, "PrimitiveNode", "real.ckpt", "fixed"),
        node(2, LOADER, "stale.ckpt", inputs=[widget("ckpt_name", 5)]),
        links=links,
    )
    assert names(body) == {"real.ckpt": True}
    assert ids(body) == ["2"]


def test_a_primitive_that_nothing_takes_is_no_need() -> None:
    assert names(ui(node(1, "PrimitiveNode", "a.ckpt", "fixed"))) == {}


def test_reroutes_are_followed_to_the_primitive_behind_them() -> None:
    body = ui(
        node(1, "PrimitiveNode", "real.ckpt"),
        node(2, "Reroute", inputs=[socket("", 5)]),
        node(3, "Reroute", inputs=[socket("", 6)]),
        node(4, LOADER, "stale.ckpt", inputs=[widget("ckpt_name", 7)]),
        links=[[5, 1, 0, 2, 0, "*"], [6, 2, 0, 3, 0, "*"], [7, 3, 0, 4, 0, "*"]],
    )
    assert names(body) == {"real.ckpt": True}


def test_reroutes_in_a_ring_end() -> None:
    body = ui(
        node(2, "Reroute", inputs=[socket("", 6)]),
        node(3, "Reroute", inputs=[socket("", 5)]),
        node(4, LOADER, "stale.ckpt", inputs=[widget("ckpt_name", 7)]),
        links=[[5, 2, 0, 3, 0, "*"], [6, 3, 0, 2, 0, "*"], [7, 3, 0, 4, 0, "*"]],
    )
    assert names(body) == {}


def test_the_value_of_a_subgraph_instance_beats_the_inner_one() -> None:
    body = ui(node(11, "inside", "instance.ckpt"), subgraphs=[loader_inside("stale.ckpt")])
    assert names(body) == {"instance.ckpt": True}
    assert ids(body) == ["11:1"]


def test_an_instance_without_values_leaves_the_inner_one() -> None:
    proxies = {"proxyWidgets": [["1", "ckpt_name"]]}
    body = ui(node(11, "inside", properties=proxies), subgraphs=[loader_inside("inner.ckpt")])
    assert names(body) == {"inner.ckpt": True}


def test_values_in_the_order_of_the_proxies_reach_their_inner_nodes() -> None:
    definition = subgraph("inside", node(1, LOADER, "stale.ckpt"), node(2, "VAELoader", "stale.vae.pt"))
    proxies = {"proxyWidgets": [["2", "vae_name"], ["1", "ckpt_name"]]}
    body = ui(node(11, "inside", "new.vae.pt", "new.ckpt", properties=proxies), subgraphs=[definition])
    assert names(body) == {"new.ckpt": True, "new.vae.pt": True}


def test_a_link_into_an_instance_overrides_its_value() -> None:
    body = ui(
        node(1, "PrimitiveNode", "real.ckpt"),
        node(11, "inside", "stale.ckpt", inputs=[widget("ckpt_name", 3)]),
        links=[[3, 1, 0, 11, 0, "COMBO"]],
        subgraphs=[loader_inside("staler.ckpt")],
    )
    assert names(body) == {"real.ckpt": True}


def test_a_computed_link_into_an_instance_leaves_no_need() -> None:
    body = ui(
        node(1, "SomeSwitch"),
        node(11, "inside", "stale.ckpt", inputs=[widget("ckpt_name", 3)]),
        links=[[3, 1, 0, 11, 0, "COMBO"]],
        subgraphs=[loader_inside("staler.ckpt")],
    )
    assert names(body) == {}


def test_the_list_of_an_instance_is_right_where_its_named_values_are_stale() -> None:
    named = {"ckpt_name": "stale.ckpt"}
    body = ui(node(11, "inside", "new.ckpt", widgets_values_named=named), subgraphs=[loader_inside("inner.ckpt")])
    assert names(body) == {"new.ckpt": True}


def test_named_values_of_an_instance_count_where_the_list_is_missing() -> None:
    named = {"ckpt_name": "new.ckpt"}
    body = ui(node(11, "inside", widgets_values_named=named), subgraphs=[loader_inside("inner.ckpt")])
    assert names(body) == {"new.ckpt": True}


def test_slots_that_feed_no_widget_take_no_value() -> None:
    """The instance's values are in the order of those slots only that lead to a widget."""
    inner = node(1, LOADER, "stale.ckpt", inputs=[widget("ckpt_name", 7)])
    drawing = node(2, "VAEDecode", inputs=[socket("samples", 6)])
    definition = subgraph(
        "inside", inner, drawing, inputs=["samples", "ckpt_name"],
        links=[link(6, -10, 2), link(7, -10, 1, origin_slot=1)],
    )  # fmt: skip
    assert names(ui(node(11, "inside", "new.ckpt"), subgraphs=[definition])) == {"new.ckpt": True}


def test_values_reach_through_nested_subgraphs() -> None:
    outer = subgraph(
        "outer",
        node(5, "inside", "middle.ckpt", inputs=[{"name": "ckpt_name", "type": "COMBO", "link": 9}]),
        inputs=["model"],
        links=[link(9, -10, 5)],
    )
    body = ui(node(11, "outer", "top.ckpt"), subgraphs=[outer, loader_inside("inner.ckpt")])
    assert names(body) == {"top.ckpt": True}
    assert ids(body) == ["11:5:1"]


def test_two_instances_of_one_subgraph_hold_two_values() -> None:
    body = ui(node(1, "inside", "a.ckpt"), node(2, "inside", "b.ckpt", mode=4), subgraphs=[loader_inside("x.ckpt")])
    assert names(body) == {"a.ckpt": True, "b.ckpt": False}


def test_a_bypassed_instance_makes_everything_inside_inactive() -> None:
    outer = subgraph("outer", node(5, "inside", "a.ckpt"))
    body = ui(node(11, "outer", mode=4), subgraphs=[outer, loader_inside("x.ckpt")])
    assert names(body) == {"a.ckpt": False}


def test_a_definition_without_an_instance_asks_for_nothing() -> None:
    assert names(ui(subgraphs=[loader_inside("x.ckpt")])) == {}


def test_the_metadata_of_an_instance_counts_for_the_nodes_inside() -> None:
    stated = {"models": [{"name": "a.ckpt", "url": "https://host/a.ckpt", "directory": "checkpoints"}]}
    body = ui(node(1, "inside", "a.ckpt", properties=stated), subgraphs=[loader_inside("x.ckpt")])
    (need,) = needs_of(graph_of_ui(body), "w").models
    assert [candidate.url for candidate in need.candidates] == ["https://host/a.ckpt"]


def test_a_subgraph_that_holds_itself_is_refused() -> None:
    with pytest.raises(TooLarge, match="levels deep"):
        graph_of_ui(ui(node(1, "ring"), subgraphs=[subgraph("ring", node(2, "ring"))]))


def test_a_few_kilobytes_that_unfold_to_billions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MAX_NODES", 10_000)
    with pytest.raises(TooLarge, match="10000 nodes"):
        graph_of_ui(ui(*(node(n, "KSampler") for n in range(10_001))))
    levels = [subgraph(f"s{n}", *(node(i, f"s{n + 1}") for i in range(10))) for n in range(9)]
    with pytest.raises(TooLarge, match="unfolds to more"):
        graph_of_ui(ui(node(1, "s0"), subgraphs=[*levels, subgraph("s9", node(1, LOADER, "a.ckpt"))]))


def test_one_long_text_that_many_nodes_take_in_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MAX_STEPS", 100_000)
    text = {"0": {"class_type": "PrimitiveString", "inputs": {"value": "x" * 640_000}}}
    readers = {str(n): {"class_type": "CLIPTextEncode", "inputs": {"text": ["0", 0]}} for n in range(1, 100)}
    with pytest.raises(TooLarge):
        graph_of_api(text | readers)
    drawn = [node(n, "CLIPTextEncode", "", inputs=[widget("text", n)]) for n in range(1, 100)]
    links = [[n, 0, 0, n, 0, "STRING"] for n in range(1, 100)]
    with pytest.raises(TooLarge):
        graph_of_ui(ui(node(0, "PrimitiveNode", "x" * 640_000), *drawn, links=links))


def group(*inner: Json) -> Json:
    return {"extra": {"groupNodes": {"g": {"nodes": list(inner), "links": [], "external": []}}}}


@pytest.mark.parametrize("kind", ["workflow>g", "workflow/g"])
def test_the_values_of_a_group_node_win_over_its_definition(kind: str) -> None:
    inner = (node(-1, "KSampler", 1, "fixed", index=0), node(-1, LOADER, "stale.ckpt", index=1))
    body = ui(node(144, kind, 9, "fixed", "new.ckpt"), **group(*inner))
    assert names(body) == {"new.ckpt": True}
    assert ids(body) == ["144:1"]


def test_a_group_node_with_hidden_widgets_still_deals_its_model_names_in_order() -> None:
    inner = (node(-1, LOADER, "stale.ckpt"), node(-1, "KSampler", 1, "fixed"), node(-1, "VAELoader", "stale.vae.pt"))
    body = ui(node(1, "workflow>g", "new.ckpt", 5, "new.vae.pt"), **group(*inner))
    needs = needs_of(graph_of_ui(body), "w").models
    assert {(need.folder, need.name) for need in needs} == {("checkpoints", "new.ckpt"), ("vae", "new.vae.pt")}


def test_a_group_node_may_hold_a_model_where_its_definition_holds_none() -> None:
    inner = (node(-1, "LoraLoader", "None", 1, 1), node(-1, LOADER, "stale.ckpt"))
    body = ui(node(1, "workflow>g", "new.safetensors", 1, 1, "new.ckpt"), **group(*inner))
    needs = needs_of(graph_of_ui(body), "w").models
    assert {(need.folder, need.name) for need in needs} == {("loras", "new.safetensors"), ("checkpoints", "new.ckpt")}


def test_a_group_that_nothing_uses_asks_for_nothing() -> None:
    assert names(ui(**group(node(-1, LOADER, "a.ckpt")))) == {}


def test_widget_values_may_be_a_dict() -> None:
    body = ui(node(1, "FancyLoader", widgets_values={"lora_name": "a.safetensors", "n": 3}))
    (need,) = needs_of(graph_of_ui(body), "w").models
    assert (need.folder, need.uses[0].input) == ("loras", "lora_name")


@pytest.mark.parametrize("values", [None, [], "text", 7])
def test_missing_widget_values_are_no_trouble(values: Any) -> None:
    assert names(ui(node(1, LOADER, widgets_values=values))) == {}


def test_the_list_is_right_where_the_named_values_are_stale() -> None:
    """Seen in the official template image_moss_image_color_depth_control."""
    stale = {"unet_name": "old.safetensors", "weight_dtype": "default"}
    body = ui(node(1, "UNETLoader", "new.safetensors", "default", widgets_values_named=stale))
    (need,) = needs_of(graph_of_ui(body), "w").models
    assert (need.name, need.uses[0].input) == ("new.safetensors", "unet_name")


def test_named_values_count_where_the_list_is_missing() -> None:
    body = ui(node(1, "FancyLoader", widgets_values_named={"vae_name": "a.pt"}))
    (need,) = needs_of(graph_of_ui(body), "w").models
    assert (need.folder, need.name) == ("vae", "a.pt")


def test_inputs_name_the_values_when_all_widgets_are_listed_and_a_seed_has_its_companion() -> None:
    inputs = [socket("model"), widget("noise_seed"), widget("lora_name"), widget("vae_name")]
    body = ui(node(1, "FancyThing", 7, "randomize", "l.safetensors", "v.safetensors", inputs=inputs))
    needs = needs_of(graph_of_ui(body), "w").models
    assert {(need.folder, need.name) for need in needs} == {("loras", "l.safetensors"), ("vae", "v.safetensors")}


def test_a_lora_manager_list_is_wrapped_in_the_api() -> None:
    rows = {"__value__": [{"name": "ink", "strength": 1, "active": True}]}
    body = {"1": {"class_type": "Lora Loader (LoraManager)", "inputs": {"loras": rows}}}
    assert [mention.name for mention in needs_of(graph_of_api(body), "w").mentions] == ["ink"]


def test_an_api_link_leaves_no_value_and_a_text_node_hands_its_text_on() -> None:
    body = {
        "1": {"class_type": "PrimitiveString", "inputs": {"value": "real.ckpt"}},
        "2": {"class_type": LOADER, "inputs": {"ckpt_name": ["1", 0]}},
        "57:8": {"class_type": "VAELoader", "inputs": {"vae_name": ["9", 0]}},
        "9": {"class_type": "ShowText|pysssss", "inputs": {"value": "shown.safetensors"}},
    }
    needs = needs_of(graph_of_api(body), "w").models
    assert [(need.name, need.uses[0].node_id) for need in needs] == [("real.ckpt", "2")]


def test_wrapped_lists_of_the_api_are_unwrapped() -> None:
    body = {"1": {"class_type": "FancyLoras", "inputs": {"loras": {"__value__": ["a.safetensors", "b.safetensors"]}}}}
    assert [need.name for need in needs_of(graph_of_api(body), "w").models] == ["a.safetensors", "b.safetensors"]


def test_both_formats_of_one_graph_need_the_same() -> None:
    drawn = ui(
        node(1, "DualCLIPLoader", "t5.safetensors", "l.safetensors", "flux"),
        node(2, "LTXAVTextEncoderLoader", "gemma.safetensors", "ltx.safetensors", "default"),
        node(3, "LoraLoader", "style\\a.safetensors", 1, 1),
        node(11, "inside", "top.ckpt"),
        subgraphs=[loader_inside("stale.ckpt")],
    )
    prompt = {
        "1": {
            "class_type": "DualCLIPLoader",
            "inputs": {"clip_name1": "t5.safetensors", "clip_name2": "l.safetensors"},
        },
        "2": {
            "class_type": "LTXAVTextEncoderLoader",
            "inputs": {"text_encoder": "gemma.safetensors", "ckpt_name": "ltx.safetensors"},
        },
        "3": {"class_type": "LoraLoader", "inputs": {"lora_name": "style\\a.safetensors", "strength_model": 1}},
        "11:1": {"class_type": LOADER, "inputs": {"ckpt_name": "top.ckpt"}},
    }
    assert needs_of(graph_of_ui(drawn), "w").models == needs_of(graph_of_api(prompt), "w").models
