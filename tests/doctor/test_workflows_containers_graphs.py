"""Show 2: the same graph in every container gives the same needs, and its UI and API form agree.

Graphs are generated as a frontend would save them; `exported` is what the same frontend would send to the server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_doctor.workflows.api_graph import graph_of_api
from comfy_doctor.workflows.documents import Document, read_bytes_document
from comfy_doctor.workflows.ui_graph import graph_of_ui
from comfy_doctor.workflows.wanted import Wanted, needs_of
from tests.containers import DIALECTS

from .drawing import Json, link, node, subgraph, ui, widget

LOADERS: dict[str, tuple[str, ...]] = {
    "CheckpointLoaderSimple": ("ckpt_name",),
    "VAELoader": ("vae_name",),
    "UNETLoader": ("unet_name", "weight_dtype"),
    "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
    "UpscaleModelLoader": ("model_name",),
    "CLIPTextEncode": ("text",),
}
REST: dict[str, Any] = {"weight_dtype": "default", "strength_model": 0.5, "strength_clip": 1.0}
NEVER, BYPASS = 2, 4

files = st.sampled_from(["a.safetensors", "sub/b.safetensors", "sub\\c.ckpt", "名 d.pth", "e <&\"'>.gguf"])
prompts = st.sampled_from(["a cat", "a {b} embedding:easy", "<lora:detail:0.8> & more"])
modes = st.sampled_from([0, 0, 0, NEVER, BYPASS])
kinds = st.sampled_from(sorted(LOADERS))


@st.composite
def loaders(draw: st.DrawFn, number: int) -> Json:
    """A loader, all its widgets named by sockets as new frontends write them."""
    kind = draw(kinds)
    first = draw(prompts if kind == "CLIPTextEncode" else files)
    values = [first, *(REST[name] for name in LOADERS[kind][1:])]
    return node(number, kind, *values, mode=draw(modes), inputs=[widget(name) for name in LOADERS[kind]])


@st.composite
def graphs(draw: st.DrawFn) -> Json:
    """Plain loaders, one fed by a primitive through reroutes, and one in a subgraph whose widget is promoted."""
    count = draw(st.integers(1, 4))
    nodes = [draw(loaders(number)) for number in range(1, count + 1)]
    links: list[list[Any]] = []
    if draw(st.booleans()):
        nodes += fed(draw(loaders(50)), draw(files), draw(st.integers(0, 2)), links)
    if not draw(st.booleans()):
        return ui(*nodes, links=links)
    inner = draw(loaders(1))
    inner["inputs"][0]["link"] = 7
    promoted = subgraph("inside", inner, inputs=[LOADERS[inner["type"]][0]], links=[link(7, -10, 1)])
    slot = {"name": promoted["inputs"][0]["name"], "type": "COMBO", "widget": {"name": "w"}, "link": None}
    instance = node(90, "inside", draw(files), mode=draw(modes), inputs=[slot])
    return ui(*nodes, instance, links=links, subgraphs=[promoted])


def fed(loader: Json, value: str, reroutes: int, links: list[list[Any]]) -> list[Json]:
    """This loader with its first widget converted and fed by a PrimitiveNode over so many reroutes."""
    chain = [node(60, "PrimitiveNode", value, "fixed"), *(node(61 + at, "Reroute") for at in range(reroutes))]
    for number, (left, right) in enumerate(zip(chain, [*chain[1:], loader], strict=True), 100):
        links.append([number, left["id"], 0, right["id"], 0, "COMBO"])
        if right is loader:
            loader["inputs"][0]["link"] = number
        else:
            right["inputs"] = [{"name": "", "type": "*", "link": number}]
    return [*chain, loader]


def exported(drawing: Json) -> Json:
    """The API form: no muted or bypassed node, primitives and reroutes resolved, subgraphs unfolded by path."""
    origins = {entry[0]: entry[1] for entry in drawing["links"]}
    by_id = {entry["id"]: entry for entry in drawing["nodes"]}
    inside = {entry["id"]: entry["nodes"][0] for entry in drawing.get("definitions", {}).get("subgraphs", [])}
    prompt: Json = {}
    for entry in drawing["nodes"]:
        if entry["mode"] != 0 or entry["type"] in ("PrimitiveNode", "Reroute"):
            continue
        inner = inside.get(entry["type"])
        if inner is None:
            prompt[str(entry["id"])] = sent(entry, first_value(entry, origins, by_id))
        elif inner["mode"] == 0:
            prompt[f"{entry['id']}:{inner['id']}"] = sent(inner, entry["widgets_values"][0])
    return prompt


def first_value(entry: Json, origins: Json, by_id: Json) -> Any:
    while entry["inputs"] and entry["inputs"][0]["link"] is not None:
        entry = by_id[origins[entry["inputs"][0]["link"]]]
    return entry["widgets_values"][0]


def sent(entry: Json, first: Any) -> Json:
    values = [first, *entry["widgets_values"][1:]]
    return {"class_type": entry["type"], "inputs": dict(zip(LOADERS[entry["type"]], values, strict=True))}


def wanted(document: Document) -> Wanted:
    assert document.body is not None
    graph = graph_of_ui(document.body) if document.format == "ui" else graph_of_api(document.body)
    return needs_of(graph, "w")


def asked(found: Wanted) -> Iterator[tuple[Any, ...]]:
    """What is really wanted: (folder, name, node, input), and what prompts speak of."""
    for need in found.models:
        yield from ((need.folder, need.name, use.node_id, use.input) for use in need.uses if use.active)
    yield from ((each.kind, each.name, each.use.node_id) for each in found.mentions if each.use.active)


def agree(drawing: Json, dialect: str) -> None:
    text = json.dumps(drawing, ensure_ascii=False)
    plain = wanted(read_bytes_document("w", text.encode()))
    kind, write = DIALECTS[dialect]
    held = read_bytes_document("w", write({"workflow": text}))
    assert (held.container, wanted(held)) == (kind, plain)
    prompt = exported(drawing)
    if prompt:
        run = read_bytes_document("w", write({"prompt": json.dumps(prompt)}))
        assert run.format == "api"
        assert sorted(map(repr, asked(wanted(run)))) == sorted(map(repr, asked(plain)))


@given(drawing=graphs(), dialect=st.sampled_from(sorted(DIALECTS)))
@settings(max_examples=40, deadline=None)
def test_the_same_graph_in_any_container_and_form_gives_the_same_needs(drawing: Json, dialect: str) -> None:
    agree(drawing, dialect)


@pytest.mark.slow
@pytest.mark.parametrize("dialect", sorted(DIALECTS))
@given(drawing=graphs())
@settings(max_examples=40, deadline=None)
def test_every_generated_graph_in_every_container_gives_the_same_needs(dialect: str, drawing: Json) -> None:
    agree(drawing, dialect)
