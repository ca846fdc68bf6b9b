"""Digests of files, in pieces that can be stopped between."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest

from download_worker.digests import PIECE_BYTES, feed, sha256_of
from download_worker.errors import Interrupted


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
def test_a_digest_is_of_all_bytes(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "f").write_bytes(data[:size])
    assert sha256_of(tmp_path / "f") == hashlib.sha256(data[:size]).hexdigest()


@pytest.mark.parametrize(("limit", "fed"), [(0, 0), (1, 1), (PIECE_BYTES + 7,) * 2, (10**9, 2 * PIECE_BYTES)])
def test_no_more_is_fed_than_asked_for(limit: int, fed: int) -> None:
    data = b"x" * (2 * PIECE_BYTES)
    digest, file = hashlib.sha256(), io.BytesIO(data)
    assert feed(digest, file, limit) == fed
    assert digest.digest() == hashlib.sha256(data[:fed]).digest()
    assert file.tell() == fed


def test_p3_the_work_can_be_stopped_between_two_pieces(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * (4 * PIECE_BYTES))
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        sha256_of(tmp_path / "f", check)
    assert asked == 3
