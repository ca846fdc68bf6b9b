"""Size and digest are compared with what was asked for, over the bytes that are really there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from download_worker.errors import Code, Interrupted, LostClaim
from download_worker.leash import Leash
from download_worker.verifiers.digest import DigestVerifier
from download_worker.verifiers.verifier import Rejected
from tests.worker.specimens import specimen

CONTENT = b"some bytes of a model" * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def test_a_file_with_the_wanted_digest_in_either_case_and_size_passes(tmp_path: Path) -> None:
    evidence = DigestVerifier().examine(specimen(tmp_path, CONTENT, sha256=SHA256.upper(), size=len(CONTENT)), Leash())
    assert evidence.facts["sha256"] == SHA256
    assert evidence.facts["size"] == len(CONTENT)


def test_h28_another_digest_is_refused_with_both_digests_and_sent_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(Rejected) as caught:
        DigestVerifier().examine(specimen(tmp_path, CONTENT, sha256="0" * 64), Leash())
    assert caught.value.code is Code.HASH_MISMATCH
    assert SHA256 in caught.value.message
    assert "0" * 64 in caught.value.message
    assert caught.value.elsewhere


def test_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"2100 bytes.* 2101 ") as caught:
        DigestVerifier().examine(specimen(tmp_path, CONTENT, size=2101), Leash())
    assert caught.value.code is Code.SIZE_MISMATCH


def test_a_file_that_nobody_touched_is_not_even_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    item = specimen(tmp_path, CONTENT, sha256=SHA256)
    monkeypatch.setattr(Path, "open", lambda *_, **__: pytest.fail("it was opened"))
    assert DigestVerifier().examine(item, Leash()).facts["sha256"] == SHA256


def test_d16_a_file_that_changed_after_the_fetch_is_read_again_and_refused(tmp_path: Path) -> None:
    item = specimen(tmp_path, CONTENT)
    changed = b"X" + CONTENT[1:]
    item.file.path.write_bytes(changed)
    os.utime(item.file.path, ns=(1, item.file.identity.mtime_ns + 1))
    with pytest.raises(Rejected) as caught:
        DigestVerifier().examine(item, Leash())
    assert caught.value.code is Code.HASH_MISMATCH
    assert hashlib.sha256(changed).hexdigest() in caught.value.message


def test_d16_a_file_that_was_only_touched_is_read_again_and_passes(tmp_path: Path) -> None:
    item = specimen(tmp_path, CONTENT, sha256=SHA256)
    os.utime(item.file.path, ns=(1, 1))
    assert DigestVerifier().examine(item, Leash()).facts["sha256"] == SHA256


def test_reading_again_ends_when_the_leash_is_pulled(tmp_path: Path) -> None:
    item = specimen(tmp_path, CONTENT)
    os.utime(item.file.path, ns=(1, 1))
    leash = Leash()
    leash.pull()
    with pytest.raises(Interrupted):
        DigestVerifier().examine(item, leash)


def test_p4_a_room_that_another_worker_took_is_a_lost_claim(tmp_path: Path) -> None:
    item = specimen(tmp_path / "1", CONTENT)
    (tmp_path / "1").rename(tmp_path / "2")
    with pytest.raises(LostClaim):
        DigestVerifier().examine(item, Leash())
