"""The dashboard under a person's hands: keys and mouse in, the counter's verbs and the screen out."""

from __future__ import annotations

import pytest

from download_worker.errors import Code, GiveUp, TryLater
from download_worker.jobs.job import Status
from tests.tui.samples import evening, history, progress
from tests.tui.stage import by_name, notes, stage

pytestmark = pytest.mark.slow  # real screens and processes

NARROW, WIDE = (80, 24), (160, 45)


# What it shows


async def test_a_live_job_moves_within_a_tick_and_its_end_is_seen() -> None:
    async with stage(evening(), refresh_seconds=0.02) as on:
        job = by_name(on, "flux1-dev")
        await on.until(lambda: any("40 %" in line and "38.2 MB/s" in line for line in on.screen()))
        on.change(job, progress=progress(8.4e9, 11.9e9, 51e6))
        await on.until(lambda: any("70 %" in line and "51.0 MB/s" in line for line in on.screen()))
        on.change(job, status=Status.SUCCESS, worker=None, history=history((0, "In place")))
        await on.until(lambda: on.line("counts").startswith("○ 5 PENDING   ↓ 2 DOWNLOADING"))
        await on.until(lambda: any("flux1-dev" in line and "just now" in line for line in on.screen()))


async def test_without_a_worker_it_says_what_to_start() -> None:
    async with stage(evening(), workers=lambda: 0) as on:
        assert "download-worker run" in on.line("notices")
        assert on.line("totals") == "no worker"


async def test_the_detail_tells_everything_and_follows_the_cursor() -> None:
    async with stage(evening()) as on:
        await on.select(by_name(on, "detail_tweaker"))
        for part in ("Why it failed", "civitai.com sent a web page", "REJECTED by rules", "/srv/comfyui/models/loras/"):
            assert part in on.detail.text
        assert "open the URL in a browser" in " ".join(on.detail.text.split())
        await on.pilot.press("down")
        assert "sd_xl_refiner_1.0.safetensors" in on.detail.text


@pytest.mark.parametrize(
    ("name", "keys", "verb"),
    [
        ("detail_tweaker", ["r"], ("retry",)),
        ("flux1-dev", ["p"], ("pause",)),
        pytest.param("wan2.1", ["p"], ("resume",), marks=pytest.mark.slow),
        ("4x-UltraSharp", ["plus"], ("prioritise", 3)),
        pytest.param("4x-UltraSharp", ["minus"], ("prioritise", 1), marks=pytest.mark.slow),
        ("flux1-dev", ["c", "y"], ("cancel",)),
    ],
)
async def test_a_key_asks_for_its_verb_once_and_for_the_selected_job(
    name: str, keys: list[str], verb: tuple[object, ...]
) -> None:
    async with stage(evening()) as on:
        job = by_name(on, name)
        await on.select(job)
        await on.pilot.press(*keys)
        await on.until(lambda: on.counter.verbs)
        await on.looks()
        assert on.counter.verbs == [(verb[0], job.job_id, *verb[1:])]


async def test_a_refusal_is_shown_with_its_next_step_and_without_markup() -> None:
    async with stage(evening()) as on:
        on.counter.refusal = GiveUp(Code.STORAGE, "cannot [@click=app.quit]write[/] \x1b]52;c;x\x07", hint="do [b]this")
        await on.pilot.press("P")
        await on.until(lambda: notes(on))
        assert notes(on) == ["cannot [@click=app.quit]write[/] \\x1b]52;c;x\\x07\nNext: do [b]this"]
        await on.until(lambda: any("[@click=app.quit]write[/]" in line for line in on.screen()))


# Choosing what to see


async def test_eighty_by_twenty_four_gives_the_table_the_screen_and_enter_opens_the_detail() -> None:
    async with stage(evening(), size=NARROW) as on:
        assert on.table.size.width == 80 and not on.detail.size.width
        await on.pilot.press("enter")
        await on.until(lambda: on.detail.size.width == 80)
        assert not on.table.size.width
        await on.pilot.press("escape")
        await on.until(lambda: on.table.size.width == 80)
        assert on.table.has_focus


async def test_a_busy_ledger_leaves_the_old_picture_and_says_so_until_it_answers() -> None:
    async with stage(evening()) as on:
        ids = on.ids
        on.counter.trouble = TryLater(Code.DATABASE_BUSY, "state/doctor.db is locked")
        await on.until(lambda: "state/doctor.db is locked" in on.line("notices"))
        assert "This picture is from 21:30:12" in on.line("notices")
        assert on.ids == ids
        await on.pilot.press("down")
        assert on.table.selected == ids[1]
        on.counter.trouble = None
        await on.until(lambda: on.line("notices") == "")
