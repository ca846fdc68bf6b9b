"""What a person does to jobs with one program while another one works on them."""

from __future__ import annotations

import pytest

from download_worker.jobs.job import Status
from tests.hub import BEHAVIOURS

from .house import House, events, whole


@pytest.mark.slow
def test_a_cancelled_job_stops_in_its_worker_and_leaves_nothing(house: House) -> None:
    url, _ = house.publish_large("/big.safetensors", 3_000_000)
    house.hub.bytes_per_second = 300_000
    with house.worker():
        job_id = house.submit(url)
        house.wait_for_durable(job_id, 100_000)
        said = house.cli("jobs", "cancel", job_id[:8])
        assert said.exit_code == 0
        job = house.wait_for_job(job_id, Status.FAILED, 5)
        assert (job.result.code, house.staged(), house.library()) == ("cancelled", [], {})
        house.wait(lambda: house.hub.hits[0].ended, 5)
        again = house.cli("jobs", "cancel", job_id)
        assert (again.exit_code, again.jobs[0]["result"]["code"]) == (0, "cancelled"), "twice is once"

        house.hub.bytes_per_second = None
        assert house.cli("jobs", "retry", job_id).jobs[0]["status"] == "PENDING"
        house.wait_for_job(job_id, Status.SUCCESS)


@pytest.mark.slow
def test_a_paused_job_is_given_back_and_goes_on_at_its_durable_byte(house: House) -> None:
    url, data = house.publish_large("/big.safetensors", 1_500_000)
    house.hub.bytes_per_second = 400_000
    with house.worker():
        job_id = house.submit(url)
        house.wait_for_durable(job_id, 100_000)
        assert house.cli("jobs", "pause", job_id).jobs[0]["paused"]
        job = house.wait_for_job(job_id, lambda job: job.worker is None, 5)
        assert (job.status, job.paused, job.tries) == (Status.PENDING, True, 0)
        note = house.journal(job_id)
        assert note is not None
        house.hub.bytes_per_second = None

        house.wait_for_job(house.submit(house.publish("/other.safetensors")[0]), Status.SUCCESS)
        assert len(house.hub.hits_for("/big.safetensors")) == 1, "what is paused stays where it is"
        assert not house.cli("jobs", "resume", job_id).jobs[0]["paused"]
        house.wait_for_job(job_id, Status.SUCCESS, 10)
    assert [hit.first_byte for hit in house.hub.hits_for("/big.safetensors")] == [0, note.durable_bytes]
    assert house.library()["loras/big.safetensors"] == whole(data)


@pytest.mark.slow
def test_a_paused_queue_begins_nothing_until_it_goes_on(house: House) -> None:
    with house.worker():
        assert house.cli("jobs", "pause").envelope["messages"] == ["the queue is paused"]
        job_id = house.submit(house.publish("/m.safetensors")[0])
        listed = house.cli("jobs", "list").envelope["data"]
        assert (listed["queue_paused"], listed["counts"]["PENDING"]) == (True, 1)
        assert house.hub.hits == []
        assert house.cli("jobs", "resume").exit_code == 0
        house.wait_for_job(job_id, Status.SUCCESS, 5)


@pytest.mark.slow
def test_a_higher_priority_goes_first(house: House) -> None:
    job_ids = [house.submit(house.publish(f"/{name}.safetensors", seed=seed)[0]) for seed, name in enumerate("abc")]
    assert house.cli("jobs", "priority", job_ids[2], "5").jobs[0]["priority"] == 5
    assert house.cli("jobs", "priority", "--", job_ids[0], "-5").jobs[0]["priority"] == -5
    assert house.drain("--jobs", "1").exit_code == 0
    assert [hit.path[1] for hit in house.hub.hits] == ["c", "b", "a"]


@pytest.mark.slow
def test_failed_jobs_are_tried_again_together_and_ended_ones_forgotten(house: House) -> None:
    names = ["a", "b"]
    for name in names:
        house.submit(house.publish(f"/{name}.safetensors", behaviour=BEHAVIOURS["s404"])[0])
    said = house.drain()
    assert (said.exit_code, said.envelope["messages"]) == (
        1, ["not every job ended in SUCCESS: see `comfy-doctor jobs`"]
    )  # fmt: skip
    listed = house.cli("jobs", "--status", "failed", "--search", "a.saf")
    assert [job["model_info"]["expected_filename"] for job in listed.jobs] == ["a.safetensors"]
    shown = house.cli("jobs", "show", listed.job_id, as_json=False)
    assert "/a.safetensors" in shown.stdout and "Failed (not_found)" in shown.stdout

    for name in names:
        house.hub.behave(f"/{name}.safetensors", None)
    assert len(house.cli("jobs", "retry", "--failed").jobs) == 2
    assert house.drain().exit_code == 0
    assert house.cli("jobs", "retry", listed.job_id).error_code == "wrong_moment"
    assert house.cli("jobs", "prune", "--days", "0").envelope["data"]["pruned"] == 2
    assert house.cli("jobs").jobs == []
    assert len(house.library()) == 2, "the files stay"


@pytest.mark.slow
def test_show_tells_the_whole_story_of_a_job(house: House) -> None:
    job_id = house.submit(house.publish("/m.safetensors")[0])
    house.drain()
    said = house.cli("jobs", "show", job_id[:6], as_json=False)
    for part in (job_id, "loras/m.safetensors", "SUCCESS", "proof", "evidence", "Job created", "In place"):
        assert part in said.stdout
    assert events(house.job(job_id), "Verified by rules")
