"""Show 4: a host dies and another goes on, a host lies and is found out, and a limit of bandwidth is kept."""

from __future__ import annotations

import json
import time

import pytest

from download_worker import wiring
from download_worker.jobs.job import Job, JobId, ModelInfo, Status
from download_worker.settings import Settings
from tests.hub import BEHAVIOURS, Data, Hub, sha256_of

from .house import House, whole

MIB = 1024 * 1024
FILE_BYTES = 48 * MIB
LINE_BYTES_PER_SECOND = 24 * MIB
"""Per connection of a host."""
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
    house.hub.bytes_per_second = other.bytes_per_second = LINE_BYTES_PER_SECOND
    return data, [url, other.publish("/shared.safetensors", data)]


def _cut_lines(hub: Hub) -> None:
    """Whoever is connected is not any more."""
    with hub._changed:
        for connection in hub._connections.values():
            connection.hang_up()


def test_h27_a_host_that_dies_at_40_percent_costs_two_percent_of_the_bytes_at_most(house: House) -> None:
    with Hub() as other:
        data, urls = _published(house, other)
        job_id = _submit(house, urls, data)
        with house.worker():
            house.wait(lambda: house.hub.bytes_sent("/shared.safetensors") >= 0.4 * FILE_BYTES)
            house.hub.close()
            job = house.wait_for_job(job_id, lambda job: not job.live, timeout_seconds=60)
        sent = house.hub.bytes_sent("/shared.safetensors") + other.bytes_sent("/shared.safetensors")
    assert job.status is Status.SUCCESS, job.result
    assert house.library() == {"loras/shared.safetensors": whole(data)}
    assert job.attempts == 1, "the other host goes on within the same attempt"
    assert sent <= SENT_AT_MOST * FILE_BYTES, f"{sent / FILE_BYTES:.3f} of the file were sent"


def test_h28_a_host_that_lies_is_blamed_and_only_its_bytes_come_again(house: House) -> None:
    path = "/shared.safetensors"
    with Hub() as liar:
        data, urls = _published(house, liar)
        liar.behave(path, BEHAVIOURS["bitflip"](offset=FILE_BYTES * 3 // 4))
        job_id = _submit(house, urls, data)
        with house.worker():
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


def test_four_jobs_together_keep_a_limit_of_20_mebibytes_per_second_within_5_percent(house: House) -> None:
    size = int(LIMIT_BYTES_PER_SECOND * (WARM_UP_SECONDS + MEASURED_SECONDS + 2) / 4)
    for number in range(4):
        house.submit(house.publish_large(f"/{number}.safetensors", size)[0])
    env = {"COMFY_DOCTOR_LIMITS": "20 MiB/s", "COMFY_DOCTOR_JOBS": "4", "COMFY_DOCTOR_JOBS_PER_HOST": "4"}
    with house.worker(env=env), wiring.ledger_of(Settings(home=house.home)) as ledger:

        def received() -> tuple[float, int]:
            jobs = ledger.jobs()
            return time.monotonic(), sum(job.progress.bytes for job in jobs)

        def all_run() -> bool:
            return all(job.status is Status.DOWNLOADING and job.progress.bytes for job in ledger.jobs())

        house.wait(all_run)
        time.sleep(WARM_UP_SECONDS)
        begun, before = received()
        time.sleep(MEASURED_SECONDS)
        ended, after = received()
        rate = (after - before) / (ended - begun)
        assert abs(rate / LIMIT_BYTES_PER_SECOND - 1) <= 0.05, f"{rate / MIB:.2f} MiB/s"
        ends: list[Job] = [house.wait_for_job(job.job_id, lambda job: not job.live) for job in ledger.jobs()]
    assert {job.status for job in ends} == {Status.SUCCESS}
