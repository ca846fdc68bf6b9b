"""Room on the disks: what running jobs still need, volumes that are full or gone, and that both go on by themselves."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from download_worker import volumes
from download_worker.ballast import Ballast, with_ballast
from download_worker.clock import FakeClock
from download_worker.errors import Code, TryLater
from download_worker.jobs.job import Job
from download_worker.leash import Leash
from download_worker.mounts import Mounts
from download_worker.volumes import LOOK_SECONDS, Disks, Volumes, model_folder
from tests.jobs import make_info, make_job
from tests.mountpoints import mounted_at

MIB = 1024**2
RESERVE = 10 * MIB


@dataclass
class House:
    """Two volumes: everything below `models/checkpoints` lies on the second one."""

    root: Path
    free: dict[int, int] = field(default_factory=lambda: {1: 1000 * MIB, 2: 1000 * MIB})
    takes: bool = True
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        disks = Disks(lambda folder: self.free[self.volume(folder)], self.volume, lambda folder: self.takes)
        self.mounts = Mounts(self.root / "state")
        self.volumes = Volumes(self.clock, mounts=self.mounts, reserve_bytes=RESERVE, disks=disks)

    def volume(self, path: Path) -> int:
        return 2 if "checkpoints" in path.parts or "second" in path.parts else 1

    def job(self, model_type: str = "loras", size: int | None = None) -> Job:
        return make_job(self.root / "models", info=make_info(model_type=model_type, size=size))

    def room(self, job: Job) -> Path:
        staging = "second" if job.model_info.model_type == "checkpoints" else "first"
        folder = self.root / staging / job.job_id / "1"
        folder.mkdir(parents=True)
        return folder

    def begin(self, job: Job) -> Leash:
        leash = Leash()
        self.volumes.begun(job, leash)
        return leash


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def no_space(number: int = errno.ENOSPC) -> TryLater:
    trouble = TryLater(Code.DISK_FULL, "no space left")
    trouble.__cause__ = OSError(number, os.strerror(number))
    return trouble


# the account


def test_d1_what_running_jobs_still_need_is_not_free_for_the_next(house: House) -> None:
    first, second, elsewhere = house.job(size=400 * MIB), house.job(size=700 * MIB), house.job("checkpoints")
    for job in (first, second, elsewhere):
        house.begin(job)
    assert house.volumes.free_bytes(house.room(first)) == 1000 * MIB
    room = house.room(second)
    assert house.volumes.free_bytes(room) == 600 * MIB
    assert house.volumes.free_bytes(house.room(elsewhere)) == 1000 * MIB
    with pytest.raises(TryLater) as full:
        house.volumes.check_room(second, room / "part")
    assert full.value.code is Code.DISK_FULL
    house.volumes.ended(first)
    house.volumes.check_room(second, room / "part")


def test_d1_a_size_that_only_the_host_knew_is_counted_too(house: House) -> None:
    first, second = house.job(), house.job()
    leash = house.begin(first)
    house.begin(second)
    house.volumes.free_bytes(house.room(first))
    leash.progress(0, 900 * MIB)
    assert house.volumes.free_bytes(house.room(second)) == 100 * MIB


def test_blocks_that_a_file_has_already_are_not_asked_for_twice(house: House) -> None:
    first, second = house.job(size=4 * MIB), house.job(size=4 * MIB)
    for job in (first, second):
        house.begin(job)
    room = house.room(first)
    (room / "part").write_bytes(os.urandom(3 * MIB))
    house.volumes.free_bytes(room)
    assert house.volumes.free_bytes(house.room(second)) == 999 * MIB, "3 MiB of the first are on the disk"


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system preallocates nothing")
def test_preallocated_blocks_belong_to_their_job_and_to_nobody_else(house: House) -> None:
    first, second = house.job(size=8 * MIB), house.job(size=8 * MIB)
    leash = house.begin(first)
    house.begin(second)
    room = house.room(first)
    with (room / "part").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 8 * MIB)
    house.free[1] = 15 * MIB
    assert house.volumes.free_bytes(room) == 23 * MIB, "its own blocks are there to be filled"
    leash.progress(2 * MIB, 8 * MIB)
    assert house.volumes.free_bytes(room) == 21 * MIB
    assert house.volumes.free_bytes(house.room(second)) == 15 * MIB
    house.free[1] = RESERVE
    house.volumes.check_room(first, room / "part")
    with pytest.raises(TryLater):
        house.volumes.check_room(second, room / "part2")


def test_of_two_that_ask_for_the_same_room_at_once_the_first_one_gets_it(house: House) -> None:
    first, second = house.job(size=800 * MIB), house.job(size=800 * MIB)
    rooms = {}
    for job in (first, second):
        house.begin(job)
        rooms[job.job_id] = house.room(job)
        house.volumes.check_room(job, rooms[job.job_id] / "part")
    assert house.volumes.free_bytes(rooms[first.job_id]) == 1000 * MIB
    assert house.volumes.free_bytes(rooms[second.job_id]) == 200 * MIB
    assert house.volumes.free_bytes(rooms[first.job_id]) == 1000 * MIB


def test_a_job_of_unknown_size_is_let_begin(house: House) -> None:
    house.free[1] = 0
    job = house.job()
    house.volumes.check_room(job, house.root / "part")
    assert house.volumes.shut_folders() == frozenset(), "and nobody else is kept waiting for that"
    with pytest.raises(TryLater, match="do not fit"):
        house.volumes.check_room(house.job(size=1), house.root / "part")


# full volumes


def test_d1_a_volume_that_refuses_a_byte_is_shut_for_all_its_jobs_until_there_is_room(house: House) -> None:
    job, neighbour, elsewhere = house.job(), house.job("vae"), house.job("checkpoints")
    for each in (neighbour, elsewhere):
        house.volumes.refused(each, TryLater(Code.DISK_FULL, "its own size does not fit"))
    house.free[1] = 0
    shut = house.volumes.refused(job, no_space())
    assert shut is not None
    assert "since 2026-01-01T00:00:00.000Z" in shut.told
    both = {str(model_folder(job)), str(model_folder(neighbour))}
    assert house.volumes.shut_folders() == both
    assert house.volumes.next_look_seconds() == LOOK_SECONDS
    house.clock.advance(LOOK_SECONDS)
    assert house.volumes.shut_folders() == both, "looked at, and still full"
    house.free[1] = 1000 * MIB
    assert house.volumes.shut_folders() == both, "not looked at all the time"
    house.clock.advance(LOOK_SECONDS)
    assert house.volumes.shut_folders() == frozenset()
    assert house.volumes.next_look_seconds() is None


def test_a_file_that_is_too_large_for_now_keeps_no_smaller_one_waiting(house: House) -> None:
    assert house.volumes.refused(house.job(size=5000 * MIB), TryLater(Code.DISK_FULL, "does not fit")) is None
    assert house.volumes.shut_folders() == frozenset()


def test_our_own_account_shuts_a_volume_without_room_for_anybody(house: House) -> None:
    house.free[1] = RESERVE
    assert house.volumes.refused(house.job(size=1), TryLater(Code.DISK_FULL, "does not fit")) is not None


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.ENOSPC])
def test_d9_quota_and_inodes_do_not_show_in_the_free_bytes_so_a_byte_is_tried(house: House, number: int) -> None:
    house.takes = False
    assert house.volumes.refused(house.job(), no_space(number)) is not None
    house.clock.advance(LOOK_SECONDS)
    assert house.volumes.shut_folders() != frozenset()
    house.takes = True
    house.clock.advance(LOOK_SECONDS)
    assert house.volumes.shut_folders() == frozenset()


def test_a_volume_that_is_full_again_at_once_is_looked_at_less_and_less_often(house: House) -> None:
    pauses = []
    for _ in range(6):
        shut = house.volumes.refused(house.job(), no_space())
        assert shut is not None
        pauses.append(shut.pause_seconds)
        house.clock.advance(shut.pause_seconds)
        assert house.volumes.shut_folders() == frozenset()
    assert pauses == [5, 10, 20, 40, 60, 60]
    house.clock.advance(600)
    shut = house.volumes.refused(house.job(), no_space())
    assert shut is not None
    assert shut.pause_seconds == LOOK_SECONDS


def test_the_look_itself_leaves_nothing_behind(tmp_path: Path) -> None:
    clock = FakeClock()
    (tmp_path / "models" / "loras").mkdir(parents=True)
    volumes = Volumes(clock, reserve_bytes=0)
    job = make_job(tmp_path / "models")
    assert volumes.refused(job, no_space()) is not None
    clock.advance(LOOK_SECONDS)
    assert volumes.shut_folders() == frozenset()
    assert list((tmp_path / "models" / "loras").iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_d9_a_look_takes_no_for_an_answer_although_bytes_are_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused(**_: object) -> None:
        raise OSError(number, os.strerror(number))

    assert Disks().takes_bytes(tmp_path)
    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    assert not Disks().takes_bytes(tmp_path)


# volumes that are gone


def test_d12_the_empty_mount_point_of_a_volume_is_not_filled_and_its_jobs_go_on_when_it_is_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = house.job("checkpoints")
    disk = house.root / "models"
    (disk / "checkpoints").mkdir(parents=True)
    mounted_at(monkeypatch, disk)
    house.volumes.check_mounted(job)
    mounted_at(monkeypatch)
    with pytest.raises(TryLater) as gone:
        Volumes(house.clock, mounts=Mounts(house.root / "state")).check_mounted(job)  # after a restart, too
    assert gone.value.code is Code.UNMOUNTED
    assert "mounts.json" in gone.value.hint
    shut = house.volumes.refused(job, gone.value)
    assert shut is not None
    assert "not mounted since" in shut.told
    assert house.volumes.shut_folders() == {str(disk / "checkpoints")}
    house.clock.advance(LOOK_SECONDS)
    assert house.volumes.shut_folders() == {str(disk / "checkpoints")}
    mounted_at(monkeypatch, disk)
    house.clock.advance(LOOK_SECONDS)
    assert house.volumes.shut_folders() == frozenset()
    house.volumes.check_mounted(job)


def test_d12_a_folder_that_moves_onto_a_volume_of_its_own_is_welcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models" / "loras"
    folder.mkdir(parents=True)
    mounts = Mounts(tmp_path / "state")
    mounted_at(monkeypatch)
    mounts.check(folder)
    mounted_at(monkeypatch, folder)
    mounts.check(folder)
    mounted_at(monkeypatch)
    assert not mounts.is_there(folder)


def test_d12_a_linked_folder_whose_disk_is_away_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, folder = tmp_path / "disk", tmp_path / "models" / "loras"
    (disk / "loras").mkdir(parents=True)
    folder.parent.mkdir()
    folder.symlink_to(disk / "loras")
    mounts = Mounts(tmp_path / "state")
    mounted_at(monkeypatch, disk)
    mounts.check(folder)
    mounted_at(monkeypatch)
    (disk / "loras").rmdir()
    assert not mounts.is_there(folder)


def test_d12_a_root_that_has_lost_its_volume_is_missed_by_the_first_job_for_another_folder_of_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = house.root / "models"
    disk.mkdir()
    mounted_at(monkeypatch, disk)
    house.volumes.check_mounted(house.job("loras"))
    mounted_at(monkeypatch)
    job = house.job("vae")
    with pytest.raises(TryLater) as gone:
        house.volumes.check_mounted(job)
    shut = house.volumes.refused(job, gone.value)
    assert shut is not None
    assert "mounts.json" in shut.told, "the way out is told, too"
    house.clock.advance(LOOK_SECONDS)
    assert house.volumes.shut_folders() == {str(disk / "vae")}, "a look notes nothing in its place"


def test_d12_a_link_that_leads_to_another_disk_by_now_has_lost_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former, new, folder = tmp_path / "former", tmp_path / "new", tmp_path / "models"
    former.mkdir()
    new.mkdir()
    folder.symlink_to(former)
    mounts = Mounts(tmp_path / "state")
    mounted_at(monkeypatch, former)
    mounts.check(folder, folder / "vae")
    folder.unlink()
    folder.symlink_to(new)
    mounts.check(folder, folder / "vae")
    mounted_at(monkeypatch)
    assert mounts.is_there(folder / "vae"), "from now on it is the new place that counts"


def test_d12_a_disk_that_answers_nothing_but_errors_is_away_and_no_worker_dies_of_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = house.job()

    def stale(path: object, **_: object) -> os.stat_result:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))

    with monkeypatch.context() as patch:
        patch.setattr("os.lstat", stale)
        patch.setattr("os.stat", stale)
        with pytest.raises(TryLater) as away:
            house.volumes.check_mounted(job)
        assert away.value.code is Code.UNMOUNTED
        assert house.volumes.refused(job, away.value) is not None
        house.clock.advance(LOOK_SECONDS)
        assert house.volumes.shut_folders() == {str(model_folder(job))}
    house.clock.advance(LOOK_SECONDS)
    assert house.volumes.shut_folders() == frozenset()


@pytest.mark.parametrize("question", ["volume_of", "free_bytes"])
def test_d10_a_disk_that_hangs_keeps_no_job_of_another_disk_waiting(
    house: House, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    """Whichever question its job waits in; the looks at it hang as well."""
    began = time.monotonic()
    monkeypatch.setattr(volumes, "LOOK_PATIENCE_SECONDS", 0.01)
    answered, asked = threading.Event(), threading.Semaphore(0)
    stuck, lively = house.job("checkpoints", size=MIB), house.job(size=MIB)
    model_folder(stuck).mkdir(parents=True)
    house.begin(stuck)
    house.volumes.refused(stuck, no_space())
    room = house.room(stuck)

    def hang(folder: Path) -> None:
        if house.volume(folder) == 2:
            asked.release()
            answered.wait(60)

    def volume_of(path: Path) -> int:
        if question == "volume_of":
            hang(path)
        return house.volume(path)

    def free_bytes(folder: Path) -> int:
        hang(folder)
        return house.free[1]

    house.volumes._disks = replace(house.volumes._disks, volume_of=volume_of, free_bytes=free_bytes)
    checking = threading.Thread(target=house.volumes.free_bytes, args=(room,), daemon=True)
    checking.start()
    assert asked.acquire(timeout=60)
    house.clock.advance(LOOK_SECONDS)
    for _ in range(3):
        assert house.volumes.shut_folders() == {str(model_folder(stuck))}
        house.clock.advance(LOOK_SECONDS)
    assert asked.acquire(timeout=60)
    assert not asked.acquire(timeout=0.05), "one look is enough for a disk that hangs"
    house.begin(lively)
    house.volumes.check_room(lively, house.room(lively) / "part")
    house.volumes.ended(lively)
    assert time.monotonic() - began < 20, "nobody waited for that disk"
    answered.set()
    checking.join()
    house.clock.advance(LOOK_SECONDS)
    while house.volumes.shut_folders():
        house.clock.advance(LOOK_SECONDS)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"x": 3}', b"\xff"])
def test_d12_a_memory_that_cannot_be_read_begins_anew(tmp_path: Path, damage: bytes) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "mounts.json").write_bytes(damage)
    Mounts(state).check(tmp_path)
    assert str(tmp_path) in (state / "mounts.json").read_text()
    assert [path.name for path in state.iterdir()] == ["mounts.json"]


def test_d12_what_a_person_writes_into_the_memory_counts_from_the_next_job_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the file tells nothing of it: in the same place, of the same size, within the same tick."""
    folder, disk = tmp_path / "models", tmp_path / "mod-ls"
    folder.mkdir()
    mounts, memory = Mounts(tmp_path / "state"), tmp_path / "state" / "mounts.json"
    mounted_at(monkeypatch, folder)
    mounts.check(folder)
    mounted_at(monkeypatch)
    assert not mounts.is_there(folder)
    written = memory.stat()
    with memory.open("r+b") as file:
        file.write(memory.read_bytes().replace(f'": "{folder}'.encode(), f'": "{disk}'.encode()))
    os.utime(memory, ns=(written.st_atime_ns, written.st_mtime_ns))
    assert memory.stat().st_size == written.st_size
    assert mounts.is_there(folder)


