"""What a command has to say: one frozen Report, one JSON envelope, one list of exit codes, for both programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from download_worker.errors import ExitCode, Trouble

__all__ = ["Complaint", "ExitCode", "Report", "report_of"]

ENVELOPE_VERSION = 1


@dataclass(frozen=True)
class Complaint:
    """A registered code, what happened, and the next step."""

    code: str
    message: str
    hint: str

    def document(self) -> dict[str, str]:
        return {"code": self.code, "message": self.message, "hint": self.hint}


@dataclass(frozen=True)
class Report:
    """The answer of every verb. `data` is JSON-ready; `messages` are for people and never the only place of a fact."""

    command: str
    exit_code: ExitCode = ExitCode.OK
    data: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    messages: tuple[str, ...] = ()
    errors: tuple[Complaint, ...] = ()

    @property
    def status(self) -> Literal["success", "partial", "error"]:
        if self.exit_code is ExitCode.PARTLY:
            return "partial"
        return "error" if self.errors else "success"

    def envelope(self) -> dict[str, Any]:
        return {
            "comfy_doctor_result": ENVELOPE_VERSION,
            "command": self.command,
            "status": self.status,
            "exit_code": int(self.exit_code),
            "data": dict(self.data),
            "messages": list(self.messages),
            "errors": [error.document() for error in self.errors],
        }


def report_of(command: str, trouble: Trouble) -> Report:
    """The report of a command that could not be carried out."""
    complaint = Complaint(str(trouble.code), trouble.message, trouble.hint)
    return Report(command, trouble.exit_code, errors=(complaint,))
