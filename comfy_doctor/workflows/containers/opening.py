"""Which container a file is, from its first bytes, and the one way to open any of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, NamedTuple

from comfy_doctor.workflows.containers.glb import glb_texts
from comfy_doctor.workflows.containers.heif import heif_texts
from comfy_doctor.workflows.containers.id3 import id3_texts
from comfy_doctor.workflows.containers.isobmff import movie_texts
from comfy_doctor.workflows.containers.jpeg import jpeg_texts
from comfy_doctor.workflows.containers.markup import svg_texts
from comfy_doctor.workflows.containers.matroska import matroska_texts
from comfy_doctor.workflows.containers.png import png_texts
from comfy_doctor.workflows.containers.source import Source, Text, Unreadable
from comfy_doctor.workflows.containers.texts import by_promise, candidate, complete
from comfy_doctor.workflows.containers.vorbis import flac_texts, ogg_texts
from comfy_doctor.workflows.containers.webp import webp_texts

HEAD_BYTES = 4096
MAX_TEXTS = 64

_READERS: MappingProxyType[str, Callable[[Source], Iterator[Text]]] = MappingProxyType(
    {
        "png": png_texts,
        "webp": webp_texts,
        "jpeg": jpeg_texts,
        "avif": heif_texts,
        "mp4": movie_texts,
        "mov": movie_texts,
        "webm": matroska_texts,
        "mkv": matroska_texts,
        "flac": flac_texts,
        "ogg": ogg_texts,
        "mp3": id3_texts,
        "glb": glb_texts,
        "svg": svg_texts,
    }
)
_MAGIC = MappingProxyType(
    {
        b"\x89PNG\r\n\x1a\n": "png",
        b"\xff\xd8\xff": "jpeg",
        b"fLaC": "flac",
        b"OggS": "ogg",
        b"ID3": "mp3",
        b"\xff\xfb": "mp3",
        b"\xff\xf3": "mp3",
        b"\xff\xf2": "mp3",
        b"glTF": "glb",
    }
)
# https://www.iana.org/assignments/media-types/image/heif and AV1 in HEIF: stills and sequences of them.
_STILLS = frozenset({b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis"})
# QuickTime files from before the file type box begin with one of these.
_OLD_QUICKTIME = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})


class Contents(NamedTuple):
    """The container's name and the texts in it that may be a workflow, the most telling first.

    `damage` says what could not be read, None when everything was.
    """

    container: str
    texts: tuple[bytes, ...]
    damage: str | None = None


def open_container(path: Path) -> Contents:
    """What lies in this file.

    Raises:
        Unreadable: it is no file but a pipe or a device, which may never end.
        OSError: the file system says no.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise Unreadable("no regular file")
    with path.open("rb") as file:
        return open_stream(file)


def open_stream(file: BinaryIO) -> Contents:
    """What lies in this file, which has to be seekable. Raises OSError."""
    source = Source(file)
    head = source.read(0, HEAD_BYTES)
    container = sniff(head)
    if container == "json":
        return _json(source, head)
    found: list[Text] = []
    try:
        for text in _READERS[container](source):
            kept = candidate(text)
            if kept is not None:
                found.append(kept)
            if complete(found) or len(found) >= MAX_TEXTS:
                break
    except Unreadable as error:
        source.note(str(error))
    return Contents(container, tuple(text.data for text in by_promise(found)), source.damage)


def sniff(head: bytes) -> str:
    """The container's name from its first `HEAD_BYTES`; what is none of the known ones is tried as JSON."""
    magic = next((name for start, name in _MAGIC.items() if head.startswith(start)), None)
    if magic:
        return magic
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "mkv" if b"matroska" in head[:64] else "webm"
    if head[4:8] == b"ftyp":
        return "avif" if head[8:12] in _STILLS else "mov" if head[8:12] == b"qt  " else "mp4"
    if head[4:8] in _OLD_QUICKTIME and head[:1] not in (b"{", b"["):
        return "mov"
    start = _letters(head).lstrip()
    return "svg" if start[:1] == "<" and re.search(r"<(?:\w{1,32}:)?svg[\s>/]", start) else "json"


def _json(source: Source, head: bytes) -> Contents:
    """A file of another kind may be huge: it is read only when it begins like JSON."""
    if _letters(head).lstrip("\ufeff \t\r\n\0")[:1] not in ("{", "[", '"'):
        return Contents("json", ())
    data = source.body(0, source.size)
    return Contents("json", (data,) if data else (), source.damage)


def _letters(head: bytes) -> str:
    """The head as text, in the Unicode encoding that it seems to have."""
    return head.decode(json.detect_encoding(head), "replace").lstrip("\ufeff")
