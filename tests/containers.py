"""Small files of every container with texts in their metadata, written from the specifications for tests.

A dialect is one way in which some program leaves texts in one container; each takes a mapping of keys ("workflow",
"prompt") to texts. Still images are in `tests.container_images`, all dialects in `DIALECTS`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from xml.sax.saxutils import quoteattr

from tests.container_images import (
    Texts,
    apng_comf,
    exif_prefixed,
    exif_user_comment,
    jpeg,
    jpeg_extended_xmp,
    png_exif,
    png_international,
    png_international_packed,
    png_packed,
    png_text,
    png_xmp,
    together,
    webp,
    xmp,
    xmp_elements,
)

Writer = Callable[[Texts], bytes]

XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
UNKNOWN_SIZE = b"\x01" + b"\xff" * 7


# --- boxes: MP4, MOV, AVIF --------------------------------------------------------------------------------------------


def box(kind: bytes, *bodies: bytes, wide: bool = False) -> bytes:
    body = b"".join(bodies)
    if wide:
        return struct.pack(">I4sQ", 1, kind, len(body) + 16) + body
    return struct.pack(">I4s", len(body) + 8, kind) + body


def data_box(text: str) -> bytes:
    return box(b"data", struct.pack(">II", 1, 0), text.encode())


def handler(kind: bytes) -> bytes:
    return box(b"hdlr", bytes(8), kind, bytes(13))


def keyed_meta(texts: Texts, *, version: bytes = bytes(4)) -> bytes:
    keys = box(b"keys", struct.pack(">II", 0, len(texts)), *(box(b"mdta", key.encode()) for key in texts))
    items = (box(struct.pack(">I", number), data_box(text)) for number, text in enumerate(texts.values(), 1))
    return box(b"meta", version, handler(b"mdta"), keys, box(b"ilst", *items))


def movie(brand: bytes, *inside: bytes, frames: bytes = bytes(64), wide: bool = False) -> bytes:
    """Frames first, as a plain recording has it."""
    return (
        box(b"ftyp", brand, bytes(4))
        + box(b"mdat", frames, wide=wide)
        + box(b"moov", box(b"mvhd", bytes(100)), *inside)
    )


def mp4_keys(texts: Texts) -> bytes:
    return movie(b"isom", box(b"udta", keyed_meta(texts)), wide=True)


def mp4_comment(texts: Texts) -> bytes:
    """VideoHelperSuite: the texts as strings inside one comment."""
    item = box(b"\xa9cmt", data_box(json.dumps(dict(texts))))
    return movie(b"isom", box(b"udta", box(b"meta", bytes(4), handler(b"mdir"), box(b"ilst", item))))


def mp4_freeform(texts: Texts) -> bytes:
    mean = box(b"mean", bytes(4), b"com.apple.iTunes")
    items = (box(b"----", mean, box(b"name", bytes(4), key.encode()), data_box(text)) for key, text in texts.items())
    return movie(b"mp42", box(b"udta", box(b"meta", bytes(4), handler(b"mdir"), box(b"ilst", *items))))


def mp4_xmp(texts: Texts) -> bytes:
    return movie(b"isom") + box(b"uuid", XMP_UUID, xmp(texts))


def mov_comment(texts: Texts) -> bytes:
    text = together(texts).encode()
    return movie(b"qt  ", box(b"udta", box(b"\xa9cmt", struct.pack(">HH", len(text) & 0xFFFF, 0x55C4), text)))


def mov_keys(texts: Texts) -> bytes:
    """As cameras write it: `meta` right in `moov`, without a version, names in reverse domain order."""
    return movie(b"qt  ", keyed_meta({f"com.example.{key}": text for key, text in texts.items()}, version=b""))


def avif(*items: tuple[bytes, bytes, bytes], in_idat: bool = False, brand: bytes = b"avif") -> bytes:
    """Items are (type, MIME type, data)."""
    entries = b"".join(
        box(b"infe", b"\2\0\0\0", struct.pack(">HH", number, 0), kind, b"name\0" if not mime else b"\0" + mime + b"\0")
        for number, (kind, mime, _) in enumerate(items, 1)
    )
    iinf = box(b"iinf", bytes(4), struct.pack(">H", len(items)), entries)

    def meta(start: int) -> bytes:
        rows, at = b"", start
        for number, (_, _, data) in enumerate(items, 1):
            rows += struct.pack(">HHHHII", number, int(in_idat), 0, 1, at, len(data))
            at += len(data)
        iloc = box(b"iloc", b"\1\0\0\0", b"\x44\x00", struct.pack(">H", len(items)), rows)
        idat = box(b"idat", *(data for _, _, data in items)) if in_idat else b""
        return box(b"meta", bytes(4), handler(b"pict"), iinf, iloc, idat)

    ftyp = box(b"ftyp", brand, bytes(4), b"mif1")
    if in_idat:
        return ftyp + meta(0)
    start = len(ftyp) + len(meta(0)) + 8
    return ftyp + meta(start) + box(b"mdat", *(data for _, _, data in items))


def avif_exif(texts: Texts) -> bytes:
    return avif((b"Exif", b"", struct.pack(">I", 0) + exif_prefixed(texts)))


def avif_xmp(texts: Texts) -> bytes:
    return avif((b"mime", b"application/rdf+xml", xmp(texts)))


def heic_idat(texts: Texts) -> bytes:
    exif = struct.pack(">I", 6) + b"Exif\0\0" + exif_user_comment(texts)
    return avif((b"Exif", b"", exif), in_idat=True, brand=b"heic")


# --- EBML: WebM, MKV --------------------------------------------------------------------------------------------------


def element(kind: int, *bodies: bytes, unknown: bool = False) -> bytes:
    body = b"".join(bodies)
    size = UNKNOWN_SIZE if unknown else struct.pack(">Q", len(body) | 1 << 56)
    return kind.to_bytes((kind.bit_length() + 7) // 8, "big") + size + body


def tags(texts: Texts) -> bytes:
    simple = (
        element(0x67C8, element(0x45A3, key.encode()), element(0x4487, text.encode())) for key, text in texts.items()
    )
    return element(0x1254C367, element(0x7373, element(0x63C0), *simple))


def ebml(kind: str, *inside: bytes, unknown: bool = False) -> bytes:
    head = element(0x1A45DFA3, element(0x4286, b"\1"), element(0x4282, kind.encode()))
    return head + element(0x18538067, *inside, unknown=unknown)


def cluster(*, unknown: bool = False) -> bytes:
    return element(0x1F43B675, element(0xE7, b"\0"), element(0xA3, b"\x81\0\0\0frame"), unknown=unknown)


def webm_tags(texts: Texts) -> bytes:
    return ebml("webm", tags({key.upper(): text for key, text in texts.items()}), cluster())


def webm_live(texts: Texts) -> bytes:
    """Nothing tells its size, the tags come last and no index leads there."""
    named = tags({key.upper(): text for key, text in texts.items()})
    return ebml("webm", cluster(unknown=True), cluster(unknown=True), named, unknown=True)


def mkv_indexed(texts: Texts) -> bytes:
    """VideoHelperSuite's comment behind the clusters, and an index to it in front."""

    def index(place: int) -> bytes:
        seek = element(0x4DBB, element(0x53AB, bytes.fromhex("1254c367")), element(0x53AC, struct.pack(">Q", place)))
        return element(0x114D9B74, seek)

    frames = cluster() * 3
    place = len(index(0)) + len(frames)
    return ebml("matroska", index(place), frames, tags({"COMMENT": json.dumps(dict(texts))}))


