"""What is here under another name is linked, or the workflow is taught its name; nothing is ever replaced."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_doctor.comfyui.install import Install
from comfy_doctor.diagnose import diagnose
from comfy_doctor.library.links import link
from comfy_doctor.rewrite import renamed, renames_of, rewrite
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

    monkeypatch.setattr("os.link", other_volume)
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


def test_a_file_system_that_does_not_tell_letters_apart_gets_no_link_that_mends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def there_already(*paths: Path) -> None:
        raise FileExistsError

    (tmp_path / "a.pt").write_bytes(b"weights")
    monkeypatch.setattr("os.link", there_already)
    monkeypatch.setattr(Path, "samefile", lambda one, other: True)
    with pytest.raises(Trouble) as caught:
        link(tmp_path / "a.pt", tmp_path / "A.pt")
    assert caught.value.code is Code.CONFLICT and "other letters" in caught.value.message


def test_a_link_to_nowhere_is_not_taken_for_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"weights")
    (tmp_path / "loop.pt").symlink_to(tmp_path / "loop.pt")
    with pytest.raises(Trouble) as caught:
        link(tmp_path / "a.pt", tmp_path / "loop.pt")
    assert caught.value.code is Code.CONFLICT
    with pytest.raises(Trouble) as caught:
        link(tmp_path / "loop.pt", tmp_path / "b.pt")
    assert caught.value.code is Code.NOT_FOUND


ODD = b"""\xef\xbb\xbf{"nodes":[{"id":1e0,  "title":"a", "pos":[1.0,1E5,NaN], "big":123456789012345678901234567890,
\t"widgets_values":["a", {"on":true,"lora":"a","a":"ab"}, "\\u0061", "\\u00e9"], "x":1, "x":2}]}\r\n"""


def test_a_rewritten_workflow_differs_in_nothing_but_its_names(tmp_path: Path) -> None:
    workflow = tmp_path / "w.json"
    workflow.write_bytes(ODD)
    rewrite(workflow, {"a": "é\\b"})
    new = '"é\\\\b"'.encode()
    expected = ODD.replace(b'["a"', b"[" + new).replace(b'"lora":"a"', b'"lora":' + new).replace(b'"\\u0061"', new)
    assert workflow.read_bytes() == expected


@given(
    st.recursive(
        st.sampled_from(["old", "other", '"]:{', 1, 1.5, None, "widgets_values"]),
        lambda deeper: (
            st.lists(deeper, max_size=3)
            | st.dictionaries(st.sampled_from(["old", "inputs", "widgets_values", "k"]), deeper, max_size=3)
        ),
        max_leaves=12,
    ),
    st.sampled_from([None, 1]),
)
def test_names_are_replaced_where_values_of_widgets_are_and_nowhere_else(graph: object, indent: int | None) -> None:
    def expected(value: object, *, inside: bool = False) -> object:
        if isinstance(value, list):
            return [expected(entry, inside=inside) for entry in value]
        if isinstance(value, dict):
            return {k: expected(v, inside=inside or k in ("inputs", "widgets_values")) for k, v in value.items()}
        return "new" if inside and value == "old" else value

    assert json.loads(renamed(json.dumps(graph, indent=indent), {"old": "new"})) == expected(graph)


def test_a_workflow_that_does_not_say_the_name_is_not_touched(tmp_path: Path) -> None:
    workflow = tmp_path / "w.json"
    workflow.write_text(json.dumps({"workflow": json.dumps(ui(node(1, "LoraLoader", "a")))}))
    with pytest.raises(Trouble) as caught:
        rewrite(workflow, {"a": "b"})
    assert "does not say" in caught.value.message
    assert [path.name for path in tmp_path.iterdir()] == ["w.json"]


def test_a_link_to_a_workflow_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real = saved(tmp_path / "real/w.json", ui(node(1, "LoraLoader", "a")))
    (tmp_path / "w.json").symlink_to(real)
    backup = rewrite(tmp_path / "w.json", {"a": "b"})
    assert (tmp_path / "w.json").is_symlink() and '"b"' in real.read_text()
    assert not backup.is_symlink() and '"a"' in backup.read_text()
