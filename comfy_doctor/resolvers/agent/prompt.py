"""The versioned text that tells a model how to search; what it may decide is decided in code."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files

from download_worker.verifiers.rubric.prompt import PACKAGE, Prompt

NAME = "search_agent_prompt.txt"


@cache
def search_prompt() -> Prompt:
    """Raises ValueError where the file does not begin with its version."""
    raw = files(PACKAGE).joinpath(NAME).read_bytes()
    first, _, text = raw.decode("utf-8").replace("\r\n", "\n").partition("\n")
    version = re.fullmatch(r"version: (\S+)", first)
    if version is None:
        raise ValueError(f"{PACKAGE}/{NAME} must begin with a line “version: N”")
    return Prompt(version[1], text.strip(), hashlib.sha256(raw).hexdigest())
