"""What is a model's file name, and what only looks like one: pure rules on single values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

MAX_NAME_CHARS = 255
_MAX_VALUE_DEPTH = 3

# FACTS 1.5: the extensions of 1,122 names in 1,699 community files, and those that core's own folders list.
_MODEL_FILE = re.compile(
    r"[^\n\r]*[^\s/\\] *\.(safetensors|sft|ckpt|pt2?|pth|bin|onnx|gguf|pkl|task) *\Z", re.IGNORECASE
)
# An absolute path of some machine, or a markup tag, at the start; a URL or "repo | file" anywhere.
_NO_NAME = re.compile(r"[/~<]|[A-Za-z]:[/\\]|\\\\|.*(://|\s\|\s)")
_SUFFIX = re.compile(r"[^\s/\\.][^/\\]*\.\w{1,12} *\Z")
_LORA_TAG = re.compile(r"<lora:([^:<>\n]{1,200})(?::[^<>\n]{0,60})?>", re.IGNORECASE)
_EMBEDDING = re.compile(r"\bembedding:([^\s,:;()\[\]<>]{1,200})", re.IGNORECASE)
_SWITCHES = ("on", "active", "enabled")


class Named(NamedTuple):
    """A string found in a widget value. `on` is False where its own row is switched off."""

    text: str
    on: bool = True


def looks_like_model(value: Any) -> bool:
    """A relative path that ends in a model's extension."""
    return (
        isinstance(value, str)
        and len(value) <= MAX_NAME_CHARS
        and _MODEL_FILE.match(value) is not None
        and _NO_NAME.match(value) is None
    )


def has_suffix(text: str) -> bool:
    """A relative path of any file type, for values of which it is known that they name a file."""
    return looks_like_model(f"{text}.bin") and _SUFFIX.search(text) is not None


def normalised(name: str) -> str:
    """With `/` between the parts, as ComfyUI lists it on Linux."""
    return name.replace("\\", "/")


def strings_in(value: Any, *, depth: int = _MAX_VALUE_DEPTH) -> Iterator[Named]:
    """The strings of a widget value; in dicts (Power Lora Loader and its like) with the row's own switch."""
    if isinstance(value, str):
        yield Named(value)
    elif isinstance(value, list) and depth:
        for entry in value:
            yield from strings_in(entry, depth=depth - 1)
    elif isinstance(value, dict) and depth:
        on = all(value.get(switch, True) is not False for switch in _SWITCHES)
        for entry in value.values():
            for named in strings_in(entry, depth=depth - 1):
                yield Named(named.text, named.on and on)


def lora_tags(text: str) -> list[str]:
    return _LORA_TAG.findall(text)


def embeddings(text: str) -> list[str]:
    return _EMBEDDING.findall(text)


def lora_rows(value: Any) -> Iterator[Named]:
    """Names of a Lora Manager list: `[{name, strength, active}]`, without extension."""
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("name"), str) and "strength" in entry:
            yield Named(entry["name"], entry.get("active", True) is not False)
