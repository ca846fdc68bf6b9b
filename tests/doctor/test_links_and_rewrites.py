"""What is here under another name is linked, or the workflow is taught its name; nothing is ever replaced."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfy_doctor.comfyui.install import Install
from comfy_doctor.diagnose import diagnose
from comfy_doctor.library import links
from comfy_doctor.library.links import link
from comfy_doctor.rewrite import renames_of, rewrite
from download_worker.errors import Code, Trouble

from .drawing import node, saved, ui


def test_a_link_is_the_same_file_and_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"weights")
    assert link(tmp_path / "a.pt", tmp_path / "sub/b.pt") == "hard link"
    assert (tmp_path / "sub/b.pt").samefile(tmp_path / "a.pt")
    assert link(tmp_path / "a.pt", tmp_path / "sub/b.pt") == "already there"


def test_another_file_of_that_name_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"weights")
    (tmp_path / "b.pt").write_bytes(b"other")
    with pytest.raises(Trouble) as caught:
        link(tmp_path / "a.pt", tmp_path / "b.pt")
    assert caught.value.code is Code.CONFLICT
    assert (tmp_path / "b.pt").read_bytes() == b"other"


def test_across_volumes_it_is_a_symbolic_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_volume(*paths: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(links.os, "link", other_volume)
    (tmp_path / "a.pt").write_bytes(b"weights")
    assert link(tmp_path / "a.pt", tmp_path / "b.pt") == "symbolic link"
    assert (tmp_path / "b.pt").is_symlink() and (tmp_path / "b.pt").read_bytes() == b"weights"


def test_what_is_gone_or_no_file_is_not_linked(tmp_path: Path) -> None:
    for source in (tmp_path / "gone.pt", tmp_path):
        with pytest.raises(Trouble) as caught:
            link(source, tmp_path / "b.pt")
        assert caught.value.code is Code.NOT_FOUND


def installed(folder: Path, *names: str) -> Install:
    for name in names:
        path = folder / "ComfyUI/models/loras" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return Install(folder / "ComfyUI")


def test_a_workflow_is_taught_the_name_and_the_old_file_stays(tmp_path: Path) -> None:
    install = installed(tmp_path, "style/x.safetensors")
    drawn = ui(node(1, "LoraLoader", "style\\x.safetensors", 1, 1, title="style\\x.safetensors"))
    workflow = saved(tmp_path / "w.json", drawn)
    before = workflow.read_bytes()
    ((name, renames),) = renames_of(diagnose([workflow], install).models).items()
    assert name == str(workflow)
    backup = rewrite(workflow, renames)
    assert backup.read_bytes() == before
    (after,) = json.loads(workflow.read_text())["nodes"]
    assert after["widgets_values"][0] == "style/x.safetensors"
    assert after["title"] == "style\\x.safetensors", "only values of widgets are names of models"
    assert diagnose([workflow], install).report().exit_code == 0


def test_backups_do_not_replace_each_other(tmp_path: Path) -> None:
    workflow = saved(tmp_path / "w.json", ui(node(1, "LoraLoader", "a")))
    first = rewrite(workflow, {"a": "b"})
    second = rewrite(workflow, {"b": "c"})
    assert first != second and '"a"' in first.read_text() and '"b"' in second.read_text()


def test_a_name_that_would_have_to_become_two_is_left_alone(tmp_path: Path) -> None:
    install = installed(tmp_path, "style/x.safetensors")
    (tmp_path / "ComfyUI/models/checkpoints").mkdir()
    (tmp_path / "ComfyUI/models/checkpoints/x.safetensors").write_bytes(b"x")
    drawn = ui(node(1, "LoraLoader", "x.safetensors", 1, 1), node(2, "CheckpointLoaderSimple", "x.safetensors"))
    workflow = saved(tmp_path / "w.json", drawn)
    assert renames_of(diagnose([workflow], install).models) == {}


def test_what_is_no_json_is_not_rewritten(tmp_path: Path) -> None:
    (tmp_path / "w.png").write_bytes(b"\x89PNG")
    with pytest.raises(Trouble) as caught:
        rewrite(tmp_path / "w.png", {"a": "b"})
    assert caught.value.code == "unreadable_workflow"
    assert [path.name for path in tmp_path.iterdir()] == ["w.png"]
