"""Workflows in every container, as the programs of the field leave them there, and as real encoders write them."""

from __future__ import annotations

import io
import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin, features

from comfy_doctor.workflows.containers import open_container, sniff
from comfy_doctor.workflows.documents import Document, read_bytes_document, read_document
from tests.container_images import exif_user_comment, jpeg, png_text, tiff, webp
from tests.containers import DIALECTS, Writer, mp4_comment, mp4_keys, svg, webm_tags

from .drawing import node, ui

UI = ui(node(1, "CheckpointLoaderSimple", "a <b> & \"c\" 'd' é 中 }.safetensors"))
API = {"3": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}}}
UI_TEXT, API_TEXT = json.dumps(UI, ensure_ascii=False), json.dumps(API)

every_dialect = pytest.mark.parametrize(
    ("kind", "write"), [pytest.param(*dialect, id=name) for name, dialect in DIALECTS.items()]
)


def read(data: bytes) -> Document:
    return read_bytes_document("w", data)


@every_dialect
def test_the_drawing_is_read_from_every_container_and_counts_before_what_was_run(kind: str, write: Writer) -> None:
    document = read(write({"prompt": API_TEXT, "workflow": UI_TEXT}))
    assert (document.container, document.format, document.body, document.error) == (kind, "ui", UI, None)


@every_dialect
def test_what_was_run_is_read_where_there_is_no_drawing(kind: str, write: Writer) -> None:
    document = read(write({"prompt": API_TEXT}))
    assert (document.container, document.format, document.body) == (kind, "api", API)


@every_dialect
def test_what_was_run_is_taken_where_the_drawing_is_damaged(kind: str, write: Writer) -> None:
    document = read(write({"workflow": UI_TEXT[:40], "prompt": API_TEXT}))
    assert (document.format, document.body, document.failed) == ("api", API, False)


@every_dialect
def test_a_file_without_a_workflow_is_none_and_no_error(kind: str, write: Writer) -> None:
    document = read(write({"prompt": "a cat, {masterpiece}", "parameters": "Steps: 20", "json": '{"a": 1}'}))
    assert (document.container, document.format) == (kind, "not_a_workflow")
    assert (document.error, document.failed) == (None, False)


def test_a_large_workflow_is_read_whole_where_the_container_takes_it() -> None:
    large = ui(*(node(number, "CLIPTextEncode", f"{number} " * 40) for number in range(400)))
    for name, (kind, write) in DIALECTS.items():
        if kind != "jpeg" or name == "jpeg extended xmp":  # other segments of a JPEG hold 64 KB
            assert read(write({"workflow": json.dumps(large)})).body == large, name


@every_dialect
def test_a_file_cut_anywhere_gives_what_can_still_be_read(kind: str, write: Writer) -> None:
    whole = write({"workflow": UI_TEXT})
    for size in range(0, len(whole), 7):
        document = read(whole[:size])
        assert document.body in (None, UI)
        assert not document.failed


def test_a_drawing_counts_before_what_was_run_wherever_it_stands() -> None:
    assert read(png_text({"workflow": API_TEXT, "comment": UI_TEXT})).body == UI
    assert read(png_text({"comment": UI_TEXT, "prompt": API_TEXT})).body == UI


def test_an_image_cut_in_its_pixels_still_gives_its_workflow() -> None:
    assert read(png_text({"workflow": UI_TEXT})[:-20]).body == UI
    assert read(webm_tags({"workflow": UI_TEXT})[:-10]).body == UI


def test_a_cut_text_says_that_it_is_damaged() -> None:
    document = read(png_text({"workflow": UI_TEXT})[:120])
    assert document.error is not None and "not JSON" in document.error and not document.failed


def test_the_extension_does_not_count(tmp_path: Path) -> None:
    for name, (kind, write) in DIALECTS.items():
        path = tmp_path / f"{name}.json.txt"
        path.write_bytes(write({"workflow": UI_TEXT}))
        document = read_document(path)
        assert (document.path, document.container, document.format) == (str(path), kind, "ui")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x18ftypmif1", "avif"),
        (b"\0\0\0\x18ftypheic", "avif"),
        (b"\0\0\0\x18ftypM4A ", "mp4"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "mov"),
        (b'{  "free": {}}', "json"),
        (b'\xef\xbb\xbf  <svg width="1">', "svg"),
        ('<?xml version="1.0"?><svg>'.encode("utf-16"), "svg"),
        (b"<!-- drawn --><s:svg>", "svg"),
        (b"<!doctype html><html>", "json"),
        (b"\xff\xfe{\0", "json"),
        (b"PK\3\4", "json"),
        (b"", "json"),
    ],
)
def test_the_first_bytes_tell_the_container(head: bytes, kind: str) -> None:
    assert sniff(head) == kind


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\3\4 an archive",
        b"some text\n{}",
        b"<html><body>{}</body></html>",
        b"RIFF\x24\0\0\0WEBPVP8 ",
        b"# Title\n```json\n" + UI_TEXT.encode() + b"\n```\n",
        struct.pack("<Q", 9) + b'{"a":"b"}' + bytes(100),
    ],
)
def test_files_of_other_kinds_are_no_workflow_and_no_error(data: bytes) -> None:
    document = read(data)
    assert (document.format, document.error, document.failed) == ("not_a_workflow", None, False)


# --- what programs of the field do ------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["workflow:", "Workflow:", "WORKFLOW: ", "workflow : ", ""])
def test_the_word_before_the_colon_may_be_written_in_any_way(prefix: str) -> None:
    block = tiff({0x010E: (2, f"{prefix}{UI_TEXT}\0\0".encode())}, {}, big=False)
    assert read(webp((b"EXIF", block))).body == UI


