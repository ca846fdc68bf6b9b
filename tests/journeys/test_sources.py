"""Show 4: a host dies and another goes on, a host lies and is found out, and a limit of bandwidth is kept."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from download_worker import wiring
from download_worker.jobs.job import JobId, ModelInfo, Status
from download_worker.jobs.ledger import Ledger
from download_worker.settings import Settings
from tests.hub import BEHAVIOURS, Data, Hub, SizedPattern, sha256_of
from tests.makers import safetensors_prefix

from .house import House, whole

MIB = 1024 * 1024
FILE_BYTES = 96 * MIB
LINE_BYTES_PER_SECOND = 8 * MIB
"""Per connection of a host."""
SEND_BUFFER_BYTES = 32 * 1024
"""What is under way when a line is cut is lost, and no fault of ours: on a busy machine that could be megabytes."""
AS_USUAL = {"COMFY_DOCTOR_CHECKPOINT_BYTES": str(16 * MIB)}
"""A journey's house makes bytes durable so often that this costs more than the download."""
FOUR_LINES = AS_USUAL | {"COMFY_DOCTOR_CONNECTIONS_PER_FILE": "4"}
SENT_AT_MOST = 1.02
LIMIT_BYTES_PER_SECOND = 20 * MIB
WARM_UP_SECONDS = 2.0
MEASURED_SECONDS = 6.0

pytestmark = pytest.mark.slow


def _submit(house: House, urls: list[str], data: Data) -> JobId:
    info = ModelInfo(
        expected_filename="shared.safetensors",
        model_type="loras",
        download_url=urls[0],
        mirrors=tuple(urls[1:]),
        sha256=sha256_of(data),
    )
    with wiring.counter_of(Settings(home=house.home, allow_hosts=("127.0.0.1",))) as counter:
        return counter.submit(info, house.models).job.job_id


def _published(house: House, other: Hub) -> tuple[Data, list[str]]:
    """The same file at both hosts, each over a line of some speed."""
    url, data = house.publish_large("/shared.safetensors", FILE_BYTES)
    for hub in (house.hub, other):
        hub.bytes_per_second = LINE_BYTES_PER_SECOND
        hub._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    return data, [url, other.publish("/shared.safetensors", data)]


def _cut_lines(hub: Hub) -> None:
    """Whoever is connected is not any more."""
    with hub._changed:
        for connection in hub._connections.values():
            connection.hang_up()


def test_show_4_a_host_that_dies_at_40_percent_costs_two_percent_of_the_bytes_at_most(house: House) -> None:
    with Hub() as other:
        data, urls = _published(house, other)
        job_id = _submit(house, urls, data)
        with house.worker(env=FOUR_LINES):
            house.wait(lambda: house.hub.bytes_sent("/shared.safetensors") >= 0.4 * FILE_BYTES)
            house.hub.close()
            job = house.wait_for_job(job_id, lambda job: not job.live, timeout_seconds=60)
        sent = house.hub.bytes_sent("/shared.safetensors") + other.bytes_sent("/shared.safetensors")
    assert job.status is Status.SUCCESS, job.result
    assert house.library() == {"loras/shared.safetensors": whole(data)}
    assert job.attempts == 1, "the other host goes on within the same attempt"
    assert sent <= SENT_AT_MOST * FILE_BYTES, f"{sent / FILE_BYTES:.3f} of the file were sent"


def test_show_4_a_host_that_lies_is_blamed_and_only_its_bytes_come_again(house: House) -> None:
    path = "/shared.safetensors"
    with Hub() as liar:
        data, urls = _published(house, liar)
        liar.behave(path, BEHAVIOURS["bitflip"](offset=FILE_BYTES * 3 // 4))
        job_id = _submit(house, urls, data)
        with house.worker(env=FOUR_LINES):
            house.wait(lambda: house.hub.bytes_sent(path) >= 0.4 * FILE_BYTES)
            house.hub.behave(path, BEHAVIOURS["rst_now"])
            _cut_lines(house.hub)
            house.wait(lambda: liar.bytes_sent(path) >= 0.4 * FILE_BYTES)
            house.hub.behave(path, None)
            job = house.wait_for_job(job_id, lambda job: not job.live, timeout_seconds=60)
        honest_sent, liar_host = house.hub.bytes_sent(path), liar.base.removeprefix("http://")
    assert job.status is Status.SUCCESS, job.result
    assert house.library() == {"loras/shared.safetensors": whole(data)}
    assert job.attempts == 1
    assert honest_sent <= SENT_AT_MOST * FILE_BYTES, f"{honest_sent / FILE_BYTES:.3f}: what was right came once"
    told = [json.loads(line)["message"] for line in (house.home / "state/download_worker.log").read_text().splitlines()]
    assert any("fetched again" in line and liar_host in line for line in told), "the liar is named"


@contextmanager
def _fast_host(house: House, size: int) -> Iterator[list[str]]:
    """Four files at a host in a process of its own: the hub counts every byte, and is slower than the limit."""
    folder = house.folder / "served"
    folder.mkdir()
    names = [f"{number}.safetensors" for number in range(4)]
    for number, name in enumerate(names):
        folder.joinpath(name).write_bytes(whole(SizedPattern(size, number, safetensors_prefix(size))))
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    with house.process(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        port = re.search(rb"port (\d+)", server.stdout.readline())
        assert port is not None
        yield [f"http://127.0.0.1:{port[1].decode()}/{name}" for name in names]


def test_show_4_four_jobs_together_keep_a_limit_of_20_mebibytes_per_second_within_5_percent(house: House) -> None:
    size = int(LIMIT_BYTES_PER_SECOND * (WARM_UP_SECONDS + MEASURED_SECONDS + 2) / 4)
    env = AS_USUAL | {"COMFY_DOCTOR_LIMITS": "20 MiB/s", "COMFY_DOCTOR_JOBS": "4", "COMFY_DOCTOR_JOBS_PER_HOST": "4"}
    with (
        _fast_host(house, size) as urls,
        house.worker(env=env),
        wiring.ledger_of(Settings(home=house.home)) as ledger,
    ):
        for url in urls:
            house.submit(url)
        house.wait(lambda: all(job.progress.bytes for job in ledger.jobs()))
        time.sleep(WARM_UP_SECONDS)
        begun, before = _received(ledger)
        time.sleep(MEASURED_SECONDS)
        ended, after = _received(ledger)
        rate = (after - before) / (ended - begun)
        assert abs(rate / LIMIT_BYTES_PER_SECOND - 1) <= 0.05, f"{rate / MIB:.2f} MiB/s"
        ends = [house.wait_for_job(job.job_id, lambda job: not job.live) for job in ledger.jobs()]
    assert {job.status for job in ends} == {Status.SUCCESS}


def _received(ledger: Ledger) -> tuple[float, int]:
    """When the books were last written, and what they say. They are written several times a second."""
    before = sum(job.progress.bytes for job in ledger.jobs())
    while (now := sum(job.progress.bytes for job in ledger.jobs())) == before:
        time.sleep(0.005)
    return time.monotonic(), now
