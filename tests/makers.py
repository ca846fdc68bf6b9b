"""Small real files of the kinds a model host sends, wanted and unwanted, the same bytes every time."""

import io
import json
import random
import struct
import zipfile
from collections.abc import Mapping

ALIGNMENT_BYTES = 8


def safetensors_bytes(size: int = 64 * 1024, seed: int = 1, metadata: Mapping[str, str] | None = None) -> bytes:
    """A valid safetensors file of exactly `size` bytes, F32 and F16; ValueError where its header alone needs more."""
    prefix = safetensors_prefix(size, metadata)
    return prefix + random.Random(seed).randbytes(size - len(prefix))


def safetensors_prefix(size: int, metadata: Mapping[str, str] | None = None) -> bytes:
    """Length and header of a safetensors file of exactly `size` bytes; any bytes may follow.

    So `SizedPattern(size, prefix=safetensors_prefix(size))` is a valid model of any size that takes no memory.

    Format: https://github.com/huggingface/safetensors#format. The header is padded with spaces to 8 bytes.
    """
    longest = len(_header(size, metadata))
    room = -(-longest // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    body_bytes = size - 8 - room
    if body_bytes < 0:
        raise ValueError(f"a safetensors file with this header needs {8 + room} bytes, not {size}")
    return struct.pack("<Q", room) + _header(body_bytes, metadata).ljust(room)


def _header(body_bytes: int, metadata: Mapping[str, str] | None) -> bytes:
    """Half the body F32, the rest F16, and one U8 where a byte is left over."""
    single = body_bytes // 8 * 4
    double = single + (body_bytes - single) // 2 * 2
    tensors: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    tensors["layer.0.weight"] = {"dtype": "F32", "shape": [single // 4], "data_offsets": [0, single]}
    tensors["layer.1.weight"] = {"dtype": "F16", "shape": [(double - single) // 2], "data_offsets": [single, double]}
    if double < body_bytes:
        tensors["layer.2.flag"] = {"dtype": "U8", "shape": [1], "data_offsets": [double, body_bytes]}
    return json.dumps(tensors, separators=(",", ":")).encode()


def html_page(size: int = 2000) -> bytes:
    """A sign-in page of exactly `size` bytes."""
    start, end = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>", b"</body></html>\n"
    return start + b" " * (size - len(start) - len(end)) + end


def zip_bytes(name: str = "readme.txt", content: bytes = b"not a model") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def elf_bytes(size: int = 4096) -> bytes:
    """The header of an x86-64 Linux executable, then zeros."""
    ident = b"\x7fELF" + bytes((2, 1, 1, 0)) + bytes(8)
    rest = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x400000, 64, 0, 0, 64, 56, 0, 64, 0, 0)
    return (ident + rest).ljust(size, b"\0")


def pe_bytes(size: int = 4096) -> bytes:
    """The headers of an x86-64 Windows executable, then zeros."""
    dos = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80)
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 0, 0, 0, 0, 240, 0x22) + struct.pack("<H", 0x20B)
    return (dos.ljust(0x80, b"\0") + coff).ljust(size, b"\0")


def gguf_bytes(architecture: str = "llama") -> bytes:
    """A GGUF 3 file with one metadata pair and no tensors (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md)."""
    key, value, string_type = b"general.architecture", architecture.encode(), 8
    pair = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", string_type, len(value)) + value
    content = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair
    return content.ljust(-(-len(content) // 32) * 32, b"\0")
