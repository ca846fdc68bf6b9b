"""Real workflows against the oracle of `../shared/corpus`, by the shared grader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfy_doctor.comfyui.install import Install
from comfy_doctor.diagnose import diagnose
from comfy_doctor.workflows.loaders import slots_of

from .grading import CORPUS, SHARED, Told, grade, managers_lists, needs_corpus, oracle, told_alone

pytestmark = needs_corpus


@pytest.fixture(scope="module")
def nothing_installed(tmp_path_factory: pytest.TempPathFactory) -> Install:
    return Install(tmp_path_factory.mktemp("ComfyUI"))


@pytest.fixture(scope="module")
def alone(nothing_installed: Install) -> Told:
    return told_alone(nothing_installed)


def test_every_model_of_every_real_workflow_is_found_and_nothing_else(alone: Told) -> None:
    counts, wrong = grade(alone)
    about_models = [entry for entry in wrong if entry[1].startswith(("model", "directory"))]
    assert about_models == []
    assert counts["models right"] == counts["models wanted"] > 300
    assert counts["directories right"] == counts["directories graded"] > 290
    assert counts["embedded urls right"] == counts["embedded urls graded"] > 80


def test_show_1_with_the_managers_lists_the_grader_has_nothing_to_say(
    nothing_installed: Install, tmp_path: Path
) -> None:
    counts, wrong = grade(told_alone(nothing_installed, managers_lists(tmp_path)))
    assert [entry for entry in wrong if entry[1] != "repo"] == []
    assert counts["repos right"] >= 0.98 * counts["repos graded"] > 400
    assert counts["unresolvable types left unresolved"] == counts["unresolvable types"] > 10


def test_every_custom_node_type_is_found_and_no_core_one_is_taken_for_custom(alone: Told) -> None:
    counts, wrong = grade(alone)
    assert [entry for entry in wrong if entry[1].startswith("node type")] == []
    assert counts["node types right"] == counts["node types wanted"] > 400


def test_formats_and_self_fetched_models_agree_with_the_oracle(alone: Told) -> None:
    for entry in oracle():
        data = alone[entry["file"]]
        assert data["workflows"][0]["format"] == entry["format"], entry["file"]
        fetched = {model["name"] for model in entry.get("models_auto_download", [])}
        assert fetched <= {found["filename"] for found in data["self_fetching"]}, entry["file"]


def test_users_of_a_model_are_named_by_their_execution_paths(alone: Told) -> None:
    for entry in oracle():
        data = alone[entry["file"]]
        found = {(m["name"], use["node_id"]) for m in data["models"] for use in m["needed_by"]}
        wanted = {(m["path"], ref["node"]) for m in entry.get("models_required", []) for ref in m["refs"]}
        assert wanted <= found, entry["file"]


def test_what_prompts_speak_of_is_mentioned(alone: Told) -> None:
    for entry in oracle():
        data = alone[entry["file"]]
        said = {(mention["kind"], mention["name"]) for mention in data["mentions"]}
        wanted = {("lora", tag["name"]) for tag in entry.get("prompt_lora_tags", [])}
        wanted |= {("embedding", reference["name"]) for reference in entry.get("embedding_refs", [])}
        assert wanted <= said, entry["file"]


def test_the_whole_corpus_in_one_run_is_the_sum_of_its_files(nothing_installed: Install, alone: Told) -> None:
    together = diagnose([CORPUS], nothing_installed).report().data
    files = [path for path in sorted(CORPUS.iterdir()) if path.suffix in (".json", ".png")]
    assert [Path(entry["path"]) for entry in together["workflows"]] == files
    assert {path.name for path in files} >= set(alone)
    each = {(m["folder"], m["name"]) for data in alone.values() for m in data["models"]}
    assert {(m["folder"], m["name"]) for m in together["models"]} == each


@pytest.mark.parametrize("version", ["0.3.64", "0.33.0"])
def test_the_table_says_what_the_real_servers_list(version: str) -> None:
    """A marker file was put into every folder; a combo that listed it lists that folder."""
    measured = json.loads((SHARED / "comfyui" / version / "input_to_folder.json").read_text(encoding="utf-8"))
    renamed = {"diffusersdir": "diffusers"}  # the marker's own name
    wrong = []
    for place, found in measured.items():
        node_type, _, name = place.rpartition(".")
        expected = [renamed.get(folder, folder) for folder in found["folders"] if folder != "configs"]
        told = [slot.folder for slot in slots_of(node_type) if slot.input == name]
        wrong += [(place, expected, told)] if told != expected else []
    assert wrong == []
    assert len(measured) > 25
