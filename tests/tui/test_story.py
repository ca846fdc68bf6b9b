"""Everything about one job as text to read."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from comfy_doctor.tui.story import next_step_of, peek, plain, story
from download_worker.errors import NEXT_STEP, Code
from download_worker.jobs.job import Job, Result, Status
from tests import canaries
from tests.tui.hostile import hostile_jobs
from tests.tui.samples import NOW, SHA256, evening, sample

FAILED, DONE, WAITING = evening()[10], evening()[13], evening()[6]


def told(job: Job, cells: int = 100) -> str:
    return plain(story(job, NOW, cells))


def test_a_failed_job_tells_the_reason_and_the_registered_next_step() -> None:
    text = told(FAILED)
    assert "civitai.com sent a web page instead of detail_tweaker_xl.safetensors" in text
    assert NEXT_STEP[Code.HTML] in text


@pytest.mark.parametrize("code", [None, "", "a_code_of_tomorrow"])
def test_an_unknown_code_has_no_next_step_and_is_no_error(code: str | None) -> None:
    job = FAILED.model_copy(update={"result": Result(code=code)})
    assert next_step_of(job) == ""
    assert "Why it failed" in told(job)


def test_a_finished_job_tells_its_target_digest_verdict_and_every_step_of_evidence() -> None:
    text = told(DONE, 200)
    for part in ("/srv/comfyui/models/vae/flux-vae-bf16.safetensors", SHA256, "VERIFIED by qwen2.5-7b-instruct"):
        assert part in text
    assert "bytes 335,304,388 · matches yes" in text
    assert "safetensors" in text and 'dtypes ["BF16"]' in text


def test_history_is_told_newest_first_with_its_times() -> None:
    lines = told(DONE).splitlines()
    assert lines[-5:] == [
        "21:19:33  In place",
        "21:19:32  Verified by qwen2.5-7b-instruct",
        "21:19:12  Verifying",
        "21:18:32  Download started",
        "21:18:12  Job created",
    ]


def test_a_waiting_job_tells_why_and_until_when() -> None:
    text = told(WAITING)
    assert "busy_host: the host asked to come back in 60 s" in text
    assert "21:30:54 (in 0:42)" in text


@pytest.mark.parametrize("cells", [40, 46, 76, 120])
def test_every_line_keeps_within_its_cells(cells: int) -> None:
    for job in [*evening(), *hostile_jobs()]:
        for line in told(job, cells).splitlines():
            assert cell_len(line) <= cells, line
        for peeked in peek(job, NOW, cells):
            assert cell_len(plain(peeked)) <= cells


def test_t22_a_token_in_a_url_is_not_shown() -> None:
    job = sample(1, "x.safetensors", "loras", "h", Status.PENDING)
    secret = f"https://user:{canaries.PASSWORD}@h.example/x?token={canaries.IN_URL}"
    info = job.model_info.model_copy(update={"download_url": secret, "mirrors": (secret,)})
    text = told(job.model_copy(update={"model_info": info}))
    assert canaries.WORD not in text and "h.example/x" in text


def test_t27_t29_no_text_of_a_job_reaches_the_screen_with_an_invisible_sign() -> None:
    for job in hostile_jobs():
        for text in (told(job), plain(peek(job, NOW, 60)[0]), plain(peek(job, NOW, 60)[1])):
            assert all(line.isprintable() for line in text.split("\n")), ascii(text)
        assert sum("evil" in line for line in told(job, 2000).split("\n")) == 1, "a name made a line of its own"


def test_the_peek_names_the_file_with_its_folder_and_why_it_failed() -> None:
    first, second = peek(FAILED, NOW, 78)
    assert plain(first) == "loras/detail_tweaker_xl.safetensors"
    assert plain(second).startswith("civitai.com sent a web page")
