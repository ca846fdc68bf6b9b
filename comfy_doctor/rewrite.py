"""A workflow that says the names under which its models are here, instead of those that its author's machine had.

Only values that are exactly the old name are replaced, and only where every use of that name in the file gets the same
new one. The file as it was stays beside it, and is never overwritten.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from comfy_doctor.diagnose import ModelFinding, State
from comfy_doctor.troubles import DoctorCode, DoctorTrouble
from comfy_doctor.workflows.containers import MAX_WORKFLOW_BYTES
from comfy_doctor.workflows.documents import parse

MAX_BACKUPS = 100
_VALUES = frozenset({"widgets_values", "widgets_values_named", "inputs"})


def renames_of(models: Iterable[ModelFinding]) -> Mapping[str, Mapping[str, str]]:
    """Workflow → {name as it is written there: name under which the file is here}; contradictions are left out."""
    wanted: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for model in models:
        here = model.relink if model.state is State.ELSEWHERE and model.relink else None
        for use in model.need.uses:
            wanted[use.workflow][use.written or model.need.name].add(here or use.written or model.need.name)
    renames = {
        workflow: {old: next(iter(new)) for old, new in names.items() if len(new) == 1 and old not in new}
        for workflow, names in wanted.items()
    }
    return {workflow: names for workflow, names in renames.items() if names}


def rewrite(workflow: Path, renames: Mapping[str, str]) -> Path:
    """Replace the names in this JSON file; returns where the file as it was is kept.

    Raises:
        DoctorTrouble: `unreadable_workflow`, it is no JSON file of ours to change, or cannot be written.
    """
    try:
        with workflow.open("rb") as file:
            before = file.read(MAX_WORKFLOW_BYTES + 1)
        document = json.loads(before)
    except (OSError, ValueError, RecursionError) as error:
        raise _cannot(workflow, "only plain JSON files are rewritten") from error
    after = json.dumps(_renamed(document, renames, inside=False), indent=2, ensure_ascii=False) + "\n"
    try:
        parse(after.encode())
        return _exchanged(workflow, after.encode("utf-8"))
    except (OSError, UnicodeEncodeError) as error:
        raise _cannot(workflow, str(error)) from error


def _renamed(value: Any, renames: Mapping[str, str], *, inside: bool) -> Any:
    if isinstance(value, str):
        return renames.get(value, value) if inside else value
    if isinstance(value, list):
        return [_renamed(entry, renames, inside=inside) for entry in value]
    if isinstance(value, dict):
        return {key: _renamed(entry, renames, inside=inside or key in _VALUES) for key, entry in value.items()}
    return value


def _exchanged(workflow: Path, text: bytes) -> Path:
    """The old file under a new name first, so that at every moment one whole workflow is there."""
    backup = _free_name(workflow)
    new = workflow.with_name(f".{workflow.name}.{os.getpid()}.new")
    try:
        new.write_bytes(text)
        new.chmod(workflow.stat().st_mode & 0o777)
        try:
            os.link(workflow, backup)
        except OSError:  # a file system without hard links
            backup.write_bytes(workflow.read_bytes())
        new.replace(workflow)
    finally:
        new.unlink(missing_ok=True)
    return backup


def _free_name(workflow: Path) -> Path:
    names = (workflow.with_name(f"{workflow.name}.bak{number or ''}") for number in range(MAX_BACKUPS))
    free = next((name for name in names if not name.exists()), None)
    if free is None:
        raise _cannot(workflow, f"there are {MAX_BACKUPS} backups of it already")
    return free


def _cannot(workflow: Path, why: str) -> DoctorTrouble:
    hint = "choose the names that are said above in ComfyUI and save it"
    return DoctorTrouble(DoctorCode.UNREADABLE_WORKFLOW, f"{workflow} was not rewritten: {why}", hint=hint)
