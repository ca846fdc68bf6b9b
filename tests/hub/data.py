"""The bytes behind a path: of a known size, readable from any offset; in memory, in a file, or made up as they go."""

import hashlib
import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

PIECE_BYTES = 64 * 1024


class Data(Protocol):
    @property
    def size(self) -> int: ...

    def read(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop), never past `size`."""


@dataclass(frozen=True)
class Blob:
    """Bytes in memory."""

    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self, start: int, stop: int) -> bytes:
        return self.content[start:stop]


EMPTY = Blob(b"")


@dataclass(frozen=True)
class FileData:
    """Bytes on disk, read when they are asked for."""

    path: Path

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def read(self, start: int, stop: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)


@dataclass(frozen=True)
class SizedPattern:
    """Random-looking bytes of any size that take no memory: the same for the same seed, no two 64 KiB blocks alike.

    `prefix` replaces the first bytes, so that a pattern can begin like a real model file.
    """

    size: int
    seed: int = 1
    prefix: bytes = b""

    def read(self, start: int, stop: int) -> bytes:
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        first = start // PIECE_BYTES
        blocks = b"".join(_block(self.seed, index) for index in range(first, (stop - 1) // PIECE_BYTES + 1))
        made = blocks[start - first * PIECE_BYTES : stop - first * PIECE_BYTES]
        head = self.prefix[start:stop]
        return head + made[len(head) :]


def _block(seed: int, index: int) -> bytes:
    return _noise(seed) + index.to_bytes(8, "big")


@lru_cache(maxsize=16)
def _noise(seed: int) -> bytes:
    return random.Random(seed).randbytes(PIECE_BYTES - 8)


@dataclass(frozen=True)
class Slice:
    """A part of other data."""

    whole: Data
    start: int
    stop: int

    @property
    def size(self) -> int:
        return max(0, self.stop - self.start)

    def read(self, start: int, stop: int) -> bytes:
        return self.whole.read(self.start + start, min(self.start + stop, self.stop))


@dataclass(frozen=True)
class Flipped:
    """Other data with one bit changed at one offset."""

    whole: Data
    offset: int
    bit: int = 0

    @property
    def size(self) -> int:
        return self.whole.size

    def read(self, start: int, stop: int) -> bytes:
        content = bytearray(self.whole.read(start, stop))
        if 0 <= self.offset - start < len(content):
            content[self.offset - start] ^= 1 << self.bit
        return bytes(content)


@dataclass(frozen=True)
class Joined:
    """One after the other."""

    first: Data
    second: Data

    @property
    def size(self) -> int:
        return self.first.size + self.second.size

    def read(self, start: int, stop: int) -> bytes:
        middle = self.first.size
        return self.first.read(start, stop) + self.second.read(max(0, start - middle), max(0, stop - middle))


@dataclass(frozen=True)
class Repeated:
    """The same few bytes again and again, after a beginning."""

    pattern: bytes
    size: int
    beginning: bytes = b""

    def read(self, start: int, stop: int) -> bytes:
        stop, skipped = min(stop, self.size), max(0, start - len(self.beginning))
        offset = skipped % len(self.pattern)
        head = self.beginning[start:stop]
        missing = max(0, stop - start - len(head))
        times = -(-(offset + missing) // len(self.pattern))
        return head + (self.pattern * times)[offset : offset + missing]


def sha256_of(data: Data) -> str:
    digest = hashlib.sha256()
    for start in range(0, data.size, PIECE_BYTES):
        digest.update(data.read(start, start + PIECE_BYTES))
    return digest.hexdigest()
