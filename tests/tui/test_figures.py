"""Numbers, times and names as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from comfy_doctor.tui import figures
from download_worker.text import safe_text
from tests.tui.hostile import HOSTILE_NAMES

NOW = datetime(2026, 3, 14, 21, 30, 12, tzinfo=UTC)
TEXTS = st.one_of(st.text(max_size=120), st.sampled_from(HOSTILE_NAMES))


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (999_499, "999 kB"),
        (999_600, "1.00 MB"),
        (4_812_000_000, "4.81 GB"),
        (48_120_000_000, "48.1 GB"),
        (9_996_000, "10.0 MB"),
        (99_960_000, "100 MB"),
        (7 * 10**15, "7.00 PB"),
    ],
)
def test_bytes_have_three_digits(count: int, text: str) -> None:
    assert figures.bytes_text(count) == text


@given(st.integers(0, 999 * 10**15))
def test_bytes_never_need_more_than_seven_cells(count: int) -> None:
    assert len(figures.bytes_text(count)) <= 7


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (4_810_000_000, 11_900_000_000, "4.81/11.9 GB"),
        (3_000_000, 11_900_000_000, "0.00/11.9 GB"),
        (0, 722, "0/722 B"),
        (722, 722, "722 B"),
        (900, 722, "722 B"),
        (4_810, None, "4.81 kB"),
    ],
)
def test_an_amount_is_told_in_the_unit_of_the_whole(done: int, total: int | None, text: str) -> None:
    assert figures.amount_text(done, total) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0:00"),
        (0.4, "0:00"),
        (42, "0:42"),
        (185.6, "3:06"),
        (3729, "1:02:09"),
        (86_399, "23:59:59"),
        (273_600, "3 d 4 h"),
        (1e12, "> 99 d"),
        (float("inf"), "> 99 d"),
    ],
)
def test_a_span_is_short(seconds: float, text: str) -> None:
    assert figures.span_text(seconds) == text


def test_time_left_is_told_only_where_it_can_be_known() -> None:
    assert figures.left_seconds(40, 100, 6.0) == 10.0
    assert figures.left_seconds(400, 100, 6.0) == 0.0
    assert figures.left_seconds(40, None, 6.0) is None
    assert figures.left_seconds(40, 100, 0.0) is None
    assert figures.left_seconds(40, 100, None) is None


def test_a_hundred_percent_means_all_of_it() -> None:
    assert figures.percent_text(0.9999) == "99 %"
    assert figures.percent_text(1.0) == "100 %"
    assert figures.bar_text(0.9999, 10).filled == "━" * 9 + "╸"
    assert figures.bar_text(1.0, 10) == ("━" * 10, "")


def test_a_bar_shows_halves_and_differs_from_its_rest_without_colour() -> None:
    assert figures.bar_text(0.25, 10) == ("━━╸", "───────")
    assert figures.bar_text(0.0, 4) == ("", "────")


@given(st.floats(0, 1), st.integers(1, 80))
def test_a_bar_fills_its_cells(fraction: float, cells: int) -> None:
    assert cell_len("".join(figures.bar_text(fraction, cells))) == cells


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "just now"),
        (-9, "just now"),
        (42, "42 s ago"),
        (200, "3 min ago"),
        (7300, "2 h ago"),
        (7_776_000, "90 d ago"),
    ],
)
def test_an_age_is_told_in_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert figures.age_text(NOW - timedelta(seconds=seconds), NOW) == text


def test_a_clock_is_the_persons_own_and_names_the_day_when_it_is_another() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=5)))
    assert figures.clock_text(NOW, NOW) == "21:30:12"
    assert figures.clock_text(NOW, there) == "02:30:12"
    assert figures.clock_text(NOW - timedelta(days=1), NOW) == "2026-03-13 21:30"


@pytest.mark.parametrize("text", [None, "", "yesterday", "2026-03-14T21:30:12"])
def test_what_is_no_moment_is_none(text: str | None) -> None:
    assert figures.moment_of(text) is None


def test_a_name_loses_its_middle_and_keeps_its_ending() -> None:
    assert figures.middle("flux1-dev-fp8-e4m3fn.safetensors", 26) == "flux1-dev-…3fn.safetensors"
    assert figures.middle("short.pth", 26) == "short.pth"


@given(TEXTS, st.integers(0, 60))
def test_a_shortened_text_never_takes_more_cells_than_it_may(text: str, cells: int) -> None:
    text = figures_safe(text)
    assert cell_len(figures.middle(text, cells)) <= cells
    assert cell_len(figures.end(text, cells)) <= cells


@given(TEXTS, st.integers(0, 60), st.booleans())
def test_a_fitted_text_takes_exactly_its_cells(text: str, cells: int, right: bool) -> None:
    assert cell_len(figures.fitted(figures_safe(text), cells, right=right)) == cells


@given(TEXTS, st.integers(2, 60))
def test_folding_keeps_every_sign_and_every_line_within_its_cells(text: str, cells: int) -> None:
    text = figures_safe(text)
    lines = figures.folded(text, cells)
    assert all(cell_len(line) <= cells for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_folding_breaks_at_spaces_and_slashes_where_it_can() -> None:
    assert figures.folded("open the URL in a browser", 12) == ["open the URL", "in a browser"]
    assert figures.folded("/srv/models/loras/x.pth", 15) == ["/srv/models/", "loras/x.pth"]
    assert figures.folded("abcdefghij", 4) == ["abcd", "efgh", "ij"]


def figures_safe(text: str) -> str:
    """Texts reach these functions only after `safe_text`."""
    return safe_text(text)
