"""SHA-256 of what is on disk, in pieces small enough to stop between them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

PIECE_BYTES = 1024 * 1024


def never() -> None:
    """The check of work that nobody will interrupt."""


def sha256_of(path: Path, check: Callable[[], None] = never) -> str:
    """Lower-case hex digest of a file. `check` is called before each piece and may raise. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        feed(digest, file, check=check)
    return digest.hexdigest()


def feed(digest: Any, file: Any, limit_bytes: int | None = None, *, check: Callable[[], None] = never) -> int:
    """Feed a digest from an open binary file, at most so many bytes. Returns how many there were."""
    buffer = bytearray(PIECE_BYTES)
    view = memoryview(buffer)
    done = 0
    while limit_bytes is None or done < limit_bytes:
        check()
        wanted = PIECE_BYTES if limit_bytes is None else min(PIECE_BYTES, limit_bytes - done)
        got = file.readinto(view[:wanted])
        if not got:
            break
        digest.update(view[:got])
        done += got
    return done
