"""Rooms: what a dead owner left is taken over, what a stopped one holds is copied, and no crash in between loses it."""

from __future__ import annotations

import errno
import gc
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from download_worker.errors import Code, GiveUp, LostClaim, TryLater
from download_worker.jobs.job import JobId
from download_worker.room import (
    MAX_JOURNAL_BYTES,
    MAX_STRETCHES,
    MAX_VERSIONS,
    STAGING_BESIDE_MODELS,
    Identity,
    Journal,
    Room,
    Stretch,
    Version,
    entered,
    is_occupied,
    leave_for_good,
    nearest_existing,
    source_key,
    staging_for,
    storage_errors,
)

JOB = JobId("00000001-0000-4000-8000-000000000000")
SOURCE = source_key("https://h.example/x")
DURABLE = b"durable!"
TAIL = b"not flushed"
VERSION = Version(SOURCE, etag='"e"', last_modified="Mon", content_type="x/y", origin="https://h.example/x")
MIRROR = Version(source_key("https://m.example/x"), etag='"m"')
NOTED = Journal(total=99, versions=(VERSION,), durable=(Stretch(0, len(DURABLE), 0),))
WHOLE = replace(NOTED, total=len(DURABLE), sha256="a" * 64, pieces="0b" * 16)


SAID = (
    '{"total":99,"versions":[{"source":"s","etag":"\\"e\\"","last_modified":null,"content_type":null,'
    '"origin":"https://h.example/x"}],"durable":[[0,8,0]],"sha256":null,"identity":null,"pieces":null}'
)
"""A journal that is believed, and in which the tests below change one thing."""


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    return tmp_path / "staging"


def leave_behind(staging: Path, attempts: int, journal: Journal = NOTED, data: bytes = DURABLE + TAIL) -> Room:
    with entered(staging, JOB, attempts) as room:
        room.part.write_bytes(data)
        room.note(journal)
    return room


@pytest.fixture
def zombie(staging: Path) -> Iterator[Room]:
    """A room whose owner is stopped, not dead: its lock is held."""
    room = leave_behind(staging, 1)
    with FileLock(room.folder / "lock", thread_local=False):
        yield room


def halls(staging: Path) -> list[str]:
    return sorted(path.name for path in (staging / JOB).iterdir())


def test_the_first_room_is_empty_private_and_locked(staging: Path) -> None:
    with entered(staging, JOB, 1) as room:
        assert room.journal() is None
        assert room.whole_file() is None
        assert not room.part.exists()
        assert is_occupied(staging, JOB)
        for folder in (room.folder, room.folder.parent):
            assert os.name != "posix" or folder.stat().st_mode & 0o777 == 0o700
    assert not is_occupied(staging, JOB)


def test_p1_a_dead_owners_room_is_taken_over_in_one_step_with_all_its_bytes(staging: Path) -> None:
    inode = leave_behind(staging, 1).part.stat().st_ino
    with entered(staging, JOB, 2) as room:
        assert room.journal() == NOTED
        assert room.part.read_bytes() == DURABLE + TAIL
        assert room.part.stat().st_ino == inode, "renamed, not copied"
        assert halls(staging) == ["2"]


def test_a_whole_file_stays_whole_for_the_next_owner(staging: Path) -> None:
    with entered(staging, JOB, 1) as room:
        room.part.write_bytes(DURABLE)
        whole = replace(WHOLE, identity=Identity.of(room.part.stat()))
        room.note(whole)
    with entered(staging, JOB, 5) as room:
        assert room.whole_file() == whole


def test_p4_from_a_stopped_owner_only_the_durable_bytes_are_copied_and_its_paths_are_gone(
    staging: Path, zombie: Room
) -> None:
    with zombie.part.open("ab") as still_open, entered(staging, JOB, 2) as room:
        still_open.write(b"from the dead")
        still_open.flush()
        assert room.part.read_bytes() == DURABLE
        assert room.journal() == NOTED
        assert not zombie.folder.exists()
        with pytest.raises(FileNotFoundError):
            zombie.note(NOTED)
        assert halls(staging) == ["2"]


