"""From a file to a document: is it a workflow, in which of the two formats, and where in the JSON does it lie.

UI format: an object with a list `nodes` and a list `links`. API format: an object whose values carry `class_type` and
`inputs`, often wrapped (`{"prompt": …}`, `{"input": {"workflow": …}}`), see FACTS 1.1. The shape decides; what has
neither shape is no workflow, and that is not an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from comfy_doctor.workflows.containers import Unreadable, open_container, sniff

Format = Literal["ui", "api", "not_a_workflow"]

MAX_WRAPPERS = 4
# Keys under which programs put a workflow into a larger document, the most telling first.
_WRAPPERS = (
    "workflow", "prompt", "workflow_json", "workflow_api", "output", "input", "inputs", "graph", "data", "body",
    "payload", "extra_data", "extra_pnginfo",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Document:
    """`body` is the workflow itself, unwrapped, None when there is none. `error` says why where that is not plain."""

    path: str
    container: str
    format: Format
    body: Mapping[str, Any] | None = None
    error: str | None = None
    failed: bool = False
    """We could not look: unlike a file that we read and that is no workflow."""


def read_document(path: Path) -> Document:
    """Read one file. Never raises for what the file holds or for a file that cannot be read: it says so."""
    name = str(path)
    try:
        contents = open_container(path)
    except Unreadable as error:
        return Document(name, _container(path), "not_a_workflow", error=str(error), failed=True)
    except OSError as error:
        return Document(name, "json", "not_a_workflow", error=error.strerror or str(error), failed=True)
    why = None
    for text in contents.texts:
        try:
            value = parse(text)
        except Unreadable as error:
            why = str(error)
            continue
        found = find_workflow(value)
        if found is not None:
            return Document(name, contents.container, found[0], found[1])
    return Document(name, contents.container, "not_a_workflow", error=why)


def _container(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return sniff(file.read(32))
    except OSError:
        return "json"


def parse(text: bytes) -> Any:
    """JSON as programs really write it: byte order mark, UTF-16, bare NaN.

    Raises:
        Unreadable: it is no JSON, or nested deeper than Python's own parser follows.
    """
    try:
        return json.loads(text, parse_int=_int)
    except RecursionError as error:
        raise Unreadable("JSON nested too deeply") from error
    except UnicodeDecodeError as error:
        raise Unreadable("not JSON: not Unicode text") from error
    except ValueError as error:
        raise Unreadable(f"not JSON: {error}"[:200]) from error


def _int(digits: str) -> int | float:
    """Numbers of thousands of digits are legal JSON and no id or seed: Python refuses them, a float will do."""
    return int(digits) if len(digits) <= 1000 else float(digits)


def find_workflow(value: Any, *, wrappers: int = MAX_WRAPPERS) -> tuple[Literal["ui", "api"], Mapping[str, Any]] | None:
    """The workflow in this JSON value, through at most `wrappers` layers of known wrapping; None when there is none."""
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        try:
            value = parse(value.encode("utf-8", "surrogatepass"))
        except Unreadable:
            return None
    if not isinstance(value, dict):
        return None
    if is_ui(value):
        return "ui", value
    if is_api(value):
        return "api", value
    if wrappers:
        for key in _WRAPPERS:
            found = find_workflow(value.get(key), wrappers=wrappers - 1)
            if found is not None:
                return found
    return None


def is_ui(value: Mapping[str, Any]) -> bool:
    nodes = value.get("nodes")
    if not isinstance(nodes, list) or not isinstance(value.get("links"), list):
        return False
    return not nodes or any(isinstance(node, dict) and isinstance(node.get("type"), str) for node in nodes)


def is_api(value: Mapping[str, Any]) -> bool:
    return any(
        isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)
        for node in value.values()
    )