def test_d12_a_memory_of_many_folders_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / "state").mkdir()
    others = {f"/elsewhere/{number:060}": "/elsewhere" for number in range(2000)}
    (tmp_path / "state" / "mounts.json").write_text(json.dumps({**others, str(folder): str(folder)}))
    mounted_at(monkeypatch)
    assert not Mounts(tmp_path / "state").is_there(folder)
    mounted_at(monkeypatch, folder, tmp_path)
    Mounts(tmp_path / "state").check(tmp_path)
    assert json.loads((tmp_path / "state" / "mounts.json").read_text()).items() >= others.items()


def test_d12_one_look_asks_about_each_place_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models" / "loras"
    folder.mkdir(parents=True)
    mounts, asked, lstat = Mounts(tmp_path / "state"), [], os.lstat
    mounts.check(folder.parent, folder)

    def counted(path: Path) -> os.stat_result:
        asked.append(path)
        return lstat(path)

    monkeypatch.setattr("os.lstat", counted)
    mounts.check(folder.parent, folder)
    assert sorted(asked) == sorted([folder, *folder.parents])


def test_d12_a_volume_that_comes_when_somebody_goes_through_its_place_is_there_before_the_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """autofs: until then its place has the number of autofs, and the folders below it would look mounted themselves."""
    disk = tmp_path / "disk"
    (disk / "loras").mkdir(parents=True)
    mounts, stat = Mounts(tmp_path / "state"), os.stat

    def mounting(path: str | Path, **named: bool) -> os.stat_result:
        if isinstance(path, Path) and disk in path.parents:
            mounted_at(monkeypatch, disk)  # the same number for all that is on it
        return stat(path, **named)

    def lstat(path: str | Path) -> os.stat_result:
        there = mounting(path, follow_symlinks=False)
        return os.stat_result((*there[:2], 7 if path == disk else 0, *there[3:]))

    monkeypatch.setattr("os.lstat", lstat)
    monkeypatch.setattr("os.stat", mounting)
    mounts.check(disk, disk / "loras")
    memory = json.loads((tmp_path / "state" / "mounts.json").read_text())
    assert memory == {str(disk): str(disk), str(disk / "loras"): str(disk)}


# the ledger's own volume


def test_d2_the_ballast_is_there_is_let_go_once_and_comes_back_when_there_is_room(tmp_path: Path) -> None:
    free = 10 * MIB
    ballast = Ballast(tmp_path / "ballast", MIB, reserve_bytes=5 * MIB, free_bytes=lambda folder: free)
    assert not ballast.let_go()
    ballast.take()
    assert (tmp_path / "ballast").stat().st_size == MIB
    assert ballast.let_go()
    assert not (tmp_path / "ballast").exists()
    free = 5 * MIB
    ballast.take()
    assert list(tmp_path.iterdir()) == []
    Ballast(tmp_path / "nowhere" / "ballast").take()


def test_d2_what_a_full_disk_did_not_take_is_tried_once_more_without_the_ballast(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "ballast", MIB)
    tries: list[bool] = []

    def open_it() -> str:
        tries.append(ballast.path.exists())
        if tries != [True, False]:
            raise TryLater(Code.DISK_FULL, "no space left for the ledger")
        return "opened"

    ballast.take()
    assert with_ballast(ballast, open_it) == "opened"
    with pytest.raises(TryLater):
        with_ballast(ballast, open_it)
    assert tries == [True, False, False]