# --- sound ------------------------------------------------------------------------------------------------------------


def vorbis_comments(texts: Texts) -> bytes:
    comments = [f"{key}={text}".encode() for key, text in texts.items()]
    listed = b"".join(struct.pack("<I", len(comment)) + comment for comment in comments)
    return struct.pack("<I", 6) + b"vendor" + struct.pack("<I", len(comments)) + listed


def flac(texts: Texts) -> bytes:
    block = vorbis_comments(texts)
    info = b"\0" + struct.pack(">I", 34)[1:] + bytes(34)
    return b"fLaC" + info + b"\x84" + struct.pack(">I", len(block))[1:] + block + b"\xff\xf8frames"


def ogg(*packets: bytes, segments_per_page: int = 255) -> bytes:
    """One logical stream; the first packet has a page of its own."""
    out, number = bytearray(), 0
    for packet in packets:
        lacing = [255] * (len(packet) // 255) + [len(packet) % 255]
        at = 0
        for first in range(0, len(lacing), segments_per_page):
            part = lacing[first : first + segments_per_page]
            flags = (2 if number == 0 else 0) | (1 if first else 0)
            out += struct.pack("<4sBBqIIIB", b"OggS", 0, flags, 0, 7, number, 0, len(part)) + bytes(part)
            out += packet[at : at + sum(part)]
            at += sum(part)
            number += 1
    return bytes(out)


def ogg_opus(texts: Texts) -> bytes:
    return ogg(b"OpusHead" + bytes(11), b"OpusTags" + vorbis_comments(texts), b"sound")


def ogg_vorbis(texts: Texts) -> bytes:
    named = {key.upper(): text for key, text in texts.items()}
    return ogg(b"\1vorbis" + bytes(23), b"\3vorbis" + vorbis_comments(named) + b"\1", b"\5vorbis", segments_per_page=3)


def synchsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def id3(*frames: tuple[bytes, bytes], version: int = 4, flags: int = 0) -> bytes:
    def size(body: bytes) -> bytes:
        return synchsafe(len(body)) if version == 4 else struct.pack(">I", len(body))

    tag = b"".join(name + size(body) + bytes(2) + body for name, body in frames) + bytes(20)
    if flags & 0x80:
        tag = tag.replace(b"\xff", b"\xff\0")
    return b"ID3" + bytes((version, 0, flags)) + synchsafe(len(tag)) + tag + b"\xff\xfb\x90\0sound"


def mp3_texts(texts: Texts) -> bytes:
    return id3(*((b"TXXX", b"\3" + f"{key}\0{text}\0".encode()) for key, text in texts.items()))


def mp3_wide_texts(texts: Texts) -> bytes:
    """Version 2.3 with UTF-16, and with the zeros of unsynchronisation behind every 0xff."""
    frames = ((b"TXXX", b"\1" + f"{key}\0".encode("utf-16") + text.encode("utf-16")) for key, text in texts.items())
    return id3(*frames, version=3, flags=0x80)


def mp3_comment(texts: Texts) -> bytes:
    return id3((b"COMM", b"\0eng\0" + together(texts).encode()), version=3)


# --- models and drawings ----------------------------------------------------------------------------------------------


def gltf(texts: Texts) -> bytes:
    scene = {"asset": {"version": "2.0", "extras": dict(texts)}, "nodes": [{"name": "n"}], "scenes": []}
    return json.dumps(scene).encode()


def glb(texts: Texts) -> bytes:
    text = gltf(texts)
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", 4, b"BIN\0") + bytes(4)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def svg(inside: str, attributes: str = "") -> bytes:
    path = '<path d="M0 0"/>'
    return f'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" {attributes}>{inside}{path}</svg>'.encode()


def svg_metadata(texts: Texts) -> bytes:
    """ComfyUI's SaveSVG."""
    return svg(f"\n  <metadata>\n<![CDATA[\n{together(texts)}\n]]>\n</metadata>\n")


def svg_attributes(texts: Texts) -> bytes:
    return svg("", " ".join(f"data:{key}={quoteattr(text)}" for key, text in texts.items()))


def svg_comments(texts: Texts) -> bytes:
    return svg("".join(f"<!-- {key}: {text} -->" for key, text in texts.items()))


DIALECTS: Mapping[str, tuple[str, Writer]] = {
    "png text": ("png", png_text),
    "png packed text": ("png", png_packed),
    "png international text": ("png", png_international),
    "png packed international text": ("png", png_international_packed),
    "png exif": ("png", png_exif),
    "png xmp": ("png", png_xmp),
    "apng comf": ("png", apng_comf),
    "webp exif": ("webp", lambda texts: webp((b"EXIF", exif_prefixed(texts)))),
    "webp exif with its jpeg prefix": (
        "webp",
        lambda texts: webp((b"EXIF", b"Exif\0\0" + exif_prefixed(texts, big=False))),
    ),
    "webp user comment": ("webp", lambda texts: webp((b"EXIF", exif_user_comment(texts)))),
    "webp xmp": ("webp", lambda texts: webp((b"XMP ", xmp(texts)))),
    "jpeg exif": ("jpeg", lambda texts: jpeg((0xE1, b"Exif\0\0" + exif_prefixed(texts, capital=True)))),
    "jpeg user comment": (
        "jpeg",
        lambda texts: jpeg((0xE1, b"Exif\0\0" + exif_user_comment(texts, b"ASCII\0\0\0", "utf-8"))),
    ),
    "jpeg little-endian user comment": (
        "jpeg",
        lambda texts: jpeg((0xE1, b"Exif\0\0" + exif_user_comment(texts, encoding="utf-16-le"))),
    ),
    "jpeg xmp": ("jpeg", lambda texts: jpeg((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp_elements(texts)))),
    "jpeg extended xmp": ("jpeg", jpeg_extended_xmp),
    "jpeg comments": (
        "jpeg",
        lambda texts: jpeg(*((0xFE, f"{key}:{text}".encode()) for key, text in texts.items())),
    ),
    "avif exif": ("avif", avif_exif),
    "avif xmp": ("avif", avif_xmp),
    "heic exif in idat": ("avif", heic_idat),
    "mp4 keys": ("mp4", mp4_keys),
    "mp4 comment": ("mp4", mp4_comment),
    "mp4 freeform": ("mp4", mp4_freeform),
    "mp4 xmp": ("mp4", mp4_xmp),
    "mov comment": ("mov", mov_comment),
    "mov keys": ("mov", mov_keys),
    "webm tags": ("webm", webm_tags),
    "webm of a live stream": ("webm", webm_live),
    "mkv comment behind an index": ("mkv", mkv_indexed),
    "flac": ("flac", flac),
    "ogg opus": ("ogg", ogg_opus),
    "ogg vorbis": ("ogg", ogg_vorbis),
    "mp3 user texts": ("mp3", mp3_texts),
    "mp3 wide user texts": ("mp3", mp3_wide_texts),
    "mp3 comment": ("mp3", mp3_comment),
    "glb": ("glb", glb),
    "gltf": ("json", gltf),
    "svg metadata": ("svg", svg_metadata),
    "svg attributes": ("svg", svg_attributes),
    "svg comments": ("svg", svg_comments),
}
