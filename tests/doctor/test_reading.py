"""From what a person names to cases: files, folders, URLs and manifests, and what is said where there is nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from comfy_doctor import reading
from comfy_doctor.comfyui.install import Install
from comfy_doctor.reading import Case, Reading, read_cases
from comfy_doctor.troubles import DoctorCode, DoctorTrouble
from comfy_doctor.workflows.documents import Document
from comfy_doctor.workflows.raw_url import read_url_document
from download_worker.settings import Settings
from download_worker.web.session import Web
from tests import canaries, container_images, containers
from tests.hub import BEHAVIOURS, Hub

from .drawing import loader_inside, node, saved, ui

DRAWN = ui(node(1, "CheckpointLoaderSimple", "x.ckpt"))
TEXTS = {"workflow": json.dumps(DRAWN)}
KINDS: dict[str, Callable[[Any], bytes]] = {
    ".png": container_images.png_text,
    ".apng": container_images.apng_comf,
    ".webp": lambda texts: container_images.webp((b"EXIF", container_images.exif_prefixed(texts))),
    ".avif": containers.avif_exif,
    ".heic": containers.heic_idat,
    ".mp4": containers.mp4_keys,
    ".m4v": containers.mp4_comment,
    ".m4a": containers.mp4_freeform,
    ".mov": containers.mov_keys,
    ".webm": containers.webm_tags,
    ".mkv": containers.mkv_indexed,
    ".mka": containers.mkv_indexed,
    ".flac": containers.flac,
    ".mp3": containers.mp3_texts,
    ".ogg": containers.ogg_vorbis,
    ".oga": containers.ogg_vorbis,
    ".opus": containers.ogg_opus,
    ".glb": containers.glb,
    ".gltf": containers.gltf,
    ".svg": containers.svg_metadata,
    ".json": lambda texts: texts["workflow"].encode(),
}


@pytest.fixture
def install(tmp_path: Path) -> Install:
    root = tmp_path / "ComfyUI"
    (root / "models").mkdir(parents=True)
    return Install(root, version="0.3.64")


@pytest.fixture
def read(install: Install) -> Callable[..., Reading]:
    return lambda *paths, **more: read_cases(paths, install, **more)


Read = Callable[..., Reading]


def names(case: Case) -> list[str]:
    return [need.name for need in case.wanted.models]


def only(found: Reading) -> Case:
    (case,) = found.cases
    return case


# --- files ---


@pytest.mark.parametrize("suffix", KINDS)
def test_a_folder_gives_the_workflows_of_every_container(tmp_path: Path, read: Read, suffix: str) -> None:
    folder = tmp_path / "flows"
    folder.mkdir()
    for name in (f"a{suffix}", f"b{suffix.upper()}"):
        (folder / name).write_bytes(KINDS[suffix](TEXTS))
    found = read(folder)
    assert [(Path(case.document.path).suffix, names(case)) for case in found.cases] == [
        (suffix, ["x.ckpt"]),
        (suffix.upper(), ["x.ckpt"]),
    ]
    assert found.messages == ()


def test_a_named_file_is_looked_at_whatever_it_is_called(tmp_path: Path, read: Read) -> None:
    path = saved(tmp_path / ".flow.backup", DRAWN)
    assert names(only(read(path))) == ["x.ckpt"]
    assert names(only(read(str(path)))) == ["x.ckpt"]


@pytest.mark.skipif(os.name == "nt", reason="a chdir into the folder of the test would keep Windows from removing it")
def test_the_same_file_named_in_several_ways_is_one_case(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "flows/a.json", DRAWN)
    monkeypatch.chdir(tmp_path)
    ways = [
        "flows/a.json",
        "./flows/a.json",
        "flows/../flows/a.json",
        tmp_path / "flows/a.json",
        "flows",
        tmp_path / "flows",
    ]
    assert only(read(*ways)).document.path == "flows/a.json"


def test_a_file_is_said_to_be_none_however_its_path_is_written(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.json").write_text("[]", encoding="utf-8")
    Path("b.txt").write_text("{hello", encoding="utf-8")
    Path("p.png").write_bytes(container_images.png())
    found = read("./a.json", "b.txt", "p.png")
    assert found.messages[0] == "./a.json is no workflow"
    assert found.messages[1].startswith("b.txt is no workflow: not JSON")
    assert found.messages[2] == "p.png is no workflow"
    assert not any(case.document.failed for case in found.cases)


def test_a_file_that_cannot_be_read_leaves_the_others(tmp_path: Path, read: Read) -> None:
    ring = ui(node(1, "s"), subgraphs=[loader_inside("x.ckpt", name="t") | {"id": "s", "nodes": [node(1, "s")]}])
    found = read(saved(tmp_path / "ring.json", ring), saved(tmp_path / "good.json", DRAWN))
    assert [(case.document.failed, bool(case.document.error)) for case in found.cases] == [
        (True, True),
        (False, False),
    ]
    assert found.messages == (), "what failed stands among the errors"


def test_a_path_behind_a_shut_folder_is_a_failure_and_not_an_end(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut = tmp_path / "shut/a.json"
    there = Path.exists

    def exists(path: Path, **more: Any) -> bool:
        if path == shut:
            raise PermissionError(13, "Permission denied", str(path))
        return there(path, **more)

    monkeypatch.setattr(Path, "exists", exists)
    first, second = read(shut, saved(tmp_path / "good.json", DRAWN)).cases
    assert (first.document.failed, first.document.error) == (True, "Permission denied")
    assert names(second) == ["x.ckpt"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", ["pipe.json", "pipe.lock.json"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, read: Read, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert only(read(tmp_path / name)).document.error == "no regular file"


def test_a_path_that_is_not_there_ends_it(tmp_path: Path, read: Read) -> None:
    for name in ("gone.json", "gone.lock.json", "gone/"):
        with pytest.raises(DoctorTrouble, match="there is no file") as trouble:
            read(tmp_path / name)
        assert trouble.value.code is DoctorCode.NO_WORKFLOW


# --- folders ---


def test_hidden_files_linked_folders_and_other_files_are_left_out(tmp_path: Path, read: Read) -> None:
    folder = tmp_path / "flows"
    for name in ("b/deep.json", "a.json", ".hidden/x.json", ".x.json", "x.txt", "x.safetensors"):
        saved(folder / name, DRAWN)
    saved(tmp_path / "outside/x.json", DRAWN)
    with suppress(OSError):  # a Windows without the right to make links
        (folder / "linked").symlink_to(tmp_path / "outside", target_is_directory=True)
    found = read(folder)
    assert [Path(case.document.path).relative_to(folder).as_posix() for case in found.cases] == [
        "a.json",
        "b/deep.json",
    ]


def test_a_folder_without_workflows_says_so(tmp_path: Path, read: Read) -> None:
    empty, other = tmp_path / "empty", tmp_path / "other"
    empty.mkdir()
    other.mkdir()
    (other / "index.json").write_text("[]", encoding="utf-8")
    (other / "p.png").write_bytes(container_images.png())
    assert read(empty, other).messages == (
        f"no workflows in {empty}",
        f"no workflows in {other}: none of its files is one (2 were read)",
    )
    saved(other / "flow.json", DRAWN)
    assert read(other).messages == ()


def test_a_folder_that_cannot_be_read_is_a_failure_beside_what_could(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "flows"
    saved(folder / "a.json", DRAWN)
    saved(folder / "shut/b.json", DRAWN)
    scan = os.scandir

    def scandir(path: Any = ".") -> Any:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    good, shut = read(folder).cases
    assert names(good) == ["x.ckpt"]
    assert (shut.document.path, shut.document.failed, shut.document.error) == (
        str(folder / "shut"), True, "Permission denied",
    )  # fmt: skip


def test_a_folder_of_too_many_files_is_refused(tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_WORKFLOWS", 2)
    for number in range(3):
        if number:
            saved(tmp_path / f"flows/{number}.json", DRAWN)
    assert len(read(tmp_path / "flows").cases) == 2
    saved(tmp_path / "flows/3.json", DRAWN)
    with pytest.raises(DoctorTrouble, match="more than 2 files"):
        read(tmp_path / "flows")


def test_nothing_named_means_the_installs_own_workflows(install: Install, read: Read) -> None:
    assert read() == Reading((), (f"no workflows in {install.workflows}",))
    install.workflows.mkdir(parents=True)
    assert read() == Reading((), (f"no workflows in {install.workflows}",))
    saved(install.workflows / "mine.json", DRAWN)
    assert names(only(read())) == ["x.ckpt"]


def test_no_body_is_kept(tmp_path: Path, read: Read) -> None:
    assert only(read(saved(tmp_path / "a.json", DRAWN))).document.body is None


# --- URLs ---


@pytest.fixture
def fetch() -> Callable[[str], Document]:
    web = Web(Settings(home=Path("/nowhere"), allow_hosts=("127.0.0.1",), stall_timeout_seconds=5.0))
    return partial(read_url_document, web=web)


def test_a_workflow_at_a_url_is_read_like_a_file(read: Read, fetch: Any, tmp_path: Path) -> None:
    with Hub() as hub:
        url = hub.publish("/w.png", container_images.png_text(TEXTS))
        found = read(
            canaries.of_its_host(f"{url}?token={canaries.IN_URL}"), saved(tmp_path / "good.json", DRAWN), fetch=fetch
        )
    first, second = found.cases
    assert (first.document.container, names(first), names(second)) == ("png", ["x.ckpt"], ["x.ckpt"])
    assert first.document.path.startswith(url) and canaries.WORD not in repr(found)
    assert {use.workflow for need in first.wanted.models for use in need.uses} == {first.document.path}


def test_what_a_host_does_not_give_is_a_failure_and_leaves_the_rest(read: Read, fetch: Any, tmp_path: Path) -> None:
    with Hub() as hub:
        page = hub.publish("/page.json", b"{}", behaviour=BEHAVIOURS["html_200"])
        found = read(f"{hub.base}/gone.json", page, saved(tmp_path / "good.json", DRAWN), fetch=fetch)
    assert [case.document.failed for case in found.cases] == [True, True, False]
    assert "page instead of a file" in str(found.cases[1].document.error)
    assert names(found.cases[2]) == ["x.ckpt"]


def test_a_url_of_something_else_is_said_to_be_no_workflow(read: Read, fetch: Any) -> None:
    with Hub() as hub:
        url = hub.publish("/w.json", b"[1]")
        found = read(canaries.of_its_host(f"{url}?token={canaries.IN_URL}"), fetch=fetch)
    (message,) = found.messages
    assert message.startswith(url) and message.endswith(" is no workflow") and canaries.WORD not in message


def test_offline_no_url_is_asked(read: Read) -> None:
    document = only(read(f"https://h.example/w.json?token={canaries.IN_URL}")).document
    assert document.failed and "nothing is asked over the network" in str(document.error)
    assert canaries.WORD not in document.path


# --- manifests ---

LOCK = {
    "comfy_doctor_lock": 1,
    "models": [{"folder": "loras", "name": "x.safetensors", "sha256": "ab" * 32, "size": 3}],
    "packs": [{"name": "P", "repository": "https://github.com/o/p", "commit": "c" * 40}],
}
CEC = """
[tool.comfygit.models]
aa = {filename = "x.safetensors", relative_path = "loras/x.safetensors", size = 3}
[[tool.comfygit.workflows.w.models]]
hash = "aa"
nodes = [{node_id = "7", node_type = "LoraLoader", widget_value = "x.safetensors"}]
"""


def cec(folder: Path, text: str = CEC) -> Path:
    (folder / ".cec").mkdir(parents=True)
    (folder / ".cec/pyproject.toml").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("place", ["", ".cec", ".cec/pyproject.toml"])
def test_a_manifest_is_found_in_its_project(tmp_path: Path, read: Read, place: str) -> None:
    project = cec(tmp_path / "project")
    saved(project / "workflows/w.json", DRAWN)
    case = only(read(project / place))
    assert (case.document.format, case.document.container, names(case)) == ("manifest", "toml", ["x.safetensors"])
    (use,) = case.wanted.models[0].uses
    assert (use.workflow, use.node_id) == (str(project / ".cec/pyproject.toml"), "w:7")


def test_a_project_whose_manifest_is_of_something_else_is_a_folder_of_workflows(tmp_path: Path, read: Read) -> None:
    project = cec(tmp_path / "project", "[project]\nname = 'x'\n")
    saved(project / "w.json", DRAWN)
    assert names(only(read(project))) == ["x.ckpt"]


def test_a_broken_manifest_is_a_failure(tmp_path: Path, read: Read) -> None:
    document = only(read(cec(tmp_path / "project", "[tool."))).document
    assert document.failed and "not TOML" in str(document.error)


def test_a_lock_file_gives_its_models_and_its_packs(tmp_path: Path, read: Read) -> None:
    case = only(read(saved(tmp_path / "w.lock.json", LOCK)))
    assert (case.document.format, names(case), [pack.name for pack in case.packs]) == (
        "manifest",
        ["x.safetensors"],
        ["P"],
    )


def test_a_lock_file_of_a_later_version_is_a_failure(tmp_path: Path, read: Read) -> None:
    document = only(read(saved(tmp_path / "w.lock.json", LOCK | {"comfy_doctor_lock": 99}))).document
    assert document.failed and "version 99" in str(document.error)


@pytest.mark.parametrize(
    "text", [json.dumps(DRAWN), "\ufeff" + json.dumps(DRAWN), json.dumps(DRAWN)[:-1] + ',"t":"a\nb"}']
)
def test_a_workflow_that_is_called_like_a_lock_file_is_a_workflow(tmp_path: Path, read: Read, text: str) -> None:
    path = tmp_path / "mine.lock.json"
    path.write_text(text, encoding="utf-8", newline="")
    case = only(read(path))
    assert (case.document.format, names(case)) == ("ui", ["x.ckpt"])
