"""What every verb answers: findings with a light and a remedy, and one report with an exit code.

Skins (text, JSON, HTTP, TUI) only render these values; they decide nothing. The exit codes and the envelope are public
(INTERFACES.md sections 3 and 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any, Literal

ENVELOPE_VERSION = 1


class ExitCode(IntEnum):
    WELL = 0
    """All is well, or all was done."""
    FINDINGS = 1
    """Something is missing, corrupt or failed."""
    USAGE = 2
    """Wrong usage or configuration."""
    SURROUNDINGS = 3
    """The surroundings are missing: no ComfyUI found, server not reachable, no disk."""
    PARTLY = 4
    """Partly done."""
    REFUSED = 5
    """Refused for safety."""
    INTERRUPTED = 130


class Light(StrEnum):
    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"


@dataclass(frozen=True, slots=True)
class Remedy:
    """What a person can do about a finding: in words, and as a command where one does it."""

    action: str
    command: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    light: Light
    title: str
    detail: str = ""
    remedy: Remedy | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One entry of `errors`: a registered code, what happened to which file, and the next step."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a verb found or did. `data` is plain JSON: its shape is the verb's promise."""

    command: str
    status: Literal["success", "partial", "error"]
    exit_code: ExitCode
    data: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    messages: tuple[str, ...] = ()
    errors: tuple[Problem, ...] = ()

    def envelope(self) -> dict[str, Any]:
        """The public JSON document of this report."""
        return {
            "comfy_doctor_result": ENVELOPE_VERSION,
            "command": self.command,
            "status": self.status,
            "exit_code": int(self.exit_code),
            "data": dict(self.data),
            "messages": list(self.messages),
            "errors": [{"code": e.code, "message": e.message, "hint": e.hint} for e in self.errors],
        }
