"""Finding one install, and every directory that it searches."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_doctor.comfyui.extra_paths import MAX_YAML_BYTES, read_extra_paths
from comfy_doctor.comfyui.install import Install, find_install, read_install
from comfy_doctor.findings import ExitCode
from comfy_doctor.troubles import DoctorCode, DoctorTrouble


def comfyui(root: Path) -> Path:
    (root / "models" / "loras").mkdir(parents=True)
    (root / "main.py").touch()
    (root / "folder_paths.py").touch()
    return root


def yaml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "extra_model_paths.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_named_folder_with_models_is_an_install(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    assert find_install(tmp_path).models_root == tmp_path / "models"


@pytest.mark.parametrize("place", ["nowhere", "empty"])
def test_a_named_folder_without_models_is_none(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DoctorTrouble) as trouble:
        find_install(tmp_path / place)
    assert trouble.value.code is DoctorCode.NO_COMFYUI
    assert trouble.value.exit_code is ExitCode.SURROUNDINGS
    assert str(tmp_path / place) in trouble.value.message


def test_the_only_install_in_the_usual_places_is_taken(tmp_path: Path) -> None:
    there = comfyui(tmp_path / "ComfyUI")
    assert find_install(None, [tmp_path, there]).root == there


def test_a_folder_of_models_is_no_install_by_chance(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with pytest.raises(DoctorTrouble) as trouble:
        find_install(None, [tmp_path])
    assert trouble.value.code is DoctorCode.NO_COMFYUI


def test_several_installs_are_named_and_none_is_picked(tmp_path: Path) -> None:
    one, two = comfyui(tmp_path / "one"), comfyui(tmp_path / "two")
    with pytest.raises(DoctorTrouble) as trouble:
        find_install(None, [one, two])
    assert trouble.value.code is DoctorCode.SEVERAL_COMFYUI
    assert trouble.value.exit_code is ExitCode.USAGE
    assert str(one) in trouble.value.message and str(two) in trouble.value.message


def test_one_install_by_two_names_is_one(tmp_path: Path) -> None:
    there = comfyui(tmp_path / "ComfyUI")
    (tmp_path / "link").symlink_to(there)
    assert find_install(None, [there, tmp_path / "link"]).root == there


def test_the_version_is_read_and_not_run(tmp_path: Path) -> None:
    root = comfyui(tmp_path)
    assert read_install(root).version is None
    (root / "pyproject.toml").write_text('[project]\nname = "ComfyUI"\nversion = "0.3.50"\n', encoding="utf-8")
    assert read_install(root).version == "0.3.50"
    (root / "comfyui_version.py").write_text('# made\n__version__ = "0.3.64"\nraise SystemExit\n', encoding="utf-8")
    assert read_install(root).version == "0.3.64"


@pytest.mark.parametrize(
    ("folder", "roots"),
    [
        ("loras", ["models/loras", "output/loras"]),
        ("text_encoders", ["models/text_encoders", "models/clip", "output/clip"]),
        ("diffusion_models", ["models/unet", "models/diffusion_models", "output/diffusion_models"]),
        ("controlnet", ["models/controlnet", "models/t2i_adapter"]),
        ("upscale_models", ["models/upscale_models"]),
        ("ultralytics_bbox", ["models/ultralytics/bbox"]),
        ("a_pack_of_its_own", ["models/a_pack_of_its_own"]),
    ],
)
def test_every_directory_that_comfyui_searches_is_known(tmp_path: Path, folder: str, roots: list[str]) -> None:
    assert Install(tmp_path).roots(folder) == tuple(tmp_path / root for root in roots)


def test_extra_paths_are_read_as_comfyui_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS_HERE", str(tmp_path / "from_env"))
    path = yaml(
        tmp_path,
        """
a1111:
    base_path: /srv/webui
    checkpoints: models/Stable-diffusion
    loras: |
        models/Lora
        models/LyCORIS
mine:
    base_path: $MODELS_HERE
    is_default: true
    unet: u
    clip: c
bare:
    vae: relative/vae
    upscale_models: /abs/up
nearby:
    base_path: sub
    embeddings: e
empty:
""",
    )
    assert [(root.folder, str(root.path), root.first) for root in read_extra_paths(path)] == [
        ("checkpoints", "/srv/webui/models/Stable-diffusion", False),
        ("loras", "/srv/webui/models/Lora", False),
        ("loras", "/srv/webui/models/LyCORIS", False),
        ("diffusion_models", str(tmp_path / "from_env/u"), True),
        ("text_encoders", str(tmp_path / "from_env/c"), True),
        ("vae", str(tmp_path / "relative/vae"), False),
        ("upscale_models", "/abs/up", False),
        ("embeddings", str(tmp_path / "sub/e"), False),
    ]


def test_default_extra_paths_come_first_and_the_others_last(tmp_path: Path) -> None:
    root = comfyui(tmp_path / "c")
    yaml(root, "a: {base_path: /a, vae: v}\nb: {base_path: /b, is_default: true, vae: v}\n")
    more = yaml(tmp_path, "c: {vae: /c/v}\n")
    roots = read_install(root, [more]).roots("vae")
    assert [str(path) for path in roots] == ["/b/v", str(root / "models/vae"), str(root / "output/vae"), "/a/v", "/c/v"]


def test_an_empty_file_of_extra_paths_is_fine(tmp_path: Path) -> None:
    assert read_extra_paths(yaml(tmp_path, "# nothing yet\n")) == ()


@pytest.mark.parametrize(
    "text",
    ["- a\n- b\n", "a: [unclosed", "a: text\n", "x: !!python/object/apply:builtins.dict []\n",
     "a: &a {vae: /v}\nb: *a\n", "#" * (MAX_YAML_BYTES + 1)],
)  # fmt: skip
def test_a_bad_file_of_extra_paths_is_named(tmp_path: Path, text: str) -> None:
    path = yaml(tmp_path, text)
    with pytest.raises(DoctorTrouble) as trouble:
        read_extra_paths(path)
    assert trouble.value.code is DoctorCode.BAD_EXTRA_PATHS
    assert str(path) in trouble.value.message


def test_a_file_of_extra_paths_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DoctorTrouble, match=r"nothing\.yaml"):
        read_install(comfyui(tmp_path), [tmp_path / "nothing.yaml"])