def test_p4_a_dead_owners_folder_that_cannot_be_renamed_is_copied(
    staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows renames none in which a file is open."""
    former, rename = leave_behind(staging, 1), Path.rename

    def as_windows_does(path: Path, target: Path) -> Path:
        if path == former.folder:
            raise PermissionError(errno.EACCES, "The process cannot access the file", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", as_windows_does)
    with entered(staging, JOB, 2) as room:
        assert room.journal() == NOTED
        assert room.part.read_bytes() == DURABLE
        assert halls(staging) == ["2"]


def test_what_vanishes_while_it_is_removed_is_removed(staging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = leave_behind(staging, 1)
    (left.folder / "journal.new").touch()

    def gone_meanwhile(path: Any, **named: Any) -> None:
        unlink(path, **named)
        unlink(path, **named)

    unlink = os.unlink
    monkeypatch.setattr(os, "unlink", gone_meanwhile)
    leave_for_good(staging, JOB, 1)
    assert not (staging / JOB).exists()


def test_p4_a_file_that_somebody_may_still_write_to_is_not_whole_any_more(staging: Path) -> None:
    room = leave_behind(staging, 1, data=DURABLE)
    room.note(replace(WHOLE, identity=Identity.of(room.part.stat())))
    with FileLock(room.folder / "lock", thread_local=False), entered(staging, JOB, 2) as fresh:
        assert fresh.whole_file() is None
        journal = fresh.journal()
        assert journal is not None
        assert journal == replace(WHOLE, sha256=None, identity=None, pieces=None)


def test_p4_an_owner_that_wakes_up_too_late_finds_no_room_and_harms_none(staging: Path) -> None:
    with entered(staging, JOB, 2) as room:
        room.part.write_bytes(DURABLE)
        room.note(NOTED)
        with pytest.raises(LostClaim), entered(staging, JOB, 1):
            pytest.fail("a former claim got a room")
        assert room.journal() == NOTED
        assert room.part.read_bytes() == DURABLE
    with pytest.raises(LostClaim), entered(staging, JOB, 1):
        pytest.fail("also when the later owner is between two tries")
    assert halls(staging) == ["2"]


def test_the_most_advanced_of_several_rooms_is_taken_and_the_others_go(staging: Path) -> None:
    for number, durable in ((3, 2), (7, 8), (10, 4)):
        folder = staging / JOB / str(number)
        folder.mkdir(parents=True)
        (folder / "part").write_bytes(DURABLE)
        Room(folder).note(replace(NOTED, durable=(Stretch(0, durable, 0),)))
    (staging / JOB / "9.new").mkdir()
    (staging / JOB / ".DS_Store").touch()
    with entered(staging, JOB, 11) as room:
        journal = room.journal()
        assert journal is not None
        assert journal.durable_bytes == 8
        assert halls(staging) == [".DS_Store", "11"], "half a copy of a killed owner goes as well"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        '"journal"',
        "17",
        '{"source": "s", "etag": null, "total": 8, "durable_bytes": 8, "sha256": "a", "identity": [1, 8, 3]}',
        '{"durable": [[0, 3, 0]]}',
        SAID.replace("[0,8,0]", '[0,"8",0]'),
        SAID.replace("[0,8,0]", "[0,8.0,0]"),
        SAID.replace("[0,8,0]", "[0,8,true]"),
        SAID.replace("[0,8,0]", "[0,8,1]"),
        SAID.replace("[0,8,0]", "[0,8,-1]"),
        SAID.replace("[0,8,0]", "[0,8]"),
        SAID.replace("[0,8,0]", "[0,20,0]"),
        SAID.replace("[0,8,0]", "[-1,8,0]"),
        SAID.replace("[0,8,0]", "[3,3,0]"),
        SAID.replace("[0,8,0]", "[4,6,0],[0,2,0]"),
        SAID.replace("[0,8,0]", "[0,4,0],[3,6,0]"),
        SAID.replace("[0,8,0]", "[0,1e999,0]"),
        SAID.replace('"identity":null', '"identity":"abc"'),
        SAID.replace('"identity":null', '"identity":[1,2]'),
        SAID.replace('"sha256":null', '"sha256":"a"'),
        SAID.replace('"etag":"\\"e\\""', '"etag":{}'),
        SAID.replace('"total":99', '"total":99,"news":1'),
        SAID.replace('"https://h.example/x"', json.dumps("s" * MAX_JOURNAL_BYTES)),
        "[" * 16_000,
        "\udc80".encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
    ids=lambda text: text[:40],
)
def test_d13_a_torn_or_senseless_journal_is_none(staging: Path, text: str) -> None:
    room = leave_behind(staging, 1)
    (room.folder / "journal.json").write_text(text, encoding="latin-1")
    assert room.journal() is None
    assert room.whole_file() is None
    with entered(staging, JOB, 2) as fresh:
        assert fresh.journal() is None


def test_a_journal_reads_as_it_was_noted_and_the_text_above_is_one(staging: Path) -> None:
    room = leave_behind(staging, 1)
    many = tuple(Stretch(at, at + 1, at % 2) for at in range(0, 16, 2))
    room.note(Journal(versions=(VERSION, MIRROR), durable=many))
    journal = room.journal()
    assert journal == Journal(versions=(VERSION, MIRROR), durable=many)
    assert (journal.durable_bytes, journal.lead, journal.whole) == (8, VERSION, False)
    (room.folder / "journal.json").write_text(SAID)
    told = room.journal()
    assert told is not None and told.durable == NOTED.durable


def test_a_journal_with_all_that_its_bounds_allow_is_still_believed(staging: Path) -> None:
    long = Version(SOURCE, *("e" * 500,) * 3, origin="o" * 500)
    size = 200 * 1024**3
    edges = [0, *range(size - MAX_STRETCHES + 1, size + 1)]
    durable = tuple(Stretch(*span, number % MAX_VERSIONS) for number, span in enumerate(pairwise(edges)))
    largest = replace(WHOLE, total=size, versions=(long,) * MAX_VERSIONS, durable=durable, pieces="ab" * 16 * 12_800)
    room = leave_behind(staging, 1)
    with room.part.open("r+b") as part:
        part.truncate(size)
    room.note(largest)
    assert room.journal() == largest


def test_d17_a_whole_file_has_no_gaps_whatever_its_size(staging: Path) -> None:
    with entered(staging, JOB, 1) as room:
        room.part.write_bytes(DURABLE)
        gap = (Stretch(0, 3, 0), Stretch(4, 8, 0))
        room.note(replace(WHOLE, durable=gap, identity=Identity.of(room.part.stat())))
        assert room.whole_file() is None
        assert room.journal() is None


def test_only_a_room_in_which_no_journal_ever_was_is_fresh(staging: Path) -> None:
    with entered(staging, JOB, 1) as room:
        assert room.fresh
        room.part.write_bytes(DURABLE)
        room.note(NOTED)
        assert not room.fresh
    for attempts in (1, 2):
        with entered(staging, JOB, attempts) as again:
            assert not again.fresh
            again.empty()
            assert not again.fresh, "a power cut may bring back what was only unlinked"
            again.part.write_bytes(DURABLE)
            again.note(NOTED)


def test_p4_every_durable_stretch_is_copied_to_its_place_and_nothing_between_them(staging: Path) -> None:
    durable = (Stretch(1, 3, 0), Stretch(5, 8, 1))
    room = leave_behind(staging, 1, replace(NOTED, versions=(VERSION, MIRROR), durable=durable))
    with FileLock(room.folder / "lock", thread_local=False), entered(staging, JOB, 2) as fresh:
        journal = fresh.journal()
        assert journal is not None and journal.durable == durable
        assert fresh.part.read_bytes() == b"\0ur\0\0le!"


def test_d18_a_journal_that_knows_of_more_bytes_than_there_are_is_none(staging: Path) -> None:
    room = leave_behind(staging, 1)
    os.truncate(room.part, len(DURABLE))
    assert room.journal() == NOTED
    os.truncate(room.part, len(DURABLE) - 1)
    assert room.journal() is None
    room.part.unlink()
    assert room.journal() is None


@pytest.mark.parametrize("change", ["bytes", "mtime", "replaced", "longer"])
def test_d16_a_whole_file_that_was_touched_since_is_not_whole(staging: Path, change: str) -> None:
    with entered(staging, JOB, 1) as room:
        room.part.write_bytes(DURABLE)
        before = room.part.stat()
        whole = replace(WHOLE, identity=Identity.of(before))
        room.note(whole)
        assert room.whole_file() == whole
        match change:
            case "bytes":
                room.part.write_bytes(b"DURABLE!")
                os.utime(room.part, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
            case "mtime":
                os.utime(room.part, ns=(before.st_atime_ns, before.st_mtime_ns - 1))
            case "longer":
                os.truncate(room.part, 9)
                os.utime(room.part, ns=(before.st_atime_ns, before.st_mtime_ns))
            case "replaced":
                shutil.copy2(room.part, room.folder / "other")
                (room.folder / "other").replace(room.part)
                os.utime(room.part, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert room.whole_file() is None


def test_a_journal_without_a_digest_or_an_identity_is_of_no_whole_file(staging: Path) -> None:
    room = leave_behind(staging, 1, data=DURABLE)
    identity = Identity.of(room.part.stat())
    room.note(replace(WHOLE, sha256=None, identity=identity))
    assert room.whole_file() is None
    room.note(WHOLE)
    assert room.whole_file() is None


def test_an_emptied_room_knows_nothing_twice(staging: Path) -> None:
    room = leave_behind(staging, 1)
    room.empty()
    room.empty()
    assert room.journal() is None
    assert not room.part.exists()


def test_leaving_for_good_twice_is_leaving_once_and_touches_no_other_job(staging: Path) -> None:
    leave_behind(staging, 1)
    (staging / "another").mkdir()
    leave_for_good(staging, JOB, 9)
    leave_for_good(staging, JOB, 9)
    assert [path.name for path in staging.iterdir()] == ["another"]


def test_p4_a_former_owner_leaves_without_touching_its_successors_room(staging: Path) -> None:
    leave_behind(staging, 2)
    leave_for_good(staging, JOB, 1)
    assert (staging / JOB / "2" / "part").exists()


def test_a_room_in_which_nothing_became_durable_is_gone_when_it_is_left(staging: Path) -> None:
    with entered(staging, JOB, 1) as room:
        room.part.write_bytes(b"not flushed")
    assert not (staging / JOB).exists()


def prove(room: Room) -> Journal:
    """A small file is whole."""
    room.part.write_bytes(DURABLE)
    whole = replace(WHOLE, identity=Identity.of(room.part.stat()))
    room.bear_in_mind(whole)
    return whole


def test_what_is_borne_in_mind_costs_no_note_unless_a_trouble_ends_the_stay(staging: Path) -> None:
    with entered(staging, JOB, 1) as room:
        whole = prove(room)
        assert room.whole_file() == whole == room.journal()
        assert Room(room.folder).journal() is None, "a crash now, and it is fetched again"
    with pytest.raises(TryLater), entered(staging, JOB, 2) as room:
        whole = prove(room)
        raise TryLater(Code.NO_VERDICT, "the language model is silent")
    with entered(staging, JOB, 3) as room:
        assert room.whole_file() == whole, "nobody fetches it a second time"


def test_an_emptied_room_bears_nothing_in_mind(staging: Path) -> None:
    with pytest.raises(TryLater), entered(staging, JOB, 1) as room:
        prove(room)
        room.empty()
        room.part.write_bytes(DURABLE[::-1])  # of the next source
        assert room.journal() is None
        raise TryLater(Code.NO_VERDICT, "the language model is silent")
    assert not (staging / JOB).exists()


def test_a_trouble_is_told_although_the_disk_refuses_the_note(staging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(room: Room, journal: Journal) -> None:
        raise OSError(errno.EIO, "broken")

    with pytest.raises(TryLater), entered(staging, JOB, 1) as room:
        prove(room)
        monkeypatch.setattr(Room, "note", refuse)
        raise TryLater(Code.NO_VERDICT, "the language model is silent")


def test_p4_whoever_lost_his_room_hears_of_that_and_not_of_a_note(staging: Path) -> None:
    with pytest.raises(LostClaim), entered(staging, JOB, 1) as room:
        prove(room)
        room.folder.rename(staging / JOB / "2")
        raise LostClaim(room.folder)
    assert not (staging / JOB / "1").exists() and not (staging / JOB / "2" / "journal.json").exists()


def test_the_hidden_staging_beside_models_goes_with_its_last_job(tmp_path: Path) -> None:
    beside = tmp_path / "models" / STAGING_BESIDE_MODELS
    leave_behind(beside, 1)
    (beside / "another").mkdir()
    leave_for_good(beside, JOB, 9)
    assert beside.exists()
    (beside / "another").rmdir()
    leave_for_good(beside, JOB, 9)
    assert not beside.exists()
    home = tmp_path / "staging"
    leave_behind(home, 1)
    leave_for_good(home, JOB, 9)
    assert home.exists(), "home's own stays"


# A crash at any step of a take-over: the next owner finds every durable byte


class Killed(BaseException):
    """The process ends here."""


def kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Die before the n-th step that changes the disk. Returns how many there were."""
    seen = 0

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen > step:
                raise Killed
            return function(*args, **kwargs)

        return wrapper

    for owner, name in (
        *((Path, name) for name in ("mkdir", "rename", "replace", "open", "unlink", "rmdir")),
        *((os, name) for name in ("fsync", "rmdir", "unlink")),
        (FileLock, "acquire"),
        (shutil, "rmtree"),
    ):
        monkeypatch.setattr(owner, name, deadly(getattr(owner, name)))
    return lambda: seen


@pytest.fixture
def quick_collection() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.slow
@pytest.mark.usefixtures("quick_collection")
@pytest.mark.parametrize("former", ["dead", "stopped"])
def test_p2_a_crash_at_any_step_of_a_takeover_loses_nothing(staging: Path, former: str) -> None:
    steps = 0
    while True:
        shutil.rmtree(staging, ignore_errors=True)
        left = leave_behind(staging, 1)
        lock = FileLock(left.folder / "lock", thread_local=False)
        if former == "stopped":
            lock.acquire()
        with pytest.MonkeyPatch.context() as patch:
            kill_at(steps, patch)
            try:
                with entered(staging, JOB, 2):
                    pass
                killed = False
            except Killed:
                killed = True
        gc.collect()  # a process that has ended holds no lock
        for attempts in (3, 4):
            with entered(staging, JOB, attempts) as room:
                assert room.journal() == NOTED, f"killed at step {steps}"
                assert room.part.read_bytes()[: len(DURABLE)] == DURABLE
                assert halls(staging) == [str(attempts)]
        lock.release()
        if not killed:
            break
        steps += 1
    assert steps >= (6 if former == "dead" else 12), "every step was tried"


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("former", ["dead", "stopped"])
def test_d1_d4_a_disk_that_fails_in_a_takeover_is_told_and_nothing_is_lost(
    staging: Path, former: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = leave_behind(staging, 1)
    lock = FileLock(left.folder / "lock", thread_local=False)
    if former == "stopped":
        lock.acquire()

    def fail(self: Path, target: Path) -> Path:
        raise OSError(number, os.strerror(number), str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail)
        with pytest.raises(TryLater if number == errno.ENOSPC else GiveUp), entered(staging, JOB, 2):
            pytest.fail("a room that could not be made was entered")
    gc.collect()
    with entered(staging, JOB, 3) as room:
        assert room.journal() == NOTED
    lock.release()


# What a disk says


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (errno.ENOSPC, TryLater, Code.DISK_FULL),
        (errno.EDQUOT, TryLater, Code.DISK_FULL),
        (errno.EFBIG, GiveUp, Code.STORAGE),
        (errno.ESTALE, TryLater, Code.UNMOUNTED),
        (errno.ENOTCONN, TryLater, Code.UNMOUNTED),
        (errno.EHOSTDOWN, TryLater, Code.UNMOUNTED),
        (errno.ENODEV, TryLater, Code.UNMOUNTED),
        (errno.EACCES, GiveUp, Code.PERMISSION),
        (errno.EPERM, GiveUp, Code.PERMISSION),
        (errno.EIO, GiveUp, Code.STORAGE),
        (errno.EROFS, GiveUp, Code.STORAGE),
        (errno.EMFILE, TryLater, Code.STORAGE),
        (errno.ENFILE, TryLater, Code.STORAGE),
        (errno.ENAMETOOLONG, GiveUp, Code.STORAGE),
    ],
)
def test_d1_d4_d6_d7_d8_what_a_disk_says_is_translated_and_names_the_path(
    number: int, kind: type[Exception], code: Code
) -> None:
    with pytest.raises((TryLater, GiveUp)) as told, storage_errors(Path("/srv/here")):
        raise OSError(number, os.strerror(number))
    assert type(told.value) is kind
    assert told.value.code is code
    assert "/srv/here" in told.value.message
    assert isinstance(told.value.__cause__, OSError)


