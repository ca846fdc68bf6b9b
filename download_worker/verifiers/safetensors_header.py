"""The safetensors header, read strictly and by ourselves: every byte of the file is accounted for, by one tensor only.

Format: https://github.com/huggingface/safetensors#format. The library (0.8.0) is laxer than that page: it takes
duplicate tensor names, unknown keys in an entry, entries written as arrays, `null` metadata, leading white space. Any
of these lets two readers see two different files, so all of them are refused. Pure: bytes in, `Header` or `Broken` out.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000
"""The library's own limit (`MAX_HEADER_SIZE` in tensor.rs)."""
MAX_TENSORS = 100_000
MAX_PARSED_BYTES = 130_000_000
"""What the parsed header may weigh, as estimated before it is parsed. 100,000 usual tensors weigh some 120 MB."""
MAX_DIMENSIONS = 64
MAX_DIMENSION = 2**63 - 1
MAX_TENSOR_NAME_BYTES = 4_096

# Bits per element of every dtype that safetensors 0.8.0 knows (a test asks the library).
DTYPE_BITS = MappingProxyType(
    {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
    | dict.fromkeys(["BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"], 8)
    | dict.fromkeys(["I16", "U16", "F16", "BF16"], 16)
    | dict.fromkeys(["I32", "U32", "F32"], 32)
    | dict.fromkeys(["I64", "U64", "F64", "C64"], 64)
)


class Broken(Exception):
    """The rule that is broken, in words that are safe to show (foreign text is left out)."""


@dataclass(frozen=True)
class Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """Tensors in the order of their bytes. `metadata` is free text from the file's author."""

    tensors: tuple[Tensor, ...]
    metadata: Mapping[str, str]

    @property
    def parameters(self) -> int:
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def dtypes(self) -> dict[str, int]:
        """How many tensors have each dtype."""
        return dict(Counter(tensor.dtype for tensor in self.tensors))


def header_length(first: bytes, file_bytes: int) -> int:
    """The length of the JSON that follows these first eight bytes. Raises Broken."""
    if len(first) < LENGTH_BYTES:
        raise Broken("the file is too short to hold a header length")
    length = int.from_bytes(first[:LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        raise Broken(f"a header of {length} bytes is over the limit of {MAX_HEADER_BYTES}")
    if length < 2 or LENGTH_BYTES + length > file_bytes:
        raise Broken(f"a header of {length} bytes does not fit into a file of {file_bytes}")
    return length


def parse_header(raw: bytes, file_bytes: int) -> Header:
    """Check the JSON of a header against the size of its file in bytes. Raises Broken, naming the rule."""
    document = _document(raw)
    metadata = _metadata(document.pop("__metadata__", {}))
    if not document:
        raise Broken("it holds no tensors")
    if len(document) > MAX_TENSORS:
        raise Broken(f"{len(document)} tensors are over the limit of {MAX_TENSORS}")
    tensors = sorted(_tensors(document), key=lambda tensor: (tensor.begin, tensor.end))
    _check_layout(tensors, file_bytes - LENGTH_BYTES - len(raw))
    return Header(tuple(tensors), metadata)


def _document(raw: bytes) -> dict[str, Any]:
    if not raw.startswith(b"{"):
        raise Broken("the header does not begin with a brace")
    if _parsed_bytes(raw) > MAX_PARSED_BYTES:
        raise Broken("the header would need too much memory for its size")
    try:
        document: dict[str, Any] = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_no_constant
        )
    except UnicodeDecodeError as error:
        raise Broken("the header is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise Broken(f"the header is not one JSON object ({type(error).__name__})") from error
    if raw.rstrip(b" ")[-1:] != b"}":
        raise Broken("the header is padded with something else than spaces")
    return document


# The sign that begins or follows a value → the bytes that Python needs for one, at most. Signs within a text count too.
_BYTES_PER_SIGN = MappingProxyType({b"{": 240, b"[": 96, b",": 40, b'"': 32})


def _parsed_bytes(raw: bytes) -> int:
    """What this JSON weighs once it is parsed, roughly and rather too much: its text twice, and all its values."""
    width = 1 if raw.isascii() else 4
    return 2 * len(raw) * width + sum(raw.count(sign) * weight for sign, weight in _BYTES_PER_SIGN.items())


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise Broken("the header has a key twice")
    return table


def _no_constant(_name: str) -> float:
    raise Broken("the header has a number that JSON does not have")


def _metadata(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise Broken("its __metadata__ is not a table of texts")
    for text in (*value.keys(), *value.values()):
        _check_text(text)
    return value


def _tensors(document: Mapping[str, Any]) -> Iterator[Tensor]:
    for number, (name, entry) in enumerate(document.items()):
        try:
            yield _tensor(name, entry)
        except Broken as rule:
            raise Broken(f"tensor number {number}: {rule}") from rule


def _tensor(name: str, entry: object) -> Tensor:
    if not name or len(_check_text(name)) > MAX_TENSOR_NAME_BYTES:
        raise Broken(f"its name is empty or longer than {MAX_TENSOR_NAME_BYTES} bytes")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise Broken("its entry is not exactly dtype, shape and data_offsets")
    dtype, shape = entry["dtype"], _whole_numbers(entry["shape"], "shape", MAX_DIMENSIONS)
    offsets = _whole_numbers(entry["data_offsets"], "data_offsets", 2)
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise Broken("its dtype is unknown")
    if len(offsets) != 2:
        raise Broken("its data_offsets are not a begin and an end")
    tensor = Tensor(name, dtype, shape, *offsets)
    bits = tensor.elements * DTYPE_BITS[dtype]
    if bits % 8 or tensor.end - tensor.begin != bits // 8:
        raise Broken(f"{tensor.end - tensor.begin} bytes cannot be its shape of {dtype}")
    return tensor


def _whole_numbers(value: object, what: str, at_most: int) -> tuple[int, ...]:
    """JSON has no integers: 1.0, true and -1 are refused by their type or size."""
    if not isinstance(value, list) or len(value) > at_most:
        raise Broken(f"its {what} is not a list of at most {at_most} numbers")
    if not all(type(number) is int and 0 <= number <= MAX_DIMENSION for number in value):
        raise Broken(f"its {what} has something else than whole numbers from 0 to 2^63-1")
    return tuple(value)


def _check_text(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Broken("the header has half a surrogate pair, which is no character") from error


def _check_layout(tensors: Sequence[Tensor], data_bytes: int) -> None:
    """The tensors, in the order of their bytes, cover the data exactly: from 0, without hole or overlap, to the end."""
    reached = 0
    for tensor in tensors:
        if tensor.begin != reached:
            kind = "a hole" if tensor.begin > reached else "an overlap"
            raise Broken(f"{kind} between the tensors at byte {min(tensor.begin, reached)} of the data")
        reached = tensor.end
    if reached != data_bytes:
        kind = "missing" if reached > data_bytes else "left over"
        raise Broken(f"{abs(reached - data_bytes)} bytes are {kind} at the end of the file")
