"""Files made to hurt: lying sizes, loops, depths, bombs, and files so large that only their metadata may be read."""

from __future__ import annotations

import io
import json
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_doctor.workflows.containers import open_stream, source
from comfy_doctor.workflows.documents import Document, read_bytes_document
from download_worker import json_texts
from tests.container_images import jpeg, png, png_text, tiff, webp
from tests.containers import (
    DIALECTS,
    UNKNOWN_SIZE,
    avif,
    avif_exif,
    box,
    cluster,
    ebml,
    element,
    flac,
    glb,
    id3,
    keyed_meta,
    movie,
    ogg,
    ogg_opus,
    svg,
    tags,
)

from .drawing import node, ui

UI = ui(node(1, "CheckpointLoaderSimple", "a.safetensors"))
TEXTS = {"workflow": json.dumps(UI)}
SEGMENT = bytes.fromhex("18538067")
MIB = 1024**2


def read(data: bytes) -> Document:
    return read_bytes_document("w", data)


# --- sizes that lie ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        box(b"ftyp", b"isom") + struct.pack(">I4sQ", 1, b"moov", 2**63) + box(b"udta", keyed_meta(TEXTS)),
        box(b"ftyp", b"isom") + struct.pack(">I4s", 2**32 - 1, b"moov") + box(b"udta", keyed_meta(TEXTS)),
        box(b"ftyp", b"isom") + struct.pack(">I4s", 0, b"moov") + box(b"udta", keyed_meta(TEXTS)),
        ebml("webm")[:-8] + b"\x01" + b"\xff" * 6 + b"\xfe" + tags(TEXTS),
        ogg_opus(TEXTS).replace(b"\1\0\0\0workflow", b"\xff\xff\xff\xffworkflow"),
        flac(TEXTS).replace(b"vendor\1\0\0\0", b"vendor\xff\xff\xff\xff"),
        glb(TEXTS)[:8] + b"\xff" * 4 + glb(TEXTS)[12:],
    ],
    ids=["64 bits", "32 bits", "until the end", "ebml", "ogg", "flac", "glb"],
)
def test_a_size_beyond_the_end_is_no_reason_to_read_nothing(data: bytes) -> None:
    assert read(data).body == UI


@pytest.mark.parametrize(
    "data",
    [
        png()[:8] + struct.pack(">I", 2**32 - 1) + b"tEXtworkflow\0",
        webp()[:12] + b"EXIF" + b"\xff" * 4,
        jpeg()[:2] + b"\xff\xe1\0\0",
        jpeg()[:2] + b"\xff\xe1\xff\xffExif\0\0MM\0*\xff\xff\xff\xff",
        box(b"ftyp", b"isom") + struct.pack(">I4s", 7, b"moov"),
        box(b"ftyp", b"isom") + struct.pack(">I4sQ", 1, b"moov", 3),
        movie(
            b"isom", box(b"udta", box(b"meta", bytes(4), box(b"keys", b"\xff" * 16), box(b"ilst", box(b"\0\0\0\1"))))
        ),
        movie(b"isom", box(b"udta", box(b"meta", bytes(4), box(b"ilst", box(b"----", box(b"name")), box(b"data"))))),
        movie(b"qt  ", box(b"udta", box(b"\xa9cmt", b"\0"))),
        box(b"ftyp", b"avif") + box(b"meta", bytes(4), box(b"iinf", b"\0"), box(b"iloc", b"\1")),
        avif_exif(TEXTS).replace(b"\x44\x00", b"\xff\xff"),
        b"\x1a\x45\xdf\xa3\0" + bytes(40),
        ebml("webm", element(0x1254C367, element(0x4487, b"{}"))),
        b"fLaC\x84\xff\xff\xff" + b"\xff" * 40,
        b"OggS" + bytes(22) + b"\xff",
        ogg(b"OpusHead")[:-1] + b"OggS" + bytes(23),
        b"ID3\4\0\x40" + b"\x7f" * 30,
        b"ID3\3\0\x80" + b"\x7f" * 30,
        id3((b"TXXX", b"")) + id3((b"TXXX", b"\1")),
        b"glTF" + b"\xff" * 12 + b"JSON",
        svg("<metadata><![CDATA[{", '="'),
        svg("<!-- {")[:-8],
        b"<svg",
    ],
)
def test_a_file_that_breaks_off_or_contradicts_itself_holds_no_workflow(data: bytes) -> None:
    document = read(data)
    assert (document.format, document.failed) == ("not_a_workflow", False)


