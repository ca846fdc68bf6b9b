"""The bench's own tools tell the truth: its server, its log, its table, and (slow, root) the long fat pipe."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.bench.download.goods import MIB, Stock, certificates
from tests.bench.download.limits import Limits
from tests.bench.download.longpipe import long_pipe, why_not
from tests.bench.download.measuring import Cost, Failed, measured
from tests.bench.download.ours import OURS
from tests.bench.download.running import Outcome, Runs, run_scenario
from tests.bench.download.scenarios import LONG_FAT, SCENARIOS
from tests.bench.download.sendfile_server import wanted_range
from tests.bench.download.servers import Door, Place, Server, Told, serving
from tests.bench.download.table import text, verdicts


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({}, (0, 100, 200)),
        ({"range": "bytes=10-19"}, (10, 20, 206)),
        ({"range": "bytes=90-"}, (90, 100, 206)),
        ({"range": "bytes=90-500"}, (90, 100, 206)),
        ({"range": "bytes=-5"}, (95, 100, 206)),
        ({"range": "bytes=100-"}, (0, 0, 416)),
        ({"range": "bytes=10-19", "if-range": '"tag"'}, (10, 20, 206)),
        ({"range": "bytes=10-19", "if-range": '"other"'}, (0, 100, 200)),
    ],
)
def test_the_server_answers_the_range_that_was_asked_for(headers: dict[str, str], answer: tuple[int, int, int]) -> None:
    assert wanted_range(headers, 100, '"tag"') == answer


def test_what_a_run_was_sent_is_told_once_and_connections_are_counted_by_their_first_request(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text("1 1000.5 0.5 100 206\n2 1003.0 1.0 50 206\n1 1004.0 0.5 25 206\n")
    server = Server("http://127.0.0.1:1", log, "nginx", settle_seconds=0)
    assert server.told() == Told(sent_bytes=175, connections=2, last_opened_seconds=2.0)
    assert server.told().sent_bytes == 0


def outcome(our_seconds: float, sent_bytes: int) -> Outcome:
    def runs(seconds: float, cpu_seconds: float) -> Runs:
        return Runs([Cost(seconds, cpu_seconds, 50 * MIB)] * 3, [Told(sent_bytes, 1, 0.0)] * 3)

    scenario = replace(SCENARIOS["F"], targets=(*SCENARIOS["A"].targets, *SCENARIOS["F"].targets))
    found = {OURS: runs(our_seconds, 1.0), "curl + sha": runs(3.0, 2.0), "wget + sha": runs(4.0, 3.0)}
    found["aria2 -x16 -k1M"] = Runs([Cost(0.5, 0.5, MIB)], [Told(0, 0, 0.0)], ["a digest is wrong"])
    return Outcome("F", scenario, "nginx", found, [Limits(0.5, 1.0, 0.9)] * 3, 0.0)


def test_targets_are_ratios_to_the_limit_and_to_the_best_peer_that_never_failed() -> None:
    well = {verdict.target: verdict for verdict in verdicts(outcome(1.2, 1024 * MIB))}
    assert well["as a process: ≤ 0.5 × the best peer, curl + sha"].found == pytest.approx(0.4)
    assert well["as a process: ≤ 1.25 × the limit"].found == pytest.approx(1.2)
    assert well["as a process: CPU ≤ 0.6 × curl + sha"].found == pytest.approx(0.5)
    assert all(verdict.met for verdict in well.values()) and len(well) == 6
    badly = {verdict.target: verdict.met for verdict in verdicts(outcome(2.2, 1050 * MIB))}
    assert not badly["as a process: ≤ 0.5 × the best peer, curl + sha"]
    assert not badly["as a process: sent ≤ 1.01 × the file"]
    assert "failed 1 × : a digest is wrong" in text(outcome(1.2, 0))


def test_a_limit_that_somebody_beat_or_that_varied_judges_nobody() -> None:
    def word(limits: list[Limits]) -> bool | None:
        done = outcome(1.2, 0)
        done.limits = limits
        return next(verdict.met for verdict in verdicts(done) if "the limit" in verdict.target)

    assert word([Limits(0.5, 1.0, 0.9)] * 3) is True
    assert word([Limits(0.5, 0.5, 0.5)] * 3) is False
    assert word([Limits(0.5, 1.3, 0.9)] * 3) is None
    assert word([Limits(0.5, 1.0, 0.9), Limits(0.5, 3.0, 0.9), Limits(0.5, 3.0, 0.9)]) is None


def test_a_program_that_fails_is_no_measurement(tmp_path: Path) -> None:
    cost, said = measured(["sh", "-c", "echo well"], {}, tmp_path)
    assert said == "well\n" and cost.seconds > 0
    with pytest.raises(Failed, match="exit 3 no such host"):
        measured(["sh", "-c", "echo no such host >&2; exit 3"], {}, tmp_path)


@pytest.mark.slow
def test_a_connection_is_held_to_its_rate_however_small_the_ranges_are(tmp_path: Path) -> None:
    (ware,) = Stock(tmp_path / "stock").wares(1, MIB)
    made = certificates(tmp_path / "tls", "127.0.0.1")
    with serving(tmp_path / "stock", tmp_path / "server", Door(bytes_per_second=MIB), Place(), made) as server:
        connection = HTTPConnection(server.base.removeprefix("http://"))
        began, step = time.monotonic(), MIB // 16
        for at in range(0, MIB, step):
            connection.request("GET", f"/{ware.name}", headers={"Range": f"bytes={at}-{at + step - 1}"})
            assert len(connection.getresponse().read()) == step
        connection.close()
        assert time.monotonic() - began > 0.85
        assert server.told().connections == 1


@pytest.mark.slow
def test_over_a_server_that_cuts_ours_ends_with_the_right_file(tmp_path: Path) -> None:
    scenario = replace(SCENARIOS["F"], megabytes=8, peers=(), door=Door(cut_bytes=3 * MIB))
    done = run_scenario("F", scenario, 1, Stock(tmp_path / "stock"), tmp_path / "F")
    assert not done.runs[OURS].failures
    assert done.runs[OURS].told[0].connections >= 3


@pytest.mark.slow
@pytest.mark.parametrize(("congestion", "least", "most"), [("bbr", 30, 125), ("cubic", 0.3, 4)])
def test_the_long_pipe_is_as_fast_as_the_theory_of_its_losses(
    tmp_path: Path, congestion: str, least: float, most: float
) -> None:
    """One connection, 8 s, MiB/s. Cubic: 0.7 by Mathis, more while the first slow start still counts."""
    link = LONG_FAT._replace(congestion=congestion)
    if reason := why_not(link):
        pytest.skip(reason)
    (tmp_path / "stock").mkdir()
    with (tmp_path / "stock/zeros").open("wb") as file:
        file.truncate(4096 * MIB)
    with (
        long_pipe(link, tmp_path) as place,
        serving(
            tmp_path / "stock", tmp_path / "server", Door(), place, certificates(tmp_path / "tls", place.host)
        ) as server,
    ):
        asked = ["curl", "-s", "-o", "/dev/null", "-m", "8", "-w", "%{speed_download} %{time_connect}"]
        said = subprocess.run(
            [*place.client_side, *asked, server.url("zeros")], capture_output=True, text=True, check=False
        ).stdout.split()
    assert least < float(said[0]) / MIB < most
    assert float(said[1]) == pytest.approx(0.08, abs=0.03)
