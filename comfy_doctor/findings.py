"""What every verb answers: findings with a light and a remedy, in one report with an exit code.

The report is the same for both programs and lives with the worker (`download_worker.report`); it is named here so that
the doctor's rooms find everything they answer with in one place.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from download_worker.report import Complaint, ExitCode, Report

__all__ = ["Complaint", "ExitCode", "Finding", "Light", "Remedy", "Report"]


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
