"""Links as the frontend follows them: through subgraphs, bypassed nodes, wires by name, switches; and schema version 1.

Sources: ComfyUI_frontend's `ExecutableNodeDTO` and `executionUtil`, KJNodes' `setgetnodes.js`, rgthree's
`any_switch.py`.
"""

from __future__ import annotations

from typing import Any

import pytest

from comfy_doctor.workflows import graph
from comfy_doctor.workflows.api_graph import graph_of_api
from comfy_doctor.workflows.graph import TooLarge
from comfy_doctor.workflows.ui_graph import graph_of_ui
from comfy_doctor.workflows.wanted import needs_of

from .drawing import Json, link, loader_inside, node, socket, subgraph, ui, widget

LOADER = "CheckpointLoaderSimple"


def names(body: Json) -> list[str]:
    return [need.name for need in needs_of(graph_of_ui(body), "w").models]


def taker(number: int = 9, *, link: int = 5, held: str = "own.ckpt", kind: str = "COMBO") -> Json:
    """A loader whose widget is fed by this link."""
    return node(number, LOADER, held, inputs=[{**widget("ckpt_name", link), "type": kind}])


def text(number: int, held: str, **more: Any) -> Json:
    return node(number, "PrimitiveString", held, outputs=[{"name": "STRING", "type": "STRING"}], **more)


# Out of a subgraph


def text_inside(held: str, *, promoted: bool = True) -> Json:
    """A subgraph that hands out the text in it; its widget is promoted as `value`."""
    inner = node(1, "PrimitiveString", held, inputs=[widget("value", 7 if promoted else None)])
    leaving = {"id": 8, "origin_id": 1, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "STRING"}
    return subgraph("told", inner, inputs=["value"], links=[link(7, -10, 1), leaving])


def test_a_text_that_leaves_a_subgraph_reaches_the_loader() -> None:
    body = ui(node(1, "told"), taker(), links=[[5, 1, 0, 9, 0, "STRING"]], subgraphs=[text_inside("real.ckpt")])
    assert names(body) == ["real.ckpt"]


def test_the_instances_value_is_what_leaves_its_subgraph() -> None:
    instance = node(1, "told", "mine.ckpt", inputs=[widget("value")])
    body = ui(instance, taker(), links=[[5, 1, 0, 9, 0, "STRING"]], subgraphs=[text_inside("inner.ckpt")])
    assert names(body) == ["mine.ckpt"]


def test_a_text_may_go_into_a_subgraph_and_out_again() -> None:
    through = subgraph("through", links=[{"id": 3, "origin_id": -10, "origin_slot": 0, "target_id": -20,
                                          "target_slot": 0, "type": "STRING"}], inputs=["value"])  # fmt: skip
    body = ui(
        text(1, "real.ckpt"),
        node(2, "through", inputs=[socket("value", 4)]),
        taker(),
        links=[[4, 1, 0, 2, 0, "STRING"], [5, 2, 0, 9, 0, "STRING"]],
        subgraphs=[through],
    )
    assert names(body) == ["real.ckpt"]


def test_what_a_loader_inside_a_subgraph_computes_leaves_no_value() -> None:
    leaving = {"id": 8, "origin_id": 1, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "COMBO"}
    inside = subgraph("inside", node(1, "SomeSwitch"), links=[leaving])
    body = ui(node(1, "inside"), taker(), links=[[5, 1, 0, 9, 0, "COMBO"]], subgraphs=[inside])
    assert names(body) == []


def test_a_subgraph_whose_output_leads_nowhere_leaves_the_widgets_own_value() -> None:
    inside = subgraph("inside", node(1, "SomeSwitch"))
    body = ui(node(1, "inside"), taker(), links=[[5, 1, 0, 9, 0, "COMBO"]], subgraphs=[inside])
    assert names(body) == ["own.ckpt"]


# Bypassed and muted origins


