"""MP3: the texts of an ID3v2 tag, versions 2.2 to 2.4 (https://id3.org/id3v2.4.0-structure and -frames).

ffmpeg, and so ComfyUI's SaveAudioMP3, writes `prompt` and `workflow` as user-defined texts (TXXX), a comment as COMM.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

from comfy_doctor.workflows.containers.source import Source, Text
from comfy_doctor.workflows.containers.texts import from_utf16, utf8

_USER_TEXTS = (b"TXXX", b"TXX")
_COMMENTS = (b"COMM", b"COM")
_ENCODINGS = {1: "utf-16", 2: "utf-16-be"}
_UNSYNCHRONISED, _EXTENDED = 0x80, 0x40


def id3_texts(source: Source) -> Iterator[Text]:
    header = source.read(0, 10)
    if header[:3] != b"ID3" or len(header) < 10:
        return
    version, flags, end = header[3], header[5], 10 + _synchsafe(header[6:10])
    offset = 10
    if flags & _UNSYNCHRONISED and version < 4:
        plain = source.body(10, end - 10).replace(b"\xff\x00", b"\xff")
        source, offset, end = Source(BytesIO(plain)), 0, len(plain)
    if flags & _EXTENDED and version > 2:
        size = source.read(offset, 4)
        offset += _synchsafe(size) if version > 3 else 4 + int.from_bytes(size, "big")
    yield from _frames(source, offset, min(end, source.size), version)


def _frames(source: Source, offset: int, end: int, version: int) -> Iterator[Text]:
    """Until the padding of zeros, or the end of the tag."""
    name_bytes, header_bytes = (3, 6) if version == 2 else (4, 10)
    while offset < end and len(header := source.read(offset, header_bytes)) == header_bytes and header[0]:
        name, told = header[:name_bytes], header[name_bytes : 2 * name_bytes]
        size = _synchsafe(told) if version > 3 else int.from_bytes(told, "big")
        if name in _USER_TEXTS or name in _COMMENTS:
            body = source.body(offset + header_bytes, min(size, end - offset - header_bytes))
            if version > 3 and header[9] & 0x02:
                body = body.replace(b"\xff\x00", b"\xff")
            if version > 3 and header[9] & 0x01:
                body = body[4:]  # the length that it has without that
            yield _text(body, language_bytes=3 if name in _COMMENTS else 0)
        offset += header_bytes + size


def _text(body: bytes, *, language_bytes: int) -> Text:
    """One byte of encoding, a language for comments, a description as key, and the text."""
    encoding = _ENCODINGS.get(body[0]) if body else None
    rest = body[1 + language_bytes :]
    if encoding is None:
        key, _, text = rest.partition(b"\0")
        return Text(key[:256].decode("latin-1"), utf8(text))
    wide = next((at for at in range(0, min(len(rest), 512), 2) if rest[at : at + 2] == b"\0\0"), 0)
    key = from_utf16(rest[:wide], encoding)
    return Text(key.decode("utf-8"), from_utf16(rest[wide + 2 :], encoding))


def _synchsafe(data: bytes) -> int:
    """Seven bits of each byte count."""
    number = 0
    for byte in data:
        number = number << 7 | byte & 0x7F
    return number
