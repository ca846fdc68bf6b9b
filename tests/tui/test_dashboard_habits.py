"""The dashboard's habits: selection, search, paging, questions, sizes, patience. Slow only because they are many."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from textual import events
from textual.widgets import Input

from comfy_doctor.tui.bars import Tab
from comfy_doctor.tui.dialogs import Ask, Help
from download_worker.errors import Code, GiveUp
from download_worker.jobs.job import JobId, Progress, Status
from tests.jobs import make_info, make_job
from tests.tui.samples import NOW, evening, history, progress
from tests.tui.stage import Stage, by_name, chip, notes, stage

NARROW, WIDE = (80, 24), (160, 45)

pytestmark = pytest.mark.slow


# What it shows


def _line_of_cursor(on: Stage) -> int:
    assert on.table.selected is not None
    return on.ids.index(on.table.selected) - on.table.scroll_offset.y


async def test_a_new_job_appears_and_is_counted() -> None:
    async with stage([]) as on:
        assert any("No jobs yet." in line for line in on.screen())
        assert any("comfy-doctor fix WORKFLOW.json" in line for line in on.screen())
        assert any("comfy-doctor enqueue URL --type loras" in line for line in on.screen())
        on.ledger.add(make_job(info=make_info("brand_new.safetensors")))
        await on.until(lambda: any("brand_new.safetensors" in line for line in on.screen()))
        assert "○ 1 PENDING" in on.line("counts")


async def test_the_head_tells_workers_and_overall_speed() -> None:
    async with stage(evening(), workers=lambda: 2) as on:
        assert on.line("totals") == "2 workers · 63.3 MB/s"


async def test_what_takes_long_is_told_in_the_persons_time() -> None:
    async with stage([make_job(status=Status.SUCCESS, history=history((30, "In place")))]) as on:
        await on.until(lambda: any("30 s ago" in line for line in on.screen()))
        on.wall[0] = NOW + timedelta(minutes=5)
        await on.until(lambda: any("5 min ago" in line for line in on.screen()))


async def test_a_detail_that_is_scrolled_keeps_its_place_while_its_job_moves() -> None:
    async with stage(evening(), size=NARROW) as on:
        await on.pilot.press("enter", "pagedown")
        scroll = on.app.query_one("#scroll")
        await on.until(lambda: scroll.scroll_offset.y > 0)
        place = scroll.scroll_offset.y
        on.change(by_name(on, "flux1-dev"), progress=progress(8.4e9, 11.9e9, 51e6))
        await on.until(lambda: "70 %" in on.detail.text)
        assert scroll.scroll_offset.y == place


# The cursor


async def test_the_cursor_stays_on_its_job_while_rows_come_go_and_change_places() -> None:
    async with stage(evening()) as on:
        chosen = by_name(on, "control_v11p")
        await on.select(chosen)
        before = on.ids.index(chosen.job_id)
        for number in range(7):
            on.ledger.add(make_job(info=make_info(f"urgent-{number}.pth"), priority=9))
        await on.until(lambda: on.ids.index(chosen.job_id) == before + 7)
        assert on.table.selected == chosen.job_id
        on.change(by_name(on, "4x-Ultra"), status=Status.FAILED)
        await on.until(lambda: on.ids.index(chosen.job_id) == before + 6)
        assert on.table.selected == chosen.job_id
        assert "control_v11p" in on.detail.text


async def test_when_the_selected_job_leaves_the_list_the_next_one_is_selected() -> None:
    async with stage(evening()) as on:
        await on.pilot.press("f", "f")
        await on.until(lambda: len(on.ids) == 3)
        gone, following = on.ids[0], on.ids[1]
        await on.pilot.press("r")
        await on.until(lambda: len(on.ids) == 2)
        assert on.counter.verbs == [("retry", gone)]
        assert on.table.selected == following


async def test_a_scrolled_list_keeps_its_selected_job_where_it_is_on_the_screen() -> None:
    async with stage([make_job() for _ in range(60)], size=NARROW) as on:
        await on.pilot.press(*["pagedown"] * 2, *["up"] * 4)
        selected, line = on.table.selected, _line_of_cursor(on)
        for _ in range(3):
            on.ledger.add(make_job(priority=5))
        await on.until(lambda: len(on.ids) == 63)
        await on.pilot.pause()
        assert on.table.selected == selected
        assert _line_of_cursor(on) == line


async def test_a_click_selects_and_a_double_click_opens() -> None:
    async with stage(evening(), size=NARROW) as on:
        await on.pilot.click("#table", offset=(20, 4))
        assert on.table.selected == on.ids[3]
        await on.pilot.double_click("#table", offset=(20, 2))
        await on.until(lambda: on.detail.display and on.app.screen.has_class("reading"))
        assert on.table.selected == on.ids[1]


# Verbs, each asked for once


async def test_a_cancel_that_is_not_agreed_to_asks_for_nothing() -> None:
    async with stage(evening()) as on:
        for answer in ("n", "escape", "enter"):
            await on.pilot.press("c")
            assert isinstance(on.app.screen, Ask)
            await on.pilot.press(answer)
            assert not isinstance(on.app.screen, Ask)
        await on.looks()
        assert on.counter.verbs == []


async def test_a_cancel_is_of_the_job_that_was_named_whatever_moved_meanwhile() -> None:
    async with stage(evening()) as on:
        job = by_name(on, "flux1-dev")
        await on.pilot.press("f")
        await on.select(job)
        await on.pilot.press("c")
        on.change(job, worker=None, status=Status.SUCCESS)
        await on.until(lambda: job.job_id not in on.ids)
        await on.pilot.press("y")
        await on.until(lambda: on.counter.verbs)
        assert on.counter.verbs == [("cancel", job.job_id)]


async def test_the_queue_is_paused_and_resumed_and_the_head_says_so() -> None:
    async with stage(evening()) as on:
        await on.pilot.press("P")
        await on.until(lambda: "The queue is paused" in on.line("notices"))
        await on.pilot.press("P")
        await on.until(lambda: on.line("notices") == "")
        assert on.counter.verbs == [("pause_queue",), ("resume_queue",)]


async def test_all_failed_jobs_are_retried_after_one_question() -> None:
    async with stage(evening()) as on:
        await on.pilot.press("R")
        await on.pilot.press("y")
        await on.until(lambda: notes(on) == ["2 jobs will be tried again."])
        assert on.counter.verbs[0] == ("retry_failed",)
        await on.until(lambda: "✗ 1 FAILED" in on.line("counts"))  # the cancelled one stays so


async def test_presses_that_come_fast_are_all_counted() -> None:
    async with stage([make_job()]) as on:
        await on.pilot.press(*["plus"] * 5)
        await on.until(lambda: len(on.counter.verbs) == 5)
        assert on.ledger.jobs()[0].priority == 5


async def test_a_verb_that_makes_no_sense_is_not_asked_for() -> None:
    async with stage(evening()) as on:
        await on.select(by_name(on, "dreamshaper"))
        await on.pilot.press("r", "c", "p", "plus", "minus")
        await on.looks()
        assert on.counter.verbs == [] and not isinstance(on.app.screen, Ask)


async def test_keys_in_the_bar_and_in_the_pane_can_be_clicked() -> None:
    async with stage(evening()) as on:
        failed = by_name(on, "detail_tweaker")
        await on.select(failed)
        await on.pilot.click(chip(on, "pane-keys", "r"))
        await on.until(lambda: on.counter.verbs == [("retry", failed.job_id)])
        await on.pilot.click(chip(on, "keys", "P"))
        await on.until(lambda: on.counter.verbs[-1] == ("pause_queue",))


async def test_f_goes_round_the_filters() -> None:
    async with stage(evening()) as on:
        seen = []
        for _ in range(4):
            seen.append(len(on.ids))
            await on.pilot.press("f")
            await on.looks()
        assert seen == [16, 10, 3, 3]
        assert len(on.ids) == 16


async def test_a_filter_can_be_clicked() -> None:
    async with stage(evening()) as on:
        await on.pilot.click(list(on.app.query(Tab))[2])
        await on.until(lambda: len(on.ids) == 3)


async def test_a_search_narrows_the_list_and_escape_ends_it() -> None:
    async with stage(evening()) as on:
        await on.pilot.press("slash", *"civitai.com")
        await on.until(lambda: len(on.ids) == 5)
        await on.pilot.press("enter", "down")
        assert on.table.has_focus and on.table.selected == on.ids[1]
        await on.pilot.press("escape")
        await on.until(lambda: len(on.ids) == 16)
        assert not on.app.query_one(Input).display


async def test_a_search_without_a_hit_says_what_it_looked_for() -> None:
    async with stage(evening()) as on:
        await on.pilot.press("slash", *"[red]zz")
        await on.until(lambda: any("Nothing matches “[red]zz”." in line for line in on.screen()))


async def test_keys_typed_into_the_search_are_no_commands() -> None:
    async with stage(evening()) as on:
        await on.pilot.press("slash", *"rcpPRq")
        await on.looks()
        assert on.counter.verbs == [] and on.app.query_one(Input).value == "rcpPRq"


async def test_what_is_typed_in_one_breath_after_the_slash_is_no_command() -> None:
    async with stage(evening()) as on:
        for key in ("slash", *"frcP/"):
            on.app.post_message(events.Key(key, "/" if key == "slash" else key))
        await on.until(lambda: on.app.query_one(Input).value == "frcP/")
        assert on.counter.verbs == [] and not isinstance(on.app.screen, Ask)


@pytest.mark.parametrize("keys", [[], ["enter"], ["slash", "x"], ["c"], ["question_mark"]])
async def test_ctrl_c_leaves_from_everywhere_and_asks_for_nothing(keys: list[str]) -> None:
    async with stage(evening()) as on:
        await on.pilot.press(*keys, "ctrl+c")
        assert not on.app.is_running or on.app.return_code == 0
        assert on.counter.verbs == []


async def test_a_long_list_is_turned_page_by_page() -> None:
    async with stage([make_job(status=Status.SUCCESS) for _ in range(450)]) as on:
        assert on.line("page").startswith("1–200 of 450")
        await on.pilot.press("n")
        await on.until(lambda: on.line("page").startswith("201–400 of 450"))
        assert on.table.selected == on.ids[0]
        await on.pilot.press("end", "down")
        await on.until(lambda: on.line("page").startswith("401–450 of 450"))
        await on.pilot.press("n", "up")
        await on.until(lambda: on.line("page").startswith("201–400 of 450"))
        assert on.table.selected == on.ids[-1]
        await on.pilot.press("b")
        await on.until(lambda: on.line("page").startswith("1–200 of 450"))


# Sizes


async def test_resizing_goes_there_and_back_and_keeps_the_job() -> None:
    async with stage(evening(), size=NARROW) as on:
        await on.select(by_name(on, "control_v11p"))
        chosen = on.table.selected
        for size, detail in ((WIDE, True), (NARROW, False), ((30, 6), False), ((200, 50), True)):
            await on.pilot.resize_terminal(*size)
            await on.looks(1)
            assert bool(on.detail.size.width) is detail and on.table.selected == chosen
            assert all(len(line) <= size[0] for line in on.screen())


async def test_side_by_side_the_pane_can_be_shut_and_opened() -> None:
    async with stage(evening(), size=WIDE) as on:
        await on.pilot.press("escape")
        await on.until(lambda: on.table.size.width == 160)
        assert any("HOST" in line for line in on.screen())
        await on.pilot.press("enter")
        await on.until(lambda: on.detail.size.width > 40)


async def test_a_job_that_is_read_stays_open_when_it_leaves_the_list() -> None:
    async with stage(evening(), size=NARROW) as on:
        await on.pilot.press("f")
        await on.until(lambda: len(on.ids) == 10)
        job = by_name(on, "flux1-dev")
        await on.pilot.press("enter")
        on.change(job, status=Status.SUCCESS, worker=None, progress=Progress(bytes=5, total=5))
        await on.until(lambda: "✓ SUCCESS" in on.detail.text)
        assert "flux1-dev" in on.detail.text


async def test_a_job_that_is_read_and_then_forgotten_leads_back_to_the_list() -> None:
    async with stage(evening(), size=NARROW) as on:
        await on.pilot.press("end", "enter")
        await on.until(lambda: "RealESRGAN" in on.detail.text)
        on.ledger.prune(NOW - timedelta(days=2))
        await on.until(lambda: on.table.size.width == 80)


async def test_help_lists_the_keys_and_any_of_its_keys_closes_it() -> None:
    async with stage(evening()) as on:
        await on.pilot.press("question_mark")
        assert isinstance(on.app.screen, Help)
        assert any("retry every failed job" in line for line in on.screen())
        await on.pilot.press("escape")
        assert not isinstance(on.app.screen, Help)


# When the ledger is busy, slow or broken


async def test_a_ledger_that_is_busy_from_the_start_is_waited_for() -> None:
    async with stage([]) as on:
        on.counter.trouble = GiveUp(Code.DATABASE_UNUSABLE, "state/doctor.db is no database")
        await on.until(lambda: "restore the ledger" in on.line("notices"))


async def test_nothing_waits_for_a_slow_ledger_and_looks_do_not_pile_up() -> None:
    async with stage(evening()) as on:
        await on.looks(1)
        on.counter.gate.clear()
        asked = len(on.counter.questions)
        await on.until(lambda: len(on.counter.questions) > asked)
        for _ in range(5):
            await on.pilot.press("down")
        assert on.table.selected == on.ids[5]
        await on.pilot.press("f")
        for _ in range(5):
            on.app._tick()
            await on.pilot.pause()
        assert len(on.counter.questions) == asked + 1
        on.wall[0] = NOW + timedelta(seconds=9)
        await on.until(lambda: "has not answered for 0:09" in on.line("notices"))


async def test_every_call_of_the_counter_is_made_in_a_thread() -> None:
    async with stage(evening()) as on:
        await on.pilot.press("p", "plus", "P", "c", "y")
        await on.until(lambda: len(on.counter.verbs) == 4)
        assert threading.get_ident() not in on.counter.threads


async def test_a_search_during_a_slow_look_is_answered_by_the_next_one() -> None:
    async with stage(evening()) as on:
        await on.looks(1)
        on.counter.gate.clear()
        asked = len(on.counter.questions)
        await on.until(lambda: len(on.counter.questions) > asked)
        await on.pilot.press("slash", *"flux")
        on.counter.gate.set()
        await on.until(lambda: len(on.ids) == 2)


async def test_leaving_asks_for_nothing() -> None:
    async with stage([make_job(job_id=JobId("j" * 8))]) as on:
        await on.pilot.press("q")
        assert on.counter.verbs == [] and on.app.return_code == 0
