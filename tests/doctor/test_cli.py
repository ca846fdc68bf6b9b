"""What the commands make of their options before any room is asked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfy_doctor import wiring
from comfy_doctor.cli import app
from comfy_doctor.settings import DoctorSettings
from comfy_doctor.wiring import Desk
from download_worker.command_line import run
from download_worker.settings import Settings

from .drawing import model, node, saved, ui


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    here = Desk(Settings(home=tmp_path / "home"), DoctorSettings(comfyui=tmp_path / "ComfyUI", offline=True))
    (tmp_path / "ComfyUI/models/loras").mkdir(parents=True)
    (tmp_path / "ComfyUI/main.py").touch()
    monkeypatch.setattr(wiring, "desk", lambda *_, **__: here)
    monkeypatch.setattr(wiring, "set_up_logs", lambda *_, **__: None)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    mask = os.umask(0o022)
    yield
    os.umask(mask)


@pytest.mark.slow
def test_json_alone_is_no_consent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = model("x.safetensors", "loras", "https://127.0.0.1:1/x.safetensors")
    path = saved(tmp_path / "a.json", ui(node(1, "LoraLoader", "x.safetensors", 1, 1, properties={"models": [entry]})))
    assert run(app, "comfy-doctor", ["fix", str(path), "--json"]) == 1
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [item["action"] for item in told["data"]["items"]] == ["download"]
    assert any("--yes" in message for message in told["messages"])
    assert told["data"]["jobs"] == []
    with wiring.counter_of(wiring.desk(None)) as counter:
        assert sum(counter.counts().values()) == 0


@pytest.mark.parametrize("name", ["workflow.json", "gone.lock.json"])
def test_only_a_manifest_is_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    saved(tmp_path / "workflow.json", ui(node(1, "LoraLoader", "x.safetensors", 1, 1)))
    assert run(app, "comfy-doctor", ["import", str(tmp_path / name), "--json"]) == 2
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert error["code"] == "no_manifest" and ".lock.json" in error["hint"]