def test_a_bypassed_node_hands_on_what_comes_into_its_matching_input() -> None:
    through = node(
        2, "RegexReplace", "x", mode=4, outputs=[{"name": "out", "type": "STRING"}],
        inputs=[{"name": "model", "type": "MODEL", "link": None}, {"name": "text", "type": "STRING", "link": 4}],
    )  # fmt: skip
    links = [[4, 1, 0, 2, 1, "STRING"], [5, 2, 0, 9, 0, "STRING"]]
    assert names(ui(text(1, "real.ckpt"), through, taker(kind="STRING"), links=links)) == ["real.ckpt"]


def test_a_bypassed_node_without_a_matching_input_drops_the_link() -> None:
    through = node(
        2, "Anything", mode=4, outputs=[{"name": "out", "type": "STRING"}],
        inputs=[{"name": "model", "type": "MODEL", "link": 4}],
    )  # fmt: skip
    links = [[4, 1, 0, 2, 0, "MODEL"], [5, 2, 0, 9, 0, "STRING"]]
    assert names(ui(text(1, "real.ckpt"), through, taker(kind="STRING"), links=links)) == ["own.ckpt"]


def test_a_bypassed_node_whose_matching_input_is_free_drops_the_link() -> None:
    """The frontend does not look for another input that fits."""
    inputs = [{"name": "a", "type": "STRING", "link": None}, {"name": "b", "type": "STRING", "link": 4}]
    through = node(2, "Anything", mode=4, outputs=[{"name": "out", "type": "STRING"}], inputs=inputs)
    links = [[4, 1, 0, 2, 1, "STRING"], [5, 2, 0, 9, 0, "STRING"]]
    assert names(ui(text(1, "real.ckpt"), through, taker(kind="STRING"), links=links)) == ["own.ckpt"]


@pytest.mark.parametrize(("slot", "expected"), [(0, "first.ckpt"), (1, "second.ckpt"), (5, "first.ckpt")])
def test_an_input_that_takes_anything_gets_the_same_slot_of_a_bypassed_node(slot: int, expected: str) -> None:
    inputs = [{"name": "a", "type": "INT", "link": 3}, {"name": "b", "type": "STRING", "link": 4}]
    through = node(2, "Anything", mode=4, inputs=inputs, outputs=[{"name": "out", "type": "STRING"}] * 6)
    links = [[3, 1, 0, 2, 0, "*"], [4, 7, 0, 2, 1, "*"], [5, 2, slot, 9, 0, "*"]]
    assert names(ui(text(1, "first.ckpt"), text(7, "second.ckpt"), through, taker(kind="*"), links=links)) == [expected]


def test_a_bypassed_node_prefers_the_input_beside_its_output() -> None:
    inputs = [{"name": "a", "type": "STRING", "link": 3}, {"name": "b", "type": "STRING,COMBO", "link": 4}]
    through = node(2, "Anything", mode=4, inputs=inputs, outputs=[{"name": "out", "type": "STRING"}] * 2)
    links = [[3, 1, 0, 2, 0, "*"], [4, 7, 0, 2, 1, "*"], [5, 2, 1, 9, 0, "*"]]
    body = ui(text(1, "first.ckpt"), text(7, "second.ckpt"), through, taker(kind="STRING"), links=links)
    assert names(body) == ["second.ckpt"]


def test_a_muted_origin_drops_the_link_and_the_widget_sends_its_own_value() -> None:
    assert names(ui(text(1, "gone.ckpt", mode=2), taker(), links=[[5, 1, 0, 9, 0, "STRING"]])) == ["own.ckpt"]


def test_a_primitive_writes_its_value_whatever_its_mode() -> None:
    primitive = node(1, "PrimitiveNode", "real.ckpt", "fixed", mode=2)
    assert names(ui(primitive, taker(), links=[[5, 1, 0, 9, 0, "COMBO"]])) == ["real.ckpt"]


# Wires by name


