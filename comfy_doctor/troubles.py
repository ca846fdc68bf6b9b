"""What can go wrong before the doctor can look: its registered codes, the next step for each, and its exit code.

The worker's codes (`download_worker.errors`) stay the worker's; these stand beside them and are shown the same way.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from comfy_doctor.findings import Complaint, ExitCode
from download_worker.errors import Trouble


class DoctorCode(StrEnum):
    """The doctor's registered error codes. They are public: they appear in JSON and logs."""

    NO_COMFYUI = "no_comfyui"
    SEVERAL_COMFYUI = "several_comfyui"
    BAD_EXTRA_PATHS = "bad_extra_paths"
    NO_WORKFLOW = "no_workflow"
    UNREADABLE_WORKFLOW = "unreadable_workflow"
    NO_TERMINAL = "no_terminal"
    BAD_PLAN = "bad_plan"
    BAD_LOCK = "bad_lock"
    BAD_WATCH = "bad_watch"
    NO_MANIFEST = "no_manifest"


class Answer(NamedTuple):
    """How a code ends: the next step in words, and the exit code."""

    next_step: str
    exit_code: ExitCode


ANSWERS = MappingProxyType(
    {
        DoctorCode.NO_COMFYUI: Answer("name your install with --comfyui DIR or COMFYUI_PATH", ExitCode.SURROUNDINGS),
        DoctorCode.SEVERAL_COMFYUI: Answer("choose one of them with --comfyui DIR or COMFYUI_PATH", ExitCode.USAGE),
        DoctorCode.BAD_EXTRA_PATHS: Answer("correct that file: ComfyUI cannot use it either", ExitCode.USAGE),
        DoctorCode.NO_WORKFLOW: Answer("name a workflow file or a folder of them", ExitCode.USAGE),
        DoctorCode.UNREADABLE_WORKFLOW: Answer("save the workflow again and try that file", ExitCode.PARTLY),
        DoctorCode.BAD_PLAN: Answer("make it again with `comfy-doctor plan -o FILE`", ExitCode.USAGE),
        DoctorCode.BAD_LOCK: Answer("choose another file with -o FILE", ExitCode.USAGE),
        DoctorCode.NO_MANIFEST: Answer("name a *.lock.json or a .cec/pyproject.toml", ExitCode.USAGE),
        DoctorCode.BAD_WATCH: Answer("name a folder that can be read with --watch DIR", ExitCode.USAGE),
        DoctorCode.NO_TERMINAL: Answer("list the jobs with `comfy-doctor jobs`", ExitCode.SURROUNDINGS),
    }
)


class DoctorTrouble(Trouble):
    """A registered code, what happened to which file, and the next step. `hint` replaces the registered next step."""

    def __init__(self, code: DoctorCode, message: str, *, hint: str | None = None) -> None:
        super().__init__(code, message, hint=hint or ANSWERS[code].next_step)
        self._exit_code = ANSWERS[code].exit_code

    @property
    def exit_code(self) -> ExitCode:
        return self._exit_code

    @property
    def complaint(self) -> Complaint:
        """This trouble as an entry of a report's `errors`."""
        return Complaint(str(self.code), self.message, self.hint)