@given(
    name=st.sampled_from(sorted(DIALECTS)),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.sampled_from([0, 1, 0x7F, 0x80, 0xFF])), max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_no_change_of_a_file_breaks_the_reading(name: str, changes: list[tuple[int, int]]) -> None:
    spoiled(name, changes)


@pytest.mark.slow
@given(
    name=st.sampled_from(sorted(DIALECTS)),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=20),
)
@settings(max_examples=3000, deadline=None)
def test_no_change_of_any_of_thousands_of_files_breaks_the_reading(name: str, changes: list[tuple[int, int]]) -> None:
    spoiled(name, changes)


def spoiled(name: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(DIALECTS[name][1](TEXTS))
    for place, value in changes:
        data[place % len(data)] = value
    read(bytes(data))


# --- loops, depth, and counts -----------------------------------------------------------------------------------------


def deep_boxes(depth: int) -> bytes:
    inner = box(b"udta", keyed_meta(TEXTS))
    for _ in range(depth):
        inner = box(b"moov", inner)
    return box(b"ftyp", b"isom") + inner


def seek_loop(count: int) -> bytes:
    """An index whose every entry leads to the segment itself."""
    seek = element(0x4DBB, element(0x53AB, bytes.fromhex("1254c367")), element(0x53AC, b"\0"))
    return ebml("webm", element(0x114D9B74, seek * count))


def directory_loop() -> bytes:
    """EXIF directories that point to each other, two of them."""
    row = struct.pack("<H", 1) + struct.pack("<HHII", 0x8769, 4, 1, 26) + bytes(4)
    back = struct.pack("<H", 1) + struct.pack("<HHII", 0x8769, 4, 1, 8) + bytes(4)
    return webp((b"EXIF", b"II*\0" + struct.pack("<I", 8) + row + back))


def overlapping_directories(count: int) -> bytes:
    """Every second byte begins another directory of EXIF pointers."""
    rows = b"".join(struct.pack("<HHII", 0x8769, 4, 1, 8 + 2 * number) for number in range(count))
    return webp((b"EXIF", b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 1000) + rows))


def overlapping_texts(count: int, size: int) -> bytes:
    rows = struct.pack("<HHII", 0x010F, 2, size, 0) * count
    return webp((b"EXIF", b"II*\0" + struct.pack("<IH", 8, count) + rows + bytes(size)))


def free_extents(count: int) -> bytes:
    """HEIF items of as many extents as can be told, each without a size."""
    item = struct.pack(">HHHH", 1, 0, 0, 65535)
    iloc = box(b"iloc", b"\1\0\0\0\0\0", struct.pack(">H", 65535), item * count)
    return box(b"ftyp", b"avif") + box(b"meta", bytes(4), box(b"iinf", bytes(6)), iloc)


@pytest.mark.parametrize("data", [deep_boxes(1000), seek_loop(20), directory_loop()])
def test_loops_and_depths_end_long_before_the_bound(data: bytes) -> None:
    document = read(data)
    assert (document.format, document.failed) == ("not_a_workflow", False)


