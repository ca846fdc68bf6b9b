"""MP4 and QuickTime: the user data of a movie, in all its dialects.

ISO/IEC 14496-12 and the QuickTime File Format Specification. ComfyUI's SaveVideo writes `moov/udta/meta` with `keys`
and `ilst` (ffmpeg's use_metadata_tags); VideoHelperSuite writes a comment: `©cmt` in the `ilst` of an MP4, `©cmt` right
in `udta` of a MOV. The frames (`mdat`) are stepped over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from comfy_doctor.workflows.containers.markup import xmp_texts
from comfy_doctor.workflows.containers.source import Source, Text
from comfy_doctor.workflows.containers.texts import utf8

MAX_DEPTH = 16
MAX_KEYS = 4096
MAX_KEY_BYTES = 1024
_ENTERED = frozenset({b"moov", b"udta", b"trak", b"meta", b"ilst"})
_DATA_HEAD_BYTES = 8  # type and locale of a `data` box
_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")


class Box(NamedTuple):
    """Offsets of its body in the file."""

    kind: bytes
    start: int
    end: int


def boxes(source: Source, start: int, end: int) -> Iterator[Box]:
    """The boxes from `start` to `end`; one with a size that cannot be is the last."""
    while start + 8 <= end and len(header := source.read(start, 16)) >= 8:
        size, head = int.from_bytes(header[:4], "big"), 8
        if size == 1:
            size, head = int.from_bytes(header[8:16], "big"), 16
        stop = end if size == 0 else min(start + size, end)
        if size and size < head:
            return
        yield Box(header[4:8], start + head, stop)
        start = stop


def meta_children(source: Source, box: Box) -> int:
    """Where the children of a `meta` box begin: ISO puts 4 bytes of version before them, QuickTime does not."""
    return box.start if source.read(box.start + 4, 4) == b"hdlr" else box.start + 4


def movie_texts(source: Source) -> Iterator[Text]:
    return _inside(source, Box(b"", 0, source.size), 0, [])


def _inside(source: Source, outer: Box, depth: int, keys: list[str]) -> Iterator[Text]:
    """`keys` are the names for the numbered items of the same `meta` box."""
    start = meta_children(source, outer) if outer.kind == b"meta" else outer.start
    for box in boxes(source, start, outer.end):
        if outer.kind == b"ilst":
            yield from _item(source, box, keys)
        elif box.kind in _ENTERED and depth < MAX_DEPTH:
            yield from _inside(source, box, depth + 1, keys if outer.kind == b"meta" else [])
        elif box.kind == b"keys" and outer.kind == b"meta":
            keys.extend(_keys(source, box))
        elif box.kind == b"uuid" and source.read(box.start, 16) == _XMP:
            yield from xmp_texts(source.body(box.start + 16, box.end - box.start - 16), source)
        elif outer.kind == b"udta" and box.kind[:1] == b"\xa9":
            yield from _quicktime_text(source, box)


def _keys(source: Source, box: Box) -> Iterator[str]:
    """The names in their order, counted from one: 4 bytes of version, 4 of count, then a box for each."""
    for number, key in enumerate(boxes(source, box.start + 8, box.end)):
        if number == MAX_KEYS:
            return
        yield source.read(key.start, min(key.end - key.start, MAX_KEY_BYTES)).decode("utf-8", "replace")


def _item(source: Source, item: Box, keys: list[str]) -> Iterator[Text]:
    """The texts of one item of `ilst`: named by number, by four letters, or freely (`----` with a box `name`)."""
    number = int.from_bytes(item.kind, "big")
    key = keys[number - 1] if 0 < number <= len(keys) else item.kind.decode("latin-1")
    for box in boxes(source, item.start, item.end):
        if box.kind == b"name" and item.kind == b"----":
            key = source.read(box.start + 4, min(box.end - box.start - 4, MAX_KEY_BYTES)).decode("utf-8", "replace")
        elif box.kind == b"data":
            start = box.start + _DATA_HEAD_BYTES
            yield Text(key, utf8(source.body(start, box.end - start)))


def _quicktime_text(source: Source, box: Box) -> Iterator[Text]:
    """2 bytes of size, 2 of language, the text; the size of a large one does not fit, so the box tells the end."""
    yield Text(box.kind.decode("latin-1"), utf8(source.body(box.start + 4, box.end - box.start - 4)))