@pytest.mark.parametrize(("setter", "getter"), [("SetNode", "GetNode"), ("easy setNode", "easy getNode")])
def test_a_getter_stands_for_the_setter_of_its_name(setter: str, getter: str) -> None:
    body = ui(
        text(1, "real.ckpt"),
        node(2, setter, "other", inputs=[socket("STRING")]),
        node(3, setter, "ckpt", inputs=[socket("STRING", 4)]),
        node(4, getter, "ckpt"),
        taker(),
        links=[[4, 1, 0, 3, 0, "STRING"], [5, 4, 0, 9, 0, "STRING"]],
    )
    assert names(body) == ["real.ckpt"]


def test_a_getter_inside_a_subgraph_sees_the_setters_around_it() -> None:
    inside = subgraph("inside", node(4, "GetNode", "ckpt"), taker(), links=[link(5, 4, 9)])
    body = ui(
        text(1, "real.ckpt"),
        node(3, "SetNode", "ckpt", inputs=[socket("STRING", 4)]),
        node(11, "inside"),
        links=[[4, 1, 0, 3, 0, "STRING"]],
        subgraphs=[inside],
    )
    assert names(body) == ["real.ckpt"]


def test_a_getter_without_a_setter_leaves_the_widgets_own_value() -> None:
    assert names(ui(node(4, "GetNode", "lost"), taker(), links=[[5, 4, 0, 9, 0, "COMBO"]])) == ["own.ckpt"]


# Switches and constants


def switch(*links: int | None) -> Json:
    return node(2, "Any Switch (rgthree)", inputs=[socket(f"any_0{n}", link) for n, link in enumerate(links, 1)])


def test_a_switch_hands_on_its_first_input_that_is_there() -> None:
    body = ui(
        text(1, "muted.ckpt", mode=2), text(3, "real.ckpt"), text(4, "late.ckpt"), switch(None, 6, 7, 8), taker(),
        links=[[6, 1, 0, 2, 1, "*"], [7, 3, 0, 2, 2, "*"], [8, 4, 0, 2, 3, "*"], [5, 2, 0, 9, 0, "*"]],
    )  # fmt: skip
    assert names(body) == ["real.ckpt"]


def test_a_switch_whose_first_input_is_computed_is_not_guessed() -> None:
    body = ui(
        node(1, "SomethingClever"), text(3, "late.ckpt"), switch(6, 7), taker(),
        links=[[6, 1, 0, 2, 0, "*"], [7, 3, 0, 2, 1, "*"], [5, 2, 0, 9, 0, "*"]],
    )  # fmt: skip
    assert names(body) == []


@pytest.mark.parametrize(("on", "expected"), [(True, ["yes.ckpt"]), (False, ["no.ckpt"])])
def test_the_core_switch_goes_by_its_own_box(on: bool, expected: list[str]) -> None:
    inputs = [widget("switch"), socket("on_false", 6), socket("on_true", 7)]
    body = ui(
        text(1, "no.ckpt"), text(3, "yes.ckpt"), node(2, "ComfySwitchNode", on, inputs=inputs), taker(),
        links=[[6, 1, 0, 2, 1, "*"], [7, 3, 0, 2, 2, "*"], [5, 2, 0, 9, 0, "*"]],
    )  # fmt: skip
    assert names(body) == expected


@pytest.mark.parametrize(
    "kind",
    ["PrimitiveString", "CustomCombo", "StringConstant", "easy string", "Primitive string [Crystools]", "CR Text"],
)
def test_a_constant_hands_its_text_on(kind: str) -> None:
    assert names(ui(node(1, kind, "real.ckpt"), taker(), links=[[5, 1, 0, 9, 0, "STRING"]])) == ["real.ckpt"]


def test_one_primitive_feeds_two_loaders() -> None:
    body = ui(
        node(1, "PrimitiveNode", "real.ckpt", "fixed"), taker(8, link=4), taker(9),
        links=[[4, 1, 0, 8, 0, "COMBO"], [5, 1, 0, 9, 0, "COMBO"]],
    )  # fmt: skip
    (need,) = needs_of(graph_of_ui(body), "w").models
    assert (need.name, [use.node_id for use in need.uses]) == ("real.ckpt", ["8", "9"])