EMPTY_PAGE = struct.pack("<4sBBqIIIB", b"OggS", 0, 0, 0, 7, 1, 0, 0)
COUNTLESS: dict[str, Callable[[int], bytes]] = {
    "png chunks": lambda count: png()[:8] + (bytes(4) + b"IDAT" + bytes(4)) * count,
    "webp chunks": lambda count: webp(*[(b"ANMF", b"")] * count),
    "jpeg filling": lambda count: b"\xff\xd8" + b"\xff" * count,
    "jpeg segments": lambda count: jpeg(*[(0xE2, b"")] * count),
    "boxes": lambda count: box(b"ftyp", b"isom") + box(b"free") * count,
    "metas": lambda count: box(b"ftyp", b"avif") + box(b"meta", bytes(4)) * count,
    "extents": free_extents,
    "segments in segments": lambda count: element(0x1A45DFA3) + (SEGMENT + UNKNOWN_SIZE) * count,
    "clusters": lambda count: ebml("webm", cluster(unknown=True) * count),
    "pages": lambda count: ogg(b"OpusHead") + EMPTY_PAGE * count,
    "vorbis comments": lambda count: flac({str(number): "" for number in range(count)}),
    "id3 frames": lambda count: id3(*[(b"TPE1", b"")] * count),
    "tags of a drawing": lambda count: svg("<g>" * count),
    "attributes of a drawing": lambda count: svg("<g " + "a='{' " * count + "/>"),
    "exif directories": overlapping_directories,
}


@pytest.mark.parametrize("make", COUNTLESS.values(), ids=list(COUNTLESS))
def test_countless_parts_are_not_all_looked_at(make: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_STEPS", 1000)
    document = read(make(1010))
    assert (document.failed, document.error) == (True, "more than 1000 parts")


def test_what_was_found_before_the_bound_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_STEPS", 1000)
    assert read(ebml("webm", tags(TEXTS), cluster(unknown=True) * 1000)).body == UI


def test_an_index_to_the_tags_saves_the_walk_over_the_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_STEPS", 1000)

    def index(place: int) -> bytes:
        entry = element(0x53AB, bytes.fromhex("1254c367")), element(0x53AC, struct.pack(">Q", place))
        return element(0x114D9B74, element(0x4DBB, *entry))

    frames = cluster(unknown=True) * 1000
    data = ebml("matroska", index(len(index(0)) + len(frames)), frames, tags({"COMMENT": TEXTS["workflow"]}))
    assert open_stream(io.BytesIO(data)) == ("mkv", (TEXTS["workflow"].encode(),), None)


# --- memory -----------------------------------------------------------------------------------------------------------


def test_a_packed_text_that_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_WORKFLOW_BYTES", 100_000)
    bomb = (b"zTXt", b"workflow\0\0" + zlib.compress(b'{"a":' + b" " * 10_000_000))
    tracemalloc.start()
    document = read(png(bomb))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert document.failed and document.error == "its PNG text unpacks to more than 100000 bytes"
    assert peak < 2_000_000


def test_a_prompt_beside_a_bomb_is_still_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_WORKFLOW_BYTES", 100_000)
    bomb = (b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(b" " * 1_000_000))
    prompt = (b"tEXt", b'prompt\0{"1": {"class_type": "X", "inputs": {}}}')
    assert read(png(bomb, prompt)).format == "api"


def test_many_texts_that_unpack_far_are_not_all_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_TOTAL_BYTES", 500_000)
    bomb = (b"zTXt", b"workflow\0\0" + zlib.compress(b'{"a":' + b" " * 200_000))
    document = read(png(*[bomb] * 10))
    assert document.failed and document.error == "more than 500000 bytes of metadata"


def test_a_damaged_packed_text_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    document = read(png((b"zTXt", b"workflow\0\0no zlib")))
    assert document.failed and document.error == "its compressed PNG text is damaged"


def test_a_text_larger_than_any_workflow_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_WORKFLOW_BYTES", 1000)
    document = read(png_text({"workflow": json.dumps(UI) + " " * 1000}))
    assert document.failed and document.error == "its text is larger than 1000 bytes"


def test_texts_that_share_their_bytes_are_not_copied_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    data = overlapping_texts(1000, 4 * MIB)
    started = time.process_time()
    assert read(data).format == "not_a_workflow"
    assert time.process_time() - started < 0.5  # 4 GB if each were copied


def test_json_of_countless_small_values_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_texts, "MAX_VALUES", 10_000)
    document = read(b'{"nodes": [' + b"[]," * 10_000 + b'[]], "links": []}')
    assert document.error == "JSON of more than 10000 values" and document.format == "not_a_workflow"


