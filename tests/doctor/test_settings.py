"""The doctor's own settings, from the same file as the worker's."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_doctor.settings import DoctorSettings, load_doctor
from download_worker.errors import BadRequest, Code
from download_worker.settings import CONFIG_NAME


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COMFYUI_PATH", "COMFYUI_URL"):
        monkeypatch.delenv(name, raising=False)


def test_without_anything_nothing_is_named(tmp_path: Path) -> None:
    assert load_doctor(tmp_path) == DoctorSettings()


def test_the_order_is_option_environment_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "comfyui = '/file'\nserver = 'http://file'\nextra_paths = '/file.yaml'\njobs = 3\n"
    (tmp_path / CONFIG_NAME).write_text(text)
    assert load_doctor(tmp_path) == DoctorSettings(Path("/file"), "http://file", (Path("/file.yaml"),))
    monkeypatch.setenv("COMFYUI_PATH", "/environment")
    monkeypatch.setenv("COMFYUI_URL", "http://environment")
    assert load_doctor(tmp_path).comfyui == Path("/environment")
    assert load_doctor(tmp_path).server == "http://environment"
    named = load_doctor(tmp_path, comfyui=Path("/o"), server="http://o", extra_paths=Path("/o.yaml"))
    assert named == DoctorSettings(Path("/o"), "http://o", (Path("/o.yaml"),))
    monkeypatch.setenv("COMFYUI_PATH", "")
    assert load_doctor(tmp_path).comfyui == Path("/file"), "an empty variable is none"


def test_paths_are_absolute_and_know_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_doctor(tmp_path, comfyui=Path("~/ComfyUI")).comfyui == Path.home() / "ComfyUI"
    assert load_doctor(tmp_path, extra_paths=Path("x.yaml")).extra_paths == (tmp_path / "x.yaml",)


@pytest.mark.parametrize(
    "text", ["comfyui = 3", "server = ['a']", "extra_paths = ['a']", "comfui = '/x'", "comfyui = "]
)
def test_g1_a_mistake_names_the_file_and_the_key(tmp_path: Path, text: str) -> None:
    (tmp_path / CONFIG_NAME).write_text(text)
    with pytest.raises(BadRequest) as refused:
        load_doctor(tmp_path)
    assert refused.value.code is Code.BAD_SETTING
    assert str(tmp_path / CONFIG_NAME) in refused.value.message
    assert text == "comfyui = " or text.split()[0] in refused.value.message


def test_the_addresses_and_the_switch_of_the_resolution_follow_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {
        "manager_channel": "COMFYUI_MANAGER_CHANNEL",
        "registry_endpoint": "COMFY_REGISTRY_ENDPOINT",
        "search_url": "COMFY_DOCTOR_SEARCH_URL",
    }
    (tmp_path / CONFIG_NAME).write_text("\n".join([*(f"{key} = 'file'" for key in keys), "offline = true"]))
    for key, variable in keys.items():
        monkeypatch.delenv(variable, raising=False)
        assert getattr(load_doctor(tmp_path), key) == "file"
        monkeypatch.setenv(variable, "environment")
        assert getattr(load_doctor(tmp_path), key) == "environment"
    monkeypatch.delenv("COMFY_DOCTOR_OFFLINE", raising=False)
    assert load_doctor(tmp_path).offline
    monkeypatch.setenv("COMFY_DOCTOR_OFFLINE", "no")
    assert not load_doctor(tmp_path).offline
    assert load_doctor(tmp_path, offline=True).offline


@pytest.mark.parametrize(("text", "variable"), [("offline = 'yes'", ""), ("", "perhaps")])
def test_g1_a_switch_is_on_or_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, variable: str) -> None:
    (tmp_path / CONFIG_NAME).write_text(text)
    monkeypatch.setenv("COMFY_DOCTOR_OFFLINE", variable)
    with pytest.raises(BadRequest) as refused:
        load_doctor(tmp_path)
    assert refused.value.code is Code.BAD_SETTING