def test_native_reroutes_are_drawing_only() -> None:
    """The link itself still names its real ends (`extra.linkExtensions` and `extra.reroutes` of schema 0.4)."""
    extra = {"reroutes": [{"id": 1, "pos": [0, 0], "linkIds": [5]}], "linkExtensions": [{"id": 5, "parentId": 1}]}
    body = ui(node(1, "PrimitiveNode", "real.ckpt"), taker(), links=[[5, 1, 0, 9, 0, "COMBO"]], extra=extra)
    assert names(body) == ["real.ckpt"]


def test_the_api_format_follows_the_same_switches_and_constants() -> None:
    prompt = {
        "1": {"class_type": "StringConstant", "inputs": {"string": "real.ckpt"}},
        "2": {"class_type": "Any Switch (rgthree)", "inputs": {"any_02": ["1", 0], "any_03": ["7", 0]}},
        "3": {"class_type": "ComfySwitchNode", "inputs": {"switch": True, "on_true": ["2", 0], "on_false": ["8", 0]}},
        "9": {"class_type": LOADER, "inputs": {"ckpt_name": ["3", 0]}},
    }
    assert [need.name for need in needs_of(graph_of_api(prompt), "w").models] == ["real.ckpt"]


@pytest.mark.parametrize(("length", "expected"), [(10, ["real.ckpt"]), (60, [])])
def test_switches_behind_switches_are_followed_as_far_as_is_reasonable(length: int, expected: list[str]) -> None:
    """Each of them nests Python's own calls, and a file could hold a thousand."""
    kind = "Any Switch (rgthree)"
    drawn = [node(n, kind, inputs=[socket("any_01", n)]) for n in range(100, 100 + length)]
    links = [[n, n - 1 if n > 100 else 1, 0, n, 0, "*"] for n in range(100, 100 + length)]
    last = [5, 99 + length, 0, 9, 0, "*"]
    assert names(ui(text(1, "real.ckpt"), *drawn, taker(), links=[*links, last])) == expected

    prompt: Json = {"99": {"class_type": "PrimitiveString", "inputs": {"value": "real.ckpt"}}}
    for n in range(100, 100 + length):
        prompt[str(n)] = {"class_type": kind, "inputs": {"any_01": [str(n - 1), 0]}}
    prompt["9"] = {"class_type": LOADER, "inputs": {"ckpt_name": [str(99 + length), 0]}}
    assert [need.name for need in needs_of(graph_of_api(prompt), "w").models] == expected


# Schema version 1


def test_schema_version_1_says_the_same_as_0_4() -> None:
    old = ui(
        node(1, "PrimitiveNode", "real.ckpt"),
        taker(),
        node(11, "inside", "instance.ckpt"),
        links=[[5, 1, 0, 9, 0, "COMBO"]],
        subgraphs=[loader_inside("stale.ckpt")],
    )
    new = {
        **old,
        "version": 1,
        "state": {"lastNodeId": 11, "lastLinkId": 5, "lastGroupId": 0, "lastRerouteId": 1},
        "links": [{**link(5, 1, 9), "parentId": 1}],
        "reroutes": [{"id": 1, "pos": [0, 0], "linkIds": [5]}],
        "floatingLinks": [{**link(6, -1, 9), "parentId": 1}],
    }
    assert names(new) == names(old) == ["real.ckpt", "instance.ckpt"]


def test_slots_may_be_written_as_text() -> None:
    body = ui(node(1, "PrimitiveNode", "real.ckpt"), taker(), links=[[5, "1", "0", "9", "0", "COMBO"]])
    assert names(body) == ["real.ckpt"]


# Hostile graphs


def test_links_in_a_ring_end() -> None:
    body = ui(
        node(2, "GetNode", "a"), node(3, "SetNode", "a", inputs=[socket("*", 6)]), switch(7, 6), taker(),
        links=[[5, 2, 0, 9, 0, "*"], [6, 2, 0, 3, 0, "*"], [7, 2, 0, 2, 0, "*"]],
    )  # fmt: skip
    assert names(body) == []


