"""The whole look: paths in, public data and exit code out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from comfy_doctor.comfyui.install import Install
from comfy_doctor.diagnose import ModelFinding, State, diagnose
from comfy_doctor.findings import ExitCode
from comfy_doctor.needs import Candidate, Need, Use
from comfy_doctor.plan import make_plan
from comfy_doctor.troubles import ANSWERS, DoctorCode, DoctorTrouble
from tests import canaries

from .drawing import loader_inside, model, node, png, saved, ui

URL = "https://huggingface.co/a/b/resolve/main/x.safetensors"


@pytest.fixture
def install(tmp_path: Path) -> Install:
    (tmp_path / "ComfyUI/models/checkpoints").mkdir(parents=True)
    return Install(tmp_path / "ComfyUI", version="0.3.64")


def looked(paths: list[Path], install: Install) -> dict[str, Any]:
    """The data as a reader of the JSON gets it."""
    data: dict[str, Any] = json.loads(json.dumps(dict(diagnose(paths, install).report().data)))
    return data


def test_the_data_have_the_shape_that_interfaces_promises(tmp_path: Path, install: Install) -> None:
    entry = model("x.safetensors", "loras", URL, hash="AB" * 32, hash_type="SHA256")
    stated = {"models": [entry], "cnr_id": "comfy-core"}
    path = saved(tmp_path / "a.json", ui(node(3, "LoraLoader", "x.safetensors", 1, 1, properties=stated)))
    assert looked([path], install) == {
        "comfyui": {"root": str(install.root), "server": None, "version": "0.3.64"},
        "workflows": [
            {
                "path": str(path),
                "format": "ui",
                "container": "json",
                "models": 1,
                "nodes": 1,
                "runnable": False,
                "error": None,
            }
        ],
        "models": [
            {
                "filename": "x.safetensors",
                "name": "x.safetensors",
                "folder": "loras",
                "state": "missing",
                "active": True,
                "criticality": "required",
                "path": None,
                "relink": None,
                "url": URL,
                "sha256": "ab" * 32,
                "size": None,
                "reason": f"not in {install.models_root / 'loras'}",
                "cause": None,
                "near": [],
                "needed_by": [
                    {
                        "workflow": str(path),
                        "node_id": "3",
                        "node_type": "LoraLoader",
                        "input": "lora_name",
                        "active": True,
                    }
                ],
            }
        ],
        "self_fetching": [],
        "mentions": [],
        "nodes": [
            {
                "type": "LoraLoader",
                "state": "core",
                "active": True,
                "pack": None,
                "alternatives": [],
                "guess": False,
                "reason": "a node of ComfyUI itself",
                "remedy": None,
                "warnings": [],
                "needed_by": [{"workflow": str(path), "node_id": "3"}],
            }
        ],
    }


@pytest.mark.parametrize(
    ("mode", "here", "exit_code", "runnable"),
    [
        (0, False, ExitCode.FINDINGS, False),
        (0, True, ExitCode.OK, True),
        (4, False, ExitCode.OK, True),
    ],
)
def test_only_a_missing_model_that_is_needed_is_a_finding(
    tmp_path: Path, install: Install, mode: int, here: bool, exit_code: ExitCode, runnable: bool
) -> None:
    path = saved(tmp_path / "a.json", ui(node(1, "CheckpointLoaderSimple", "x.ckpt", mode=mode)))
    if here:
        (install.models_root / "checkpoints/x.ckpt").touch()
    report = diagnose([path], install).report()
    assert (report.exit_code, report.data["workflows"][0]["runnable"]) == (exit_code, runnable)


def test_a_model_under_another_name_is_a_finding_with_its_relink(tmp_path: Path, install: Install) -> None:
    (install.models_root / "checkpoints/sub").mkdir()
    (install.models_root / "checkpoints/sub/x.ckpt").touch()
    diagnosis = diagnose([saved(tmp_path / "a.json", ui(node(1, "CheckpointLoaderSimple", "x.ckpt")))], install)
    assert [(found.state, found.relink) for found in diagnosis.models] == [(State.ELSEWHERE, str(Path("sub/x.ckpt")))]
    assert diagnosis.report().exit_code is ExitCode.FINDINGS


@pytest.mark.skipif(os.sep != "/", reason="the slash of this system is the other one")
def test_a_model_behind_the_wrong_slash_is_a_finding_and_a_muted_one_is_none(tmp_path: Path, install: Install) -> None:
    (install.models_root / "checkpoints/sub").mkdir()
    (install.models_root / "checkpoints/sub/x.ckpt").touch()
    drawn = ui(node(1, "CheckpointLoaderSimple", "sub/x.ckpt"), node(2, "CheckpointLoaderSimple", "sub\\x.ckpt"))
    (entry,) = looked([saved(tmp_path / "a.json", drawn)], install)["models"]
    assert (entry["state"], entry["relink"]) == ("elsewhere", "sub/x.ckpt")
    drawn["nodes"][1]["mode"] = 2
    (entry,) = looked([saved(tmp_path / "b.json", drawn)], install)["models"]
    assert (entry["state"], entry["relink"]) == ("present", None)


def test_what_is_known_to_stop_a_workflow_counts_before_what_is_not_known(tmp_path: Path, install: Install) -> None:
    drawn = ui(node(1, "CheckpointLoaderSimple", "x.ckpt"), node(2, "Mystery"))
    assert looked([saved(tmp_path / "a.json", drawn)], install)["workflows"][0]["runnable"] is False


def test_one_entry_per_folder_and_name_over_all_workflows(tmp_path: Path, install: Install) -> None:
    drawn = ui(node(1, "CheckpointLoaderSimple", "x.ckpt"), node(2, "VAELoader", "x.ckpt"))
    one, two = saved(tmp_path / "one.json", drawn), saved(tmp_path / "two.json", drawn)
    data = looked([one, two], install)
    users = {(m["folder"], m["name"]): [use["workflow"] for use in m["needed_by"]] for m in data["models"]}
    assert users == {("checkpoints", "x.ckpt"): [str(one), str(two)], ("vae", "x.ckpt"): [str(one), str(two)]}
    assert [entry["type"] for entry in data["nodes"]] == ["CheckpointLoaderSimple", "VAELoader"]


def test_a_diagnosis_keeps_the_candidates_for_the_cure(tmp_path: Path, install: Install) -> None:
    stated = {"models": [model("x.ckpt", "checkpoints", URL), model("x.ckpt", "checkpoints", URL + "?download=true")]}
    path = saved(tmp_path / "a.json", ui(node(1, "CheckpointLoaderSimple", "x.ckpt", properties=stated)))
    (found,) = diagnose([path], install).models
    assert [candidate.url for candidate in found.need.candidates] == [URL, URL + "?download=true"]


def test_a_model_whose_folder_nobody_knows_is_unknown_and_not_missing(tmp_path: Path, install: Install) -> None:
    path = saved(tmp_path / "a.json", ui(node(1, "Whatever", "x.pth")))
    report = diagnose([path], install).report()
    (entry,) = report.data["models"]
    assert (entry["folder"], entry["state"], report.exit_code) == (None, "unknown", ExitCode.OK)
    assert report.data["workflows"][0]["runnable"] is None
    assert any("could not look for 1 of the models" in message for message in report.messages)


def test_a_guessed_folder_is_not_believed_when_another_has_the_file(tmp_path: Path, install: Install) -> None:
    (install.models_root / "xlabs/loras").mkdir(parents=True)
    there = install.models_root / "xlabs/loras/x.safetensors"
    path = saved(tmp_path / "a.json", ui(node(1, "SuperLoraLoader", "x.safetensors")))
    assert looked([path], install)["models"][0]["state"] == "missing"
    there.touch()
    (entry,) = looked([path], install)["models"]
    assert (entry["state"], entry["path"]) == ("unknown", str(there))


def test_folders_are_searched_without_hidden_files_and_without_errors(tmp_path: Path, install: Install) -> None:
    folder = tmp_path / "flows"
    drawn = ui(node(1, "CheckpointLoaderSimple", "x.ckpt"))
    saved(folder / "b/deep.json", drawn)
    saved(folder / "a.json", drawn)
    saved(folder / ".hidden/x.json", drawn)
    saved(folder / ".x.json", drawn)
    (folder / "notes.txt").write_text("no", encoding="utf-8")
    (folder / "broken.json").write_text("{", encoding="utf-8")
    (folder / "index.json").write_text("[]", encoding="utf-8")
    (folder / "p.PNG").write_bytes(png((b"tEXt", b"workflow\0" + json.dumps(drawn).encode())))
    report = diagnose([folder], install).report()
    found = [(Path(entry["path"]).name, entry["format"]) for entry in report.data["workflows"]]
    assert found == [
        ("a.json", "ui"), ("broken.json", "not_a_workflow"), ("index.json", "not_a_workflow"), ("p.PNG", "ui"),
        ("deep.json", "ui"),
    ]  # fmt: skip
    assert (report.errors, report.messages) == ((), ())


def test_nothing_means_the_workflows_of_the_install(install: Install) -> None:
    saved(install.workflows / "mine.json", ui(node(1, "KSampler")))
    assert [entry["path"] for entry in looked([], install)["workflows"]] == [str(install.workflows / "mine.json")]


def test_an_install_without_workflows_is_fine_and_says_so(install: Install) -> None:
    report = diagnose([], install).report()
    assert (report.exit_code, report.messages) == (ExitCode.OK, (f"no workflows in {install.workflows}",))


def test_a_path_that_is_not_there_is_wrong_usage(tmp_path: Path, install: Install) -> None:
    with pytest.raises(DoctorTrouble) as trouble:
        diagnose([tmp_path / "gone.json"], install)
    assert (trouble.value.code, trouble.value.exit_code) == (DoctorCode.NO_WORKFLOW, ExitCode.USAGE)


def test_a_file_that_is_no_workflow_is_said_to_be_none(tmp_path: Path, install: Install) -> None:
    path = tmp_path / "index.json"
    path.write_text("[]", encoding="utf-8")
    report = diagnose([path], install).report()
    assert (report.exit_code, report.errors) == (ExitCode.OK, ())
    assert report.messages == (f"{path} is no workflow",)


def test_a_file_that_cannot_be_read_leaves_the_rest_and_is_partly_done(tmp_path: Path, install: Install) -> None:
    ring = ui(node(1, "s"), subgraphs=[loader_inside("x.ckpt", name="t") | {"id": "s", "nodes": [node(1, "s")]}])
    bad, good = saved(tmp_path / "bad.json", ring), saved(tmp_path / "good.json", ui(node(1, "KSampler")))
    report = diagnose([bad, good], install).report()
    assert (report.exit_code, report.status) == (ExitCode.PARTLY, "partial")
    (complaint,) = report.errors
    assert complaint.code == "unreadable_workflow" and str(bad) in complaint.message
    assert [entry["runnable"] for entry in report.data["workflows"]] == [False, True]


def test_t22_a_token_in_a_workflow_is_neither_kept_nor_shown(tmp_path: Path, install: Install) -> None:
    url = f"{URL}?token={canaries.IN_URL}&api_key={canaries.IN_URL}&Signature={canaries.WORD}"
    canaries.BOOK.hold(tmp_path / "a.json")
    entry = model("x.safetensors", "loras", url)
    found = diagnose(
        [saved(tmp_path / "a.json", ui(node(3, "LoraLoader", "x.safetensors", 1, 1, properties={"models": [entry]})))],
        install,
    )
    (need,) = (finding.need for finding in found.models)
    assert [candidate.url for candidate in need.candidates] == [f"{URL}?Signature={canaries.WORD}"], (
        "it works by its signature"
    )
    shown = json.dumps(found.report().envelope()) + json.dumps([item.public() for item in make_plan(found.models)])
    assert canaries.WORD not in shown
    assert "Signature=[secret]" in shown


def test_what_is_shown_is_what_would_be_fetched() -> None:
    weak, strong = (
        Candidate(f"https://h.example/{name}", "x.safetensors", "loras", "embedded", confidence=confidence)
        for name, confidence in (("weak", 0.92), ("strong", 0.95))
    )
    finding = ModelFinding(
        Need("loras", "x.safetensors", (Use("w", "1", "t", None, True),), candidates=(weak, strong)), State.MISSING, ""
    )
    (item,) = make_plan([finding])
    assert (item.choice, finding.public()["url"]) == (strong, strong.url)


def test_self_fetching_nodes_and_mentions_are_listed_apart(tmp_path: Path, install: Install) -> None:
    path = saved(
        tmp_path / "a.json",
        ui(node(1, "DWPreprocessor", "yolox_l.onnx"), node(2, "CLIPTextEncode", "embedding:bad")),
    )
    data = looked([path], install)
    assert data["models"] == []
    assert [(e["filename"], e["node_type"]) for e in data["self_fetching"]] == [("yolox_l.onnx", "DWPreprocessor")]
    assert [(e["kind"], e["name"]) for e in data["mentions"]] == [("embedding", "bad")]


def test_node_types_are_missing_only_where_their_pack_is_known_and_not_here(tmp_path: Path, install: Install) -> None:
    (install.root / "custom_nodes/ComfyUI-KJNodes").mkdir(parents=True)
    kj = {"cnr_id": "comfyui-kjnodes", "ver": "1.1.2", "aux_id": "kijai/ComfyUI-KJNodes"}
    path = saved(
        tmp_path / "a.json",
        ui(
            node(1, "KSampler"),
            node(2, "Note", "hello"),
            node(3, "BrandNewCoreNode", properties={"cnr_id": "comfy-core"}),
            node(4, "ImageResizeKJ", properties=kj),
            node(5, "UltimateSDUpscale", properties={"cnr_id": "comfyui_ultimatesdupscale"}),
            node(6, "Mystery", mode=4),
        ),
    )
    data = looked([path], install)
    assert {entry["type"]: entry["state"] for entry in data["nodes"]} == {
        "KSampler": "core",
        "Note": "frontend",
        "BrandNewCoreNode": "core",
        "ImageResizeKJ": "installed",
        "UltimateSDUpscale": "missing",
        "Mystery": "unknown",
    }
    assert data["nodes"][3]["pack"] == {
        "id": "comfyui-kjnodes",
        "repository": "https://github.com/kijai/ComfyUI-KJNodes",
        "version": "1.1.2",
        "from": "workflow",
    }
    assert data["nodes"][5]["active"] is False
    assert data["workflows"][0]["runnable"] is False


def test_hostile_names_are_data_and_nothing_else(tmp_path: Path, install: Install) -> None:
    values = ["../../etc/x.safetensors", "a\u202eb.safetensors", "nul\0.safetensors", "\ud800.safetensors"]
    path = saved(tmp_path / "a.json", ui(*(node(n, "VAELoader", value) for n, value in enumerate(values))))
    assert {entry["state"] for entry in looked([path], install)["models"]} == {"missing"}


def test_every_registered_code_has_a_next_step() -> None:
    assert set(ANSWERS) == set(DoctorCode)


def test_reading_workflows_loads_nothing_heavy() -> None:
    names = ["sqlalchemy", "textual", "openai", "requests", "pydantic"]
    rooms = "comfy_doctor.workflows.ui_graph, comfy_doctor.workflows.wanted"
    script = f"import sys, {rooms}; print([n for n in {names} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_a_prompt_speaks_of_is_looked_up_and_stops_nothing(tmp_path: Path, install: Install) -> None:
    (install.models_root / "loras").mkdir(parents=True, exist_ok=True)
    (install.models_root / "loras/soft.safetensors").write_bytes(b"x")
    path = saved(tmp_path / "a.json", ui(node(1, "CLIPTextEncode", "<lora:soft:0.8> <lora:gone:1>")))
    report = diagnose([path], install).report()
    assert {entry["name"]: entry["state"] for entry in report.data["mentions"]} == {
        "soft": "present",
        "gone": "missing",
    }
    assert report.exit_code == 0


def test_names_like_a_missing_one_are_shown_and_never_taken(tmp_path: Path, install: Install) -> None:
    folder = install.models_root / "diffusion_models"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("flux1-dev-fp8.safetensors", "something_else.safetensors"):
        (folder / name).write_bytes(b"x")
    path = saved(tmp_path / "a.json", ui(node(1, "UNETLoader", "flux1-dev-bf16.safetensors", "default")))
    (found,) = looked([path], install)["models"]
    assert (found["state"], found["relink"]) == ("missing", None)
    assert [(near["name"], near["why"]) for near in found["near"]] == [
        ("flux1-dev-fp8.safetensors", "same model, other precision")
    ]
