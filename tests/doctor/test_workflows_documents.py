"""What is a workflow, in which format, and in which container."""

from __future__ import annotations

import contextlib
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_doctor.workflows.api_graph import graph_of_api
from comfy_doctor.workflows.containers import source
from comfy_doctor.workflows.documents import Document, find_workflow, read_bytes_document, read_document
from comfy_doctor.workflows.graph import TooLarge
from comfy_doctor.workflows.ui_graph import graph_of_ui
from comfy_doctor.workflows.wanted import needs_of

from .drawing import node, png, ui

UI = ui(node(1, "CheckpointLoaderSimple", "a.safetensors"))
API = {"3": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}}}


def read(tmp_path: Path, data: bytes, name: str = "w.json") -> Document:
    path = tmp_path / name
    path.write_bytes(data)
    return read_document(path)


def test_a_list_of_nodes_with_links_is_the_ui_format(tmp_path: Path) -> None:
    document = read(tmp_path, json.dumps(UI).encode())
    assert (document.format, document.container, document.body) == ("ui", "json", UI)


def test_values_with_class_types_are_the_api_format(tmp_path: Path) -> None:
    document = read(tmp_path, json.dumps(API).encode())
    assert (document.format, document.body) == ("api", API)


@pytest.mark.parametrize(
    "wrapped",
    [
        {"prompt": API},
        {"workflow": API},
        {"output": API},
        {"input": {"workflow": API, "images": []}},
        {"input": {"handler": "RawWorkflow", "workflow_json": API}},
        {"client_id": "x", "prompt": API, "extra_data": {}},
        {"workflow_json": json.dumps(API)},
    ],
)
def test_wrapped_prompts_are_unwrapped(wrapped: dict[str, Any]) -> None:
    assert find_workflow(wrapped) == ("api", API)


def test_a_ui_workflow_beside_its_prompt_is_preferred() -> None:
    assert find_workflow({"prompt": API, "extra_data": {"extra_pnginfo": {"workflow": UI}}}) == ("api", API)
    assert find_workflow({"prompt": API, "workflow": UI}) == ("ui", UI)


@pytest.mark.parametrize(
    "value",
    [
        [],
        [{"title": "templates index"}],
        {"Black Forest Labs": "logo/bfl.png"},
        {"nodes": [{"id": "pack", "name": "registry answer"}], "total": 1},
        {"nodes": [{"id": "pack"}], "links": []},
        {"nodes": [{"id": 1, "type": "pack"}], "total": 1},
        {"custom_nodes": [{"title": "x"}]},
        {"3": {"class_type": "X"}},
        "text",
        7,
        None,
        {"prompt": {"prompt": {"prompt": {"prompt": {"prompt": {"prompt": API}}}}}},
    ],
)
def test_other_json_is_no_workflow_and_no_error(tmp_path: Path, value: Any) -> None:
    document = read(tmp_path, json.dumps(value).encode())
    assert (document.format, document.error, document.failed) == ("not_a_workflow", None, False)


def test_an_empty_drawing_is_a_workflow() -> None:
    assert find_workflow({"nodes": [], "links": [], "version": 0.4}) is not None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_every_unicode_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    assert read(tmp_path, json.dumps(UI, ensure_ascii=False).encode(encoding)).format == "ui"


def test_bare_nan_is_read(tmp_path: Path) -> None:
    text = json.dumps(API).replace('"inputs": {', '"is_changed": NaN, "inputs": {"x": -Infinity, ')
    assert read(tmp_path, text.encode()).format == "api"


def test_numbers_of_thousands_of_digits_are_read(tmp_path: Path) -> None:
    text = json.dumps(UI)[:-1] + ', "seed": ' + "9" * 6000 + "}"
    assert read(tmp_path, text.encode()).format == "ui"


def test_broken_json_is_no_workflow_and_says_where(tmp_path: Path) -> None:
    document = read(tmp_path, b'{"nodes": [')
    assert document.format == "not_a_workflow"
    assert document.error is not None and "line 1" in document.error


def test_bottomless_nesting_is_said_and_not_a_crash(tmp_path: Path) -> None:
    document = read(tmp_path, b'{"nodes":' + b"[" * 2_000_000)
    assert document.format == "not_a_workflow"
    assert document.error is not None


def test_a_file_beyond_the_bound_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_WORKFLOW_BYTES", 20)
    document = read(tmp_path, json.dumps(UI).encode())
    assert document.failed
    assert document.error == "its text is larger than 20 bytes"


def test_a_file_that_cannot_be_opened_is_said_to_be_unread(tmp_path: Path) -> None:
    assert read_document(tmp_path / "gone.json").failed


def text_chunk(keyword: bytes, text: bytes) -> tuple[bytes, bytes]:
    return b"tEXt", keyword + b"\0" + text


def packed_chunk(keyword: bytes, text: bytes) -> tuple[bytes, bytes]:
    return b"zTXt", keyword + b"\0\0" + zlib.compress(text)


def international_chunk(keyword: bytes, text: bytes) -> tuple[bytes, bytes]:
    return b"iTXt", keyword + b"\0\0\0en\0translated\0" + text


def packed_international_chunk(keyword: bytes, text: bytes) -> tuple[bytes, bytes]:
    return b"iTXt", keyword + b"\0\1\0\0\0" + zlib.compress(text)


