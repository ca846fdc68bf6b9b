"""T7: a safetensors header is read strictly, where the library is lax and where it is not."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st

from download_worker.errors import Code, LostClaim, TryLater
from download_worker.leash import Leash
from download_worker.verifiers.rubric.evidence import canonical
from download_worker.verifiers.safetensors_file import SafetensorsVerifier
from download_worker.verifiers.safetensors_header import DTYPE_BITS, Broken, header_length, parse_header
from download_worker.verifiers.verifier import Evidence, Rejected
from tests import descriptors, makers
from tests.worker.specimens import specimen


def packed(header: dict[str, Any] | bytes, data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def tensor(dtype: Any = "U8", shape: Any = (4,), offsets: Any = (0, 4), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


FOUR = b"\1\2\3\4"
ONE = '"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}'

# What is wrong → the file, and the words that name the broken rule.
HOSTILE: dict[str, tuple[bytes, str]] = {
    "no header length": (b"\x08\0\0", "too short to hold a header length"),
    "length beyond the file": (struct.pack("<Q", 1000) + b"{}", "does not fit into a file"),
    "length of 2^63": (struct.pack("<Q", 2**63) + b"{}", "over the limit"),
    "length just over the limit": (struct.pack("<Q", 100_000_001) + b"{}", "over the limit"),
    "length of zero": (struct.pack("<Q", 0) + b"{}", "does not fit"),
    "not JSON": (packed(b"{nonsense}"), "not one JSON object"),
    "cut JSON": (packed(b"{" + ONE.encode(), FOUR), "not one JSON object"),
    "two JSON objects": (packed(b"{" + ONE.encode() + b"}{}", FOUR), "not one JSON object"),
    "a list": (packed(b"[1, 2, 3]"), "does not begin with a brace"),
    "leading space": (packed(b" {" + ONE.encode() + b"}", FOUR), "does not begin with a brace"),
    "padding with a newline": (packed(b"{" + ONE.encode() + b"}\n", FOUR), "padded with something else"),
    "not UTF-8": (packed(b'{"\xff":1}'), "not UTF-8"),
    "a byte order mark": (packed(b"\xef\xbb\xbf{" + ONE.encode() + b"}", FOUR), "does not begin with a brace"),
    "deep nesting": (packed(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "not one JSON object"),
    "a giant number": (packed(b'{"a":' + b"9" * 10_000 + b"}"), "not one JSON object"),
    "a tensor twice": (packed(f"{{{ONE},{ONE}}}".encode(), FOUR), "a key twice"),
    "metadata twice": (packed(f'{{"__metadata__":{{}},"__metadata__":{{}},{ONE}}}'.encode(), FOUR), "a key twice"),
    "a metadata key twice": (
        packed(f'{{"__metadata__":{{"k":"1","k":"2"}},{ONE}}}'.encode(), FOUR),
        "a key twice",
    ),
    "dtype twice": (
        packed(b'{"a":{"dtype":"U8","dtype":"I8","shape":[4],"data_offsets":[0,4]}}', FOUR),
        "a key twice",
    ),
    "metadata that is null": (packed({"__metadata__": None, "a": tensor()}, FOUR), "not a table of texts"),
    "metadata with a number": (packed({"__metadata__": {"k": 1}, "a": tensor()}, FOUR), "not a table of texts"),
    "metadata with a table": (packed({"__metadata__": {"k": {}}, "a": tensor()}, FOUR), "not a table of texts"),
    "half a surrogate pair": (packed(b'{"\\ud800":' + ONE[4:].encode() + b"}", FOUR), "half a surrogate"),
    "no tensors": (packed({}), "holds no tensors"),
    "only metadata": (packed({"__metadata__": {"k": "v"}}), "holds no tensors"),
    "an empty name": (packed({"": tensor()}, FOUR), "name is empty"),
    "an endless name": (packed({"a" * 5000: tensor()}, FOUR), "name is empty or longer"),
    "an entry that is a list": (packed({"a": ["U8", [4], [0, 4]]}, FOUR), "not exactly dtype, shape"),
    "an entry without offsets": (packed({"a": {"dtype": "U8", "shape": [4]}}, FOUR), "not exactly dtype, shape"),
    "an entry with more keys": (packed({"a": tensor(extra=1)}, FOUR), "not exactly dtype, shape"),
    "an unknown dtype": (packed({"a": tensor("F128")}, FOUR), "dtype is unknown"),
    "a dtype in lower case": (packed({"a": tensor("u8")}, FOUR), "dtype is unknown"),
    "a dtype that is a number": (packed({"a": tensor(8)}, FOUR), "dtype is unknown"),
    "a dtype that is a list": (packed({"a": tensor(["U8"])}, FOUR), "dtype is unknown"),
    "a negative dimension": (packed({"a": tensor(shape=[-4])}, FOUR), "something else than whole numbers"),
    "two negative dimensions": (packed({"a": tensor(shape=[-2, -2])}, FOUR), "something else than whole numbers"),
    "a dimension of 4.0": (packed({"a": tensor(shape=[4.0])}, FOUR), "something else than whole numbers"),
    "a dimension that is true": (packed({"a": tensor(shape=[True, 4])}, FOUR), "something else than whole numbers"),
    "a dimension that is a text": (packed({"a": tensor(shape=["4"])}, FOUR), "something else than whole numbers"),
    "a dimension of 2^64": (packed({"a": tensor(shape=[2**64])}, FOUR), "something else than whole numbers"),
    "a shape that wraps around 64 bits": (packed({"a": tensor(shape=[2**62, 4, 1])}, FOUR), "cannot be its shape"),
    "a shape that is no list": (packed({"a": tensor(shape=4)}, FOUR), "not a list"),
    "too many dimensions": (packed({"a": tensor(shape=[1] * 1000)}, FOUR), "not a list of at most"),
    "infinity": (packed(b'{"a":{"dtype":"U8","shape":[Infinity],"data_offsets":[0,4]}}', FOUR), "JSON does not have"),
    "one offset": (packed({"a": tensor(offsets=[4])}, FOUR), "not a begin and an end"),
    "three offsets": (packed({"a": tensor(offsets=[0, 2, 4])}, FOUR), "not a list of at most 2"),
    "offsets the wrong way round": (packed({"a": tensor(offsets=[4, 0])}, FOUR), "cannot be its shape"),
    "negative offsets": (packed({"a": tensor(offsets=[-4, 0])}, FOUR), "something else than whole numbers"),
    "fewer bytes than the shape": (packed({"a": tensor(offsets=[0, 3])}, FOUR), "cannot be its shape"),
    "more bytes than the shape": (packed({"a": tensor(shape=[3])}, FOUR), "cannot be its shape"),
    "half a byte": (packed({"a": tensor("F4", [3], [0, 2])}, b"\0\0"), "cannot be its shape"),
    "a start after zero": (packed({"a": tensor(offsets=[1, 5])}, b"\0" + FOUR), "a hole"),
    "a hole": (packed({"a": tensor(), "b": tensor(offsets=[5, 9])}, FOUR + b"\0" + FOUR), "a hole"),
    "an overlap": (packed({"a": tensor(), "b": tensor(offsets=[2, 6])}, FOUR + b"\0\0"), "an overlap"),
    "the same bytes twice": (packed({"a": tensor(), "b": tensor()}, FOUR), "an overlap"),
    "bytes left over": (packed({"a": tensor()}, FOUR + b"PK\5\6"), "4 bytes are left over"),
    "bytes missing": (packed({"a": tensor()}, FOUR[:3]), "1 bytes are missing"),
    "no data at all": (packed({"a": tensor()}), "4 bytes are missing"),
}


def examined(room: Path, content: bytes, name: str = "model.safetensors") -> Evidence:
    return SafetensorsVerifier().examine(specimen(room, content, name), Leash())


def library_takes(path: Path) -> bool:
    try:
        with safetensors.safe_open(path, framework="numpy"):
            return True
    except ModuleNotFoundError:
        return True
    except safetensors.SafetensorError:
        return False


@pytest.mark.parametrize("what", HOSTILE)
def test_t7_a_hostile_header_is_refused_and_the_rule_is_named(what: str, tmp_path: Path) -> None:
    content, words = HOSTILE[what]
    with pytest.raises(Rejected) as caught:
        examined(tmp_path, content)
    assert caught.value.code is Code.BROKEN_STRUCTURE
    assert words in caught.value.message
    assert words in caught.value.evidence["rule"]


def test_t7_our_reader_is_needed_because_the_library_takes_some_of_these(tmp_path: Path) -> None:
    taken = []
    for what, (content, _) in HOSTILE.items():
        (tmp_path / "x").write_bytes(content)
        if library_takes(tmp_path / "x"):
            taken.append(what)
    assert {"a tensor twice", "an entry with more keys", "an entry that is a list", "leading space"} <= set(taken)


def test_a_sound_file_shows_what_is_in_it(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt", "evil": "\x1b[2J\u202e" + "x" * 10_000},
        "lora_up.weight": tensor("F16", [2, 2], [4, 12]),
        "scale": tensor("F4", [2, 4], [0, 4]),
        "empty": tensor("F32", [0, 7], [4, 4]),
        "scalar": tensor("I8", [], [12, 13]),
    }
    facts = examined(tmp_path, packed(header, bytes(13))).facts
    assert facts["examined"] == "whole"
    assert facts["tensors"] == 4
    assert facts["parameters"] == 8 + 4 + 1
    assert facts["dtypes"] == {"F4": 1, "F32": 1, "F16": 1, "I8": 1}
    assert [shown["name"] for shown in facts["first_tensors"]] == ["scale", "empty", "lora_up.weight", "scalar"]
    assert facts["metadata"]["evil"].startswith("\\x1b[2J<U+202E>")
    assert len(facts["metadata"]["evil"]) < 400


def test_t23_evidence_stays_small_for_a_file_with_very_many_tensors(tmp_path: Path) -> None:
    header = {f"{n}-{'n' * 300}": tensor(shape=[1], offsets=[n, n + 1]) for n in range(3000)}
    header["__metadata__"] = {f"{n}{'k' * 300}": "v" * 3000 for n in range(300)}
    facts = examined(tmp_path, packed(header, bytes(3000))).facts
    assert facts["tensors"] == 3000
    assert len(canonical((dict(facts),))) < 12_000


def test_more_tensors_than_anybody_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("download_worker.verifiers.safetensors_header.MAX_TENSORS", 3)
    header = {str(n): tensor(shape=[1], offsets=[n, n + 1]) for n in range(4)}
    with pytest.raises(Rejected, match="4 tensors are over the limit of 3"):
        examined(tmp_path, packed(header, bytes(4)))


@pytest.mark.parametrize(
    "made",
    [
        lambda: b'{"a":[' + b"{}," * 600_000 + b"0]}",
        lambda: b'{"a":[' + b"[]," * 1_000_000 + b"0]}",
        lambda: b'{"a":[' + b"0," * 3_500_000 + b"0]}",
        lambda: b"{" + b",".join(b'"%d":0' % number for number in range(1_300_000)) + b"}",
        lambda: '{"a":"\U0001f600'.encode() + b"x" * 17_000_000 + b'"}',
    ],
    ids=["tables", "lists", "numbers", "keys", "one wide sign"],
)
def test_t6_a_header_that_would_grow_in_memory_is_refused_before_it_is_parsed(
    made: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = made()
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("parsed"))
    with pytest.raises(Broken, match="memory"):
        parse_header(raw, 8 + len(raw))


def test_a_header_of_very_many_tensors_with_much_metadata_is_read() -> None:
    header: dict[str, object] = {
        f"model.diffusion_model.blocks.{n}.weight": tensor("F16", [2, 1], [4 * n, 4 * n + 4]) for n in range(20_000)
    }
    header["__metadata__"] = {"ss_tag_frequency": json.dumps({f"tag {n}": n for n in range(100_000)})}
    raw = json.dumps(header).encode()
    assert len(parse_header(raw, 8 + len(raw) + 80_000).tensors) == 20_000


def test_the_library_knows_exactly_the_dtypes_that_we_know(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for dtype, bits in DTYPE_BITS.items():
        path.write_bytes(packed({"a": tensor(dtype, [8], [0, bits])}, bytes(bits)))
        assert library_takes(path), dtype
        path.write_bytes(packed({"a": tensor(dtype, [8], [0, bits + 8])}, bytes(bits + 8)))
        assert not library_takes(path), dtype
    path.write_bytes(packed({"a": tensor("C128", [1], [0, 16])}, bytes(16)))
    with pytest.raises(safetensors.SafetensorError, match="expected one of") as caught:
        safetensors.safe_open(path, framework="numpy")
    listed = str(caught.value).split("expected one of ")[1].split(" at line")[0]
    assert {name.strip("` ") for name in listed.split(",")} == set(DTYPE_BITS)


def test_the_library_reads_the_header_before_it_looks_for_a_framework(tmp_path: Path) -> None:
    """Without this order a missing numpy would turn the second reading into nothing."""
    path = tmp_path / "x"
    path.write_bytes(HOSTILE["bytes left over"][0])
    with pytest.raises(safetensors.SafetensorError):
        safetensors.safe_open(path, framework="numpy")


def test_what_only_the_library_refuses_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise safetensors.SafetensorError("\x1b]0;no\x07")

    monkeypatch.setattr(safetensors, "safe_open", refuse)
    with pytest.raises(Rejected, match="the safetensors library cannot read it") as caught:
        examined(tmp_path, makers.safetensors_bytes(1024))
    assert "\x1b" not in caught.value.message


def test_other_formats_are_said_to_be_unexamined(tmp_path: Path) -> None:
    assert examined(tmp_path, makers.gguf_bytes(), "model.gguf").facts == {"examined": "not examined"}


@given(st.binary(max_size=300))
def test_t6_any_bytes_are_a_header_or_broken_and_nothing_else(raw: bytes) -> None:
    try:
        length, header = header_length(raw, len(raw)), parse_header(raw, 8 + len(raw))
    except Broken as broken:
        assert str(broken)
    else:
        assert 0 < length <= len(raw) - 8 and header.tensors


@given(st.integers(min_value=0, max_value=399), st.integers(min_value=1, max_value=255))
def test_a_flipped_header_byte_never_makes_two_readings(place: int, flip: int) -> None:
    """Whatever we accept of a damaged header, the library accepts as well."""
    content = bytearray(makers.safetensors_bytes(1024))
    length = int.from_bytes(content[:8], "little")
    place = 8 + place % length
    content[place] ^= flip
    try:
        parse_header(bytes(content[8 : 8 + length]), len(content))
    except Broken:
        return
    header_and_data = bytes(content)
    assert safetensors.deserialize(header_and_data)  # type: ignore[no-untyped-call]


def test_d8_a_file_that_the_library_cannot_open_now_is_neither_gone_nor_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library says “no such file” of whatever it cannot open; taken at its word, the claim would be lost."""
    there = specimen(tmp_path, makers.safetensors_bytes(4096))
    library = safetensors.safe_open

    def without_descriptors(*words: Any, **named: Any) -> Any:
        with descriptors.none_left():
            return library(*words, **named)

    monkeypatch.setattr(safetensors, "safe_open", without_descriptors)
    with pytest.raises(TryLater) as caught:
        SafetensorsVerifier().examine(there, Leash())
    assert caught.value.code is Code.STORAGE

    def gone(*words: Any, **named: Any) -> Any:
        there.file.path.unlink()
        return library(*words, **named)

    monkeypatch.setattr(safetensors, "safe_open", gone)
    with pytest.raises(LostClaim):
        SafetensorsVerifier().examine(there, Leash())
