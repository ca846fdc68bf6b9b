"""WebM and Matroska: the simple tags of an EBML file (RFC 8794, RFC 9559 section 5.1.8).

ffmpeg, and so ComfyUI's SaveWEBM and VideoHelperSuite, writes names in capitals: WORKFLOW, PROMPT, COMMENT. Ids are
unique over all levels, so the walk is flat: it enters what may hold tags and whatever does not tell its size (a live
stream), and steps over the rest. Nothing can be nested too deeply for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from comfy_doctor.workflows.containers.source import Source, Text

_SEGMENT, _SEEK_HEAD, _SEEK, _TAGS, _TAG = 0x18538067, 0x114D9B74, 0x4DBB, 0x1254C367, 0x7373
_SIMPLE_TAG, _TAG_NAME, _TAG_STRING, _SEEK_ID, _SEEK_POSITION = 0x67C8, 0x45A3, 0x4487, 0x53AB, 0x53AC
_ENTERED = frozenset({_SEGMENT, _SEEK_HEAD, _SEEK, _TAGS, _TAG, _SIMPLE_TAG})
_HEADER_BYTES = 12
MAX_NAME_BYTES = 1024


def matroska_texts(source: Source) -> Iterator[Text]:
    """The tags. An index at the front (SeekHead) leads to those behind the clusters, which are then not walked."""
    segment, sought = 0, b""
    for kind, at, size in _elements(source, 0, source.size):
        if kind == _SEGMENT:
            segment = at
        elif kind == _SEEK_ID:
            sought = source.read(at, min(size, 8))
        elif kind == _SEEK_POSITION and sought == _TAGS.to_bytes(4, "big"):
            place = segment + int.from_bytes(source.read(at, min(size, 8)), "big")
            first = next(_elements(source, place, source.size), None)
            if first is not None and first[0] == _TAGS:
                yield from _tags(source, first[1], first[1] + first[2])
                return
        elif kind == _TAGS:
            yield from _tags(source, at, at + size)


def _tags(source: Source, start: int, end: int) -> Iterator[Text]:
    """Name and text of each simple tag."""
    name: str | None = None
    for kind, at, size in _elements(source, start, min(end, source.size)):
        if kind == _SIMPLE_TAG:
            name = None
        elif kind == _TAG_NAME:
            name = source.read(at, min(size, MAX_NAME_BYTES)).rstrip(b"\0").decode("utf-8", "replace")
        elif kind == _TAG_STRING and name is not None:
            yield Text(name, source.body(at, size))


def _elements(source: Source, offset: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(id, offset of the body, size) of every element of interest on the flat way from `offset` to `end`."""
    while offset < end and (header := source.read(offset, _HEADER_BYTES)):
        id_bytes = _width(header[0])
        size_bytes = _width(header[id_bytes]) if id_bytes < len(header) else 9
        at = offset + id_bytes + size_bytes
        if id_bytes > 4 or size_bytes > 8 or len(header) < id_bytes + size_bytes:
            return
        kind = int.from_bytes(header[:id_bytes], "big")
        told = int.from_bytes(header[id_bytes : id_bytes + size_bytes], "big") & ((1 << 7 * size_bytes) - 1)
        unknown = told == (1 << 7 * size_bytes) - 1
        yield kind, at, told
        offset = at if unknown or kind in _ENTERED else at + told


def _width(first: int) -> int:
    """Bytes of a variable-size number: one more than its first byte has leading zeros."""
    return 9 - first.bit_length()