def test_several_texts_run_together_give_the_first() -> None:
    block = tiff({0x010E: (2, f'Workflow:{UI_TEXT}{{"version": 1}}\0'.encode())}, {}, big=True)
    assert read(webp((b"EXIF", block))).body == UI


def test_civitai_keeps_what_was_run_among_other_keys() -> None:
    entries: dict[str, Any] = {**API, "extra": {}, "extraMetadata": '{"prompt": "a cat"}'}
    block = exif_user_comment({key: json.dumps(value) for key, value in entries.items()})
    assert read(jpeg((0xE1, b"Exif\0\0" + block))).format == "api"


def test_a_video_saved_again_and_again_is_still_read() -> None:
    text = json.dumps(json.dumps(UI_TEXT))
    assert read(mp4_keys({"workflow": text})).body == UI
    assert read(mp4_comment({"workflow": text})).body == UI


def test_bare_nan_is_read_in_a_container() -> None:
    text = '{"1": {"class_type": "X", "inputs": {"a": NaN, "b": -Infinity}, "is_changed": [NaN]}}'
    assert read(mp4_keys({"prompt": text})).format == "api"


def test_line_ends_that_an_older_saver_left_raw_in_strings_are_read() -> None:
    text = '{"workflow": {"nodes": [{"id": 1, "type": "Note", "widgets_values": ["a\nb"]}], "links": []}}'
    assert read(svg(f"<metadata><![CDATA[{text}]]></metadata>")).format == "ui"


def test_windows_comments_are_read() -> None:
    block = tiff({0x9C9C: (1, f"workflow:{UI_TEXT}\0".encode("utf-16-le"))}, {}, big=False)
    assert read(jpeg((0xE1, b"Exif\0\0" + block))).body == UI


def test_entities_that_a_drawing_declares_are_not_expanded() -> None:
    bomb = '<!DOCTYPE svg [<!ENTITY a "&b;&b;"><!ENTITY b "&c;&c;">]>'
    text = json.dumps(ui(node(1, "Note", "&a;")))
    document = read(bomb.encode() + svg(f"<metadata>{text}</metadata>"))
    assert document.body is not None and document.body["nodes"][0]["widgets_values"] == ["&a;"]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(tmp_path / "pipe.json")
    document = read_document(tmp_path / "pipe.json")
    assert (document.failed, document.error) == (True, "no regular file")


def test_a_folder_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"directory|denied"):
        open_container(tmp_path)


# --- real encoders: our reader and our writer must not just agree with each other ---------------------------------


def encoded(kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, kind, **options)
    return out.getvalue()


def exif(*, comment: bool = False) -> bytes:
    block = Image.Exif()
    if comment:
        text = json.dumps({"prompt": API, "workflow": UI})
        block.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + text.encode("utf-16-be")
    else:
        block[0x0110], block[0x010F] = f"prompt:{API_TEXT}", f"workflow:{json.dumps(UI)}"
    return block.tobytes()


@pytest.mark.parametrize("comment", [False, True], ids=["in two tags", "in a user comment"])
@pytest.mark.parametrize(("kind", "container"), [("WEBP", "webp"), ("JPEG", "jpeg"), ("AVIF", "avif"), ("PNG", "png")])
def test_exif_as_pillow_encodes_it_is_read(kind: str, container: str, comment: bool) -> None:
    if not (kind in ("JPEG", "PNG") or features.check(kind.lower())):
        pytest.skip(f"this Pillow has no {kind}")
    document = read(encoded(kind, exif=exif(comment=comment)))
    assert (document.container, document.format, document.body) == (container, "ui", UI)


@pytest.mark.parametrize(("kind", "container"), [("WEBP", "webp"), ("JPEG", "jpeg"), ("AVIF", "avif")])
def test_xmp_as_pillow_encodes_it_is_read(kind: str, container: str) -> None:
    if not (kind == "JPEG" or features.check(kind.lower())):
        pytest.skip(f"this Pillow has no {kind}")
    text = json.dumps(UI).replace("&", "&amp;").replace("<", "&lt;")
    packet = f"<x:xmpmeta xmlns:x='adobe:ns:meta/'><d:description>{text}</d:description></x:xmpmeta>"
    document = read(encoded(kind, xmp=packet.encode()))
    assert (document.container, document.body) == (container, UI)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("text", [json.dumps(UI), UI_TEXT], ids=["latin", "international"])
def test_png_texts_as_pillow_encodes_them_are_read(text: str, packed: bool) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", API_TEXT, zip=packed)
    info.add_text("workflow", text, zip=packed)
    assert read(encoded("PNG", pnginfo=info)).body == UI


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF"])
def test_animations_as_comfyui_saves_them_are_read(kind: str) -> None:
    if kind != "PNG" and not features.check(kind.lower()):
        pytest.skip(f"this Pillow has no {kind}")
    info = PngImagePlugin.PngInfo()
    info.add(b"comf", b"prompt\0" + API_TEXT.encode("latin-1"), after_idat=True)
    info.add(b"comf", b"workflow\0" + json.dumps(UI).encode("latin-1"), after_idat=True)
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    options: dict[str, Any] = {"pnginfo": info} if kind == "PNG" else {"exif": exif()}
    assert read(encoded(kind, save_all=True, append_images=frames, duration=100, **options)).body == UI


def test_a_real_picture_without_a_workflow_is_none() -> None:
    for kind in ("JPEG", "PNG"):
        assert read(encoded(kind)).error is None
