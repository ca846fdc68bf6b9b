"""The words of the bandwidth limits: what they mean, and that a wrong one is named with its file, line and key."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from download_worker.errors import BadRequest, Code
from download_worker.limits import Limits, Orders, in_force, rate, rate_text, schedule
from download_worker.settings import CONFIG_NAME, load

KIB, MIB, GIB = 1024.0, 1024.0**2, 1024.0**3
NOON = time(12, 0)


@pytest.mark.parametrize(
    ("word", "bytes_per_second"),
    [
        *(("20 MiB/s", 20 * MIB), ("20MiB/s", 20 * MIB), ("20 MiB", 20 * MIB), (" 1.5 GiB/s ", 1.5 * GIB)),
        *(("512KiB/s", 512 * KIB), ("5 MB/s", 5e6), ("500 kB/s", 5e5), ("500KB/s", 5e5), ("1 GB/s", 1e9)),
        *(("100 B/s", 100.0), ("12345", 12345.0), (12345, 12345.0), (2.5e6, 2.5e6)),
        *(("unlimited", math.inf), (math.inf, math.inf)),
    ],
)
def test_a_rate_is_bytes_per_second(word: object, bytes_per_second: float) -> None:
    assert rate(word) == bytes_per_second


BITS = ("20 Mb/s", "20 Mbit/s", "20mbps", "20 M", "20k")
NO_RATES = (
    "",
    "fast",
    "-5 MB/s",
    "0",
    "0 MB/s",
    "1e9",
    "1_000",
    "5 MB/h",
    "5 MB/s/s",
    "٥ MB/s",
    "inf",
    "nan",
    "9" * 40,
)


@pytest.mark.parametrize("word", [*BITS, *NO_RATES, True, None, 0, -1, 0.5, math.nan, -math.inf, [], {}, "2048 GiB/s"])
def test_what_is_no_rate_is_refused_and_bits_are_not_guessed(word: object) -> None:
    with pytest.raises(ValueError, match=r"is no rate|is not between"):
        rate(word)


@given(st.one_of(st.integers(1, 10**12).map(float), st.just(math.inf)))
def test_a_rate_is_told_in_words_that_mean_the_same(value: float) -> None:
    assert rate(rate_text(value)) == value


@given(st.text(max_size=40))
def test_no_word_does_worse_than_being_refused(word: str) -> None:
    for read in (rate, schedule):
        try:
            read(word)
        except ValueError as error:
            assert len(str(error)) < 300


@pytest.mark.parametrize(
    ("hours", "open_at", "closed_at"),
    [
        ("23:00-07:00", ("23:00", "23:59", "00:00", "06:59"), ("07:00", "12:00", "22:59")),
        ("08:00-17:30", ("08:00", "17:29"), ("07:59", "17:30", "00:00")),
        ("18:00 – 24:00", ("18:00", "23:59"), ("00:00", "17:59")),
        ("0:00-6:30", ("00:00", "06:29"), ("06:30", "23:59")),
    ],
)
def test_a_schedule_is_open_between_its_hours(hours: str, open_at: tuple[str, ...], closed_at: tuple[str, ...]) -> None:
    window = schedule(f"{hours} 5 MB/s")
    assert window.rate == 5e6
    assert all(window.is_open(time.fromisoformat(at)) for at in open_at)
    assert not any(window.is_open(time.fromisoformat(at)) for at in closed_at)


@pytest.mark.parametrize("night", [datetime(2026, 3, 29), datetime(2026, 10, 25)])
def test_a_schedule_over_a_change_of_the_clocks_opens_once_and_closes_once(night: datetime) -> None:
    window, zone = schedule("01:30-04:00 unlimited"), ZoneInfo("Europe/Berlin")
    begun = night.replace(tzinfo=UTC) - timedelta(hours=4)
    states = [window.is_open((begun + timedelta(minutes=n)).astimezone(zone).time()) for n in range(12 * 60)]
    assert sum(now != then for then, now in pairwise(states)) == 2
    assert sum(states) == (90 if night.month == 3 else 210)


@pytest.mark.parametrize(
    "word",
    [
        *("23:00 5 MB/s", "25:00-07:00 5 MB/s", "23:60-07:00 5 MB/s", "23-7 5 MB/s", "07:00-07:00 5 MB/s"),
        *("24:00-07:00 1 MB/s", "00:00-24:00 1 MB/s", "23:00-07:00", "23:00-07:00 fast", "23:00-07:00 0"),
        *(5, True, ["23:00-07:00 5 MB/s"], {}),
    ],
)
def test_what_is_no_schedule_is_refused(word: object) -> None:
    with pytest.raises(ValueError, match=r"schedule|time of day|closes when|rate|between"):
        schedule(word)


def test_the_first_schedule_that_is_open_counts_and_an_order_outranks_it() -> None:
    limits = Limits.model_validate(
        {"total": 1000, "a": "13:00-14:00 2000", "b": "11:00-13:00 3000", "c": "10:00-20:00 unlimited"}
    )
    held = in_force(limits, Orders(), NOON)
    assert (held.total, held.total_from) == (3000, "schedule b")
    assert in_force(limits, Orders(), time(13, 30)).total == 2000
    assert in_force(limits, Orders(), time(15, 0)).unlimited
    assert in_force(limits, Orders(), time(9, 0)).total_from == "file"
    held = in_force(limits, Orders(total=4000.0), NOON)
    assert (held.total, held.total_from) == (4000, "order")


def test_a_byte_counts_for_every_limit_that_there_is() -> None:
    limits = Limits.model_validate({"total": 5000, "per_job": 900, "hosts": {"A.example.": 3000, "b.example": 2000}})
    orders = Orders(hosts={"b.example": math.inf}, jobs={"2": 100.0, "3": math.inf})
    held = in_force(limits, orders, NOON)
    assert dict(held.scopes("a.example", "1")) == {"total": 5000, "host a.example": 3000, "job 1": 900}
    assert dict(held.scopes("b.example", "2")) == {"total": 5000, "job 2": 100}
    assert dict(held.scopes("c.example", "3")) == {"total": 5000}
    assert in_force(Limits(), Orders(), NOON).scopes("a.example", "1") == ()


# In the file

Refused = Callable[[str], BadRequest]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refused:
    for name in [name for name in os.environ if name.startswith("COMFY_DOCTOR_")]:
        monkeypatch.delenv(name)

    def refuse(text: str) -> BadRequest:
        (tmp_path / CONFIG_NAME).write_text(text, encoding="utf-8")
        with pytest.raises(BadRequest) as error:
            load(tmp_path)
        assert error.value.code is Code.BAD_SETTING
        return error.value

    return refuse


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("jobs = 3\n[limits]\ntotal = '5 pigs'\n", 3, "limits.total: “5 pigs”"),
        ("jobs = 3\n[limits]\njobs = '5 MB/s'\n", 3, "limits.jobs: “5 MB/s” is no schedule"),
        ("[limits]\ntotal = '5 MB/s'\n\ntotl = '5 MB/s'\n", 4, "limits.totl: “5 MB/s”"),
        ("[limits]\nnight = '23:00-27:00 unlimited'\n", 2, "limits.night: “27:00”"),
        ("[limits]\nper_job = true\n", 2, "limits.per_job: “True”"),
        ("jobs = 3\nlimits.total = '5 pigs'\n", 2, "limits.total: “5 pigs”"),
        ("limits = { total = '5 pigs' }\n", 1, "limits.total: “5 pigs”"),
        ("limits = '5 pigs'\n", 1, "limits.total: “5 pigs”"),
        ("limits = ['5 MB/s']\n", 1, "limits: "),
        ("[limits]\nhosts = '5 MB/s'\n", 2, "limits.hosts: "),
        ("[limits]\ntotal = '5 MB/s'\n[limits.hosts]\n'a.b' = '1 MB/s'\n\"c.d\" = 'z'\n", 5, "limits.hosts.c.d: “z”"),
        ("[limits.hosts]\n'https://a.b/' = '1 MB/s'\n", 2, "limits.hosts.https://a.b/: “https://a.b/” is no host"),
        ("[limits]\ntotal = '5 MB/s'\n[limits.hosts.more]\nx = '1 MB/s'\n", 3, "limits.hosts.more: "),
    ],
)
def test_g1_a_wrong_limit_is_named_with_its_line_and_key(refused: Refused, text: str, line: int, words: str) -> None:
    message = refused(text).message.replace("Value error, ", "")
    assert f"{CONFIG_NAME}:{line}: {words}" in message


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("limits = '5 kB/s'", "total"),
        ("[limits]\nper_job = '9999 B/s'", "per_job"),
        ("[limits]\nnight = '23:00-07:00 5 kB/s'", "night"),
        ("[limits.hosts]\n'a.b' = '5 kB/s'", "hosts.a.b"),
        ("min_bytes_per_second = 2_000_000\nlimits = '1 MB/s'", "total"),
    ],
)
def test_g5_a_limit_below_the_minimum_speed_is_refused_together_with_it(refused: Refused, text: str, key: str) -> None:
    message = refused(text).message
    assert CONFIG_NAME in message
    assert key in message
    assert "min_bytes_per_second" in message


def test_g5_without_a_minimum_speed_every_limit_goes(tmp_path: Path) -> None:
    (tmp_path / CONFIG_NAME).write_text("min_bytes_per_second = 0\nlimits = '1 B/s'")
    assert load(tmp_path).limits.total == 1.0


def test_a_table_with_everything_is_understood(tmp_path: Path) -> None:
    (tmp_path / CONFIG_NAME).write_text(
        "jobs = 3\n[limits]\ntotal = '50 MiB/s'\nper_job = '10 MiB/s'\nnight = '23:00-07:00 unlimited'\n"
        "[limits.hosts]\n'HuggingFace.co' = '20 MiB/s'\n"
    )
    limits = load(tmp_path).limits
    assert (limits.total, limits.per_job, limits.hosts) == (50 * MIB, 10 * MIB, {"huggingface.co": 20 * MIB})
    assert limits.schedules == {"night": (time(23, 0), time(7, 0), math.inf)}


def test_the_variable_is_the_total(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFY_DOCTOR_LIMITS", "5 MB/s")
    assert load(tmp_path).limits.total == 5e6
    monkeypatch.setenv("COMFY_DOCTOR_LIMITS", "5 pigs")
    with pytest.raises(BadRequest, match="5 pigs"):
        load(tmp_path)


def test_without_a_word_nothing_is_limited(tmp_path: Path) -> None:
    assert in_force(load(tmp_path).limits, Orders(), NOON).unlimited
