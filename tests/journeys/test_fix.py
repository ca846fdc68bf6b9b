"""`comfy-doctor fix` on real-shaped workflows: everything in its place, or the reason why not."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.hub import BEHAVIOURS

from .drawings import BYPASSED, CHECKPOINT, LORA, VAE, portrait, wanting
from .house import House

SHELF = "/org/portrait/resolve/main"
LTX = Path(__file__).parents[3] / "shared/corpus/079_video_ltx2_i2v.json"


def saved(house: House, drawing: dict[str, Any]) -> Path:
    path = house.folder / "workflow.json"
    path.write_text(json.dumps(drawing), encoding="utf-8")
    return path


def published(house: House, *paths: str) -> dict[str, bytes]:
    """Each file by its path under the model folders, on the host by its bare name."""
    return {
        path: house.publish(f"{SHELF}/{path.rpartition('/')[2]}", 30_000, seed)[1] for seed, path in enumerate(paths)
    }


@pytest.mark.slow
def test_every_missing_file_is_placed_and_a_second_run_finds_nothing_to_do(house: House) -> None:
    wanted = published(house, f"checkpoints/{CHECKPOINT}", f"loras/{LORA}", f"vae/{VAE}")
    published(house, f"loras/{BYPASSED}")
    workflow = saved(house, portrait())

    first = house.cli("fix", workflow, "--yes")
    assert (first.exit_code, first.stderr) == (0, "")
    assert {job["status"] for job in first.jobs} == {"SUCCESS"}
    assert house.library() == wanted
    assert {stat.S_IMODE((house.models / path).stat().st_mode) for path in wanted} == {0o644}
    assert [house.fetches(f"{SHELF}/{path.rpartition('/')[2]}") for path in wanted] == [1, 1, 1]
    assert not house.hub.hits_for(f"{SHELF}/{BYPASSED}"), "nobody needs what is bypassed"
    assert house.staged() == []

    house.hub.forget_hits()
    second = house.cli("fix", workflow, "--yes")
    assert (second.exit_code, second.stderr, second.jobs) == (0, "", [])
    assert any("nothing to do" in message for message in second.envelope["messages"])
    assert house.hub.hits == []


@pytest.mark.slow
@pytest.mark.skipif(not LTX.exists(), reason=f"{LTX} is not here")
def test_a_template_of_comfyui_is_healed(house: House) -> None:
    text = LTX.read_text(encoding="utf-8")
    declared = dict(re.findall(r'"name": *"([^"]+)",\s*"url": *"https://huggingface.co(/[^"]+)"', text))
    bypassed = "ltx-2-19b-lora-camera-control-dolly-left.safetensors"
    assert bypassed in declared
    served = {name: house.publish(path, 40_000, seed)[1] for seed, (name, path) in enumerate(declared.items())}

    said = house.cli("fix", LTX, "--yes")
    assert said.exit_code == 0, said
    placed = {path.rpartition("/")[2]: data for path, data in house.library().items()}
    assert placed == {name: data for name, data in served.items() if name != bypassed}
    assert [path.partition("/")[0] for path in house.library()] == [
        "checkpoints", "latent_upscale_models", "loras", "text_encoders"
    ]  # fmt: skip
    assert all(house.fetches(path) == (name != bypassed) for name, path in declared.items())


@pytest.mark.slow
def test_what_could_be_had_is_placed_and_the_rest_is_named_with_its_reason(house: House) -> None:
    (good,) = published(house, "checkpoints/good.safetensors").values()
    workflow = saved(house, wanting("good.safetensors", "gone.safetensors"))

    said = house.cli("fix", workflow, "--yes")
    assert said.exit_code == 4
    assert house.library() == {"checkpoints/good.safetensors": good}
    assert [job["status"] for job in said.jobs] == ["SUCCESS"]
    (gone,) = (item for item in said.envelope["data"]["items"] if item["action"] == "ask")
    assert gone["need"]["filename"] == "gone.safetensors"
    assert any(message.startswith("gone.safetensors: ") for message in said.envelope["messages"])

    again = house.cli("fix", workflow, "--yes", as_json=False)
    assert again.exit_code == 1, "nothing became better by the second run"
    assert "gone.safetensors: " in again.stdout


@pytest.mark.slow
def test_when_nothing_can_be_had_it_says_why_and_ends_with_1(house: House) -> None:
    house.publish(f"{SHELF}/page.safetensors", behaviour=BEHAVIOURS["html_200"])
    workflow = saved(house, wanting("page.safetensors", "gone.safetensors"))
    said = house.cli("fix", workflow, "--yes")
    assert (said.exit_code, said.jobs, house.library()) == (1, [], {})
    items = {item["need"]["filename"]: item for item in said.envelope["data"]["items"]}
    assert {item["action"] for item in items.values()} == {"ask"}
    assert "HTML page" in items["page.safetensors"]["why"], "known by its head, before anything is fetched"


@pytest.mark.slow
def test_without_a_word_of_consent_nothing_is_done(house: House) -> None:
    published(house, "checkpoints/good.safetensors")
    said = house.cli("fix", saved(house, wanting("good.safetensors")), as_json=False)
    assert said.exit_code == 1
    assert "get  checkpoints/good.safetensors" in said.stderr
    assert "--yes" in said.stderr
    assert "nothing was changed" in said.stdout
    assert (house.library(), house.fetches(f"{SHELF}/good.safetensors")) == ({}, 0)
    assert not os.path.lexists(house.home / "staging")


@pytest.mark.slow
def test_fix_leaves_the_work_to_a_worker_that_lives(house: House) -> None:
    """P9: no second worker starts inside of fix."""
    published(house, "checkpoints/good.safetensors")
    workflow = saved(house, wanting("good.safetensors"))
    with house.worker() as worker:
        said = house.cli("fix", workflow, "--yes")
        assert said.exit_code == 0
        log = (house.home / "state/download_worker.log").read_text()
    assert f"worker-{worker.pid}-" in log
    assert log.count("is ready for") == 1
