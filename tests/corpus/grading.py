"""From what the doctor says about one file to the prediction that `../shared/tools/grade.py` grades."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from comfy_doctor.comfyui.install import Install
from comfy_doctor.diagnose import DISK_ONLY, Sight, diagnose
from comfy_doctor.node_packs.channel import Channel
from comfy_doctor.node_packs.directory import PackDirectory

SHARED = Path(__file__).parents[3] / "shared"
CORPUS = SHARED / "corpus"
GRADER = SHARED / "tools" / "grade.py"

needs_corpus = pytest.mark.skipif(not GRADER.exists(), reason=f"the shared corpus is not at {SHARED}")


Told = Mapping[str, Mapping[str, Any]]
"""File name → the public data of `diagnose` about that file alone."""


def oracle() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((CORPUS / "ORACLE.json").read_text(encoding="utf-8"))
    return entries


def told_alone(install: Install, sight: Sight = DISK_ONLY) -> Told:
    return {entry["file"]: diagnose([CORPUS / entry["file"]], install, sight).report().data for entry in oracle()}


def managers_lists(cache: Path) -> Sight:
    """The shared copy of ComfyUI-Manager's lists as the channel, and nobody else to ask."""
    return Sight(owners=PackDirectory(Channel(str(SHARED / "manager"), web=None, cache=cache)))


def predicted(data: Mapping[str, Any]) -> dict[str, Any]:
    models = [
        {"name": model["name"], "directory": model["folder"], "url": model["url"], "active": model["active"]}
        for model in data["models"]
        if model["criticality"] == "required"
    ]
    custom = [
        {"type": node["type"], "repo": node["pack"]["repository"] if node["pack"] else None}
        for node in data["nodes"]
        if node["state"] not in ("core", "frontend")
    ]
    return {"models": models, "custom_nodes": custom}


def grade(told: Told) -> tuple[Counter[str], list[tuple[Any, ...]]]:
    """The grader's counts, and everything that was wrong, one tuple each."""
    counts, wrong = _grader().grade(oracle(), {name: predicted(data) for name, data in told.items()})
    return counts, wrong


def _grader() -> ModuleType:
    spec = importlib.util.spec_from_file_location("shared_grade", GRADER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
