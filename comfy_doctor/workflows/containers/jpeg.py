"""JPEG: EXIF, XMP (also the extended one of many segments) and comments before the first scan.

ITU-T T.81 annex B for the markers; XMP specification part 3, section 1.1.3. A segment holds 65,533 bytes at most, so
savers that want to keep a large workflow leave its prompt out, or use extended XMP.
"""

from __future__ import annotations

from collections.abc import Iterator

from comfy_doctor.workflows.containers.exif import exif_texts
from comfy_doctor.workflows.containers.markup import xmp_texts
from comfy_doctor.workflows.containers.source import Source, Text
from comfy_doctor.workflows.containers.texts import utf8

_APP1, _COMMENT, _SCAN, _END = 0xE1, 0xFE, 0xDA, 0xD9
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_EXIF = b"Exif\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_MORE_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_MORE_XMP_HEAD_BYTES = len(_MORE_XMP) + 32 + 4 + 4


def jpeg_texts(source: Source) -> Iterator[Text]:
    more: list[tuple[int, bytes]] = []
    for marker, body in _segments(source):
        if marker == _COMMENT:
            yield Text("", utf8(body))
        elif body.startswith(_EXIF):
            yield from exif_texts(body, source)
        elif body.startswith(_XMP):
            yield from xmp_texts(body[len(_XMP) :], source)
        elif body.startswith(_MORE_XMP):
            place = int.from_bytes(body[_MORE_XMP_HEAD_BYTES - 4 : _MORE_XMP_HEAD_BYTES], "big")
            more.append((place, body[_MORE_XMP_HEAD_BYTES:]))
    yield from xmp_texts(b"".join(body for _, body in sorted(more, key=lambda part: part[0])), source)


def _segments(source: Source) -> Iterator[tuple[int, bytes]]:
    """(marker, body) of the segments that hold metadata."""
    offset = 2
    while len(header := source.read(offset, 4)) >= 2 and header[0] == 0xFF:
        marker = header[1]
        if marker in (_SCAN, _END):
            return
        if marker == 0xFF or marker in _ALONE:
            offset += 1 if marker == 0xFF else 2
            continue
        size = int.from_bytes(header[2:4], "big")
        if size < 2:
            return
        if marker in (_APP1, _COMMENT):
            yield marker, source.body(offset + 4, size - 2)
        offset += 2 + size
