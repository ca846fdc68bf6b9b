"""The bandwidth limits while lanes spend: how fast it is in all, who gets how much, what is heard on the way."""

from __future__ import annotations

import heapq
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from download_worker.clock import FakeClock
from download_worker.errors import Interrupted
from download_worker.leash import Leash
from download_worker.limits import Orders
from download_worker.pace import UNLIMITED, Pace, SharedPace, hold_back, table
from download_worker.pace.bucket import Bucket
from download_worker.pace.orders import Wish, carry_out
from download_worker.pace.table import Table
from download_worker.settings import CONFIG_NAME, Settings, load

MIB = 1024 * 1024
ROOT = Path(__file__).parents[2]


class Lane(NamedTuple):
    """A connection: `seconds` is how long a buffer takes to come when nothing holds it back."""

    pace: Pace
    job: str
    seconds: float = 0.001
    buffer: int = MIB
    host: str = "a.example"


@dataclass
class Road:
    """Lanes that read and wait, in order of time. Nothing sleeps."""

    clock: FakeClock

    def run(self, lanes: list[Lane], seconds: float) -> Counter[str]:
        """Bytes per job in so many seconds, all of them waited for."""
        begun = self.clock.steady().seconds
        due = [(begun + lane.seconds, number) for number, lane in enumerate(lanes)]
        heapq.heapify(due)
        paid: Counter[str] = Counter()
        owed = dict.fromkeys(range(len(lanes)), 0)
        while due[0][0] <= begun + seconds:
            at, number = heapq.heappop(due)
            lane = lanes[number]
            self.clock.advance(max(0.0, at - self.clock.steady().seconds))
            paid[lane.job] += owed[number]
            wait = lane.pace.spend(lane.host, lane.job, lane.buffer)
            owed[number] = lane.buffer
            heapq.heappush(due, (at + wait + lane.seconds, number))
        self.clock.advance(begun + seconds - self.clock.steady().seconds)
        return paid


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def road(clock: FakeClock) -> Road:
    return Road(clock)


@dataclass
class Home:
    path: Path
    clock: FakeClock

    def write(self, text: str) -> Settings:
        config = self.path / CONFIG_NAME
        config.write_text(text, encoding="utf-8")
        return load(self.path)

    def pace(self, text: str | None = None, *, zone: str = "UTC") -> SharedPace:
        """A worker process's own pace; one file for all of them."""
        settings = load(self.path) if text is None else self.write(text)
        settings.state.mkdir(exist_ok=True)
        return SharedPace(settings, clock=self.clock, zone=ZoneInfo(zone))


