"""The texts in a block of EXIF, wherever a program put a workflow.

EXIF 2.32 / TIFF 6.0. Seen in the wild: Make, Model, ImageDescription and lower tags as "workflow:{…}" or "Prompt:{…}"
(ComfyUI, was-suite, efficiency nodes, comfy-image-saver), UserComment as UTF-16 or ASCII behind its 8 bytes of
character code (image savers, Civitai). So every text of every tag is looked at. The walk is ours: it needs no pixels,
and follows no loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Literal

from comfy_doctor.workflows.containers.source import Source, Text
from comfy_doctor.workflows.containers.texts import from_utf16, utf8, utf16_of_any_order

MAX_ENTRIES = 1024
ByteOrder = Literal["little", "big"]
_ORDERS: MappingProxyType[bytes, ByteOrder] = MappingProxyType({b"II*\0": "little", b"MM\0*": "big"})
_FAR_TYPES = frozenset({1, 2, 7, 129})  # byte, ASCII, undefined, UTF-8 (EXIF 3.0): one byte each
_EXIF_POINTER = 0x8769
_USER_COMMENT = 0x9286
_WINDOWS_TEXTS = range(0x9C9B, 0x9CA0)  # XPTitle, XPComment, XPAuthor, XPKeywords, XPSubject
_CODE_BYTES = 8


def exif_texts(block: bytes, source: Source) -> Iterator[Text]:
    """Texts without names; `block` may begin with "Exif" and zeros, or with the offset that HEIF puts there.

    Every entry is a step of `source`, since directories may overlap and point to each other. Raises Unreadable.
    """
    start = min((at for mark in _ORDERS if (at := block.find(mark, 0, 64)) >= 0), default=-1)
    if start < 0:
        return
    tiff = block[start:]
    order = _ORDERS[tiff[:4]]
    waiting, seen = [_number(tiff[4:8], order)], set[int]()
    left = 2 * len(tiff)  # entries may all point to the same large place
    while waiting:
        directory = waiting.pop()
        if directory in seen:
            continue
        seen.add(directory)
        for tag, kind, count, at in _entries(tiff, directory, order):
            source.step()
            if tag == _EXIF_POINTER:
                waiting.append(_number(tiff[at : at + 4], order))
            elif kind in _FAR_TYPES and count > 4:
                far = _number(tiff[at : at + 4], order)
                value = tiff[far : far + count]
                left -= len(value)
                if left < 0:
                    return
                yield Text("", _decoded(tag, value))


def _entries(tiff: bytes, directory: int, order: ByteOrder) -> Iterator[tuple[int, int, int, int]]:
    """(tag, type, count, where its value or the pointer to it stands) of one directory."""
    count = _number(tiff[directory : directory + 2], order)
    for index in range(min(count, MAX_ENTRIES)):
        at = directory + 2 + 12 * index
        entry = tiff[at : at + 12]
        if len(entry) < 12:
            return
        yield _number(entry[:2], order), _number(entry[2:4], order), _number(entry[4:8], order), at + 8


def _number(data: bytes, order: ByteOrder) -> int:
    return int.from_bytes(data, order)


def _decoded(tag: int, value: bytes) -> bytes:
    if tag == _USER_COMMENT:
        code, text = value[:_CODE_BYTES], value[_CODE_BYTES:]
        if code.startswith(b"UNICODE"):
            return utf16_of_any_order(text)
        return utf8(text) if code.startswith((b"ASCII", b"JIS", b"\0")) else utf8(value)
    if tag in _WINDOWS_TEXTS:
        return from_utf16(value, "utf-16-le")
    return utf8(value)