@pytest.mark.parametrize("chunk", [text_chunk, packed_chunk, international_chunk, packed_international_chunk])
def test_every_kind_of_png_text_is_read(tmp_path: Path, chunk: Any) -> None:
    document = read(tmp_path, png(chunk(b"workflow", json.dumps(UI).encode())), "picture.dat")
    assert (document.container, document.format, document.body) == ("png", "ui", UI)


def test_a_png_with_only_a_prompt_is_the_api_format(tmp_path: Path) -> None:
    assert read(tmp_path, png(text_chunk(b"prompt", json.dumps(API).encode()))).format == "api"


def test_the_drawing_in_a_png_counts_before_its_prompt(tmp_path: Path) -> None:
    chunks = text_chunk(b"prompt", json.dumps(API).encode()), text_chunk(b"workflow", json.dumps(UI).encode())
    assert read(tmp_path, png(*chunks)).format == "ui"


def test_a_png_whose_drawing_is_broken_falls_back_to_its_prompt(tmp_path: Path) -> None:
    chunks = text_chunk(b"workflow", b"{broken"), text_chunk(b"prompt", json.dumps(API).encode())
    assert read(tmp_path, png(*chunks)).format == "api"


def test_a_picture_without_metadata_is_no_workflow(tmp_path: Path) -> None:
    document = read(tmp_path, png(text_chunk(b"parameters", b"a cat")))
    assert (document.format, document.container, document.failed) == ("not_a_workflow", "png", False)


def test_a_png_text_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_WORKFLOW_BYTES", 100_000)
    document = read(tmp_path, png(packed_chunk(b"workflow", b" " * 10_000_000)))
    assert document.failed
    assert document.error is not None and "unpacks to more than" in document.error


def test_a_png_that_was_cut_is_no_workflow(tmp_path: Path) -> None:
    whole = png(text_chunk(b"workflow", json.dumps(UI).encode()))
    assert read(tmp_path, whole[:60]).format == "not_a_workflow"


@pytest.mark.parametrize("around", ["Here it is: {}", "{}\nenjoy!", "```json\n{}\n```", "// mine\n{}"])
def test_a_workflow_with_text_around_it_is_none(tmp_path: Path, around: str) -> None:
    assert read(tmp_path, around.replace("{}", json.dumps(UI)).encode()).format == "not_a_workflow"


def test_of_two_equal_keys_the_last_counts_as_in_every_browser(tmp_path: Path) -> None:
    text = '{"nodes": 7, ' + json.dumps(UI)[1:]
    assert read(tmp_path, text.encode()).body == UI


def test_a_gltf_scene_is_no_drawing_although_it_has_nodes() -> None:
    scene = {"asset": {"version": "2.0"}, "nodes": [{"name": "n"}], "extras": {"prompt": json.dumps(API)}}
    assert find_workflow(scene) == ("api", API)
    assert find_workflow({**scene, "extras": {}}) is None


def test_bytes_from_elsewhere_are_read_as_a_file_of_that_name() -> None:
    document = read_bytes_document("https://a.example/w.json", json.dumps(UI).encode())
    assert (document.path, document.format, document.body) == ("https://a.example/w.json", "ui", UI)


KEYS = """
id type mode inputs link widget name links nodes widgets_values properties models proxyWidgets url hash
definitions subgraphs extra groupNodes origin_id origin_slot target_id target_slot class_type
""".split()  # noqa: SIM905 - a list of two dozen words reads better so
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-20, 20) | st.floats() | st.text(max_size=6) | st.just("a.safetensors"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)
some_nodes = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["CheckpointLoaderSimple", "Reroute", "PrimitiveNode", "s", "workflow>g", "X"])},
        optional={
            key: anything
            for key in ("id", "mode", "inputs", "widgets_values", "properties", "widgets_values_named", "index")
        },
    ),
    max_size=5,
)


@settings(max_examples=20)
@given(nodes=some_nodes, links=st.lists(anything, max_size=4), inner=anything, inner_nodes=some_nodes)
def test_no_drawing_whatever_is_in_it_breaks_the_reading(nodes: Any, links: Any, inner: Any, inner_nodes: Any) -> None:
    definition = {"id": "s", "nodes": inner_nodes, "links": links, "inputs": inner}
    body = ui(*nodes, links=links, subgraphs=[definition], extra={"groupNodes": {"g": {"nodes": inner_nodes}}})
    with contextlib.suppress(TooLarge):  # a subgraph may hold itself
        wanted = needs_of(graph_of_ui(body), "w")
        assert len({need.key for need in wanted.models}) == len(wanted.models)


@settings(max_examples=20)
@given(
    value=st.dictionaries(
        st.text(max_size=3),
        anything
        | st.fixed_dictionaries({"class_type": st.just("X"), "inputs": st.dictionaries(st.text(max_size=3), anything)}),
    )
)
def test_no_json_whatever_is_in_it_breaks_the_reading(value: Any) -> None:
    found = find_workflow(value)
    assert found is None or found[0] in ("ui", "api")
    if found is not None and found[0] == "api":
        wanted = needs_of(graph_of_api(found[1]), "w")
        assert len({need.key for need in wanted.models}) == len(wanted.models)
