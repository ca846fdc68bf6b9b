"""Full and missing volumes that are real ones: file systems in memory, mounted for the test (root, Linux)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest

from download_worker import volumes, wiring
from download_worker.engines import local
from download_worker.errors import Code, TryLater
from download_worker.jobs.job import Job, ModelInfo, Status
from download_worker.jobs.ledger import Ledger, Question
from download_worker.mounts import Mounts, _Look
from download_worker.settings import Settings
from tests.hub import Hub, SizedPattern, sha256_of
from tests.makers import safetensors_prefix

MIB = 1024**2
PATIENCE_SECONDS = 60.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts as Linux does"),
]


@contextmanager
def mounted(folder: Path, size: str, **options: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    words = ",".join([f"size={size}", *(f"{key}={value}" for key, value in options.items())])
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", words, "tmpfs", str(folder)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this user may not mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(volumes, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(volumes, "LOOK_CAP_SECONDS", 0.4)
    monkeypatch.setattr(local, "SHORT_OF_LEDGER_SECONDS", 0.2)
    return Settings(home=tmp_path / "home", allow_hosts=("127.0.0.1",), disk_reserve_bytes=0, max_tries=1)


def hand_in(settings: Settings, hub: Hub, models: Path, *sizes: int) -> list[Job]:
    jobs = []
    with wiring.counter_of(settings) as counter:
        for number, size in enumerate(sizes):
            data = SizedPattern(size, seed=number, prefix=safetensors_prefix(size))
            url = hub.publish(f"/{number}.safetensors", data)
            info = ModelInfo(
                expected_filename=f"{number}.safetensors",
                model_type="loras",
                download_url=url,
                sha256=sha256_of(data),
                size=size,
            )
            jobs.append(counter.submit(info, models).job)
    return jobs


@contextmanager
def worker(settings: Settings) -> Iterator[Ledger]:
    with wiring.engine_of(settings, 0o022) as engine, wiring.ledger_of(settings) as ledger:
        thread = threading.Thread(target=engine.run)
        thread.start()
        try:
            yield ledger
        finally:
            engine.stop()
            thread.join()


def until(holds: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE_SECONDS
    while not holds():
        assert monotonic() < deadline, "it did not come to pass"
        sleep(0.05)


def well(ledger: Ledger) -> int:
    return ledger.counts()[Status.SUCCESS]


def test_d12_the_disk_below_a_missing_mount_is_not_filled(hub: Hub, settings: Settings, tmp_path: Path) -> None:
    models = tmp_path / "models"
    with mounted(models, "64m"):
        (job,) = hand_in(settings, hub, models, MIB)
    with pytest.raises(TryLater) as refused:
        hand_in(settings, hub, models, MIB, MIB)
    assert refused.value.code is Code.UNMOUNTED
    with worker(settings) as ledger:
        until(lambda: "not mounted since" in ledger.get(job.job_id).history[-1].event)
        assert list(models.iterdir()) == []
        assert hub.hits == []
        with mounted(models, "64m"):
            until(lambda: well(ledger) == 1)
            assert (models / "loras" / "0.safetensors").stat().st_size == MIB
            assert ledger.get(job.job_id).tries == 1


@contextmanager
def bound(folder: Path, place: Path) -> Iterator[None]:
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "--bind", str(folder), str(place)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this user may not mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def told_by_the_system(path: Path) -> Path:
    place = path.resolve()
    while not os.path.ismount(place):
        place = place.parent
    return place


def test_d12_what_a_look_finds_is_what_the_system_tells_of_each_place(tmp_path: Path) -> None:
    disk, inner = tmp_path / "disk", tmp_path / "disk" / "inner"
    plain, bind, same = tmp_path / "plain", tmp_path / "bind", tmp_path / "same"
    (plain / "loras").mkdir(parents=True)
    with ExitStack() as stack:
        for place in (disk, inner, inner):  # the last one lies over the one before
            stack.enter_context(mounted(place, "1m"))
        for folder, place in ((plain, bind), (inner, plain / "loras"), (tmp_path, same)):
            stack.enter_context(bound(folder, place))
        (disk / "models").mkdir()
        for name, leads in {"link": inner, "far": Path("disk/../plain"), "links": tmp_path / "link"}.items():
            (tmp_path / name).symlink_to(leads)
        (disk / "up").symlink_to("..")
        (tmp_path / "circle").symlink_to("circle")
        places = [disk, inner, plain, bind, same, plain / "loras", bind / "loras", disk / "models", same / "disk"]
        places += [tmp_path / "link", tmp_path / "far" / "loras", tmp_path / "links" / "x" / "y", disk / "up" / "disk"]
        places += [disk / ".." / "plain" / "loras", tmp_path / "link" / ".." / "models", tmp_path / "none", Path("/")]
        for look in (_Look({}, places), _Look({}, ())):
            for place in places:
                assert look.mount_point_of(place) == told_by_the_system(place), place
        assert _Look({}, ()).mount_point_of(tmp_path / "circle" / "x") == told_by_the_system(tmp_path)


@pytest.mark.parametrize("lost", ["disk", "inner", "bind"])
def test_d12_whichever_of_several_mounts_goes_its_folders_are_missed_and_only_they(tmp_path: Path, lost: str) -> None:
    disk, inner, bind = tmp_path / "disk", tmp_path / "disk" / "inner", tmp_path / "bind"
    folders = {"disk": disk / "loras", "inner": inner / "loras", "bind": bind / "loras", "link": tmp_path / "link"}
    mounts = Mounts(tmp_path / "state")
    with mounted(disk, "1m"), mounted(inner, "1m"), bound(disk, bind):
        for folder in (disk / "loras", inner / "loras"):
            folder.mkdir()
        folders["link"].symlink_to(bind / "loras")
        mounts.check(*folders.values())
        if lost == "disk":
            subprocess.run(["umount", "--lazy", str(disk)], check=True)
        elif lost == "inner":
            subprocess.run(["umount", str(inner)], check=True)
        else:
            subprocess.run(["umount", str(bind)], check=True)
        missed = {name for name, folder in folders.items() if not mounts.is_there(folder)}
        for place, size in ((disk, "1m"), (inner, "1m")):  # for the ends of the blocks
            if not os.path.ismount(place):
                place.mkdir(exist_ok=True)
                subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
        if not os.path.ismount(bind):
            subprocess.run(["mount", "--bind", str(disk), str(bind)], check=True)
    assert missed == {"disk": {"disk", "inner"}, "inner": {"inner"}, "bind": {"bind", "link"}}[lost]


def test_d1_a_volume_that_is_full_is_waited_for_and_everything_comes(
    hub: Hub, settings: Settings, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    with mounted(models, "24m"):
        with (models / "stranger").open("wb") as file:
            file.write(bytes(22 * MIB))
        hand_in(settings, hub, models, 4 * MIB, 4 * MIB, 4 * MIB)
        with worker(settings) as ledger:
            until(lambda: any("do not fit" in job.history[-1].event for job in ledger.jobs()))
            (models / "stranger").unlink()
            until(lambda: well(ledger) == 3)
            assert {job.tries for job in ledger.jobs(Question())} == {1}


def test_d1_a_stranger_that_fills_the_volume_in_the_middle_of_a_file_costs_no_try(
    hub: Hub, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    with mounted(models, "16m"):
        hand_in(settings, hub, models, 8 * MIB)
        monkeypatch.setattr("download_worker.volumes.Volumes.check_room", lambda *_: None)
        monkeypatch.setattr("download_worker.volumes.Volumes.free_bytes", lambda *_: 1 << 40)
        with (models / "stranger").open("wb") as file:
            file.write(bytes(12 * MIB))
        with worker(settings) as ledger:
            until(lambda: any("is full since" in job.history[-1].event for job in ledger.jobs()))
            (models / "stranger").unlink()
            until(lambda: well(ledger) == 1)
            assert {job.tries for job in ledger.jobs(Question())} == {1}


def test_d9_a_volume_without_inodes_is_waited_for(hub: Hub, settings: Settings, tmp_path: Path) -> None:
    models = tmp_path / "models"
    with mounted(models, "64m", nr_inodes="40"):
        (models / "loras").mkdir()
        hand_in(settings, hub, models, MIB)
        files = []
        for number in range(60):
            try:
                (models / f"stranger-{number}").touch()
            except OSError:
                break
            files.append(models / f"stranger-{number}")
        with worker(settings) as ledger:
            until(lambda: any("is full since" in job.history[-1].event for job in ledger.jobs()))
            for file in files:
                file.unlink()
            until(lambda: well(ledger) == 1)
            assert {job.tries for job in ledger.jobs(Question())} == {1}


def test_d2_a_full_volume_of_the_ledger_loses_no_job_and_no_try(hub: Hub, settings: Settings, tmp_path: Path) -> None:
    models = tmp_path / "models"
    with mounted(settings.state, "24m"):
        hand_in(settings, hub, models, *[4096] * 60)
        with worker(settings) as ledger:
            until(lambda: well(ledger) >= 5)
            for _ in range(2):  # the second time eats what the ballast gave
                with suppress_full(), (settings.state / "stranger").open("ab", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))
                sleep(1.0)
            assert ledger.counts()[Status.FAILED] == 0
            (settings.state / "stranger").unlink()
            until(lambda: well(ledger) == 60)
            assert {job.tries for job in ledger.jobs(Question())} == {1}


@contextmanager
def suppress_full() -> Iterator[None]:
    try:
        yield
    except OSError:
        return
