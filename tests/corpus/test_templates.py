"""The official templates in one run: none fails, every embedded model is found with its folder, time grows evenly."""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from comfy_doctor.comfyui.install import Install
from comfy_doctor.diagnose import diagnose
from comfy_doctor.workflows.names import normalised
from comfy_doctor.workflows.wanted import canonical

TEMPLATES = Path(str(files("comfyui_workflow_templates_json"))) / "templates"
MAX_PEAK_MIB = 900

Json = Mapping[str, Any]


def workflows() -> list[Path]:
    """Without the indices, which are lists, and the few files of settings beside them."""
    bodies = ((path, json.loads(path.read_text("utf-8-sig"))) for path in sorted(TEMPLATES.glob("*.json")))
    return [path for path, body in bodies if isinstance(body, dict) and isinstance(body.get("nodes"), list)]


def nodes_of(body: Json) -> Iterator[Json]:
    """The nodes of the root and of every definition that some instance uses."""
    definitions = {entry["id"]: entry for entry in body.get("definitions", {}).get("subgraphs", [])}
    waiting, seen = [body], set[str]()
    while waiting:
        level = waiting.pop()
        for node in level["nodes"]:
            yield node
            inner = definitions.get(node["type"])
            if inner is not None and node["type"] not in seen:
                seen.add(node["type"])
                waiting.append(inner)


def embedded(body: Json) -> set[tuple[str, str, str]]:
    """(folder, name, URL) of every entry of `properties.models` that its own node's widgets really hold."""
    found = set()
    for node in nodes_of(body):
        values = node.get("widgets_values") or []
        held = {normalised(value) for value in values if isinstance(value, str)}
        for entry in node.get("properties", {}).get("models") or []:
            if entry["name"] in held:
                found.add((canonical(entry["directory"]), entry["name"], entry["url"]))
    return found


@pytest.mark.slow
def test_every_embedded_model_of_every_template_is_found_with_its_folder(tmp_path: Path) -> None:
    paths = workflows()
    diagnosis = diagnose(paths, Install(tmp_path))
    assert len(paths) > 600
    assert diagnosis.report().errors == ()
    assert {case.document.format for case in diagnosis.cases} == {"ui"}

    lost, stated = [], 0
    for path, case in zip(paths, diagnosis.cases, strict=True):
        offered = {
            (need.folder, need.filename, candidate.url.partition("?")[0])
            for need in case.wanted.models
            for candidate in need.candidates
        }
        expected = embedded(json.loads(path.read_text("utf-8-sig")))
        stated += len(expected)
        lost += [
            (path.name, *entry) for entry in expected if (entry[0], entry[1], entry[2].partition("?")[0]) not in offered
        ]
    assert lost == []
    assert stated > 900


@pytest.mark.slow
def test_twice_as_many_workflows_cost_twice_as_much(tmp_path: Path) -> None:
    paths = workflows()
    random.Random(1).shuffle(paths)  # so that the first thousand is like the second
    links = []
    for number, path in enumerate((paths * 4)[:2_000]):
        link = tmp_path / f"{number:04}_{path.name}"
        link.symlink_to(path)
        links.append(link)
    install = Install(tmp_path / "ComfyUI")

    def seconds(count: int) -> float:
        start = time.process_time()
        diagnose(links[:count], install)
        return time.process_time() - start

    seconds(100)
    half, whole = seconds(1_000), seconds(2_000)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 * 1024 if sys.platform == "darwin" else 1024)
    print(f"1,000 workflows: {half:.1f} s; 2,000: {whole:.1f} s; peak {peak_mib:.0f} MiB")
    assert whole < 2.6 * half + 1
    assert peak_mib < MAX_PEAK_MIB
