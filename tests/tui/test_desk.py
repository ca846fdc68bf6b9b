"""What the dashboard asks of the counter, without a screen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comfy_doctor.tui.desk import MAX_PRIORITY, PAGE_JOBS, Desk, Show, Snapshot, View
from download_worker.errors import Code, Trouble, TryLater
from download_worker.jobs.job import JobId, Status
from tests.jobs import make_job
from tests.tui.samples import evening, ledger_of
from tests.tui.stage import NotedCounter

FIRST = View()


def picture(desk: Desk, view: View = FIRST) -> Snapshot:
    found = desk.look(view)
    assert isinstance(found, Snapshot)
    return found


def test_a_picture_holds_the_jobs_the_counts_and_the_overall_speed() -> None:
    found = picture(Desk(NotedCounter(ledger_of(evening())), lambda: 2))
    assert [job.status for job in found.jobs][:3] == [Status.DOWNLOADING] * 3
    assert found.counts[Status.FAILED] == 3 and found.workers == 2 and not found.more


@pytest.mark.parametrize("view", [View(), View(Show.LIVE), View(Show.DONE), View(text="clip"), View(offset=200)])
def test_the_overall_speed_is_of_all_that_runs_whatever_is_shown(view: View) -> None:
    found = picture(Desk(NotedCounter(ledger_of(evening()))), view)
    assert found.bytes_per_second == 38.2e6 + 21.7e6 + 3.4e6


def test_a_page_is_bounded_whatever_the_ledger_holds() -> None:
    counter = NotedCounter(ledger_of([make_job(status=Status.SUCCESS) for _ in range(450)]))
    desk = Desk(counter)
    first, third = picture(desk), picture(desk, View(offset=2 * PAGE_JOBS))
    assert (len(first.jobs), first.more, first.total, first.turn) == (200, True, 450, (1, 200))
    assert (len(third.jobs), third.more, third.turn) == (50, False, (401, 450))
    assert max(question.limit for question in counter.questions) == PAGE_JOBS + 1


def test_trouble_is_an_answer_and_not_an_error() -> None:
    counter = NotedCounter(ledger_of([]))
    counter.trouble = TryLater(Code.DATABASE_BUSY, "state/doctor.db is locked")
    assert Desk(counter).look(View()) is counter.trouble
    assert isinstance(Desk(counter).fulfil(lambda: Desk(counter).retry(JobId("nobody"))), Trouble)


def test_the_job_that_is_read_is_found_beyond_the_page_and_forgotten_when_pruned() -> None:
    done = make_job(status=Status.SUCCESS)
    desk = Desk(NotedCounter(ledger_of([done, make_job()])))
    assert picture(desk, View(show=Show.LIVE, reading=done.job_id)).reading == done
    assert picture(desk, View(show=Show.LIVE, reading=JobId("pruned-0"))).reading is None


def test_priority_moves_from_where_it_is_now_and_within_bounds() -> None:
    job = make_job(priority=MAX_PRIORITY - 1)
    counter = NotedCounter(ledger_of([job]))
    desk = Desk(counter)
    for _ in range(3):
        desk.raise_priority(job.job_id, 1)
    assert counter.get(job.job_id).priority == MAX_PRIORITY
    desk.raise_priority(job.job_id, -1)
    assert counter.get(job.job_id).priority == MAX_PRIORITY - 1


def test_filters_go_round() -> None:
    show, seen = Show.ALL, []
    for _ in range(4):
        seen.append(show)
        show = show.next
    assert seen == list(Show) and show is Show.ALL


def test_turning_back_ends_at_the_first_page() -> None:
    assert View().turned(-1) == View()
    assert replace(View(), offset=200).turned(-1).offset == 0
