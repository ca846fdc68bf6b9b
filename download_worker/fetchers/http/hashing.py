"""Every byte of a file into its digests, once and in order: SHA-256 of all, and a fast one of each piece for repairs.

The pieces' digests are XXH3 with 128 bits (16 bytes in big-endian order, as XXH128_canonical says): they find damage,
they prove nothing against somebody who means harm.
"""

from __future__ import annotations

import hashlib

import xxhash

PIECE_BYTES = 16 * 1024 * 1024
PIECE_DIGEST_BYTES = 16


class Hasher:
    """Digests of the first `at` bytes. Not thread-safe. It can go back to any piece's beginning, and on from there."""

    def __init__(self) -> None:
        self.at = 0
        self._sha256 = hashlib.sha256()
        self._piece = xxhash.xxh3_128()
        self._pieces: list[bytes] = []
        self._marks = [self._sha256.copy()]

    def update(self, data: memoryview) -> None:
        """The next bytes, any number of them."""
        while data:
            left = PIECE_BYTES - self.at % PIECE_BYTES
            self._feed(data[:left])
            data = data[left:]

    @property
    def sha256(self) -> str:
        """In lower-case hex."""
        return self._sha256.hexdigest()

    @property
    def pieces(self) -> bytes:
        """16 bytes for each piece of 16 MiB; the last one may be shorter."""
        tail = [self._piece.digest()] if self.at % PIECE_BYTES else []
        return b"".join([*self._pieces, *tail])

    def back_to(self, at: int) -> None:
        """Forget what came behind `at`. It goes on at the beginning of that piece: see the new `at`."""
        if at >= self.at:
            return
        whole = at // PIECE_BYTES
        del self._pieces[whole:], self._marks[whole + 1 :]
        self._sha256 = self._marks[whole].copy()
        self._piece.reset()
        self.at = whole * PIECE_BYTES

    def _feed(self, data: memoryview) -> None:
        """Not beyond the end of the piece."""
        self._sha256.update(data)
        self._piece.update(data)
        self.at += len(data)
        if self.at % PIECE_BYTES == 0:
            self._pieces.append(self._piece.digest())
            self._piece.reset()
            self._marks.append(self._sha256.copy())
