"""A workflow that says the names under which its models are here, instead of those that its author's machine had.

Only values that are exactly the old name are replaced, and only where every use of that name in the file gets the same
new one. The file as it was stays beside it, and is never overwritten.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from comfy_doctor.diagnose import ModelFinding, State
from comfy_doctor.troubles import DoctorCode, DoctorTrouble
from comfy_doctor.workflows.containers import MAX_WORKFLOW_BYTES
from comfy_doctor.workflows.documents import parse

MAX_BACKUPS = 100
_VALUES = frozenset({"widgets_values", "widgets_values_named", "inputs"})
_TOKENS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}:,]', re.DOTALL)
_LONGEST_KEY = 200
"""Characters of a key in the file; its escapes may make a short one longer."""


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
    """Replace the names in this JSON file and nothing else; returns where the file as it was is kept.

    Raises:
        DoctorTrouble: `unreadable_workflow`, it is no JSON file of ours to change, does not say these names, or
            cannot be written.
    """
    try:
        workflow = workflow.resolve(strict=True)  # a link to a workflow stays one
        with workflow.open("rb") as file:
            before = file.read(MAX_WORKFLOW_BYTES + 1)
        if len(before) > MAX_WORKFLOW_BYTES:
            raise _cannot(workflow, f"it is larger than {MAX_WORKFLOW_BYTES} bytes")
        json.loads(before)
        text = before.decode("utf-8")
    except (OSError, ValueError, RecursionError) as error:
        raise _cannot(workflow, "only plain JSON files are rewritten") from error
    after = renamed(text, renames)
    if after == text:
        raise _cannot(workflow, "it does not say these names where a widget's value would be")
    try:
        parse(after.encode())
        return _exchanged(workflow, after.encode("utf-8"))
    except (OSError, UnicodeEncodeError) as error:
        raise _cannot(workflow, str(error)) from error


def renamed(text: str, renames: Mapping[str, str]) -> str:
    """This JSON text with other names as values of widgets; every other sign of it stays as it is. Pure.

    `text` must be JSON. Numbers, escapes, the order of keys and the layout are its author's, so it is not parsed and
    written anew.
    """
    pieces, end = [], 0
    for start, stop in _values(text):
        new = renames.get(json.loads(text[start:stop], strict=False))
        if new is not None:
            pieces += [text[end:start], json.dumps(new, ensure_ascii=text.isascii())]
            end = stop
    return "".join((*pieces, text[end:]))


def _values(text: str) -> Iterator[tuple[int, int]]:
    """Where the strings stand that are values of widgets or lie inside of one."""
    inside, key, last = [False], False, None
    for token in _TOKENS.finditer(text):
        sign = token[0][0]
        if sign == ":":
            key = last is not None and _text_at(text, last) in _VALUES
            last = None
            continue
        if last is not None and (inside[-1] or key):
            yield last
        last = token.span() if sign == '"' else None
        if sign in "[{":
            inside.append(inside[-1] or key)
        elif sign in "]}":
            inside.pop()
        key = key and sign == '"'


def _text_at(text: str, span: tuple[int, int]) -> str:
    return str(json.loads(text[span[0] : span[1]], strict=False)) if span[1] - span[0] <= _LONGEST_KEY else ""


def _exchanged(workflow: Path, text: bytes) -> Path:
    """The old file under a new name first, so that at every moment one whole workflow is there."""
    backup = _free_name(workflow)
    new = workflow.with_name(f".{workflow.name}.{os.getpid()}.new")
    try:
        new.write_bytes(text)
        new.chmod(workflow.stat().st_mode & 0o777)
        try:
            os.link(workflow, backup)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            with backup.open("xb") as file:
                file.write(workflow.read_bytes())
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
