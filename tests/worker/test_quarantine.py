"""Rejections leave one line each, and the file only where that is wished."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from download_worker import quarantine as module
from download_worker.clock import FakeClock, iso
from download_worker.errors import Code, GiveUp, TryLater
from download_worker.quarantine import Quarantine
from download_worker.room import Room, source_key
from download_worker.verifiers.verifier import Rejected
from tests import canaries
from tests.jobs import make_info, make_job

URL = (
    f"https://user:{canaries.PASSWORD}@models.example/x.safetensors"
    f"?token={canaries.IN_URL}&X-Amz-Signature={canaries.SIGNATURE}"
)
EVIL = "\x1b]0;owned\x07\u202e\nforged line\r\u2028"


@pytest.fixture
def room(tmp_path: Path) -> Room:
    folder = tmp_path / "staging" / "job" / "1"
    folder.mkdir(parents=True)
    (folder / "part").write_bytes(b"rejected bytes")
    return Room(folder)


def rejected(reason: str = "it is broken", evidence: Mapping[str, Any] | None = None) -> Rejected:
    return Rejected(Code.BROKEN_STRUCTURE, reason, evidence=evidence)


def lines(state: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (state / "verification_failures.log").read_bytes().splitlines()]


def test_a_rejection_is_one_json_line_with_everything_in_it(tmp_path: Path, room: Room) -> None:
    clock = FakeClock()
    job = make_job(tmp_path, attempts=3, info=make_info("evil.safetensors"))
    Quarantine(tmp_path / "state", clock=clock).record(
        job, URL, rejected(evidence={"evidence_sha256": "ab" * 32}), room
    )
    (line,) = lines(tmp_path / "state")
    assert line == {
        "time": iso(clock.now()),
        "job_id": job.job_id,
        "attempts": 3,
        "file": "evil.safetensors",
        "url": line["url"],
        "code": "broken_structure",
        "reason": "it is broken",
        "by": "rules",
        "evidence_sha256": "ab" * 32,
        "kept": None,
    }
    assert line["url"].startswith("https://models.example/x.safetensors")


def test_t22_no_secret_of_the_url_is_in_the_log(tmp_path: Path, room: Room) -> None:
    Quarantine(tmp_path / "state").record(make_job(tmp_path), URL, rejected(), room)
    log = (tmp_path / "state" / "verification_failures.log").read_text()
    assert canaries.WORD not in log


def test_t27_t29_text_from_outside_stays_one_line_and_shows_what_it_hides(tmp_path: Path, room: Room) -> None:
    job = make_job(tmp_path, info=make_info("x.safetensors").model_copy(update={"expected_filename": EVIL}))
    quarantine = Quarantine(tmp_path / "state")
    quarantine.record(job, URL + EVIL, rejected(EVIL), room)
    quarantine.record(job, URL, rejected(), room)
    raw = (tmp_path / "state" / "verification_failures.log").read_bytes()
    assert raw.count(b"\n") == 2
    assert raw.isascii()
    first, _ = lines(tmp_path / "state")
    for key in ("reason", "file"):
        assert first[key] == "\\x1b]0;owned\\x07<U+202E>\\x0aforged line\\x0d<U+2028>"


def test_evidence_without_a_digest_gets_one(tmp_path: Path, room: Room) -> None:
    quarantine = Quarantine(tmp_path / "state")
    for evidence in ({"rule": "a hole"}, {"rule": "a hole"}, {"rule": "an overlap"}):
        quarantine.record(make_job(tmp_path), URL, rejected(evidence=evidence), room)
    digests = [line["evidence_sha256"] for line in lines(tmp_path / "state")]
    assert digests[0] == digests[1] != digests[2]
    assert len(digests[0]) == 64


def test_the_log_is_private_and_only_grows(tmp_path: Path, room: Room) -> None:
    quarantine = Quarantine(tmp_path / "state")
    quarantine.record(make_job(tmp_path), URL, rejected("first"), room)
    log = tmp_path / "state" / "verification_failures.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    Quarantine(tmp_path / "state").record(make_job(tmp_path), URL, rejected("second"), room)
    assert [line["reason"] for line in lines(tmp_path / "state")] == ["first", "second"]


def test_lines_of_many_threads_never_mix(tmp_path: Path, room: Room) -> None:
    quarantine = Quarantine(tmp_path / "state")
    with ThreadPoolExecutor(8) as pool:
        asked = [
            pool.submit(quarantine.record, make_job(tmp_path), URL, rejected(f"{n}" * 300), room) for n in range(40)
        ]
        for done in asked:
            done.result()
    assert len(lines(tmp_path / "state")) == 40


def test_a_line_is_durable_before_the_file_is_forgotten(
    tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    Quarantine(tmp_path / "state").record(make_job(tmp_path), URL, rejected(), room)
    assert len(flushed) == 1


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (errno.ENOSPC, TryLater, Code.DISK_FULL),
        (errno.EIO, GiveUp, Code.STORAGE),
        (errno.EACCES, GiveUp, Code.PERMISSION),
    ],
)
def test_a_log_that_cannot_be_written_is_no_rejection_yet(
    number: int, kind: type[Exception], code: Code, tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(kind) as caught:
        Quarantine(tmp_path / "state").record(make_job(tmp_path), URL, rejected(), room)
    assert getattr(caught.value, "code", None) is code


def test_a_line_that_is_cut_is_a_full_disk(tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda _, raw: len(raw) - 1)
    with pytest.raises(TryLater):
        Quarantine(tmp_path / "state").record(make_job(tmp_path), URL, rejected(), room)


# --- keeping the file


def test_by_default_the_file_stays_in_its_room_to_be_deleted_with_it(tmp_path: Path, room: Room) -> None:
    Quarantine(tmp_path / "state").record(make_job(tmp_path), URL, rejected(), room)
    assert room.part.exists()
    assert not (tmp_path / "state" / "quarantine").exists()


def test_a_kept_file_moves_into_quarantine_without_a_models_extension(tmp_path: Path, room: Room) -> None:
    job = make_job(tmp_path, attempts=2, info=make_info("evil.safetensors"))
    Quarantine(tmp_path / "state", keep=True).record(job, URL, rejected(), room)
    home = tmp_path / "state" / "quarantine" / job.job_id / f"2-{source_key(URL)[:8]}-evil.safetensors.rejected"
    assert home.read_bytes() == b"rejected bytes"
    assert stat.S_IMODE(home.parent.stat().st_mode) == 0o700
    assert not room.part.exists()
    assert lines(tmp_path / "state")[0]["kept"] == str(home)


def test_of_two_mirrors_in_one_attempt_both_files_are_kept(tmp_path: Path, room: Room) -> None:
    job, quarantine = make_job(tmp_path, attempts=1), Quarantine(tmp_path / "state", keep=True)
    for mirror in ("one", "two"):
        room.part.write_bytes(mirror.encode())
        quarantine.record(job, f"https://{mirror}.example/x", rejected(), room)
    kept = (tmp_path / "state/quarantine" / job.job_id).iterdir()
    assert {path.read_bytes() for path in kept} == {b"one", b"two"}


def test_d3_a_kept_file_is_copied_to_another_volume(
    tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "replace", _other_volume)
    monkeypatch.setattr(module, "COPY_RESERVE_BYTES", 0)
    job = make_job(tmp_path)
    Quarantine(tmp_path / "state", keep=True).record(job, URL, rejected(), room)
    kept = Path(lines(tmp_path / "state")[0]["kept"])
    assert kept.read_bytes() == b"rejected bytes"
    assert not room.part.exists()


def test_a_file_too_large_to_copy_is_let_go_and_the_line_is_written(
    tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "replace", _other_volume)
    monkeypatch.setattr(module, "MAX_COPY_BYTES", 13)
    job = make_job(tmp_path)
    Quarantine(tmp_path / "state", keep=True).record(job, URL, rejected(), room)
    assert lines(tmp_path / "state")[0]["kept"] is None
    assert list((tmp_path / "state" / "quarantine" / job.job_id).iterdir()) == []


def test_a_room_without_a_file_is_nothing_to_keep(tmp_path: Path, room: Room) -> None:
    room.part.unlink()
    Quarantine(tmp_path / "state", keep=True).record(make_job(tmp_path), URL, rejected(), room)
    assert lines(tmp_path / "state")[0]["kept"] is None


def _other_volume(self: Path, target: Path) -> Path:
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(self), None, str(target))


# --- forgetting


def test_what_was_kept_long_enough_is_removed(tmp_path: Path, room: Room) -> None:
    clock = FakeClock()
    quarantine = Quarantine(tmp_path / "state", keep=True, keep_days=7, clock=clock)
    old, young = make_job(tmp_path), make_job(tmp_path)
    for job in (old, young):
        room.part.write_bytes(b"rejected bytes")
        quarantine.record(job, URL, rejected(), room)
    folder = tmp_path / "state" / "quarantine"
    for job, days in ((old, 8), (young, 6)):
        moment = (clock.now() - timedelta(days=days)).timestamp()
        os.utime(folder / job.job_id, (moment, moment))
    assert quarantine.prune(clock.now()) == 1
    assert [entry.name for entry in folder.iterdir()] == [young.job_id]
    assert len(lines(tmp_path / "state")) == 2


def test_forgetting_follows_no_link_and_needs_no_folder(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "state", keep=True, keep_days=1)
    assert quarantine.prune(FakeClock().now()) == 0
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / "state" / "quarantine").mkdir(parents=True)
    (tmp_path / "state" / "quarantine" / "link").symlink_to(precious)
    assert quarantine.prune(FakeClock().now() + timedelta(days=100_000)) == 0
    assert precious.is_dir()
