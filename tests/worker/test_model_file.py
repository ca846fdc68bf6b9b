"""A proven file appears in its place in one step, over nothing, and never through somebody's link."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from download_worker.errors import Code, GiveUp, Interrupted, LostClaim, Refused, TryLater
from download_worker.installers import exclusive_rename, folders, model_file
from download_worker.installers.model_file import ModelFileInstaller
from download_worker.jobs.job import Job
from download_worker.leash import Leash
from download_worker.room import Fetched
from tests.jobs import make_info, make_job
from tests.worker.specimens import fetched

CONTENT = b"proven bytes" * 1000
OTHER = b"other bytes!" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()

linux_root = pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0 or not hasattr(os, "setresuid"), reason="needs root on Linux"
)


@pytest.fixture(params=["by descriptor", "by path"])
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything holds with descriptors (POSIX) and without (Windows)."""
    if request.param == "by path":
        monkeypatch.setattr(folders, "BY_DESCRIPTOR", False)
    return str(request.param)


@pytest.fixture(autouse=True)
def strict_umask() -> Iterator[None]:
    """The worker's own."""
    former = os.umask(0o077)
    yield
    os.umask(former)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    (root / "loras").mkdir(parents=True)
    return root


@pytest.fixture
def staged(tmp_path: Path) -> Fetched:
    return fetched(tmp_path / "staging" / "job" / "1", CONTENT)


def job_for(models: Path, name: str = "a.safetensors", **wanted: Any) -> Job:
    return make_job(models, info=make_info(name, **wanted))


def install(job: Job, file: Fetched, umask: int = 0o022) -> Path:
    installed = ModelFileInstaller(umask).install(job, file, Leash())
    assert not installed.already_present
    return installed.path


def everything_below(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if not path.is_dir() or path.is_symlink()}


# --- the good way


