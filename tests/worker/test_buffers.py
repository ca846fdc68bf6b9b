"""The ring of buffers: bounded for all and for each, nobody starves, nobody hangs, and the memory comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import pytest

from download_worker.errors import Interrupted
from download_worker.fetchers.http.buffers import (
    BUFFER_BYTES,
    JOB_BYTES,
    MIB,
    MIN_VIEW_BYTES,
    MOST_LANES,
    POOL_BYTES,
    Account,
    Buffer,
    Pool,
)
from download_worker.leash import Leash

KIB = 1024
SIZE = 64 * KIB
NO_RISK = 1 << 40
PATIENCE_SECONDS = 10.0

T = TypeVar("T")


def small_pool(buffers: int, *, per_job: int = 1000) -> Pool:
    return Pool(buffers * SIZE, max_job_bytes=per_job * SIZE, buffer_bytes=SIZE)


def taken(account: Account, leash: Leash | None = None) -> Buffer:
    buffer = account.take(leash or Leash())
    assert buffer is not None
    return buffer


def returned(account: Account, buffer: Buffer, undurable_bytes: int = 0) -> None:
    account.filled(undurable_bytes)
    account.give_back(buffer)


def in_line(pool: Pool, count: int) -> None:
    """Until so many lanes wait."""
    until = threading.Event()
    for _ in range(int(PATIENCE_SECONDS * 1000)):
        if len(pool._waiting) == count:
            return
        until.wait(0.001)
    pytest.fail(f"{len(pool._waiting)} lanes wait instead of {count}")


@pytest.fixture
def aside() -> Callable[[Callable[[], T]], Future[T]]:
    """Something that waits, in a thread of its own."""

    def run(function: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()

        def work() -> None:
            try:
                future.set_result(function())
            except Interrupted as error:
                future.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        return future

    return run


Aside = Callable[[Callable[[], Buffer | None]], "Future[Buffer | None]"]


def test_a_buffer_is_used_again_and_never_made_anew() -> None:
    account = small_pool(4).open(NO_RISK)
    first = taken(account)
    first.view[:3] = b"abc"
    returned(account, first)
    again = taken(account)
    assert again is first
    assert len(again.view) == SIZE


def test_the_pool_is_bounded_for_all_and_for_each_job(aside: Aside) -> None:
    pool = small_pool(5, per_job=3)
    greedy, modest = pool.open(NO_RISK), pool.open(NO_RISK)
    held = [taken(greedy) for _ in range(3)]
    more = aside(lambda: greedy.take(Leash()))
    in_line(pool, 1)
    others = [taken(modest), taken(modest)]
    third = aside(lambda: modest.take(Leash()))
    in_line(pool, 2)
    assert pool.allocated_bytes == 5 * SIZE
    returned(greedy, held.pop())
    assert more.result(PATIENCE_SECONDS) is not None
    assert not third.done(), "the pool is empty again"
    returned(modest, others.pop())
    assert third.result(PATIENCE_SECONDS) is not None


def all_that_may_be_had(account: Account) -> list[Buffer]:
    held = []
    while account.may_take(account._pool._most - account._pool._out):
        held.append(taken(account))
    return held


def test_d10_jobs_whose_disks_hang_leave_something_for_the_others(aside: Aside) -> None:
    pool = Pool()
    whole = JOB_BYTES // BUFFER_BYTES
    hung = [len(all_that_may_be_had(pool.open(NO_RISK))) for _ in range(3)]
    assert hung[:2] == [whole, whole], "one, or two, have what one may have"
    sound = pool.open(NO_RISK)
    mine = all_that_may_be_had(sound)
    assert len(mine) * BUFFER_BYTES >= 3 * MIB
    waiting = aside(lambda: sound.take(Leash()))
    in_line(pool, 1)
    for _ in range(1000):  # and it goes on with these for ever
        returned(sound, mine.pop())
        mine.append(waiting.result(PATIENCE_SECONDS) or pytest.fail("closed"))
        waiting = aside(lambda: sound.take(Leash()))
        in_line(pool, 1)
    assert all_that_may_be_had(pool.open(NO_RISK)), "nor does it take all of what was left"


def test_jobs_whose_disks_are_sound_share_nearly_everything() -> None:
    for jobs in (2, 3, 4, 8):
        pool = Pool()
        accounts = [pool.open(NO_RISK) for _ in range(jobs)]
        held = [0] * jobs
        progress = True
        while progress:
            progress = False
            for number, account in enumerate(accounts):
                if account.may_take(pool._most - pool._out):
                    taken(account)
                    held[number], progress = held[number] + 1, True
        assert max(held) - min(held) <= 1
        assert sum(held) * BUFFER_BYTES >= min(jobs * JOB_BYTES, 0.8 * POOL_BYTES)


def test_a_job_at_its_bound_holds_up_nobody_behind_it(aside: Aside) -> None:
    pool = small_pool(3, per_job=1)
    bound, free = pool.open(NO_RISK), pool.open(NO_RISK)
    taken(bound)
    waiting = aside(lambda: bound.take(Leash()))
    in_line(pool, 1)
    assert taken(free)
    assert not waiting.done()
    bound.close()
    assert waiting.result(PATIENCE_SECONDS) is None


def test_what_waits_longest_is_served_first(aside: Aside) -> None:
    pool = small_pool(1)
    one, two = pool.open(NO_RISK), pool.open(NO_RISK)
    buffer = taken(one)
    first = aside(lambda: two.take(Leash()))
    in_line(pool, 1)
    second = aside(lambda: one.take(Leash()))
    in_line(pool, 2)
    returned(one, buffer)
    assert first.result(PATIENCE_SECONDS) is buffer
    assert not second.done()
    returned(two, buffer)
    assert second.result(PATIENCE_SECONDS) is buffer


def test_no_more_is_at_risk_than_a_crash_may_cost(aside: Aside) -> None:
    """Bytes that are received and not durable, and buffers that are being filled, count alike."""
    account = small_pool(100).open(4 * SIZE)
    size = account.view_bytes
    buffers = []
    while not account._is_at_risk():
        buffers.append(taken(account))
    assert len(buffers) * size == 4 * SIZE
    returned(account, buffers.pop(), undurable_bytes=size)
    waiting = aside(lambda: account.take(Leash()))
    in_line(account._pool, 1)
    account.durable(0)
    assert waiting.result(PATIENCE_SECONDS) is not None
    assert account.pressed_seconds > 0


def test_where_little_may_be_lost_the_views_are_small_and_one_can_always_be_had() -> None:
    pool = Pool()
    assert pool.open(16 * MIB).view_bytes == BUFFER_BYTES
    tiny = pool.open(MIN_VIEW_BYTES)
    assert len(taken(tiny).view) == MIN_VIEW_BYTES


def test_who_was_served_while_the_leash_was_pulled_gives_it_back() -> None:
    pool = small_pool(1)
    account = pool.open(NO_RISK)
    buffer = taken(account)

    class ServedAtTheLastMoment(Leash):
        """Both happen while the lane sleeps: it is served, and its leash is pulled."""

        def pull(self) -> None:
            returned(account, buffer)
            super().pull()

    leash = ServedAtTheLastMoment()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(account.take, leash)
        in_line(pool, 1)
        leash.pull()
        with pytest.raises(Interrupted):
            waiting.result(PATIENCE_SECONDS)
    assert taken(account) is buffer, "it is not lost"


def test_a_pulled_leash_ends_the_wait_and_the_next_in_line_is_not_forgotten(aside: Aside) -> None:
    pool = small_pool(1)
    account = pool.open(NO_RISK)
    buffer = taken(account)
    leash = Leash()
    impatient = aside(lambda: account.take(leash))
    in_line(pool, 1)
    patient = aside(lambda: account.take(Leash()))
    in_line(pool, 2)
    leash.pull()
    with pytest.raises(Interrupted):
        impatient.result(PATIENCE_SECONDS)
    returned(account, buffer)
    assert patient.result(PATIENCE_SECONDS) is buffer
    with pytest.raises(Interrupted):
        account.take(leash)


def test_a_closed_account_frees_what_it_held_and_what_comes_late_goes_nowhere(aside: Aside) -> None:
    pool = small_pool(2)
    leaving, staying = pool.open(NO_RISK), pool.open(NO_RISK)
    late = [taken(leaving), taken(leaving)]
    waiting = aside(lambda: staying.take(Leash()))
    in_line(pool, 1)
    leaving.close()
    leaving.close()
    mine = waiting.result(PATIENCE_SECONDS)
    assert mine is not None and mine not in late, "a lane that comes too late still writes into its own"
    for buffer in late:
        returned(leaving, buffer)
    assert leaving.take(Leash()) is None
    assert pool.allocated_bytes == SIZE


def test_memory_goes_back_when_a_job_ends() -> None:
    pool = Pool()
    account = pool.open(16 * MIB)
    for buffer in [taken(account) for _ in range(50)]:
        returned(account, buffer)
    assert pool.allocated_bytes == 50 * BUFFER_BYTES
    account.close()
    assert pool.allocated_bytes == 0


def test_the_bounds_are_those_that_the_readme_promises() -> None:
    assert POOL_BYTES <= 64 * MIB
    assert JOB_BYTES <= 24 * MIB
    assert MOST_LANES * BUFFER_BYTES * 2 <= POOL_BYTES


def test_as_many_lanes_as_are_allowed_all_come_to_their_end_whatever_the_jobs() -> None:
    """A lane fills its buffer slowly, full buffers come back late: 16 jobs with 4 lanes share 128 small buffers."""
    pool = Pool(128 * KIB, max_job_bytes=24 * KIB, buffer_bytes=KIB)
    accounts = [pool.open(16 * KIB) for _ in range(16)]
    late: list[tuple[Account, Buffer]] = []
    lock = threading.Lock()

    def lane(account: Account) -> int:
        for _ in range(40):
            buffer = account.take(Leash())
            assert buffer is not None
            account.filled(0)
            with lock:
                late.append((account, buffer))
                ready = late.pop(0) if len(late) > 20 else None
            if ready is not None:
                ready[0].give_back(ready[1])
        return 40

    with ThreadPoolExecutor(64) as threads:
        done = [threads.submit(lane, account) for account in accounts for _ in range(4)]
        assert sum(future.result(PATIENCE_SECONDS) for future in done) == 64 * 40