def test_a_subgraph_that_hands_itself_out_is_refused() -> None:
    leaving = {"id": 8, "origin_id": 2, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "*"}
    ring = subgraph("ring", node(2, "ring"), links=[leaving])
    with pytest.raises(TooLarge, match="levels deep"):
        graph_of_ui(ui(taker(), node(1, "ring"), links=[[5, 1, 0, 9, 0, "*"]], subgraphs=[ring]))


def test_many_long_chains_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MAX_STEPS", 10_000)
    chain = [node(n, "Reroute", inputs=[socket("", n)]) for n in range(1, 150)]
    takers = [taker(n, link=149) for n in range(200, 400)]
    links = [[n, n - 1, 0, n, 0, "*"] for n in range(1, 150)]
    with pytest.raises(TooLarge):
        graph_of_ui(ui(*chain, *takers, links=links))


# Group nodes with wires inside


def group(*inner: Json, links: list[Any]) -> Json:
    return {"extra": {"groupNodes": {"g": {"nodes": list(inner), "links": links, "external": []}}}}


def test_a_primitive_inside_a_group_node_feeds_its_loader() -> None:
    primitive = node(-1, "PrimitiveNode", "stale.ckpt", "fixed", index=0)
    loader = node(-1, LOADER, "staler.ckpt", index=1, inputs=[widget("ckpt_name")])
    definition = group(primitive, loader, links=[[0, 0, 1, 0, 3, "COMBO"]])
    assert names(ui(node(7, "workflow>g", "real.ckpt", "fixed"), **definition)) == ["real.ckpt"]


def test_a_primitive_inside_a_group_node_without_values_counts_as_it_was_drawn() -> None:
    primitive = node(-1, "PrimitiveNode", "drawn.ckpt", "fixed", index=0)
    loader = node(-1, LOADER, "staler.ckpt", index=1, inputs=[widget("ckpt_name", 99)])
    definition = group(primitive, loader, links=[[0, 0, 1, 0, 3, "COMBO"]])
    assert names(ui(node(7, "workflow>g"), **definition)) == ["drawn.ckpt"]


def test_only_the_fed_widget_of_a_grouped_loader_has_no_value_in_its_instance() -> None:
    primitive = node(-1, "PrimitiveNode", "stale.ckpt", "fixed", index=0)
    values = ["staler.ckpt", "Baked VAE", -1, "stale.safetensors", 1, 1]
    loader = node(-1, "Efficient Loader", *values, index=1, inputs=[widget("ckpt_name")])
    definition = group(primitive, loader, links=[[0, 0, 1, 0, 3, "COMBO"]])
    instance = node(7, "workflow>g", "real.ckpt", "fixed", "Baked VAE", -1, "real.safetensors", 1, 1)
    found = needs_of(graph_of_ui(ui(instance, **definition)), "w").models
    assert sorted((need.folder, need.name) for need in found) == [
        ("checkpoints", "real.ckpt"),
        ("loras", "real.safetensors"),
    ]


def test_a_group_node_inside_a_subgraph_is_unfolded_too() -> None:
    definition = group(node(-1, LOADER, "stale.ckpt", index=0), links=[])
    inside = subgraph("inside", node(5, "workflow>g", "real.ckpt"))
    body = ui(node(11, "inside"), subgraphs=[inside], **definition)
    (need,) = needs_of(graph_of_ui(body), "w").models
    assert (need.name, need.uses[0].node_id) == ("real.ckpt", "11:5:0")


def test_what_a_group_node_hands_out_is_not_guessed() -> None:
    definition = group(node(-1, "PrimitiveString", "a.ckpt", index=0), links=[])
    body = ui(node(7, "workflow>g", "a.ckpt"), taker(), links=[[5, 7, 0, 9, 0, "STRING"]], **definition)
    assert names(body) == []
