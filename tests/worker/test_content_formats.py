"""Heads out of bytes: safetensors, GGUF, zip directories; whole, cut in pieces, and made by an enemy."""

import io
import json
import random
import struct
import time
import zipfile
from collections.abc import Mapping, Sequence

import pytest

from download_worker.verifiers.content.formats import (
    FIRST_BYTES,
    MAX_HEAD_BYTES,
    format_of,
    read_head,
    wanted_bytes,
)
from download_worker.verifiers.content.gguf_header import PACKINGS, missing_byte, read_gguf
from download_worker.verifiers.content.heads import Format, Weight
from download_worker.verifiers.content.zip_directory import TAIL_BYTES, entry_names, find_directory, is_torch
from download_worker.verifiers.safetensors_header import Broken
from tests.makers import gguf_bytes, safetensors_bytes, zip_bytes

UINT32, STRING, ARRAY = 4, 8, 9


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(
    tensors: Mapping[str, tuple[Sequence[int], int]],
    pairs: Sequence[bytes] = (),
    *,
    version: int = 3,
    count: int | None = None,
) -> bytes:
    """A GGUF head; `tensors` are name → (dimensions, innermost first; ggml type), one after another in the data."""
    listed, offset = b"", 0
    for name, (dimensions, kind) in tensors.items():
        listed += text(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, kind, offset)
        packing = PACKINGS.get(kind)
        elements = 1
        for size in dimensions:
            elements *= size
        offset += -(-(elements // packing.elements * packing.block_bytes) // 32) * 32 if packing else 32
    counts = struct.pack("<IQQ", version, len(tensors) if count is None else count, len(pairs))
    return b"GGUF" + counts + b"".join(pairs) + listed


def pair(key: str, value: str | int | Sequence[str] | Sequence[int]) -> bytes:
    if isinstance(value, str):
        return text(key) + struct.pack("<I", STRING) + text(value)
    if isinstance(value, int):
        return text(key) + struct.pack("<II", UINT32, value)
    is_text = bool(value) and isinstance(value[0], str)
    start = text(key) + struct.pack("<IIQ", ARRAY, STRING if is_text else UINT32, len(value))
    return start + b"".join(text(str(each)) if is_text else struct.pack("<I", int(each)) for each in value)


def test_a_safetensors_head_promises_the_size_of_its_file() -> None:
    whole = safetensors_bytes(100_000, metadata={"format": "pt", "ss_tag_frequency": "{}"})
    head = read_head(whole[: wanted_bytes(whole[:FIRST_BYTES])])
    assert (head.format, head.total_bytes, head.exact) == (Format.SAFETENSORS, 100_000, True)
    assert head.metadata == {"format": "pt"}
    assert head.parameters is not None and head.parameters > 10_000


def test_offsets_in_the_metadata_promise_nothing() -> None:
    lie = json.dumps({"data_offsets": [0, 10**15]}) + '"data_offsets":[0,999999999]'
    whole = safetensors_bytes(4096, metadata={"format": lie})
    assert read_head(whole).total_bytes == 4096


def test_a_broken_safetensors_head_names_its_rule() -> None:
    raw = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}'
    with pytest.raises(Broken, match="hole"):
        read_head(struct.pack("<Q", len(raw)) + raw)


def test_a_gguf_head_is_read_with_its_shapes_the_right_way_round_and_its_size() -> None:
    raw = gguf({"a.weight": ((3072, 64), 12), "b.bias": ((64,), 0)}, [pair("general.architecture", "flux")])
    head = read_gguf(raw)
    data = -(-len(raw) // 32) * 32
    assert head.tensors == {"a.weight": Weight("Q4_K", (64, 3072)), "b.bias": Weight("F32", (64,))}
    assert head.total_bytes == data + 3072 * 64 // 256 * 144 + 64 * 4
    assert not head.exact and head.complete and head.metadata == {"general.architecture": "flux"}


def test_a_flattened_convolution_gets_its_true_shape_back() -> None:
    shape = pair("comfy.gguf.orig_shape.conv.weight", [320, 4, 3, 3])
    head = read_gguf(gguf({"conv.weight": ((11520,), 1)}, [shape]))
    assert head.tensors["conv.weight"].shape == (320, 4, 3, 3)
    assert head.total_bytes is not None and head.total_bytes % 32 == 11520 * 2 % 32


def test_alignment_counts_and_an_unknown_quantization_promises_no_size() -> None:
    aligned = read_gguf(gguf({"a": ((32,), 0)}, [pair("general.alignment", 4096)]))
    assert aligned.total_bytes == 4096 + 128
    unknown = read_gguf(gguf({"a": ((32,), 99)}))
    assert unknown.total_bytes is None and unknown.tensors["a"].dtype == "type 99"


def test_a_cut_gguf_says_how_much_is_missing_and_tells_what_it_has() -> None:
    vocabulary = pair("tokenizer.ggml.tokens", [f"word {n}" for n in range(1000)])
    raw = gguf({"token_embd.weight": ((4096, 1000), 8)}, [pair("general.architecture", "llama"), vocabulary])
    assert missing_byte(raw) is None
    for length in range(0, len(raw), 97):
        missing = missing_byte(raw[:length])
        assert missing is not None and length < missing <= len(raw)
        assert not read_gguf(raw[:length]).complete
    assert read_gguf(raw[:2000]).metadata == {"general.architecture": "llama"}


def test_reading_on_ends_at_the_limit_for_a_vocabulary_without_end() -> None:
    raw = gguf({}, [text("tokenizer.ggml.tokens") + struct.pack("<IIQ", ARRAY, STRING, 2**40)], count=5)
    raw += struct.pack("<Q", 2) * (MAX_HEAD_BYTES // 4)
    length, steps = FIRST_BYTES, 0
    while (wanted := wanted_bytes(raw[:length])) > length:
        length, steps = wanted, steps + 1
    assert length == MAX_HEAD_BYTES and steps <= 4


@pytest.mark.parametrize(
    "raw",
    [
        gguf({}, version=1),
        gguf({}, count=2**60),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60),
        gguf({"a": ((1, 1, 1, 1, 1), 0)}),
        gguf({"a": ((2**64 - 1,), 0)}),
        gguf({"a": ((1,), 0)}, count=2) + text("a") + struct.pack("<IQIQ", 1, 1, 0, 0),
        gguf({}, [text("x" * 2000) + struct.pack("<II", UINT32, 1)]),
        gguf({}, [text("key") + struct.pack("<I", 77)]),
        gguf({}, [text("key") + struct.pack("<IIQ", ARRAY, ARRAY, 1)]),
    ],
    ids=["version 1", "2^60 tensors", "2^60 keys", "dimensions", "size", "twice", "name", "type", "array of arrays"],
)
def test_t6_a_hostile_gguf_is_broken(raw: bytes) -> None:
    with pytest.raises(Broken):
        read_gguf(raw)


def test_t6_random_bytes_behind_any_signature_are_answered_soon() -> None:
    chance, begun = random.Random(6), time.perf_counter()
    for sign in (b"GGUF\x03\0\0\0", struct.pack("<Q", 500) + b"{", b"PK\x03\x04", b""):
        for size in (0, 1, 9, 40, 600, 5000):
            raw = sign + chance.randbytes(size)
            try:
                wanted_bytes(raw)
                read_head(raw)
            except Broken:
                continue
    assert time.perf_counter() - begun < 2


def test_formats_are_told_by_their_first_bytes() -> None:
    assert format_of(safetensors_bytes(4096)) is Format.SAFETENSORS
    assert format_of(gguf_bytes()) is Format.GGUF
    assert format_of(zip_bytes()) is Format.TORCH_ZIP
    assert format_of(b"\x80\x02}q\0.") is Format.OTHER
    assert wanted_bytes(b"\x80\x02}q\0.") == 0 and read_head(b"").format is Format.OTHER


def archive(names: Sequence[str], comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.comment = comment
        for name in names:
            opened.writestr(zipfile.ZipInfo(name), b"x" * 100)
    return file.getvalue()


@pytest.mark.parametrize("comment", [b"", b"a comment", b"z" * 65535])
def test_the_directory_of_an_archive_is_found_at_its_end(comment: bytes) -> None:
    names = ["archive/data.pkl", "archive/data/0", "archive/version"]
    whole = archive(names, comment)
    tail = whole[-TAIL_BYTES:]
    directory = find_directory(tail, len(whole))
    found = entry_names(whole[directory.offset : directory.offset + directory.length], directory)
    assert list(found) == names and is_torch(found)
    assert not is_torch(("model.py", "weights.txt"))


def test_the_directory_of_an_archive_over_4_gb_is_found_by_its_wide_record() -> None:
    directory_at, file_bytes = 5 * 2**30, 5 * 2**30 + 200 + 56 + 20 + 22
    wide = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 3, 3, 200, directory_at)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, directory_at + 200, 1)
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 3, 3, 200, 0xFFFFFFFF, 0)
    tail = bytes(200) + wide + locator + end
    assert find_directory(tail, file_bytes) == (directory_at, 200, 3)
    with pytest.raises(Broken, match="too large"):
        find_directory(bytes(200) + end, file_bytes)


def test_an_archive_that_is_cut_or_lies_is_broken() -> None:
    whole = archive(["archive/data.pkl"])
    with pytest.raises(Broken, match="no directory"):
        find_directory(whole[:-30], len(whole) - 30)
    with pytest.raises(Broken, match="cannot be"):
        find_directory(whole[-22:-10] + struct.pack("<II", 2**31, 2**31) + whole[-2:], len(whole))
    directory = find_directory(whole, len(whole))
    with pytest.raises(Broken, match="damaged"):
        entry_names(bytes(directory.length), directory)
