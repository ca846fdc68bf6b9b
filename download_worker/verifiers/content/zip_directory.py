"""The directory at the end of a zip archive: the names of its entries, nothing else. Nothing is ever unpacked.

Format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT (4.3.12 to 4.3.16). PyTorch saves such archives,
with a pickle `…/data.pkl` and one numbered entry per tensor, so the names tell whose archive it is and no more. Pure.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from download_worker.verifiers.safetensors_header import Broken

TAIL_BYTES = 64 * 1024 + 22 + 20
"""The end record, its longest comment, and the locator of ZIP64: it is all found in so many last bytes."""
MAX_ENTRIES = 100_000
_END, _LOCATOR, _END64, _ENTRY = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06", b"PK\x01\x02"
_END_BYTES, _LOCATOR_BYTES, _END64_BYTES, _ENTRY_BYTES = 22, 20, 56, 46


class Directory(NamedTuple):
    """Where the directory lies, counted from the beginning of the file, in bytes."""

    offset: int
    length: int
    entries: int


def find_directory(tail: bytes, file_bytes: int) -> Directory:
    """Where the directory of this archive is, told by its last bytes. Raises Broken when there is none: it is cut."""
    at = tail.rfind(_END)
    if at < 0 or at + _END_BYTES > len(tail):
        raise Broken("the archive has no directory at its end")
    entries, length, offset = struct.unpack("<H", tail[at + 10 : at + 12]) + struct.unpack(
        "<II", tail[at + 12 : at + 20]
    )
    if offset == 0xFFFFFFFF or length == 0xFFFFFFFF or entries == 0xFFFF:
        entries, length, offset = _wide(tail, at, file_bytes)
    if entries > MAX_ENTRIES or offset + length > file_bytes:
        raise Broken("the directory of the archive cannot be where its end says")
    return Directory(offset, length, entries)


def _wide(tail: bytes, at: int, file_bytes: int) -> tuple[int, int, int]:
    """ZIP64: entries, length and offset of the directory, from the record that the locator before the end names."""
    locator = tail[max(0, at - _LOCATOR_BYTES) : at]
    if len(locator) < _LOCATOR_BYTES or not locator.startswith(_LOCATOR):
        raise Broken("the archive is too large for its own end record")
    (where,) = struct.unpack("<Q", locator[8:16])
    begin = where - (file_bytes - len(tail))
    record = tail[begin : begin + _END64_BYTES] if begin >= 0 else b""
    if len(record) < _END64_BYTES or not record.startswith(_END64):
        raise Broken("the archive has no ZIP64 record where it says")
    entries, length, offset = struct.unpack("<QQQ", record[32:56])
    return entries, length, offset


def entry_names(raw: bytes, directory: Directory) -> tuple[str, ...]:
    """The names in the bytes of the directory. Raises Broken when they are no directory."""
    names: list[str] = []
    at = 0
    for _ in range(directory.entries):
        fixed = raw[at : at + _ENTRY_BYTES]
        if len(fixed) < _ENTRY_BYTES or not fixed.startswith(_ENTRY):
            raise Broken("the directory of the archive is damaged")
        name_bytes, extra_bytes, comment_bytes = struct.unpack("<HHH", fixed[28:34])
        names.append(raw[at + _ENTRY_BYTES : at + _ENTRY_BYTES + name_bytes].decode("utf-8", errors="replace"))
        at += _ENTRY_BYTES + name_bytes + extra_bytes + comment_bytes
    return tuple(names)


def is_torch(names: tuple[str, ...]) -> bool:
    """The archive of PyTorch's own `save`."""
    return any(name.rpartition("/")[2] == "data.pkl" for name in names)
