"""PNG and APNG: text chunks, eXIf and XMP.

https://www.w3.org/TR/png-3/ section 11.3.3 (tEXt, zTXt, iTXt, eXIf). ComfyUI's SaveImage writes tEXt chunks `workflow`
(UI format) and `prompt` (API format); SaveAnimatedPNG writes both as private chunks `comf` behind the pixels.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from comfy_doctor.workflows.containers import source as bounds
from comfy_doctor.workflows.containers.exif import exif_texts
from comfy_doctor.workflows.containers.markup import xmp_texts
from comfy_doctor.workflows.containers.source import Source, Text
from comfy_doctor.workflows.containers.texts import utf8

_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"comf")
_XMP_KEYWORD = b"XML:com.adobe.xmp"


def png_texts(source: Source) -> Iterator[Text]:
    """Chunk by chunk from the signature on; a cut file simply ends."""
    offset = 8
    while len(header := source.read(offset, 8)) == 8 and header[4:] != b"IEND":
        size, kind = int.from_bytes(header[:4], "big"), header[4:]
        if kind in _TEXTS:
            yield from _text(kind, source.body(offset + 8, size), source)
        elif kind == b"eXIf":
            yield from exif_texts(source.body(offset + 8, size), source)
        offset += 12 + size


def _text(kind: bytes, body: bytes, source: Source) -> Iterator[Text]:
    keyword, _, rest = body.partition(b"\0")
    text = _unpacked(kind, rest, source)
    if keyword == _XMP_KEYWORD:
        yield from xmp_texts(text, source)
    else:
        yield Text(keyword[:79].decode("latin-1"), text)


def _unpacked(kind: bytes, rest: bytes, source: Source) -> bytes:
    """The text of a chunk after its keyword, as UTF-8."""
    if kind == b"zTXt":
        return utf8(_inflated(rest[1:], source))
    if kind != b"iTXt":
        return utf8(rest)
    compressed, after = rest[:1] == b"\1", rest[2:]
    _language, _, after = after.partition(b"\0")
    _translated, _, text = after.partition(b"\0")
    return _inflated(text, source) if compressed else text


def _inflated(data: bytes, source: Source) -> bytes:
    """What can be unpacked of it; nothing of a text that unpacks to more than any workflow."""
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(data, bounds.MAX_WORKFLOW_BYTES)
    except zlib.error:
        source.note("its compressed PNG text is damaged")
        return b""
    source.spend(len(text))
    if unpacker.unconsumed_tail:
        source.note(f"its PNG text unpacks to more than {bounds.MAX_WORKFLOW_BYTES} bytes")
        return b""
    return text
