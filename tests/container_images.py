"""Still images with texts in their metadata, for `tests.containers`: PNG, WebP, JPEG, and the EXIF and XMP in them."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from xml.sax.saxutils import escape, quoteattr

Texts = Mapping[str, str]

PIXEL = zlib.compress(b"\0\0")


# --- PNG --------------------------------------------------------------------------------------------------------------


def png(*chunks: tuple[bytes, bytes], behind: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    """A PNG of one pixel with these chunks before, and those behind, its pixels."""
    header = (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in (header, *chunks, (b"IDAT", PIXEL), *behind, (b"IEND", b""))
    )


def png_text(texts: Texts) -> bytes:
    return png(*((b"tEXt", f"{key}\0{text}".encode()) for key, text in texts.items()))


def png_packed(texts: Texts) -> bytes:
    return png(*((b"zTXt", key.encode() + b"\0\0" + zlib.compress(text.encode())) for key, text in texts.items()))


def png_international(texts: Texts) -> bytes:
    return png(*((b"iTXt", key.encode() + b"\0\0\0en\0\0" + text.encode()) for key, text in texts.items()))


def png_international_packed(texts: Texts) -> bytes:
    bodies = ((key.encode(), zlib.compress(text.encode())) for key, text in texts.items())
    return png(*((b"iTXt", key + b"\0\1\0\0\0" + body) for key, body in bodies))


def apng_comf(texts: Texts) -> bytes:
    chunks = tuple((b"comf", f"{key}\0{text}".encode()) for key, text in texts.items())
    return png((b"acTL", struct.pack(">II", 1, 0)), behind=chunks)


def png_exif(texts: Texts) -> bytes:
    return png((b"eXIf", exif_prefixed(texts)))


def png_xmp(texts: Texts) -> bytes:
    return png((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(texts)))


# --- EXIF and XMP -----------------------------------------------------------------------------------------------------


def tiff(entries: Mapping[int, tuple[int, bytes]], inner: Mapping[int, tuple[int, bytes]], *, big: bool) -> bytes:
    """A TIFF block of one directory, and an EXIF directory below it when `inner` is given; values are (type, bytes)."""
    order = ">" if big else "<"
    pointers = {0x8769: (4, b"")} if inner else {}
    first, data = 8, b""
    second = first + 6 + 12 * (len(entries) + len(pointers))
    far = second + (6 + 12 * len(inner) if inner else 0)

    def directory(tags: Mapping[int, tuple[int, bytes]]) -> bytes:
        nonlocal data
        rows = b""
        for tag, (kind, value) in sorted(tags.items()):
            place = second if tag == 0x8769 else far + len(data)
            rows += struct.pack(order + "HHII", tag, kind, max(1, len(value)), place)
            data += value
        return struct.pack(order + "H", len(tags)) + rows + struct.pack(order + "I", 0)

    head = (b"MM\0*" if big else b"II*\0") + struct.pack(order + "I", first)
    return head + directory({**entries, **pointers}) + (directory(inner) if inner else b"") + data


def exif_prefixed(texts: Texts, *, capital: bool = False, big: bool = True) -> bytes:
    """As ComfyUI does it: the prompt in Model, the workflow in Make, others below."""
    tags = {"prompt": 0x0110, "workflow": 0x010F}
    rows = {
        tags.get(key, 0x010D): (2, f"{key.title() if capital else key}:{text}\0".encode())
        for key, text in texts.items()
    }
    return tiff(rows, {}, big=big)


def exif_user_comment(texts: Texts, code: bytes = b"UNICODE\0", encoding: str = "utf-16-be") -> bytes:
    """As image savers do it: one JSON object with all texts inside."""
    return tiff({}, {0x9286: (7, code + together(texts).encode(encoding))}, big=False)


def together(texts: Texts) -> str:
    """One object whose values are the texts' own values; a broken text stays a string."""
    values = {}
    for key, text in texts.items():
        try:
            values[key] = json.loads(text)
        except ValueError:
            values[key] = text
    return json.dumps(values)


def xmp(texts: Texts) -> bytes:
    attributes = " ".join(f"comfy:{key}={quoteattr(text)}" for key, text in texts.items())
    return f'<?xpacket begin=""?><x:xmpmeta><rdf:RDF><rdf:Description {attributes}/></rdf:RDF></x:xmpmeta>'.encode()


def xmp_elements(texts: Texts) -> bytes:
    inside = "".join(f"<comfy:{key}>{escape(text)}</comfy:{key}>" for key, text in texts.items())
    return f"<x:xmpmeta><rdf:Description>{inside}</rdf:Description></x:xmpmeta>".encode()


# --- WebP and JPEG ----------------------------------------------------------------------------------------------------


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
        for kind, data in ((b"VP8X", b"\x0c" + bytes(9)), (b"VP8L", b"\x2f" + bytes(6)), *chunks)
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def jpeg(*segments: tuple[int, bytes]) -> bytes:
    told = ((0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"), *segments)
    parts = b"".join(bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body for marker, body in told)
    return b"\xff\xd8" + parts + b"\xff\xda\0\2" + b"pixels" + b"\xff\xd9"


def jpeg_extended_xmp(texts: Texts) -> bytes:
    """The packet in pieces of 60,000 bytes, the last one first."""
    packet, guid = xmp_elements(texts), b"0" * 32
    head = b"http://ns.adobe.com/xmp/extension/\0" + guid + struct.pack(">I", len(packet))
    pieces = [head + struct.pack(">I", at) + packet[at : at + 60_000] for at in range(0, len(packet), 60_000)]
    return jpeg(*((0xE1, piece) for piece in reversed(pieces)))
