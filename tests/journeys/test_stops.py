"""What stops a worker: SIGTERM, kill -9, SIGSTOP, and a job that kills whoever touches it."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

from download_worker.jobs.job import Job, JobId, Status
from tests.hub import BEHAVIOURS
from tests.hub.llm import LlmStub, hold

from .house import House, events, whole

STOP_SECONDS_MAX = 5.0
TAKEN_UP_SECONDS_MAX = 5.0
FILE_BYTES = 1_500_000
HALF_WAY = 400_000
SHORT_LEASE = {"COMFY_DOCTOR_LEASE_SECONDS": "2.0"}

DEADLY = "os.abort()"
DEAF = "time.sleep(60)"
HOOK = """
import os, time
from download_worker.fetchers.http.fetcher import HttpFetcher
fetch = HttpFetcher.fetch
def marked(self, url, *rest):
    if "marked" in url:
        {act}
    return fetch(self, url, *rest)
HttpFetcher.fetch = marked
"""


def hooked(house: House, act: str) -> dict[str, str]:
    """Surroundings in which a worker acts so when it is to fetch a marked URL."""
    hooks = house.folder / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(HOOK.format(act=act))
    return {"PYTHONPATH": f"{hooks}{os.pathsep}{house.env['PYTHONPATH']}"}


def owner_of(job: Job) -> int:
    """The process id in the owner's name."""
    named = re.match(r"worker-(\d+)-", job.worker or "")
    assert named, job
    return int(named[1])


def on_its_way(house: House, path: str = "/big.safetensors") -> tuple[JobId, bytes]:
    """A slow download, half of which is durable."""
    url, data = house.publish_large(path, FILE_BYTES)
    house.hub.bytes_per_second = 800_000
    job_id = house.submit(url)
    house.wait_for_durable(job_id, HALF_WAY)
    return job_id, whole(data)


def stopped_within(process: subprocess.Popen[bytes], first: signal.Signals = signal.SIGTERM) -> float:
    """Seconds from the signal to the end with exit code 0."""
    begun = time.monotonic()
    process.send_signal(first)
    assert process.wait(STOP_SECONDS_MAX + 5) == 0
    return time.monotonic() - begun


