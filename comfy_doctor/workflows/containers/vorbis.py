"""FLAC and Ogg (Vorbis, Opus, Theora, FLAC in Ogg): Vorbis comments `KEY=value`.

RFC 9639 section 8.6 (FLAC), RFC 3533 (Ogg pages), RFC 7845 section 5.2 (Opus). ComfyUI's SaveAudio nodes write
`prompt` and `workflow`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from comfy_doctor.workflows.containers.source import Source, Text
from comfy_doctor.workflows.containers.texts import pairs

MAX_STREAMS = 64
_FLAC_COMMENTS = 4
_PAGE_HEADER_BYTES = 27
_FIRST_PAGE = 0x02
# What stands before the comments in a codec's second packet: Vorbis, Theora, Opus, and a block header of FLAC.
_PACKET_MARKS = ((b"\x03vorbis", 7), (b"\x81theora", 7), (b"OpusTags", 8), (b"\x04", 4), (b"\x84", 4))


def flac_texts(source: Source) -> Iterator[Text]:
    offset, last = 4, False
    while not last and len(header := source.read(offset, 4)) == 4:
        last, size = header[0] >= 0x80, int.from_bytes(header[1:], "big")
        if header[0] & 0x7F == _FLAC_COMMENTS:
            yield from pairs(_comments(source.body(offset + 4, size), source))
        offset += 4 + size


def ogg_texts(source: Source) -> Iterator[Text]:
    """Every stream begins with a page of its own; its second packet holds the comments, often over many pages."""
    streams: dict[bytes, _Stream] = {}
    offset = 0
    while len(header := source.read(offset, _PAGE_HEADER_BYTES)) == _PAGE_HEADER_BYTES and header[:4] == b"OggS":
        lacing = source.read(offset + _PAGE_HEADER_BYTES, header[26])
        offset += _PAGE_HEADER_BYTES + len(lacing)
        first, serial = bool(header[5] & _FIRST_PAGE), header[14:18]
        if first and len(streams) < MAX_STREAMS:
            streams.setdefault(serial, _Stream())
        stream = streams.get(serial)
        if stream is not None and not stream.done:
            stream.take(source.read(offset, sum(lacing)), lacing)
            if stream.done:
                yield from _packet(stream, source)
        if not first and all(stream.done for stream in streams.values()):
            return
        offset += sum(lacing)
    for stream in streams.values():
        if not stream.done:
            yield from _packet(stream, source)


@dataclass(slots=True)
class _Stream:
    """One logical stream: packets are laced out of segments, one shorter than 255 bytes ends a packet."""

    packets: int = 0
    pieces: list[bytes] = field(default_factory=list)
    done: bool = False

    def take(self, data: bytes, lacing: bytes) -> None:
        at = 0
        for length in lacing:
            if self.packets == 1:
                self.pieces.append(data[at : at + length])
            at += length
            self.packets += length < 255
            if self.packets > 1:
                self.done = True
                return


def _packet(stream: _Stream, source: Source) -> Iterator[Text]:
    packet = b"".join(stream.pieces)
    stream.pieces.clear()
    skip = next((size for mark, size in _PACKET_MARKS if packet.startswith(mark)), 0)
    yield from pairs(_comments(packet[skip:], source))


def _comments(block: bytes, source: Source) -> Iterator[bytes]:
    """The comments of a block, the last one even when the block is cut; sizes are little-endian."""
    at = 4 + int.from_bytes(block[:4], "little")
    count = int.from_bytes(block[at : at + 4], "little")
    at += 4
    while count and at < len(block):
        source.step()
        size = int.from_bytes(block[at : at + 4], "little")
        yield block[at + 4 : at + 4 + size]
        at += 4 + size
        count -= 1
