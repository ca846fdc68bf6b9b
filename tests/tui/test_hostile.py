"""Text from outside on the screen: shown as it is, never obeyed. FAULTS rows T27, T28 and T29."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from rich.cells import cell_len

from comfy_doctor.tui.bars import Line
from comfy_doctor.tui.story import plain
from download_worker.jobs.job import Status
from download_worker.text import safe_text
from tests.tui.hostile import hostile_jobs
from tests.tui.stage import stage

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("size", [(80, 24), pytest.param((160, 45), marks=pytest.mark.slow)])
async def test_t28_hostile_names_are_shown_verbatim_in_the_table_the_detail_and_the_question(
    size: tuple[int, int],
) -> None:
    async with stage(hostile_jobs(), size=size) as on:
        for job in hostile_jobs():
            await on.select(job)
            name = safe_text(job.model_info.expected_filename)
            await on.until(lambda name=name: _together(name) in _together(on.detail.text))  # type: ignore[misc]
            screen = on.screen()
            assert all(line.isprintable() for line in screen)
            assert all(cell_len(line) == size[0] for line in screen), ascii(name)
            if cell_len(name) < 20:
                assert any(name in line for line in screen)
        assert on.app.is_running and on.counter.verbs == []


@pytest.mark.slow
async def test_t28_a_hostile_name_in_the_cancel_question_is_text() -> None:
    async with stage([]) as on:
        for job in hostile_jobs():  # not by `add`: their targets are refused everywhere else
            on.ledger._jobs[job.job_id] = job.model_copy(update={"status": Status.DOWNLOADING})
        await on.until(lambda: on.ids)
        for job in hostile_jobs()[:7]:
            await on.select(job)
            await on.pilot.press("c")
            assert all(line.isprintable() for line in on.screen())
            asked = on.app.screen.query_one("#question", Line).said
            assert safe_text(job.model_info.expected_filename) in asked
            await on.pilot.press("n")


@pytest.mark.slow
async def test_t28_a_click_on_a_name_that_looks_like_an_action_only_selects() -> None:
    async with stage(hostile_jobs(), size=(160, 45)) as on:
        row = next(index for index, row in enumerate(on.table.rows) if row.name.startswith("[@click"))
        await on.pilot.click("#table", offset=(18, row + 1))
        await on.pilot.click("#story", offset=(3, 0))
        await on.looks()
        assert on.app.is_running and on.table.selected == on.ids[row]


def _together(text: str) -> str:
    return "".join(text.split())


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a pseudo-terminal")
def test_t27_a_real_terminal_receives_no_sequence_of_a_name() -> None:
    """The whole way: the program in a pseudo-terminal, and the bytes it writes."""
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.environ.update(TERM="xterm-256color", COLUMNS="160", LINES="45", COLORTERM="truecolor")
        os.execv(sys.executable, [sys.executable, "-m", "tests.tui.play", "hostile"])
    try:
        received = _read_until(terminal, b"{braces}", seconds=60)
        os.write(terminal, b"q")
        received += _read_until(terminal, b"\x1b[?1049l", seconds=10)
    finally:
        os.close(terminal)
        os.kill(pid, signal.SIGKILL)  # a program that was started under nohup does not end with its terminal
        os.waitpid(pid, 0)
    assert b"osc52\\x1b]" in received, "the name is shown"
    for sequence in (b"\x1b]52", b"\x1b]0;owned", b"\x9b31m", "\u202e".encode(), "\u200b".encode(), "\u2028".encode()):
        assert sequence not in received


def _read_until(terminal: int, mark: bytes, *, seconds: float) -> bytes:
    received, end = b"", time.monotonic() + seconds
    while mark not in received and time.monotonic() < end:
        try:
            received += os.read(terminal, 65_536)
        except OSError:  # Linux: the other side is closed
            break
    return received


def test_t29_a_name_with_line_ends_is_one_line_of_the_table() -> None:
    from comfy_doctor.tui.rows import columns_for, line_of, row_of
    from tests.tui.samples import NOW

    for job in hostile_jobs():
        assert len(plain(line_of(row_of(job, NOW), columns_for(200))).splitlines()) == 1
