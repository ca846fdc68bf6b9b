"""AVIF and HEIF: the EXIF and XMP items that the file's `meta` box lists (ISO/IEC 23008-12 section 6, annex A).

`iinf` names the items, `iloc` tells where they lie: in the file, or in the box `idat` beside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from comfy_doctor.workflows.containers.exif import exif_texts
from comfy_doctor.workflows.containers.isobmff import Box, boxes, meta_children
from comfy_doctor.workflows.containers.markup import xmp_texts
from comfy_doctor.workflows.containers.source import Source, Text

MAX_ITEMS = 4096
MAX_INDEX_BYTES = 4 * 1024**2
_IN_FILE, _IN_IDAT = 0, 1
_XMP_TYPE = b"application/rdf+xml"


def heif_texts(source: Source) -> Iterator[Text]:
    for meta in boxes(source, 0, source.size):
        if meta.kind != b"meta":
            continue
        parts = {box.kind: box for box in boxes(source, meta_children(source, meta), meta.end)}
        names = dict(_named(source, parts[b"iinf"])) if b"iinf" in parts else {}
        places = _places(source, parts[b"iloc"], parts.get(b"idat")) if b"iloc" in parts else ()
        for item, start, size in places:
            if names.get(item) == b"Exif":
                yield from exif_texts(source.body(start, size), source)
            elif names.get(item) == _XMP_TYPE:
                yield from xmp_texts(source.body(start, size), source)


def _named(source: Source, iinf: Box) -> Iterator[tuple[int, bytes]]:
    """(item, "Exif" or its MIME type) of the entries of version 2 and 3, which are all that HEIF allows."""
    wide = source.read(iinf.start, 1) != b"\0"
    for number, infe in enumerate(boxes(source, iinf.start + (8 if wide else 6), iinf.end)):
        if number == MAX_ITEMS:
            return
        body = source.read(infe.start, min(infe.end - infe.start, 256))
        id_bytes = 4 if body[:1] == b"\3" else 2
        item, rest = int.from_bytes(body[4 : 4 + id_bytes], "big"), body[6 + id_bytes :]
        kind, names = rest[:4], rest[4:].split(b"\0")
        yield item, names[1] if kind == b"mime" and len(names) > 1 else kind


def _places(source: Source, iloc: Box, idat: Box | None) -> Iterator[tuple[int, int, int]]:
    """(item, offset in the file, size) of the items that lie in one piece in this file."""
    cursor = _Cursor(source.read(iloc.start, min(iloc.end - iloc.start, MAX_INDEX_BYTES)))
    version = cursor.take(1)
    cursor.take(3)
    widths = cursor.take(2)
    offset_bytes, size_bytes, base_bytes, index_bytes = (widths >> shift & 15 for shift in (12, 8, 4, 0))
    id_bytes = 2 if version < 2 else 4
    for _ in range(min(cursor.take(id_bytes), MAX_ITEMS)):
        source.step()
        item = cursor.take(id_bytes)
        method = cursor.take(2) & 15 if version else _IN_FILE
        cursor.take(2)  # which file: always this one
        base, extents = cursor.take(base_bytes), cursor.take(2)
        cursor.take(index_bytes if version else 0)
        offset, size = base + cursor.take(offset_bytes), cursor.take(size_bytes)
        cursor.take((extents - 1) * (index_bytes * bool(version) + offset_bytes + size_bytes))
        if cursor.ended:
            return
        if method == _IN_FILE and extents == 1:
            yield item, offset, size
        elif method == _IN_IDAT and extents == 1 and idat is not None:
            yield item, idat.start + offset, size


@dataclass(slots=True)
class _Cursor:
    """Big-endian numbers, one after the other; zeros behind the end."""

    data: bytes
    at: int = 0

    def take(self, size: int) -> int:
        self.at += size
        return int.from_bytes(self.data[self.at - size : self.at], "big")

    @property
    def ended(self) -> bool:
        return self.at > len(self.data)