@contextmanager
def black_hole() -> Iterator[str]:
    """An address where a connection neither comes about nor fails: its queue is full and nobody accepts."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as stack:
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/hole.safetensors"


@pytest.mark.slow
@pytest.mark.parametrize("order", [signal.SIGTERM, signal.SIGINT])
def test_p3_a_stopped_worker_gives_back_and_the_next_one_goes_on_at_the_durable_byte(
    house: House, order: signal.Signals
) -> None:
    with house.worker() as first:
        job_id, data = on_its_way(house)
        seconds = stopped_within(first, order)
    print(f"\n{order.name} → exit: {seconds:.3f} s")
    assert seconds < STOP_SECONDS_MAX
    job, note = house.job(job_id), house.journal(job_id)
    assert (job.status, job.worker, job.tries) == (Status.PENDING, None, 0)
    assert note is not None and note.durable_bytes >= HALF_WAY
    assert house.library() == {}

    house.hub.bytes_per_second = None
    said = house.drain()
    assert said.exit_code == 0, said
    assert [hit.first_byte for hit in house.hub.hits] == [0, note.durable_bytes]
    assert house.library() == {"loras/big.safetensors": data}
    assert house.job(job_id).status is Status.SUCCESS


@pytest.mark.slow
def test_p3_sigterm_also_ends_a_worker_that_waits_for_a_connection(house: House) -> None:
    with black_hole() as url, house.worker() as worker:
        job_id = house.submit(url)
        house.wait_for_job(job_id, lambda job: events(job, "Downloading from"))
        seconds = stopped_within(worker)
    print(f"\nSIGTERM in connect → exit: {seconds:.3f} s")
    assert seconds < STOP_SECONDS_MAX
    job = house.job(job_id)
    assert (job.status, job.worker, job.tries) == (Status.PENDING, None, 0)


@pytest.mark.slow
def test_p3_sigterm_also_ends_a_worker_that_waits_for_a_language_model(house: House) -> None:
    url, data = house.publish("/m.safetensors")
    with LlmStub(hold()) as model:
        env = {"OPENAI_BASE_URL": model.base_url, "COMFY_DOCTOR_LLM_MODEL": "stub"}
        with house.worker(env=env) as worker:
            job_id = house.submit(url)
            model.wait_for(lambda model: model.requests)
            seconds = stopped_within(worker)
        print(f"\nSIGTERM while the model thinks → exit: {seconds:.3f} s")
        assert seconds < STOP_SECONDS_MAX
        job = house.job(job_id)
        assert (job.status, job.worker) == (Status.VERIFYING, None)
        assert house.library() == {}
    assert house.drain().exit_code == 0
    assert house.library() == {"loras/m.safetensors": data}
    assert len(house.hub.hits) == 1, "what is whole is not fetched again"


@pytest.mark.slow
def test_p3_a_worker_ends_in_time_even_while_somebody_keeps_the_ledger_locked(house: House) -> None:
    with house.worker() as worker:
        _, data = on_its_way(house)
        with closing(sqlite3.connect(house.home / "state" / "doctor.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            seconds = stopped_within(worker)
    print(f"\nSIGTERM, ledger locked → exit: {seconds:.3f} s")
    assert seconds < STOP_SECONDS_MAX
    house.hub.bytes_per_second = None
    assert house.drain().exit_code == 0
    assert house.library() == {"loras/big.safetensors": data}


@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, 2])
def test_p3_a_worker_whose_job_is_deaf_ends_in_time_and_at_a_second_sigterm_at_once(house: House, signals: int) -> None:
    env = hooked(house, DEAF)
    job_id = house.submit(house.publish("/marked.safetensors")[0])
    with house.worker(env=env) as worker:
        house.wait_for_job(job_id, lambda job: events(job, "Downloading from"))
        begun = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        if signals == 2:
            time.sleep(0.5)  # else the system would make one of the two
            worker.send_signal(signal.SIGTERM)
        code = worker.wait(STOP_SECONDS_MAX + 5)
        seconds = time.monotonic() - begun
    print(f"\n{signals} × SIGTERM, deaf job → exit {code}: {seconds:.3f} s")
    assert code == (0 if signals == 1 else 128 + signal.SIGTERM)
    assert seconds < (STOP_SECONDS_MAX if signals == 1 else 2)
    house.drain()
    assert house.job(job_id).status is Status.SUCCESS


@pytest.mark.slow
def test_p1_what_a_killed_worker_held_is_taken_up_by_another_at_the_durable_byte(house: House) -> None:
    with house.worker(), house.worker():
        job_id, data = on_its_way(house)
        victim = owner_of(house.job(job_id))
        os.kill(victim, signal.SIGSTOP)
        note = house.journal(job_id)
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        house.wait_for_job(job_id, lambda job: job.worker and owner_of(job) != victim, TAKEN_UP_SECONDS_MAX)
        seconds = time.monotonic() - killed
        print(f"\nkill -9 → taken up: {seconds:.3f} s")
        assert seconds < TAKEN_UP_SECONDS_MAX
        house.hub.bytes_per_second = None
        job = house.wait_for_job(job_id, Status.SUCCESS)
        house.wait_until_staging_is_empty()
    assert note is not None and note.durable_bytes >= HALF_WAY
    assert [hit.first_byte for hit in house.hub.hits] == [0, note.durable_bytes]
    assert house.library() == {"loras/big.safetensors": data}
    assert (job.attempts, len(events(job, "In place"))) == (2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("wakes", ["while the other works", "after the other has ended"])
def test_p4_a_worker_that_slept_longer_than_its_lease_can_do_no_harm(house: House, wakes: str) -> None:
    with house.worker(env=SHORT_LEASE), house.worker(env=SHORT_LEASE):
        job_id, data = on_its_way(house)
        sleeper = owner_of(house.job(job_id))
        os.kill(sleeper, signal.SIGSTOP)
        house.wait_for_job(job_id, lambda job: job.worker and owner_of(job) != sleeper)
        durable = house.journal(job_id)
        if wakes == "while the other works":
            os.kill(sleeper, signal.SIGCONT)
            house.wait_for_durable(job_id, durable.durable_bytes + 200_000 if durable else HALF_WAY)
        house.hub.bytes_per_second = None
        house.wait_for_job(job_id, Status.SUCCESS)
        os.kill(sleeper, signal.SIGCONT)

        after, _ = house.publish("/after.safetensors", seed=9)
        house.wait_for_job(house.submit(after), Status.SUCCESS)
        house.wait_until_staging_is_empty()
    job = house.job(job_id)
    assert (job.status, job.attempts, len(events(job, "In place"))) == (Status.SUCCESS, 2, 1)
    assert len(events(job, "Taken back from")) == 1
    assert house.library()["loras/big.safetensors"] == data


@pytest.mark.slow
def test_p8_a_job_that_kills_its_worker_ends_as_crash_loop_and_the_queue_goes_on(house: House) -> None:
    env = hooked(house, DEADLY) | {"COMFY_DOCTOR_MAX_TRIES": "3", "COMFY_DOCTOR_JOBS": "1"}
    poison = house.submit(house.publish("/marked.safetensors")[0])
    good = [house.submit(house.publish(f"/good{number}.safetensors", seed=number)[0]) for number in range(3)]

    codes = [house.drain(env=env).exit_code for _ in range(4)]
    assert codes == [-signal.SIGABRT] * 3 + [1]
    job = house.job(poison)
    assert (job.status, job.result.code, job.attempts) == (Status.FAILED, "crash_loop", 3)
    assert "tried 3 times" in (job.result.reason or "")
    assert {house.job(each).status for each in good} == {Status.SUCCESS}
    assert house.hub.hits_for("/marked.safetensors") == []


@pytest.mark.slow
def test_n6_a_line_that_is_cut_is_gone_on_with_where_it_broke(house: House) -> None:
    url, data = house.publish(
        "/cut.safetensors", 500_000, behaviour=BEHAVIOURS["eof_mid"](after_bytes=200_000).times(1)
    )
    job_id = house.submit(url)
    assert house.drain().exit_code == 0
    assert [hit.first_byte for hit in house.hub.hits] == [0, 200_000]
    assert house.library() == {"loras/cut.safetensors": data}
    assert house.job(job_id).attempts == 1