class Vast(io.RawIOBase):
    """A file of zeros with some bytes at some places, which counts what is read of it."""

    def __init__(self, size: int, parts: dict[int, bytes]) -> None:
        self._size, self._parts, self._at = size, parts, 0
        self.read_bytes = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset if whence == 0 else self._size + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        assert size >= 0
        stop = min(self._at + size, self._size)
        out = bytearray(stop - self._at)
        for start, part in self._parts.items():
            first, last = max(start, self._at), min(start + len(part), stop)
            if first < last:
                out[first - self._at : last - self._at] = part[first - start : last - start]
        self._at = stop
        self.read_bytes += len(out)
        return bytes(out)


def vast_mp4(size: int) -> dict[int, bytes]:
    ftyp = box(b"ftyp", b"isom", bytes(4))
    moov = box(b"moov", box(b"udta", keyed_meta(TEXTS)))
    return {0: ftyp + struct.pack(">I4sQ", 1, b"mdat", size - len(ftyp) - len(moov)), size - len(moov): moov}


def vast_mkv(size: int) -> dict[int, bytes]:
    """The index leads over thousands of clusters to the tags at the end."""
    named = tags({"WORKFLOW": TEXTS["workflow"]})
    head = ebml("matroska", unknown=True)
    place = struct.pack(">Q", size - len(named) - len(head))
    entry = element(0x4DBB, element(0x53AB, bytes.fromhex("1254c367")), element(0x53AC, place))
    return {0: head + element(0x114D9B74, entry), size - len(named): named}


@pytest.mark.parametrize("layout", [vast_mp4, vast_mkv])
def test_a_video_of_twenty_gigabytes_costs_only_its_metadata(layout: Callable[[int], dict[int, bytes]]) -> None:
    size = 20 * 1024**3
    file: Any = Vast(size, layout(size))
    contents = open_stream(file)
    assert contents.texts == (TEXTS["workflow"].encode(),)
    assert file.read_bytes < 10_000


@pytest.mark.parametrize("head", [b"", b"PK\3\4", struct.pack("<Q", 400) + b'{"__metadata__": {}}'])
def test_a_huge_file_of_another_kind_is_not_read(head: bytes) -> None:
    file: Any = Vast(20 * 1024**3, {0: head})
    assert open_stream(file) == ("json", (), None)
    assert file.read_bytes <= 4096


# --- time -------------------------------------------------------------------------------------------------------------


SLOW: dict[str, Callable[[], bytes]] = {
    **{name: partial(make, 400_000) for name, make in COUNTLESS.items()},
    "open quotes": lambda: svg("<a " + 'a="{' * (8 * MIB)),
    "open tags": lambda: svg("<" * (60 * MIB)),
    "open sections": lambda: svg("<![CDATA[" * (6 * MIB)),
    "equal signs": lambda: svg("<a {" + "= " * (30 * MIB) + ">"),
    "one long word": lambda: svg("<a {" + "a" * (60 * MIB) + "='{'>"),
    "ampersands": lambda: svg("{" + "&#" * (30 * MIB)),
    "an endless packet": lambda: ogg(b"OpusHead", b"OpusTags" + b"x" * (200 * MIB)),
    "bombs": lambda: png(*[(b"zTXt", b"workflow\0\0" + zlib.compress(b'{"' + b" " * (63 * MIB)))] * 8),
    "an object of spaces": lambda: png_text({"workflow": "{" + " " * (60 * MIB)}),
    "texts that overlap": lambda: overlapping_texts(1000, 60 * MIB),
    "countless values": lambda: b'{"a":' + b"[]," * (20 * MIB),
    "depth": lambda: b'{"a":' * (12 * MIB),
    "deep boxes": lambda: deep_boxes(20_000),
    "items of HEIF": lambda: avif(*[(b"Exif", b"", b"x")] * 20_000),
    "user comments": lambda: webp(*[(b"EXIF", tiff({}, {0x9286: (7, b"UNICODE\0" + bytes(40 * MIB))}, big=True))] * 6),
}


@pytest.mark.slow
@pytest.mark.parametrize("make", SLOW.values(), ids=list(SLOW))
def test_the_most_hostile_file_costs_seconds(make: Callable[[], bytes]) -> None:
    data = make()
    started = time.process_time()
    assert read(data).format == "not_a_workflow"
    assert time.process_time() - started < 8
