"""Whatever a verifier is: it takes good files, never raises anything but the five exits, and says only what is safe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from download_worker.errors import GiveUp, Interrupted, LostClaim, TryLater
from download_worker.leash import Leash
from download_worker.verifiers.digest import DigestVerifier
from download_worker.verifiers.filetype import FiletypeVerifier
from download_worker.verifiers.safetensors_file import SafetensorsVerifier
from download_worker.verifiers.verifier import Rejected, Verifier
from tests import makers
from tests.worker.specimens import specimen

VERIFIERS: list[Verifier] = [DigestVerifier(), FiletypeVerifier(), SafetensorsVerifier()]
every_verifier = pytest.mark.parametrize("verifier", VERIFIERS, ids=lambda verifier: verifier.name)

EVIL = "\x1b[2J\u202e\u200b\x9b"


@every_verifier
def test_a_good_file_yields_evidence_named_after_the_step(verifier: Verifier, tmp_path: Path) -> None:
    content = makers.safetensors_bytes(4096)
    plain = specimen(tmp_path, content)
    item = specimen(tmp_path, content, sha256=plain.file.sha256, size=len(content))
    evidence = verifier.examine(item, Leash())
    assert evidence.step == verifier.name
    assert evidence.document()["step"] == verifier.name


@every_verifier
def test_the_same_file_yields_the_same_evidence(verifier: Verifier, tmp_path: Path) -> None:
    item = specimen(tmp_path, makers.safetensors_bytes(4096))
    assert verifier.examine(item, Leash()) == verifier.examine(item, Leash())


@every_verifier
def test_t27_evidence_is_bounded_json_that_a_terminal_may_see(verifier: Verifier, tmp_path: Path) -> None:
    content = makers.safetensors_bytes(120_000, metadata={f"{EVIL}{n}": EVIL * 200 for n in range(20)})
    document = json.dumps(verifier.examine(specimen(tmp_path, content), Leash()).document())
    assert len(document) < 16 * 1024
    assert not any(json.dumps(sign)[1:-1] in document for sign in EVIL if sign != "[" and not sign.isalnum())


@every_verifier
def test_a_room_that_is_gone_is_a_lost_claim(verifier: Verifier, tmp_path: Path) -> None:
    item = specimen(tmp_path / "1", makers.safetensors_bytes(4096))
    (tmp_path / "1").rename(tmp_path / "2")
    with pytest.raises(LostClaim):
        verifier.examine(item, Leash())


@every_verifier
def test_a_disk_that_fails_is_named(verifier: Verifier, tmp_path: Path) -> None:
    item = specimen(tmp_path, makers.safetensors_bytes(4096))
    item.file.path.unlink()
    item.file.path.mkdir()
    with pytest.raises(GiveUp, match="the disk failed"):
        verifier.examine(item, Leash())


@every_verifier
@pytest.mark.parametrize("name", ["x.safetensors", "x.gguf", "x.ckpt", "x.onnx"])
@hypothesis_settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_leave_by_a_known_exit(verifier: Verifier, name: str, content: bytes, tmp_path: Path) -> None:
    try:
        verifier.examine(specimen(tmp_path, content, name), Leash())
    except (Rejected, TryLater, Interrupted) as known:
        assert str(known)