@pytest.fixture
def home(tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in [name for name in os.environ if name.startswith("COMFY_DOCTOR_")]:
        monkeypatch.delenv(name)
    return Home(tmp_path, clock)


def never(job_id: str) -> object:
    raise AssertionError(f"nobody asks for {job_id}")


def order(
    home: Home, *, total: float | None = None, hosts: dict[str, float] | None = None, clear: bool = False
) -> None:
    carry_out(Wish(total, hosts or {}, {}, clear), load(home.path), never)  # type: ignore[arg-type]


# How fast


@pytest.mark.parametrize(("seconds", "buffer"), [(2.0, MIB // 4), (2.0, MIB), (10.0, MIB)])
def test_four_jobs_of_one_process_get_the_limit_in_all(home: Home, road: Road, seconds: float, buffer: int) -> None:
    pace = home.pace("limits = '20 MiB/s'")
    road.run([Lane(pace, f"job-{n}", buffer=buffer) for n in range(4)], 1.0)
    got = road.run([Lane(pace, f"job-{n}", buffer=buffer) for n in range(4)], seconds)
    # What is still waited for at the end is not counted: at most one buffer each.
    assert got.total() + 4 * buffer >= 0.99 * 20 * MIB * seconds
    assert got.total() <= 1.05 * 20 * MIB * seconds


def test_four_processes_with_a_job_each_get_the_limit_in_all(home: Home, road: Road) -> None:
    home.write("limits = '10 MiB/s'")
    got = road.run([Lane(home.pace(), f"job-{n}", buffer=MIB // 4) for n in range(4)], 5.0)
    assert 0.95 * 50 * MIB <= got.total() <= 1.05 * 50 * MIB
    assert max(got.values()) - min(got.values()) <= MIB


@pytest.mark.parametrize("network", [0.9, 1.02, 1.1, 2.0, 50.0])
@pytest.mark.parametrize("limit_mib", [1, 8])
def test_one_lane_gets_the_limit_or_what_its_network_gives(
    home: Home, road: Road, network: float, limit_mib: int
) -> None:
    """Also when a buffer takes as long to come as the limit would make it wait: nothing is lost, nothing won."""
    pace = home.pace(f"limits = '{limit_mib} MiB/s'")
    got = road.run([Lane(pace, "job", 1 / (network * limit_mib))], 20.0)
    wanted = min(1.0, network) * limit_mib * MIB * 20
    # The last buffer is on its way, the one before it is waited for.
    assert 0.98 * wanted - 2 * MIB <= got.total() <= 1.02 * wanted


def test_a_file_ends_no_sooner_than_its_limit_allows(home: Home) -> None:
    pace, leash = home.pace("limits = '10 MiB/s'"), _SteppingLeash(home.clock)
    waited = sum(hold_back(pace, leash, "a.example", "job", MIB) for _ in range(40))
    assert waited == pytest.approx(4.0, rel=0.02)


def test_no_burst_after_a_pause(home: Home, road: Road) -> None:
    lanes = [Lane(home.pace("limits = '20 MiB/s'"), f"job-{n}", buffer=MIB // 4) for n in range(4)]
    road.run(lanes, 2.0)
    home.clock.advance(3600)
    assert road.run(lanes, 1.0).total() <= (1 + 0.25) * 20 * MIB


def test_a_buffer_larger_than_the_credit_is_paid_later(home: Home) -> None:
    pace = home.pace("limits = '1 MiB/s'")
    assert pace.spend("a.example", "job", 8 * MIB) == pytest.approx(8.0)
    home.clock.advance(3.0)
    assert pace.spend("a.example", "job", 0) == pytest.approx(5.0)


def test_hosts_and_jobs_have_limits_of_their_own(home: Home, road: Road) -> None:
    pace = home.pace("[limits]\ntotal='40 MiB/s'\nper_job='8 MiB/s'\n[limits.hosts]\n'slow.example'='2 MiB/s'")
    lanes = [Lane(pace, "one"), Lane(pace, "one"), Lane(pace, "two"), Lane(pace, "held", host="slow.example")]
    got = road.run(lanes, 10.0)
    assert got["one"] == pytest.approx(80 * MIB, rel=0.05)
    assert got["two"] == pytest.approx(80 * MIB, rel=0.05)
    assert got["held"] == pytest.approx(20 * MIB, rel=0.1)


# Who gets how much


def test_a_job_with_sixteen_connections_gets_no_more_than_one_with_one(home: Home, road: Road) -> None:
    wide, narrow = home.pace("limits = '10 MiB/s'"), home.pace()
    lanes = [*(Lane(wide, "wide", buffer=MIB // 4) for _ in range(16)), Lane(narrow, "narrow", buffer=MIB // 4)]
    road.run(lanes, 5.0)
    got = road.run(lanes, 10.0)
    assert got["narrow"] == pytest.approx(50 * MIB, abs=4 * MIB)
    assert got["wide"] == pytest.approx(50 * MIB, abs=4 * MIB)


def test_what_a_slow_host_leaves_goes_to_the_others(home: Home, road: Road) -> None:
    pace = home.pace("limits = '20 MiB/s'")
    got = road.run([Lane(pace, "slow", seconds=1.0), Lane(pace, "quick"), Lane(pace, "quick too")], 20.0)
    assert got["slow"] >= 17 * MIB
    assert got.total() >= 0.95 * 400 * MIB
    assert abs(got["quick"] - got["quick too"]) <= 2 * MIB


debts = st.dictionaries(st.sampled_from("abcdef"), st.floats(1, 1e9), max_size=6)


@given(debts, st.floats(0, 1e4), st.floats(1, 1e9))
def test_time_pays_what_is_owed_and_never_more(debts: dict[str, float], seconds: float, rate: float) -> None:
    before = Bucket(0.0, 0.0, debts)
    after = before.at(seconds, rate)
    paid = sum(debts.values()) - sum(after.debts.values())
    # Less than a byte of each is forgiven.
    assert paid == pytest.approx(min(sum(debts.values()), seconds * rate), abs=len(debts) + 1e-3)
    shares = {job: debt - after.debts.get(job, 0.0) for job, debt in debts.items()}
    for job in after.debts:
        assert shares[job] >= max(shares.values()) - 1.1, "who still owes got as much as anybody"


@given(debts, st.floats(1e3, 1e9), st.sampled_from("abcdef"))
def test_the_wait_is_exactly_as_long_as_the_debt_lasts(debts: dict[str, float], rate: float, job: str) -> None:
    bucket = Bucket(0.0, 0.0, debts)
    wait = bucket.wait_seconds(job, rate)
    assert job not in bucket.at(wait + 2 / rate, rate).debts
    if debts.get(job, 0.0) > 10:
        assert job in bucket.at(wait * 0.99 - 10 / rate, rate).debts


def test_a_bucket_never_goes_back_in_time() -> None:
    bucket = Bucket(10.0, 0.0, {"job": 1000.0})
    assert bucket.at(5.0, 100.0) == bucket.at(10.0, 100.0) == bucket


# What is heard on the way


@pytest.mark.parametrize("first", ["limits = '1 MiB/s'", "jobs = 3"])
def test_a_changed_file_is_heard_within_two_seconds(home: Home, road: Road, first: str) -> None:
    pace = home.pace(first)
    road.run([Lane(pace, "job", 0.01)], 1.0)
    home.write("limits = '10 MiB/s'  # longer")
    road.run([Lane(pace, "job", 0.01)], 2.0)
    assert road.run([Lane(pace, "job", 0.01)], 5.0).total() == pytest.approx(50 * MIB, rel=0.05)


def test_an_order_is_heard_and_outranks_the_file_until_it_is_cleared(home: Home, road: Road) -> None:
    pace = home.pace("limits = '10 MiB/s'")
    lanes = [Lane(pace, "job", 0.01)]
    for rate, change in ((5, {"total": 5.0 * MIB}), (2, {"hosts": {"a.example": 2.0 * MIB}}), (10, {"clear": True})):
        order(home, **change)
        home.clock.advance(2.0)
        road.run(lanes, 1.0)
        assert road.run(lanes, 8.0).total() == pytest.approx(rate * 8 * MIB, rel=0.15)


@pytest.mark.parametrize("broken", ["limits = '5 pigs'", "limits = [", "jobs = 'many'", "[limits]\ntotl = '1 MB/s'"])
def test_g3_a_broken_file_keeps_the_old_limits_and_a_right_one_is_heard_again(
    home: Home, broken: str, told: Callable[[], str]
) -> None:
    pace = home.pace("limits = '1 MiB/s'")
    (home.path / CONFIG_NAME).write_text(broken)
    for _ in range(3):
        home.clock.advance(10.0)
        assert pace.spend("a.example", "job", 20 * MIB) == pytest.approx(19.5, abs=0.5)
        home.clock.advance(10.0)
    assert told().count("the limits stay as they were") == 1
    home.write("limits = '2 MiB/s'")
    home.clock.advance(1000.0)
    assert pace.spend("a.example", "job", 21 * MIB) == pytest.approx(10.0)


def test_g3_broken_orders_keep_the_old_ones(home: Home, told: Callable[[], str]) -> None:
    pace = home.pace()
    order(home, total=1.0 * MIB)
    assert pace.spend("a.example", "job", MIB) == pytest.approx(1.0)
    (home.path / "state" / "limits.json").write_text('{"total": "9 pigs"}')
    home.clock.advance(5.0)
    pace.spend("a.example", "job", 5 * MIB)
    assert pace.spend("a.example", "job", MIB) > 0.9
    assert "limits.json" in told()


@pytest.fixture
def told() -> Iterator[Callable[[], str]]:
    lines: list[str] = []
    number = logger.add(lambda line: lines.append(str(line)), level="WARNING", format="{message}")
    yield lambda: "".join(lines)
    logger.remove(number)


def test_a_schedule_opens_and_closes_by_the_clock_on_the_wall(home: Home) -> None:
    pace = home.pace("[limits]\ntotal = '1 MiB/s'\nnight = '23:00-07:00 unlimited'", zone="Europe/Berlin")
    home.clock.wall = datetime(2026, 10, 24, 20, 59, 59, tzinfo=UTC)  # 22:59:59 there
    assert pace.spend("a.example", "job", 10 * MIB) == pytest.approx(10.0)
    home.clock.advance(1.0)
    assert pace.spend("a.example", "job", 10 * MIB) == 0.0
    home.clock.advance(8.5 * 3600)  # the clock went back an hour in this night: it is half past six
    assert pace.spend("a.example", "job", 10 * MIB) == 0.0
    home.clock.advance(0.5 * 3600)
    assert pace.spend("a.example", "job", 11 * MIB) == pytest.approx(10.0)


def test_a_step_of_the_wall_clock_does_not_matter(home: Home) -> None:
    pace = home.pace("limits = '1 MiB/s'")
    assert pace.spend("a.example", "job", 5 * MIB) == pytest.approx(5.0)
    home.clock.wall = datetime(2031, 1, 1, tzinfo=UTC)
    assert pace.spend("a.example", "job", 0) == pytest.approx(5.0)


def test_a_lifted_limit_ends_a_long_wait(home: Home) -> None:
    pace = home.pace()
    order(home, total=20_000.0)
    leash = _SteppingLeash(home.clock, at={30.0: lambda: order(home, clear=True)})
    assert hold_back(pace, leash, "a.example", "job", 2 * MIB) == pytest.approx(31.0, abs=1.5)


def test_a_wait_ends_when_the_leash_is_pulled(home: Home) -> None:
    pace, leash = home.pace("limits = '20 kB/s'"), Leash()
    leash.pull()
    with pytest.raises(Interrupted):
        hold_back(pace, leash, "a.example", "job", MIB)


class _SteppingLeash(Leash):
    """Its waits take no time, they move the clock."""

    def __init__(self, clock: FakeClock, *, at: dict[float, Callable[[], None]] | None = None) -> None:
        super().__init__()
        self._clock = clock
        self._at = dict(at or {})
        self._waited = 0.0

    def wait(self, seconds: float) -> None:
        self._clock.advance(seconds)
        self._waited += seconds
        for moment in [moment for moment in self._at if moment <= self._waited]:
            self._at.pop(moment)()


# What the processes share


def test_without_a_limit_no_file_is_made(home: Home, road: Road) -> None:
    pace = home.pace()
    road.run([Lane(pace, "job", 0.001)], 5.0)
    assert list((home.path / "state").iterdir()) == []
    assert UNLIMITED.spend("a.example", "job", 10**12) == 0.0


def test_a_reboot_forgives_what_was_owed(home: Home) -> None:
    pace = home.pace("limits = '1 MiB/s'")
    assert pace.spend("a.example", "job", 100 * MIB) == pytest.approx(100.0)
    home.clock.instant = home.clock.instant._replace(boot_id="boot-2")
    assert home.pace().spend("a.example", "job", MIB) == pytest.approx(1.0)


def test_where_boots_have_no_names_a_bucket_of_the_future_is_forgotten(home: Home) -> None:
    home.clock.instant = home.clock.instant._replace(boot_id="")
    assert home.pace("limits = '1 MiB/s'").spend("a.example", "job", 100 * MIB) == pytest.approx(100.0)
    home.clock.instant = home.clock.instant._replace(seconds=5.0)
    assert home.pace().spend("a.example", "job", MIB) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "garbage",
    [
        *(b"", b"{", b"[]", b"\xff\xfe", b"[1, 2]\n", b'["boot-1", {"total": [1]}]', b"[" * 100_000, b"\0" * 4096),
        *(b'["boot-1", {"total": [1000, 0, {"job": %s}]}]' % debt for debt in (b"NaN", b"Infinity", b"1e999")),
    ],
)
def test_a_table_that_cannot_be_read_counts_as_empty(home: Home, garbage: bytes) -> None:
    pace = home.pace("limits = '1 MiB/s'")
    (home.path / "state" / "pace.json").write_bytes(garbage)
    assert pace.spend("a.example", "job", MIB) == pytest.approx(1.0)
    assert pace.spend("a.example", "job", MIB) == pytest.approx(2.0)


@pytest.mark.parametrize(
    "row", ['[1000, 0, {"job": 1e300}]', "[1000, -1e300, {}]", '[1000, 0, {"other": -1e300, "job": 1}]']
)
def test_a_debt_or_credit_that_nobody_can_have_stops_no_job_for_ever(home: Home, row: str) -> None:
    pace = home.pace("limits = '1 MiB/s'")
    (home.path / "state" / "pace.json").write_text(f'["boot-1", {{"total": {row}}}]\n')
    waited = pace.spend("a.example", "job", MIB)
    assert 0.0 < waited <= 1.1 + table.MAX_DEBT_BYTES / MIB


def test_what_a_longer_table_has_left_behind_is_not_read(home: Home) -> None:
    pace = home.pace("limits = '1 MiB/s'")
    for n in range(50):
        pace.spend("a.example", f"job-{n}", 10_000)
    home.clock.advance(100.0)
    pace.spend("a.example", "job", 0)
    assert home.pace().spend("a.example", "job", 3 * MIB) == pytest.approx(1.0, abs=2.0)
    line = (home.path / "state" / "pace.json").read_bytes().partition(b"\n")[0]
    assert json.loads(line)[0] == "boot-1"


def test_the_table_forgets_jobs_that_are_over(home: Home) -> None:
    pace = home.pace("[limits]\nper_job = '1 MiB/s'")
    for n in range(200):
        pace.spend("a.example", f"job-{n}", MIB)
        home.clock.advance(1.0)
    assert len((home.path / "state" / "pace.json").read_bytes().partition(b"\n")[0]) < 5000


def test_who_holds_the_lock_stops_nobody(home: Home, told: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was stopped (SIGSTOP) in the wrong moment: the others keep the limit alone."""
    monkeypatch.setattr(table, "LOCK_SECONDS", 0.02)
    pace = home.pace("limits = '1 MiB/s'")
    pace.spend("a.example", "job", MIB)
    with FileLock(home.path / "state" / "pace.lock", thread_local=False):
        assert pace.spend("a.example", "job", MIB) == pytest.approx(2.0)
        assert pace.spend("a.example", "job", MIB) == pytest.approx(3.0)
        assert told().count("keeps the limits alone") == 1
    home.clock.advance(6.0)
    pace.spend("a.example", "job", 4 * MIB)
    assert home.pace().spend("a.example", "job", 0) == pytest.approx(3.0), "they share again"


def test_a_disk_that_says_no_stops_nobody(home: Home) -> None:
    pace = home.pace("limits = '1 MiB/s'")
    (home.path / "state").rmdir()
    assert pace.spend("a.example", "job", MIB) == pytest.approx(1.0)
    assert pace.spend("a.example", "job", MIB) == pytest.approx(2.0)


@pytest.mark.skipif(os.name != "posix", reason="modes are a POSIX idea")
def test_its_files_are_for_our_own_user_only(home: Home) -> None:
    before = os.umask(0)
    try:
        home.pace("limits = '1 MiB/s'").spend("a.example", "job", MIB)
        order(home, total=1e6)
    finally:
        os.umask(before)
    for name in ("pace.json", "pace.lock", "limits.json", "limits.lock"):
        assert (home.path / "state" / name).stat().st_mode & 0o077 == 0, name


def test_many_threads_lose_nothing(home: Home) -> None:
    pace = home.pace("limits = '1 MiB/s'")

    def spend() -> None:
        for _ in range(20):
            pace.spend("a.example", "job", MIB)

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pace.spend("a.example", "job", 0) == pytest.approx(160.0)


def test_small_spendings_are_written_down_together(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = 0
    change = Table.change

    def counted(self: Table, *arguments: object) -> object:
        nonlocal writes
        writes += 1
        return change(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Table, "change", counted)
    pace = home.pace("limits = '1 GiB/s'")
    waits = [pace.spend("a.example", "job", 64 * 1024) for _ in range(1600)]
    assert 5 <= writes <= 12
    assert max(waits) == pytest.approx(100 / 1024, rel=0.1)


def test_orders_of_nobody_change_nothing() -> None:
    assert Orders().model_dump_json(exclude_defaults=True) == "{}"


# Real processes and real time

SPENDER = """
import sys, time
from pathlib import Path
from download_worker.leash import Leash
from download_worker.pace import SharedPace, hold_back
from download_worker.settings import load
pace, job, leash = SharedPace(load(Path(sys.argv[1]))), sys.argv[2], Leash()
sys.stdout.write("ready\\n"); sys.stdout.flush()
sys.stdin.readline()
while True:
    hold_back(pace, leash, "a.example", job, 256 * 1024)
    sys.stdout.write("."); sys.stdout.flush()
"""


@pytest.mark.slow
def test_four_processes_under_one_limit_also_when_one_is_killed(home: Home) -> None:
    home.write("limits = '20 MiB/s'").state.mkdir()
    spenders = [
        subprocess.Popen(
            [sys.executable, "-c", SPENDER, str(home.path), f"job-{n}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        for n in range(4)
    ]
    counts = [0] * 4

    def count(number: int) -> None:
        stream = spenders[number].stdout
        assert stream is not None
        while piece := os.read(stream.fileno(), 4096):
            counts[number] += piece.count(b".")

    try:
        for spender in spenders:
            assert spender.stdout is not None and spender.stdout.readline() == b"ready\n"
        readers = [threading.Thread(target=count, args=(n,), daemon=True) for n in range(4)]
        for reader in readers:
            reader.start()
        for spender in spenders:
            assert spender.stdin is not None
            spender.stdin.write(b"go\n")
            spender.stdin.flush()

        def rate(seconds: float) -> float:
            sleep(0.5)
            before, begun = sum(counts), monotonic()
            sleep(seconds)
            return (sum(counts) - before) * 0.25 / (monotonic() - begun)

        assert rate(4.0) == pytest.approx(20.0, rel=0.05)
        spenders[0].kill()
        assert rate(4.0) == pytest.approx(20.0, rel=0.05)
    finally:
        for spender in spenders:
            spender.kill()
            spender.communicate()