def test_d12_a_path_of_which_nothing_is_there_is_a_volume_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `D:/models` on Windows when that drive was unplugged."""
    monkeypatch.setattr(Path, "exists", lambda path: False)
    with pytest.raises(TryLater) as away, storage_errors(Path("/drive/models")):
        nearest_existing(Path("/drive/models"))
    assert away.value.code is Code.UNMOUNTED


def test_what_is_no_fault_of_the_disk_passes() -> None:
    with pytest.raises(LostClaim), storage_errors(Path("/srv/here")):
        raise LostClaim


# Volumes


@pytest.fixture
def other_volume(tmp_path: Path) -> Iterator[Path]:
    mount = shutil.which("mount")
    if mount is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can mount another volume")
    volume = tmp_path / "volume"
    volume.mkdir()
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(volume)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no volume can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield volume
    finally:
        subprocess.run(["umount", str(volume)], check=True)


def test_on_one_volume_staging_is_homes_also_before_any_folder_exists(tmp_path: Path) -> None:
    home, models = tmp_path / "home/staging", tmp_path / "ComfyUI/models"
    assert staging_for(models / "loras/a/b/x.pt", home, models) == home


def test_each_folder_is_asked_once_for_its_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, models = tmp_path / "home", tmp_path / "models"
    home.mkdir()
    (models / "loras").mkdir(parents=True)
    asked, stat = [], Path.stat

    def count(path: Path, **named: Any) -> os.stat_result:
        asked.append(path)
        return stat(path, **named)

    monkeypatch.setattr(Path, "stat", count)
    assert staging_for(models / "loras" / "x.pt", home, models) == home
    assert asked == [models / "loras", home]


def test_d3_models_on_another_volume_have_their_staging_beside_them(tmp_path: Path, other_volume: Path) -> None:
    models = other_volume / "models"
    target = models / "loras/x.pt"
    assert staging_for(target, tmp_path / "staging", models) == models / STAGING_BESIDE_MODELS


def test_d3_a_model_folder_that_links_to_another_volume_has_one_of_its_own(tmp_path: Path, other_volume: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "loras").symlink_to(other_volume, target_is_directory=True)
    home = tmp_path / "staging"
    assert staging_for(models / "loras/sub/x.pt", home, models) == other_volume.resolve() / STAGING_BESIDE_MODELS
    assert staging_for(models / "vae/x.pt", home, models) == home


def test_d1_a_volume_that_is_really_full_says_so(other_volume: Path) -> None:
    with entered(other_volume / "staging", JOB, 1) as room:
        with pytest.raises(TryLater) as full, storage_errors(room.part):
            room.part.write_bytes(b"\0" * 2 * 1024 * 1024)
        assert full.value.code is Code.DISK_FULL


def test_d6_folders_that_cannot_be_looked_at_are_a_matter_of_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbid(self: Path, **_: object) -> os.stat_result:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "stat", forbid)
    with pytest.raises(GiveUp) as refused:
        staging_for(tmp_path / "models/loras/x.pt", tmp_path / "staging", tmp_path / "models")
    assert refused.value.code is Code.PERMISSION


def test_p4_a_former_owner_that_still_writes_cannot_keep_its_room_from_being_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not dead, only past its lease: whatever it makes in its room must not stand in the way of the next."""
    job_id = JobId("0" * 36)
    former = tmp_path / job_id / "1"
    former.mkdir(parents=True)
    real = shutil.rmtree

    def meanwhile_it_writes(path: Path, *more: object, **how: object) -> None:
        if former.exists():
            (former / "journal.new").write_bytes(b"late")
        real(path, *more, **how)  # type: ignore[arg-type]
        if former.exists():
            (former / "journal.new").write_bytes(b"later")

    monkeypatch.setattr(shutil, "rmtree", meanwhile_it_writes)
    leave_for_good(tmp_path, job_id, 1)
    assert not (tmp_path / job_id).exists()


