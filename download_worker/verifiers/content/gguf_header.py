"""The beginning of a GGUF file: its keys and the list of its tensors, as far as the given bytes reach.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; blocks and their bytes: ggml-common.h. A tokenizer
may fill megabytes here, so running out of bytes is no error: what was read until then is the answer. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from download_worker.verifiers.content.heads import Format, Head, Weight, telling
from download_worker.verifiers.safetensors_header import MAX_DIMENSION, MAX_TENSORS, Broken

MAGIC = b"GGUF"
VERSIONS = frozenset({2, 3})
"""Version 1 has shorter counts; nothing for ComfyUI was ever published in it."""
MAX_PAIRS = 100_000
MAX_DIMENSIONS = 4
MAX_NAME_BYTES = 1_024
DEFAULT_ALIGNMENT_BYTES = 32
MAX_ALIGNMENT_BYTES = 1 << 20
SHAPE_KEY = "comfy.gguf.orig_shape."
"""ComfyUI-GGUF flattens convolutions to quantize them, and keeps their true shape under this key."""

_UINT32, _STRING, _ARRAY = 4, 8, 9
_SCALARS = MappingProxyType(
    dict(enumerate(("<B", "<b", "<H", "<h", "<I", "<i", "<f", "<?"))) | {10: "<Q", 11: "<q", 12: "<d"}
)
_SIZES = MappingProxyType({kind: struct.calcsize(form) for kind, form in _SCALARS.items()})
_WHOLE = frozenset(_SCALARS) - {6, 12}
MAX_KEPT_NUMBERS = 8


class Packing(NamedTuple):
    """A ggml type: so many elements are packed into so many bytes."""

    name: str
    elements: int
    block_bytes: int


# fmt: off
PACKINGS = MappingProxyType({
    0: Packing("F32", 1, 4), 1: Packing("F16", 1, 2), 2: Packing("Q4_0", 32, 18), 3: Packing("Q4_1", 32, 20),
    6: Packing("Q5_0", 32, 22), 7: Packing("Q5_1", 32, 24), 8: Packing("Q8_0", 32, 34), 9: Packing("Q8_1", 32, 36),
    10: Packing("Q2_K", 256, 84), 11: Packing("Q3_K", 256, 110), 12: Packing("Q4_K", 256, 144),
    13: Packing("Q5_K", 256, 176), 14: Packing("Q6_K", 256, 210), 15: Packing("Q8_K", 256, 292),
    16: Packing("IQ2_XXS", 256, 66), 17: Packing("IQ2_XS", 256, 74), 18: Packing("IQ3_XXS", 256, 98),
    19: Packing("IQ1_S", 256, 50), 20: Packing("IQ4_NL", 32, 18), 21: Packing("IQ3_S", 256, 110),
    22: Packing("IQ2_S", 256, 82), 23: Packing("IQ4_XS", 256, 136), 24: Packing("I8", 1, 1), 25: Packing("I16", 1, 2),
    26: Packing("I32", 1, 4), 27: Packing("I64", 1, 8), 28: Packing("F64", 1, 8), 29: Packing("IQ1_M", 256, 56),
    30: Packing("BF16", 1, 2), 34: Packing("TQ1_0", 256, 54), 35: Packing("TQ2_0", 256, 66),
    39: Packing("MXFP4", 32, 17),
})
# fmt: on


class _Short(Exception):
    """The bytes end before the head does; it reaches at least to `byte`."""

    def __init__(self, byte: int) -> None:
        super().__init__()
        self.byte = byte


@dataclass
class _Cursor:
    raw: bytes
    at: int = 0

    def take(self, count: int) -> bytes:
        self.skip(count)
        return self.raw[self.at - count : self.at]

    def skip(self, count: int) -> None:
        if self.at + count > len(self.raw):
            raise _Short(self.at + count)
        self.at += count

    def scalar(self, kind: int) -> int | float:
        value: int | float = struct.unpack(_SCALARS[kind], self.take(_SIZES[kind]))[0]
        return value

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def text(self, max_bytes: int | None = None) -> str:
        length = self.number("<Q")
        if max_bytes is not None and length > max_bytes:
            raise Broken(f"a GGUF name of {length} bytes is over the limit of {max_bytes}")
        return self.take(length).decode("utf-8", errors="replace")


@dataclass
class _Table:
    """What is known so far. `ends` are where the tensors end, in bytes after the beginning of the data."""

    texts: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    alignment: int = DEFAULT_ALIGNMENT_BYTES
    tensors: dict[str, Weight] = field(default_factory=dict)
    ends: list[int | None] = field(default_factory=list)


def missing_byte(raw: bytes) -> int | None:
    """How far the head reaches at least, in bytes, when it goes on after these; None when it ends in them.

    Raises Broken when these bytes are no GGUF head.
    """
    try:
        _read(_Cursor(raw), _Table())
    except _Short as short:
        return short.byte
    return None


def read_gguf(raw: bytes) -> Head:
    """The head in these first bytes of a GGUF file, complete or not. Raises Broken, naming the rule."""
    cursor, table = _Cursor(raw), _Table()
    try:
        _read(cursor, table)
    except _Short:
        return Head(Format.GGUF, table.tensors, telling(table.texts), complete=False)
    return Head(Format.GGUF, table.tensors, telling(table.texts), _total(cursor.at, table))


def _read(cursor: _Cursor, table: _Table) -> None:
    if cursor.take(4) != MAGIC or cursor.number("<I") not in VERSIONS:
        raise Broken("it is not a GGUF file of version 2 or 3")
    tensors, pairs = cursor.number("<Q"), cursor.number("<Q")
    if tensors > MAX_TENSORS or pairs > MAX_PAIRS:
        raise Broken(f"{tensors} tensors and {pairs} keys are over the limits of GGUF files that exist")
    for _ in range(pairs):
        _read_pair(cursor, table)
    for _ in range(tensors):
        _read_tensor(cursor, table)


def _read_pair(cursor: _Cursor, table: _Table) -> None:
    key, kind = cursor.text(MAX_NAME_BYTES), cursor.number("<I")
    if kind == _STRING:
        table.texts[key] = cursor.text()
    elif kind == _ARRAY:
        numbers = _read_array(cursor)
        if key.startswith(SHAPE_KEY):
            table.shapes[key[len(SHAPE_KEY) :]] = numbers
    elif kind in _SIZES:
        table.texts[key] = str(cursor.scalar(kind))
        if key == "general.alignment" and kind == _UINT32:
            table.alignment = min(int(table.texts[key]), MAX_ALIGNMENT_BYTES) or DEFAULT_ALIGNMENT_BYTES
    else:
        raise Broken(f"a GGUF key has the unknown type {kind}")


def _read_array(cursor: _Cursor) -> tuple[int, ...]:
    """Few whole numbers are read, everything else is passed over."""
    kind, count = cursor.number("<I"), cursor.number("<Q")
    if kind == _STRING:
        for _ in range(count):
            cursor.skip(cursor.number("<Q"))
        return ()
    if kind not in _SIZES:
        raise Broken(f"a GGUF array has the unknown type {kind}")
    if count <= MAX_KEPT_NUMBERS and kind in _WHOLE:
        return tuple(cursor.number(_SCALARS[kind]) for _ in range(count))
    cursor.skip(count * _SIZES[kind])
    return ()


def _read_tensor(cursor: _Cursor, table: _Table) -> None:
    name, dimensions = cursor.text(MAX_NAME_BYTES), cursor.number("<I")
    if dimensions > MAX_DIMENSIONS:
        raise Broken(f"a GGUF tensor has {dimensions} dimensions")
    inner_first = tuple(cursor.number("<Q") for _ in range(dimensions))
    if any(number > MAX_DIMENSION for number in inner_first) or name in table.tensors:
        raise Broken("a GGUF tensor is there twice, or has an impossible shape")
    kind, offset = cursor.number("<I"), cursor.number("<Q")
    packing = PACKINGS.get(kind)
    stored = Weight(packing.name if packing else f"type {kind}", inner_first[::-1])
    table.tensors[name] = stored._replace(shape=table.shapes.get(name, stored.shape))
    table.ends.append(None if packing is None else offset + _packed_bytes(stored, packing))


def _packed_bytes(weight: Weight, packing: Packing) -> int:
    return -(-weight.elements // packing.elements) * packing.block_bytes


def _total(head_bytes: int, table: _Table) -> int | None:
    """What the whole file has at least: padding may follow its last tensor. None where a quantization is unknown."""
    begin = -(-head_bytes // table.alignment) * table.alignment
    ends = [end for end in table.ends if end is not None]
    if len(ends) < len(table.ends):
        return None
    return begin + max(ends) if ends else head_bytes


def claimed_architecture(metadata: Mapping[str, str]) -> str:
    """The architecture that the file claims for itself, in lower case; empty where it claims none."""
    return metadata.get("general.architecture", "").lower()
