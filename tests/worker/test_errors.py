"""Every registered code is raised somewhere, ends with a next step, and nothing is raised that is not registered."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from comfy_doctor.troubles import ANSWERS, DoctorCode
from download_worker.errors import NEXT_STEP, Code, ExitCode, GiveUp, Refused

ROOT = Path(__file__).parents[2]


def used(kind: str) -> set[str]:
    registers = {ROOT / "download_worker" / "errors.py", ROOT / "comfy_doctor" / "troubles.py"}
    files = [*(ROOT / "download_worker").rglob("*.py"), *(ROOT / "comfy_doctor").rglob("*.py")]
    texts = [path.read_text(encoding="utf-8") for path in files if path not in registers]
    return {name for text in texts for name in re.findall(rf"\b{kind}\.([A-Z_]+)", text)}


def test_every_registered_code_is_used_and_every_used_one_is_registered() -> None:
    assert used("Code") == set(Code.__members__)
    assert used("DoctorCode") == set(DoctorCode.__members__)


def test_every_code_has_its_next_step() -> None:
    assert set(NEXT_STEP) == set(Code)
    assert set(ANSWERS) == set(DoctorCode)


@pytest.mark.parametrize("code", list(Code))
def test_a_message_ends_with_the_next_step_and_has_an_exit_code(code: Code) -> None:
    assert str(GiveUp(code, "it happened to a file")).endswith(NEXT_STEP[code])
    assert GiveUp(code, "x").exit_code in (ExitCode.FINDINGS, ExitCode.SURROUNDINGS)
    assert Refused(code, "x").exit_code is ExitCode.REFUSED
