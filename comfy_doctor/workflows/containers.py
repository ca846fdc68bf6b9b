"""Files that carry a workflow: plain JSON, and PNG images with text chunks. Decided by content, never by extension.

PNG: https://www.w3.org/TR/png-3/ section 11.3.3 (tEXt, zTXt, iTXt). ComfyUI writes the chunks `workflow` (UI format)
and `prompt` (API format). The file is walked chunk by chunk; pixels are never read. All sizes are bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

MAX_WORKFLOW_BYTES = 64 * 1024**2
MAX_PNG_CHUNKS = 200_000
HEAD_BYTES = 32
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Where the metadata of an image may name a workflow, the most telling first.
_KEYWORDS = ("workflow", "prompt")


class Unreadable(Exception):
    """This file cannot be read as what it seems to be. The text says why, without the path."""


class Contents(NamedTuple):
    """The container's name and the texts in it that may be a workflow, the most telling first."""

    container: str
    texts: tuple[bytes, ...]


def open_container(path: Path) -> Contents:
    """What lies in this file.

    Raises:
        Unreadable: too large, damaged, or a kind of file whose metadata is not read.
        OSError: the file system says no.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        container = sniff(head)
        file.seek(0)
        if container == "json":
            return Contents(container, (_whole(file),))
        if container == "png":
            chunks = _png_texts(file)
            return Contents(container, tuple(chunks[word] for word in _KEYWORDS if word in chunks))
    raise Unreadable(f"workflows inside {container} files are not read yet")


def sniff(head: bytes) -> str:
    """The container's name from its first bytes; what is none of the known ones is tried as JSON."""
    if head.startswith(_PNG_SIGNATURE):
        return "png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        return "avif" if head[8:12] in (b"avif", b"avis") else "mp4"
    magic = {b"\xff\xd8\xff": "jpeg", b"\x1a\x45\xdf\xa3": "webm", b"fLaC": "flac", b"OggS": "ogg", b"ID3": "mp3"}
    return next((name for start, name in magic.items() if head.startswith(start)), "json")


def _whole(file: BinaryIO) -> bytes:
    data = file.read(MAX_WORKFLOW_BYTES + 1)
    if len(data) > MAX_WORKFLOW_BYTES:
        raise Unreadable(f"larger than {MAX_WORKFLOW_BYTES} bytes")
    return data


def _png_texts(file: BinaryIO) -> dict[str, bytes]:
    texts: dict[str, bytes] = {}
    for kind, body in _text_chunks(file):
        keyword, _, rest = body.partition(b"\0")
        word = keyword.decode("latin-1").lower()
        if word in _KEYWORDS and word not in texts:
            texts[word] = _text(kind, rest)
    return texts


def _text_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """(chunk type, body) of the text chunks; a cut file simply ends."""
    file.seek(len(_PNG_SIGNATURE))
    for _ in range(MAX_PNG_CHUNKS):
        header = file.read(8)
        if len(header) < 8 or header[4:] == b"IEND":
            return
        size = int.from_bytes(header[:4], "big")
        if header[4:] in (b"tEXt", b"zTXt", b"iTXt") and size <= MAX_WORKFLOW_BYTES:
            body = file.read(size)
            if len(body) == size:
                yield header[4:], body
            file.seek(4, 1)
        else:
            file.seek(size + 4, 1)
    raise Unreadable(f"more than {MAX_PNG_CHUNKS} PNG chunks")


def _text(kind: bytes, rest: bytes) -> bytes:
    """The text of a chunk after its keyword, as UTF-8."""
    if kind == b"tEXt":
        return _utf8(rest)
    if kind == b"zTXt":
        return _utf8(_inflated(rest[1:]))
    compressed, after = rest[:1] == b"\1", rest[2:]
    _language, _, after = after.partition(b"\0")
    _translated, _, text = after.partition(b"\0")
    return _inflated(text) if compressed else text


def _utf8(text: bytes) -> bytes:
    """tEXt is Latin-1 by the standard, and UTF-8 by the habit of many programs."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1").encode("utf-8")
    return text


def _inflated(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(data, MAX_WORKFLOW_BYTES)
    except zlib.error as error:
        raise Unreadable("a damaged compressed PNG text") from error
    if unpacker.unconsumed_tail:
        raise Unreadable(f"a PNG text that unpacks to more than {MAX_WORKFLOW_BYTES} bytes")
    return text
