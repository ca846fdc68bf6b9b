"""One job as one line of the table."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from rich.cells import cell_len

from comfy_doctor.tui.rows import columns_for, gauge_of, heading, line_of, row_of
from comfy_doctor.tui.story import plain
from download_worker.clock import iso
from download_worker.jobs.job import Job, Progress, Status
from tests.tui.hostile import hostile_jobs
from tests.tui.samples import NOW, evening, owned, progress, sample

WIDTHS = (40, 60, 77, 78, 79, 90, 105, 109, 110, 140, 160, 200, 300)


def titles(width: int) -> list[str]:
    return [column.title for column in columns_for(width)]


def job(status: Status = Status.PENDING, **changes: Any) -> Job:
    return sample(1, "lora.safetensors", "loras", "models.example", status, **changes)


@pytest.mark.parametrize("width", WIDTHS)
def test_every_row_is_as_wide_as_the_heading_whatever_its_name(width: int) -> None:
    columns = columns_for(width)
    wide = cell_len(heading(columns))
    assert wide <= max(width, 57)
    for each in [*evening(), *hostile_jobs()]:
        assert cell_len(plain(line_of(row_of(each, NOW), columns))) == wide, each.model_info.expected_filename


def test_eighty_cells_show_what_moves_and_two_hundred_show_everything() -> None:
    assert titles(77) == ["STATUS", "FILE", "PROGRESS", "SPEED", "LEFT"]
    assert titles(109) == ["STATUS", "FILE", "FOLDER", "PROGRESS", "SIZE", "SPEED", "LEFT"]
    assert titles(160)[-1] == "HOST" and "TRIES" in titles(160)


def test_a_download_shows_its_bar_percentage_amount_speed_and_time_left() -> None:
    moving = job(Status.DOWNLOADING, **owned(), progress=progress(4.81e9, 11.9e9, 38.2e6))
    line = plain(line_of(row_of(moving, NOW), columns_for(120)))
    assert line.startswith("↓ DOWNLOADING  lora.safetensors")
    assert "━━━" in line and "40 %" in line and "4.81/11.9 GB" in line and "38.2 MB/s" in line and "3:06" in line


def test_a_download_without_a_size_says_so() -> None:
    assert gauge_of(job(Status.DOWNLOADING, **owned(), progress=Progress(bytes=7)), NOW).note == "size unknown"


def test_without_a_worker_no_speed_of_the_past_is_shown() -> None:
    moving = job(Status.DOWNLOADING, **owned(), progress=progress(4e9, 8e9, 1e6))
    assert row_of(moving, NOW, worked=True).speed == "1.00 MB/s"
    assert row_of(moving, NOW, worked=False).speed == row_of(moving, NOW, worked=False).left == ""


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({}, "in line"),
        ({"paused": True}, "paused"),
        ({"paused": True, **owned()}, "pausing"),
        ({"cancel_requested": True, **owned()}, "cancelling"),
        ({"not_before": iso(NOW + timedelta(seconds=42))}, "again in 0:42"),
        ({"not_before": iso(NOW + timedelta(hours=2))}, "again at 23:30"),
        ({"not_before": iso(NOW + timedelta(days=3))}, "in 3 d 0 h"),
        ({"not_before": iso(NOW - timedelta(seconds=42))}, "in line"),
    ],
)
def test_what_does_not_move_says_why(changes: dict[str, Any], note: str) -> None:
    assert gauge_of(job(**changes), NOW).note == note


def test_what_failed_shows_its_code_and_what_is_done_its_age() -> None:
    failed, done = evening()[10], evening()[13]
    assert gauge_of(failed, NOW).note == "html"
    assert gauge_of(done, NOW).note == "10 min ago"


def test_a_row_with_a_broken_url_is_still_a_row() -> None:
    broken = job()
    info = broken.model_info.model_copy(update={"download_url": "https://[evil"})
    assert row_of(broken.model_copy(update={"model_info": info}), NOW).host == ""
