"""From one machine to another: plans, locks and manifests, and a folder that is watched."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from pathlib import Path
from subprocess import PIPE

import pytest

from .drawings import CHECKPOINT, LORA, VAE, portrait, wanting
from .house import House
from .test_fix import SHELF, published, saved

WATCH_SECONDS_MAX = 10.0


def _heed_interrupts() -> None:
    """Whoever runs the tests in the background of a script has them ignored, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def planned(house: House, *options: object) -> Path:
    file = house.folder / "plan.json"
    said = house.cli("plan", saved(house, portrait()), "-o", file, *options)
    assert said.exit_code == 1, said
    return file


@pytest.mark.slow
def test_a_plan_is_carried_out_once_however_often_it_is_applied(house: House) -> None:
    wanted = published(house, f"checkpoints/{CHECKPOINT}", f"loras/{LORA}", f"vae/{VAE}")
    file = planned(house)
    document = json.loads(file.read_text())
    assert document["bytes"] == 90_000
    assert all(volume["fits"] for volume in document["volumes"])

    unasked = house.cli("apply", file)
    assert (unasked.exit_code, unasked.jobs) == (1, []), "nobody has agreed"
    first = house.cli("apply", file, "--yes")
    second = house.cli("apply", file, "--yes")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert [job["job_id"] for job in first.jobs] == [job["job_id"] for job in second.jobs]
    assert any("download-worker run" in message for message in first.envelope["messages"])
    assert house.drain().exit_code == 0
    assert house.library() == wanted
    third = house.cli("apply", file, "--yes")
    assert third.exit_code == 0 and {job["status"] for job in third.jobs} == {"SUCCESS"}
    assert house.cli("diagnose", saved(house, portrait())).exit_code == 0


@pytest.mark.slow
def test_a_plan_can_be_an_input_file_for_another_downloader(house: House) -> None:
    published(house, f"checkpoints/{CHECKPOINT}", f"loras/{LORA}", f"vae/{VAE}")
    said = house.cli("plan", saved(house, portrait()), "--as", "aria2", as_json=False)
    lines = said.stdout.splitlines()
    assert sum(line.startswith("https://huggingface.co") for line in lines) == 3
    assert f"  dir={house.models}/loras/styles" in lines and "  out=soft.safetensors" in lines


@pytest.mark.slow
def test_what_was_locked_here_is_restored_there(house: House) -> None:
    wanted = published(house, f"checkpoints/{CHECKPOINT}", f"loras/{LORA}", f"vae/{VAE}")
    workflow, lock = saved(house, portrait()), house.folder / "workflow.lock.json"
    assert house.cli("fix", workflow, "--yes").exit_code == 0
    said = house.cli("lock", workflow, "-o", lock)
    assert said.exit_code == 0
    text = lock.read_text()
    assert str(house.folder) not in text, "no path of this machine is in a lock file"
    document = json.loads(text)
    assert {f"{model['folder']}/{model['name']}" for model in document["models"]} >= wanted.keys()

    for folder in ("checkpoints", "loras", "vae"):
        shutil.rmtree(house.models / folder)
    missing = house.cli("diagnose", lock)
    assert missing.exit_code == 1
    restored = house.cli("import", lock, "--yes")
    assert restored.exit_code == 0, restored.stdout
    assert house.library() == wanted
    assert house.cli("lock", workflow, "-o", lock).exit_code == 0
    assert lock.read_text() == text, "the same files give the same lock"


@pytest.mark.slow
def test_a_manifest_of_comfygit_is_diagnosed_and_cured(house: House) -> None:
    (data,) = published(house, "checkpoints/good.safetensors").values()
    manifest = house.folder / "repo/.cec/pyproject.toml"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(f"""
[tool.comfygit.models]
aa11 = {{filename = "good.safetensors", relative_path = "checkpoints/good.safetensors", size = {len(data)}, \
sources = ["https://huggingface.co{SHELF}/good.safetensors"]}}
bb22 = {{filename = "lost.safetensors", relative_path = "vae/lost.safetensors"}}
[[tool.comfygit.workflows.w.models]]
hash = "aa11"
criticality = "required"
[[tool.comfygit.workflows.w.models]]
hash = "bb22"
criticality = "flexible"
""")
    said = house.cli("fix", house.folder / "repo", "--yes")
    assert said.exit_code == 4, said
    assert house.library() == {"checkpoints/good.safetensors": data}
    (lost,) = (item for item in said.envelope["data"]["items"] if item["action"] == "ask")
    assert lost["need"]["criticality"] == "flexible" and "could not look" in lost["why"]


@pytest.mark.slow
def test_a_workflow_that_is_dropped_into_a_watched_folder_is_diagnosed_and_its_plan_applied(house: House) -> None:
    published(house, "checkpoints/good.safetensors")
    folder = house.folder / "dropped"
    folder.mkdir()
    command = [sys.executable, "-m", "comfy_doctor", "diagnose", "--watch", str(folder), "--apply", "--json"]
    with house.process(command, stdout=PIPE, stderr=PIPE, preexec_fn=_heed_interrupts) as process:
        assert process.stdout is not None and process.stderr is not None
        assert b"watching" in process.stderr.readline()
        text = json.dumps(wanting("good.safetensors"))
        new = folder / "new.json"
        new.write_text(text[:100])
        begun = time.monotonic()
        new.write_text(text)
        told = json.loads(process.stdout.readline())
        assert time.monotonic() - begun < WATCH_SECONDS_MAX
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert [model["name"] for model in told["data"]["models"]] == ["good.safetensors"]
    assert house.cli("jobs").jobs[0]["model_info"]["expected_filename"] == "good.safetensors"
    assert [path.name for path in folder.iterdir()] == ["new.json"]