def test_p4_not_even_a_usual_room_is_removed_before_its_path_is(staging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room, unlink, late = leave_behind(staging, 1), Path.unlink, []
    (room.folder / "journal.json").unlink()

    def meanwhile_it_looks(path: Path, *, missing_ok: bool = False) -> None:
        late.append(room.part.exists())
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", meanwhile_it_looks)
    leave_for_good(staging, JOB, 1)
    assert late and not any(late)
    assert not (staging / JOB).exists()


def test_a_usual_stay_lists_no_folder_and_looks_for_no_journal(staging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hall that was just made is empty, and no journal is in a room that was."""

    def never(path: Path, *_: object) -> None:
        pytest.fail(f"{path} was looked at")

    staging.mkdir()
    for owner, name in ((Path, "iterdir"), (Path, "open"), (os, "scandir"), (os, "listdir")):
        monkeypatch.setattr(owner, name, never)
    with entered(staging, JOB, 1) as room:
        assert room.journal() is None and room.whole_file() is None
        os.close(os.open(room.part, os.O_CREAT | os.O_WRONLY))
        prepared = room.folder
    assert not prepared.parent.exists() and staging.exists()


def test_whatever_else_is_in_a_hall_goes_as_well_or_stays_as_it_must(staging: Path) -> None:
    for name in ("1", "2.gone", "2.new", "4"):
        (staging / JOB / name / "deep").mkdir(parents=True)
        (staging / JOB / name / "part").touch()
    with pytest.raises(LostClaim), entered(staging, JOB, 2):
        pytest.fail("a former claim got a room")
    (staging / JOB / "2").mkdir()
    (staging / JOB / "2" / "part").touch()
    leave_for_good(staging, JOB, 2)
    assert halls(staging) == ["4"]
    leave_for_good(staging, JOB, 4)
    assert not (staging / JOB).exists()


def test_what_a_link_in_the_place_of_a_room_leads_to_is_not_emptied(staging: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "part").touch()
    (staging / JOB).mkdir(parents=True)
    (staging / JOB / "1").symlink_to(elsewhere, target_is_directory=True)
    with pytest.raises(GiveUp):
        leave_for_good(staging, JOB, 1)
    assert (elsewhere / "part").exists()


def test_a_journal_that_speaks_of_more_than_the_whole_file_is_not_believed(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.part.write_bytes(bytes(12))
    room.note(Journal(8, (Version("s"),), (Stretch(0, 12, 0),)))
    assert room.journal() is None
