"""What lies in the model folders, and under which name ComfyUI would list it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfy_doctor.comfyui import shelves
from comfy_doctor.comfyui.extra_paths import ExtraRoot
from comfy_doctor.comfyui.install import Install
from comfy_doctor.comfyui.packs import installed_packs
from comfy_doctor.comfyui.shelves import Inventory, State
from comfy_doctor.needs import PackClue


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def inventory(root: Path, *extra: ExtraRoot) -> Inventory:
    return Inventory(Install(root, extra=extra))


def test_a_file_in_its_place_is_present(tmp_path: Path) -> None:
    path = put(tmp_path / "models/loras/style/a.safetensors")
    found = inventory(tmp_path).look_up("loras", "style/a.safetensors")
    assert (found.state, found.path, found.relink) == (State.PRESENT, path, None)


@pytest.mark.parametrize("place", ["models/clip", "output/clip", "extra"])
def test_every_directory_of_a_folder_is_searched(tmp_path: Path, place: str) -> None:
    path = put(tmp_path / place / "t5.safetensors")
    extra = ExtraRoot("text_encoders", tmp_path / "extra", first=False)
    assert inventory(tmp_path, extra).look_up("text_encoders", "t5.safetensors").path == path


def test_what_is_nowhere_is_missing_also_without_the_folder(tmp_path: Path) -> None:
    found = inventory(tmp_path).look_up("loras", "a.safetensors")
    assert (found.state, found.path) == (State.MISSING, None)
    assert found.reason == f"not in {tmp_path / 'models/loras'}"
    unmade = inventory(tmp_path).look_up("diffusion_models", "a.safetensors")
    assert unmade.reason == f"not in {tmp_path / 'models/diffusion_models'}"


def test_the_same_name_in_another_folder_is_missing(tmp_path: Path) -> None:
    put(tmp_path / "models/checkpoints/flux1-dev.safetensors")
    assert inventory(tmp_path).look_up("diffusion_models", "flux1-dev.safetensors").state is State.MISSING


@pytest.mark.parametrize(
    ("here", "asked", "relink"),
    [
        ("a.safetensors", "style/a.safetensors", "a.safetensors"),
        ("new/a.safetensors", "style/a.safetensors", "new/a.safetensors"),
        ("Style/A.safetensors", "style/a.safetensors", "Style/A.safetensors"),
        ("style/model.safetensors", "Style/model.safetensors", "style/model.safetensors"),
    ],
)
def test_the_same_file_under_another_name_is_elsewhere(tmp_path: Path, here: str, asked: str, relink: str) -> None:
    path = put(tmp_path / "models/loras" / here)
    found = inventory(tmp_path).look_up("loras", asked)
    assert (found.state, found.path, found.relink) == (State.ELSEWHERE, path, relink.replace("/", os.sep))


def test_a_name_that_says_nothing_is_not_the_same_file_in_another_subfolder(tmp_path: Path) -> None:
    put(tmp_path / "models/clip_vision/SDXL/model.safetensors")
    put(tmp_path / "models/clip_vision/SDXL/diffusion_pytorch_model.fp16.safetensors")
    looked = inventory(tmp_path)
    assert looked.look_up("clip_vision", "SD1.5/model.safetensors").state is State.MISSING
    assert looked.look_up("clip_vision", "SD1.5/diffusion_pytorch_model.fp16.safetensors").state is State.MISSING


@pytest.mark.skipif(os.sep != "/", reason="the slash of this system is the other one")
def test_a_file_behind_the_wrong_slash_is_elsewhere(tmp_path: Path) -> None:
    """ComfyUI compares letter by letter: on Linux `style\\a` is not in its list."""
    put(tmp_path / "models/loras/style/a.safetensors")
    found = inventory(tmp_path).look_up("loras", "style/a.safetensors", written="style\\a.safetensors")
    assert (found.state, found.relink) == (State.ELSEWHERE, "style/a.safetensors")


def test_a_diffusers_model_is_a_folder(tmp_path: Path) -> None:
    put(tmp_path / "models/diffusers/sdxl/model_index.json")
    looked = inventory(tmp_path)
    assert looked.look_up("diffusers", "sdxl").state is State.PRESENT
    assert looked.look_up("diffusers", "flux").state is State.MISSING


def test_links_are_followed_and_rings_of_them_end(tmp_path: Path) -> None:
    path = put(tmp_path / "elsewhere/a.safetensors")
    loras = tmp_path / "models/loras"
    loras.mkdir(parents=True)
    (loras / "linked").symlink_to(path.parent)
    (loras / "ring").symlink_to(loras)
    (loras / "broken.safetensors").symlink_to(tmp_path / "gone")
    looked = inventory(tmp_path)
    assert looked.look_up("loras", "linked/a.safetensors").state is State.PRESENT
    assert looked.look_up("loras", "broken.safetensors").state is State.MISSING
    assert set(looked.shelf("loras").files) == {"linked/a.safetensors"}


def test_what_may_be_in_a_folder_that_cannot_be_read_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "models/loras/a.safetensors")
    (tmp_path / "models/loras/locked").mkdir()
    real = os.scandir

    def refusing(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refusing)
    looked = inventory(tmp_path)
    assert looked.look_up("loras", "a.safetensors").state is State.PRESENT
    found = looked.look_up("loras", "b.safetensors")
    assert found.state is State.UNKNOWN
    assert "locked" in found.reason


def test_a_folder_beyond_the_bound_is_unknown_and_not_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelves, "MAX_FILES_PER_FOLDER", 3)
    for number in range(5):
        put(tmp_path / f"models/loras/{number}.safetensors")
    assert inventory(tmp_path).look_up("loras", "z.safetensors").state is State.UNKNOWN


def test_without_a_folder_nothing_is_looked_for(tmp_path: Path) -> None:
    assert inventory(tmp_path).look_up(None, "a.safetensors").state is State.UNKNOWN


def test_each_folder_is_walked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "models/vae/a.safetensors")
    looked = inventory(tmp_path)
    looked.look_up("vae", "a.safetensors")
    monkeypatch.setattr(os, "scandir", None)
    assert looked.look_up("vae", "a.safetensors").state is State.PRESENT


@pytest.mark.parametrize(
    ("clue", "there"),
    [
        (PackClue(cnr_id="comfyui-kjnodes"), True),
        (PackClue(cnr_id="rgthree-comfy"), True),
        (PackClue(aux_id="Kijai/ComfyUI-KJNodes"), True),
        (PackClue(cnr_id="comfyui_kjnodes"), True),
        (PackClue(cnr_id="was-node-suite"), False),
        (PackClue(cnr_id="switched-off"), False),
        (PackClue(), False),
    ],
)
def test_packs_are_known_by_folder_and_by_their_own_name(tmp_path: Path, clue: PackClue, there: bool) -> None:
    (tmp_path / "ComfyUI-KJNodes").mkdir()
    put(tmp_path / "switched-off.disabled/pyproject.toml", b'[project]\nname = "switched-off"\n')
    put(tmp_path / "some_folder/pyproject.toml", b'[project]\nname = "rgthree-comfy"\n')
    put(tmp_path / "broken/pyproject.toml", b"[project\n")
    found = installed_packs([tmp_path, tmp_path / "no_such"]).find(clue)
    assert (found is not None and not found.disabled) is there


def test_a_name_in_another_model_folder_is_a_hint_and_no_more(tmp_path: Path) -> None:
    other = put(tmp_path / "models/checkpoints/flux1-dev.safetensors")
    put(tmp_path / "models/clip_vision/model.safetensors")
    found = inventory(tmp_path).look_up("diffusion_models", "flux/flux1-dev.safetensors")
    assert (found.state, found.path, found.nearby) == (State.MISSING, None, other)
    assert str(other) in found.reason
    assert inventory(tmp_path).look_up("vae", "model.safetensors").nearby is None, "a name that many models have"


def test_a_hint_may_come_from_an_extra_root_and_not_from_the_searched_ones(tmp_path: Path) -> None:
    extra = ExtraRoot("checkpoints", tmp_path / "far", first=False)
    other = put(tmp_path / "far/x.safetensors")
    assert inventory(tmp_path, extra).look_up("vae", "x.safetensors").nearby == other
    generic = put(tmp_path / "models/vae/sub/model.safetensors")
    assert inventory(tmp_path).look_up("vae", "model.safetensors").nearby is None and generic.exists()


def test_an_output_folder_that_was_moved_is_searched(tmp_path: Path) -> None:
    path = put(tmp_path / "out/loras/a.safetensors")
    install = Install(tmp_path / "ComfyUI", output=tmp_path / "out")
    assert Inventory(install).look_up("loras", "a.safetensors").path == path
