"""The versioned prompt text that ships in `verify_prompts/`, with the digest that goes into every verdict."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from download_worker.room import storage_errors

PACKAGE, NAME = "verify_prompts", "verify_download_prompt.txt"
_FOLDER = files(PACKAGE)
_VERSION_LINE = re.compile(r"version: (\S+)\n")


@dataclass(frozen=True)
class Prompt:
    """`sha256` is that of the whole file, its version line included; `text` is what comes after that line."""

    version: str
    text: str
    sha256: str


@cache
def versioned_prompt(name: str = NAME) -> Prompt:
    """Raises ValueError where the file does not begin with its version; TryLater, GiveUp: see `storage_errors`."""
    with storage_errors(Path(PACKAGE, name)):
        raw = _FOLDER.joinpath(name).read_bytes()
    whole = raw.decode("utf-8").replace("\r\n", "\n")
    first = _VERSION_LINE.match(whole)
    if first is None:
        raise ValueError(f"{PACKAGE}/{name} must begin with a line “version: N”")
    return Prompt(first[1], whole[first.end() :].strip(), hashlib.sha256(raw).hexdigest())