def test_a_file_appears_under_its_name_with_the_users_mode(models: Path, staged: Fetched, by: str) -> None:
    path = install(job_for(models), staged)
    assert path == models / "loras" / "a.safetensors"
    assert path.read_bytes() == CONTENT
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_missing_folders_are_made_with_the_users_mode(models: Path, staged: Fetched, by: str) -> None:
    path = install(job_for(models, model_type="ultralytics_bbox", subfolder="sub/deeper"), staged, umask=0o002)
    assert path == models / "ultralytics" / "bbox" / "sub" / "deeper" / "a.safetensors"
    for folder in (path.parent, path.parent.parent, models / "ultralytics" / "bbox", models / "ultralytics"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o775
    assert stat.S_IMODE(path.stat().st_mode) == 0o664


def test_folders_that_are_there_keep_their_mode(models: Path, staged: Fetched, by: str) -> None:
    (models / "loras").chmod(0o700)
    install(job_for(models), staged)
    assert stat.S_IMODE((models / "loras").stat().st_mode) == 0o700


def test_a_model_folder_that_is_a_link_to_another_place_is_used(
    tmp_path: Path, models: Path, staged: Fetched, by: str
) -> None:
    elsewhere = tmp_path / "big disk" / "loras"
    elsewhere.mkdir(parents=True)
    (models / "loras").rmdir()
    (models / "loras").symlink_to(elsewhere)
    install(job_for(models, subfolder="sub"), staged)
    assert (elsewhere / "sub" / "a.safetensors").read_bytes() == CONTENT


def test_the_mode_is_right_before_the_name_appears(
    models: Path, staged: Fetched, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []

    def link(source: Path, *args: Any, **how: Any) -> None:
        modes.append(stat.S_IMODE(source.stat().st_mode))
        os_link(source, *args, **how)

    os_link = os.link
    monkeypatch.setattr(os, "link", link)
    install(job_for(models), staged)
    assert modes == [0o644]


@pytest.mark.parametrize(("mode", "flushed"), [(0o600, ["file"]), (0o644, [])])
def test_file_and_folder_are_flushed_in_that_order(
    models: Path, staged: Fetched, monkeypatch: pytest.MonkeyPatch, mode: int, flushed: list[str]
) -> None:
    """Who fetched it flushed it; it is flushed once more only where its mode changes."""
    staged.path.chmod(mode)
    steps: list[str] = []
    os_link, os_fsync = os.link, os.fsync

    def fsync(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        os_fsync(descriptor)

    def link(*args: Any, **how: Any) -> None:
        steps.append("link")
        os_link(*args, **how)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    install(job_for(models), staged)
    assert steps == [*flushed, "link", "folder"]


# --- something is there already


def test_d14_other_bytes_there_are_a_conflict_and_stay(models: Path, staged: Fetched, by: str) -> None:
    target = models / "loras" / "a.safetensors"
    target.write_bytes(OTHER)
    with pytest.raises(GiveUp) as caught:
        install(job_for(models), staged)
    assert caught.value.code is Code.CONFLICT
    assert not caught.value.elsewhere
    for told in (str(target), SHA256, hashlib.sha256(OTHER).hexdigest()):
        assert told in caught.value.message
    assert target.read_bytes() == OTHER
    assert staged.path.read_bytes() == CONTENT


def test_d14_the_same_bytes_there_are_success(models: Path, staged: Fetched, by: str) -> None:
    target = models / "loras" / "a.safetensors"
    target.write_bytes(CONTENT)
    before = target.stat().st_ino
    installed = ModelFileInstaller(0o022).install(job_for(models), staged, Leash())
    assert installed.already_present
    assert target.stat().st_ino == before


def test_d14_a_file_that_appears_at_the_last_moment_is_not_overwritten(
    models: Path, staged: Fetched, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, os_link = models / "loras" / "a.safetensors", os.link

    def link(*args: Any, **how: Any) -> None:
        target.write_bytes(OTHER)
        os_link(*args, **how)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(GiveUp) as caught:
        install(job_for(models), staged)
    assert caught.value.code is Code.CONFLICT
    assert target.read_bytes() == OTHER


def test_p2_installing_twice_is_installing_once(models: Path, staged: Fetched, by: str) -> None:
    """A kill between the link and its record: the room is still there, and so is the name."""
    path = install(job_for(models), staged)
    again = ModelFileInstaller(0o022).install(job_for(models), staged, Leash())
    assert again.already_present
    assert again.path == path
    assert path.stat().st_ino == staged.identity.inode


def test_p2_installing_twice_reads_no_byte_of_the_file(
    models: Path, staged: Fetched, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(job_for(models), staged)
    monkeypatch.setattr(model_file, "sha256_of", lambda *_: pytest.fail("the same inode needs no digest"))
    ModelFileInstaller(0o022).install(job_for(models), staged, Leash())


@pytest.mark.parametrize("kind", ["folder", "fifo", "link to nothing", "link to other bytes"])
def test_d14_anything_else_there_is_a_conflict(models: Path, staged: Fetched, kind: str, by: str) -> None:
    target = models / "loras" / "a.safetensors"
    if kind == "folder":
        target.mkdir()
    elif kind == "fifo":
        os.mkfifo(target)
    elif kind == "link to nothing":
        target.symlink_to(models / "nothing")
    else:
        (models / "other").write_bytes(OTHER)
        target.symlink_to(models / "other")
    before = everything_below(models)
    with pytest.raises(GiveUp) as caught:
        install(job_for(models), staged)
    assert caught.value.code is Code.CONFLICT
    assert everything_below(models) == before
    with pytest.raises(GiveUp) as caught:
        ModelFileInstaller(0).present(job_for(models, sha256=SHA256), Leash())
    assert caught.value.code is Code.CONFLICT


def test_comparing_with_what_is_there_ends_when_the_leash_is_pulled(models: Path, staged: Fetched) -> None:
    (models / "loras" / "a.safetensors").write_bytes(CONTENT)
    leash = Leash()
    leash.pull()
    with pytest.raises(Interrupted):
        ModelFileInstaller(0).present(job_for(models, sha256=SHA256), leash)


# --- present


def test_folders_and_files_are_asked_about_no_more_than_they_must(
    models: Path, staged: Fetched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A place that is free and a folder that is there: one look each, and none before it is opened."""
    asked: list[str] = []
    os_stat, os_fstat = os.stat, os.fstat

    def counted(path: str | Path, **named: Any) -> os.stat_result:
        asked.append(str(path))
        return os_stat(path, **named)

    def counted_open(descriptor: int) -> os.stat_result:
        asked.append("open")
        return os_fstat(descriptor)

    monkeypatch.setattr(os, "stat", counted)
    monkeypatch.setattr(os, "fstat", counted_open)
    job = job_for(models)
    assert ModelFileInstaller(0o077).present(job, Leash()) is None
    assert asked == [str(job.target)]
    asked.clear()
    install(job, staged, 0o077)
    assert asked == ["open", job.target.name], "what is staged, and what was put in place"


def test_nothing_there_is_nothing_present(models: Path) -> None:
    assert ModelFileInstaller(0).present(job_for(models, sha256=SHA256), Leash()) is None
    assert ModelFileInstaller(0).present(job_for(models, model_type="vae", subfolder="no/such"), Leash()) is None


def test_the_wanted_digest_there_is_present_in_either_case(models: Path) -> None:
    target = models / "loras" / "a.safetensors"
    target.write_bytes(CONTENT)
    present = ModelFileInstaller(0).present(job_for(models, sha256=SHA256.upper()), Leash())
    assert present is not None
    assert (present.path, present.already_present) == (target, True)


def test_a_link_to_a_file_with_the_wanted_digest_is_present(models: Path, tmp_path: Path) -> None:
    """People keep models on other disks, single files as well."""
    (tmp_path / "kept").write_bytes(CONTENT)
    job = job_for(models, sha256=SHA256, size=len(CONTENT))
    job.target.symlink_to(tmp_path / "kept")
    installed = ModelFileInstaller(0o022).present(job, Leash())
    assert installed is not None and installed.already_present


def test_d14_another_digest_there_is_a_conflict_before_anything_is_fetched(models: Path) -> None:
    (models / "loras" / "a.safetensors").write_bytes(OTHER)
    with pytest.raises(GiveUp) as caught:
        ModelFileInstaller(0).present(job_for(models, sha256=SHA256), Leash())
    assert caught.value.code is Code.CONFLICT
    assert SHA256 in caught.value.message
    assert hashlib.sha256(OTHER).hexdigest() in caught.value.message


def test_d14_another_size_there_is_a_conflict_and_the_same_size_decides_nothing(models: Path) -> None:
    (models / "loras" / "a.safetensors").write_bytes(OTHER)
    with pytest.raises(GiveUp) as caught:
        ModelFileInstaller(0).present(job_for(models, size=1), Leash())
    assert caught.value.code is Code.CONFLICT
    assert ModelFileInstaller(0).present(job_for(models, size=len(OTHER)), Leash()) is None
    assert ModelFileInstaller(0).present(job_for(models), Leash()) is None


# --- the staged file changes, or is no longer ours


def write_into(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"X")
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1_000_000))


def swap(path: Path) -> None:
    fresh = path.with_name("fresh")
    fresh.write_bytes(CONTENT)
    fresh.replace(path)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"X")


CHANGES: dict[str, Callable[[Path], None]] = {"written": write_into, "swapped": swap, "appended": append}


@pytest.mark.parametrize("change", CHANGES)
def test_d16_a_file_that_changed_after_its_proof_is_not_put_in_place(
    change: str, models: Path, staged: Fetched, by: str
) -> None:
    CHANGES[change](staged.path)
    with pytest.raises(GiveUp, match="changed after it was proven") as caught:
        install(job_for(models), staged)
    assert caught.value.code is Code.STORAGE
    assert everything_below(models) == set()


@pytest.mark.parametrize("moment", ["before the link", "after the link"])
@pytest.mark.parametrize("change", CHANGES)
def test_d16_a_file_that_changes_while_it_is_linked_is_taken_away_again(
    change: str, moment: str, models: Path, staged: Fetched, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    if (change, moment) == ("swapped", "after the link"):
        pytest.skip("then the name shows the file that was proven")
    os_link = os.link

    def link(source: Path, *args: Any, **how: Any) -> None:
        if moment == "before the link":
            CHANGES[change](staged.path)
        os_link(source, *args, **how)
        if moment == "after the link":
            CHANGES[change](staged.path)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(GiveUp, match="taken away again"):
        install(job_for(models), staged)
    assert everything_below(models) == set()


def test_p4_a_room_that_a_new_owner_took_is_a_lost_claim(models: Path, staged: Fetched, by: str) -> None:
    staged.path.parent.rename(staged.path.parent.with_name("2"))
    with pytest.raises(LostClaim):
        install(job_for(models), staged)
    assert everything_below(models) == set()


def test_p4_a_room_that_is_taken_between_check_and_link_is_a_lost_claim(
    models: Path, staged: Fetched, monkeypatch: pytest.MonkeyPatch
) -> None:
    os_link = os.link

    def link(*args: Any, **how: Any) -> None:
        staged.path.parent.rename(staged.path.parent.with_name("2"))
        os_link(*args, **how)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(LostClaim):
        install(job_for(models), staged)
    assert everything_below(models) == set()


def test_t16_a_staged_file_that_is_a_link_is_not_even_opened(
    models: Path, staged: Fetched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", lambda *_, **__: pytest.fail("it should not come as far as here"))
    real = tmp_path / "real"
    staged.path.rename(real)
    staged.path.symlink_to(real)
    with pytest.raises(GiveUp):
        install(job_for(models), staged)
    assert everything_below(models) == set()


# --- names and folders


@pytest.mark.parametrize(
    "name",
    [
        *("../a.safetensors", "/etc/a.safetensors", "..\\a.safetensors", "a\0.safetensors", ".a.safetensors", "-rf.pt"),
        *("con.safetensors", "a.safetensors ", "a\u202e.safetensors", "x" * 250 + ".pt", "a/b.safetensors", ""),
    ],
)
def test_t14_a_name_that_is_not_one_safe_component_is_refused(name: str, models: Path, staged: Fetched) -> None:
    job = make_job(models, info=make_info("x.pt").model_copy(update={"expected_filename": name}))
    for ask in (lambda: install(job, staged), lambda: ModelFileInstaller(0).present(job, Leash())):
        with pytest.raises(Refused) as caught:
            ask()
        assert caught.value.code is Code.UNSAFE_NAME
    assert everything_below(models) == set()


@pytest.mark.parametrize("name", ["__init__.py", "config", "extra_model_paths.yaml", "a.safetensors.exe", "a.sh", "a"])
def test_t17_only_model_extensions_are_put_into_model_folders(name: str, models: Path, staged: Fetched) -> None:
    with pytest.raises(Refused):
        install(job_for(models, name), staged)
    assert everything_below(models) == set()


@pytest.mark.parametrize(
    "model_type", ["../../custom_nodes", "/etc", "custom_nodes", "loras/../..", "", ".", "..", "loras/x", "configs"]
)
def test_t15_a_folder_that_is_not_in_the_map_is_refused(model_type: str, models: Path, staged: Fetched) -> None:
    with pytest.raises(Refused) as caught:
        install(job_for(models, model_type=model_type), staged)
    assert caught.value.code is Code.UNKNOWN_FOLDER
    assert everything_below(models) == set()


@pytest.mark.parametrize("subfolder", ["..", "a/../..", "/etc", "a//b", ".git", "a\\..\\..", "a/b/c/d/e", "con", "a\n"])
def test_t14_an_unsafe_subfolder_is_refused(subfolder: str, models: Path, staged: Fetched) -> None:
    with pytest.raises(Refused):
        install(job_for(models, subfolder=subfolder), staged)
    assert everything_below(models) == set()


@pytest.mark.parametrize("depth", ["first", "first/second"])
def test_t16_a_link_in_the_subfolder_is_not_followed(
    depth: str, tmp_path: Path, models: Path, staged: Fetched, by: str
) -> None:
    outside = tmp_path / "custom_nodes"
    outside.mkdir()
    link = models / "loras" / depth
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    with pytest.raises(GiveUp) as caught:
        install(job_for(models, subfolder="first/second"), staged)
    assert caught.value.code is Code.STORAGE
    assert list(outside.iterdir()) == []


def test_t16_a_folder_that_becomes_a_link_while_we_are_in_it_changes_nothing(
    tmp_path: Path, models: Path, staged: Fetched, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside, sub, os_link = tmp_path / "custom_nodes", models / "loras" / "sub", os.link
    outside.mkdir()
    sub.mkdir()

    def link(*args: Any, **how: Any) -> None:
        sub.rename(models / "loras" / "moved")
        sub.symlink_to(outside)
        os_link(*args, **how)

    monkeypatch.setattr(os, "link", link)
    install(job_for(models, subfolder="sub"), staged)
    assert list(outside.iterdir()) == []
    assert (models / "loras" / "moved" / "a.safetensors").read_bytes() == CONTENT


def test_a_file_in_the_way_of_a_folder_is_named(models: Path, staged: Fetched, by: str) -> None:
    (models / "loras" / "sub").write_bytes(b"")
    with pytest.raises(GiveUp, match="sub is no folder"):
        install(job_for(models, subfolder="sub"), staged)
    (models / "vae").write_bytes(b"")
    with pytest.raises(GiveUp):
        install(job_for(models, model_type="vae"), staged)


# --- disks


def failing_link(number: int) -> Callable[..., None]:
    def link(source: Path, target: str, **_: Any) -> None:
        raise OSError(number, os.strerror(number), str(source), None, str(target))

    return link


def test_d3_another_volume_is_named_and_nothing_is_copied(
    models: Path, staged: Fetched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", failing_link(errno.EXDEV))
    with pytest.raises(GiveUp, match="different volumes") as caught:
        install(job_for(models), staged)
    assert caught.value.code is Code.STORAGE
    assert everything_below(models) == set()


@linux_root
def test_d3_two_real_volumes(tmp_path: Path, staged: Fetched) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", volume], check=False).returncode:
        pytest.skip("may not mount")
    try:
        with pytest.raises(GiveUp) as caught:
            install(job_for(volume), staged)
        assert caught.value.code is Code.STORAGE
        assert everything_below(volume) == set()
    finally:
        subprocess.run(["umount", volume], check=True)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_for_later(number: int, models: Path, staged: Fetched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", failing_link(number))
    with pytest.raises(TryLater) as caught:
        install(job_for(models), staged)
    assert caught.value.code is Code.DISK_FULL


def test_d4_a_flush_that_fails_puts_nothing_in_place(
    models: Path, staged: Fetched, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(GiveUp) as caught:
        install(job_for(models), staged)
    assert caught.value.code is Code.STORAGE
    assert len(calls) == 1, "a failed flush is not tried again"
    assert everything_below(models) == set()


@pytest.fixture
def nobody() -> Iterator[Path]:
    """We are user 65534 for a while, with a folder that it can reach: root may write everywhere."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        os.chown(name, 65534, 65534)
        os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)


@linux_root
def test_d6_a_folder_that_we_may_not_write_is_named_with_what_it_needs(nobody: Path) -> None:
    file = fetched(nobody / "staging", CONTENT)
    models = nobody / "models"
    (models / "loras").mkdir(parents=True)
    (models / "loras").chmod(0o555)
    models.chmod(0o555)
    for model_type, folder in (("loras", models / "loras"), ("vae", models)):
        with pytest.raises(GiveUp) as caught:
            install(job_for(models, model_type=model_type), file)
        assert caught.value.code is Code.PERMISSION
        assert f"into {folder}: user 65534" in caught.value.message
        assert "its mode is 0555" in caught.value.message
        assert "u+wx" in caught.value.message
    assert file.path.read_bytes() == CONTENT
    assert everything_below(models) == set()


@linux_root
def test_d6_a_file_that_we_may_not_read_is_named(nobody: Path) -> None:
    models = nobody / "models"
    (models / "loras").mkdir(parents=True)
    (models / "loras" / "a.safetensors").write_bytes(CONTENT)
    (models / "loras" / "a.safetensors").chmod(0)
    file = fetched(nobody / "staging", CONTENT)
    for ask in (
        lambda: install(job_for(models), file),
        lambda: ModelFileInstaller(0).present(job_for(models, sha256=SHA256), Leash()),
    ):
        with pytest.raises(GiveUp, match="not allowed to read") as caught:
            ask()
        assert caught.value.code is Code.PERMISSION


NO_LINKS = [errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS]
renames = pytest.mark.skipif(
    exclusive_rename._system_call(os.uname().sysname.lower()) is None, reason="no exclusive rename here"
)


@renames
@pytest.mark.parametrize("number", NO_LINKS)
def test_a_volume_without_hard_links_gets_an_exclusive_rename(
    number: int, models: Path, staged: Fetched, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setattr(os, "link", failing_link(number))
    path = install(job_for(models, subfolder="sub"), staged)
    assert path.read_bytes() == CONTENT
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert not staged.path.exists()


@renames
def test_d14_the_exclusive_rename_overwrites_nothing_either(
    models: Path, staged: Fetched, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setattr(os, "link", failing_link(errno.EPERM))
    target = models / "loras" / "a.safetensors"
    target.write_bytes(OTHER)
    with pytest.raises(GiveUp) as caught:
        install(job_for(models), staged)
    assert caught.value.code is Code.CONFLICT
    assert target.read_bytes() == OTHER
    assert staged.path.exists()


@renames
def test_p4_the_exclusive_rename_keeps_the_fence(
    models: Path, staged: Fetched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: Any, **__: Any) -> None:
        staged.path.parent.rename(staged.path.parent.with_name("2"))
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(LostClaim):
        install(job_for(models), staged)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, None])
def test_a_volume_with_neither_is_given_up_and_nothing_partial_is_ever_seen(
    number: int | None, models: Path, staged: Fetched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> int:
        ctypes.set_errno(number or 0)
        return -1

    monkeypatch.setattr(os, "link", failing_link(errno.EPERM))
    monkeypatch.setattr(exclusive_rename, "_system_call", lambda _: refuse if number else None)
    with pytest.raises(GiveUp, match="neither link a file nor rename it") as caught:
        install(job_for(models), staged)
    assert caught.value.code is Code.STORAGE
    assert everything_below(models) == set()
    assert staged.path.read_bytes() == CONTENT


@pytest.mark.parametrize("number", NO_LINKS[:3])
def test_a_volume_without_modes_is_fine(
    number: int, models: Path, staged: Fetched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fchmod(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fchmod", fchmod)
    assert install(job_for(models), staged).read_bytes() == CONTENT


def test_descriptors_are_given_back(models: Path, staged: Fetched) -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    install(job_for(models, subfolder="a/b/c"), staged)
    with pytest.raises(GiveUp):
        (models / "loras" / "b.safetensors").write_bytes(OTHER)
        install(job_for(models, "b.safetensors"), staged)
    assert len(list(Path("/dev/fd").iterdir())) == before
