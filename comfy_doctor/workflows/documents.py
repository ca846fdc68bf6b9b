"""From a file to a document: is it a workflow, in which of the two formats, and where in the JSON does it lie.

UI format: an object with a list `nodes` and a list `links`. API format: an object whose values carry `class_type` and
`inputs`, often wrapped (`{"prompt": …}`, `{"input": {"workflow": …}}`), see FACTS 1.1. The shape decides; what has
neither shape is no workflow, and that is not an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

from comfy_doctor.workflows.containers import Contents, Unreadable, open_container, open_stream
from download_worker.json_texts import TooManyValues, check_values

Format = Literal["ui", "api", "manifest", "not_a_workflow"]

MAX_WRAPPERS = 4
MAX_ENCODINGS = 3
"""How often a workflow may have been encoded as a JSON string; a re-saved video has had three (ComfyUI's frontend)."""
# Keys under which programs put a workflow into a larger document, the most telling first; the last two are glTF's.
_WRAPPERS = (
    "workflow", "prompt", "workflow_json", "workflow_api", "output", "input", "inputs", "graph", "data", "body",
    "payload", "extra_data", "extra_pnginfo", "asset", "extras",
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


class Found(NamedTuple):
    format: Literal["ui", "api"]
    body: Mapping[str, Any]


def read_document(path: Path) -> Document:
    """Read one file. Never raises for what the file holds or for a file that cannot be read: it says so."""
    name = str(path)
    try:
        return _document(name, open_container(path))
    except Unreadable as error:
        return Document(name, "json", "not_a_workflow", error=str(error), failed=True)
    except OSError as error:
        return Document(name, "json", "not_a_workflow", error=error.strerror or str(error), failed=True)


def read_bytes_document(name: str, data: bytes) -> Document:
    """The same for what was a file elsewhere; `name` stands as its path in the document. Never raises."""
    return _document(name, open_stream(BytesIO(data)))


def _document(name: str, contents: Contents) -> Document:
    """The drawing that is in it, else what was run, else why there is neither: a text is damaged, or it has none."""
    best: Found | None = None
    why: str | None = None
    for text in contents.texts:
        try:
            value = parse(text) if contents.container == "json" else parse_first(text)
        except Unreadable as error:
            why = why or str(error)
            continue
        found = find_workflow(value)
        if found is not None and (best is None or found.format == "ui"):
            best = found
        if best is not None and best.format == "ui":
            break
    if best is not None:
        return Document(name, contents.container, best.format, best.body)
    failed = contents.damage is not None
    return Document(name, contents.container, "not_a_workflow", error=contents.damage or why, failed=failed)


def parse(text: bytes) -> Any:
    """JSON as programs really write it: byte order mark, UTF-16, bare NaN, raw line ends in strings.

    Raises:
        Unreadable: it is no JSON, nested deeper than Python's own parser follows, or of too many values (`json_texts`).
    """
    value, rest = _parsed(text)
    if rest.strip(" \t\r\n"):
        raise Unreadable("not JSON: more text follows its end")
    return value


def parse_first(text: bytes) -> Any:
    """The JSON with which a text in a container begins; some savers put several after each other.

    Raises:
        Unreadable: see `parse`.
    """
    return _parsed(text)[0]


def _parsed(text: bytes) -> tuple[Any, str]:
    try:
        letters = text.decode(json.detect_encoding(text), "surrogatepass").lstrip("\ufeff \t\r\n")
        check_values(letters)
        value, end = _DECODER.raw_decode(letters)
    except RecursionError as error:
        raise Unreadable("JSON nested too deeply") from error
    except UnicodeDecodeError as error:
        raise Unreadable("not JSON: not Unicode text") from error
    except TooManyValues as error:
        raise Unreadable(str(error)) from error
    except ValueError as error:
        raise Unreadable(f"not JSON: {error}"[:200]) from error
    return value, letters[end:]


def _int(digits: str) -> int | float:
    """Numbers of thousands of digits are legal JSON and no id or seed: Python refuses them, a float will do."""
    return int(digits) if len(digits) <= 1000 else float(digits)


# Not strict about control characters: older savers of SVG turned the `\n` of prompts into real line ends.
_DECODER = json.JSONDecoder(parse_int=_int, strict=False)


def find_workflow(value: Any, *, wrappers: int = MAX_WRAPPERS) -> Found | None:
    """The workflow in this JSON value, through at most `wrappers` layers of known wrapping; None when there is none."""
    value = _decoded(value)
    if not isinstance(value, dict):
        return None
    if is_ui(value):
        return Found("ui", value)
    if is_api(value):
        return Found("api", value)
    if wrappers:
        for key in _WRAPPERS:
            found = find_workflow(value.get(key), wrappers=wrappers - 1)
            if found is not None:
                return found
    return None


def _decoded(value: Any) -> Any:
    """The object in a string that holds one, however often it was encoded; anything else as it is."""
    for _ in range(MAX_ENCODINGS):
        if not isinstance(value, str) or value.lstrip()[:1] not in ("{", '"'):
            break
        try:
            value = parse(value.encode("utf-8", "surrogatepass"))
        except Unreadable:
            return None
    return value


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
