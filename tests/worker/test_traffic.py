"""What the hosts send now, summed from the running jobs."""

from download_worker.jobs.job import Job, Progress, Status, WorkerId
from download_worker.traffic import by_host
from tests.jobs import make_info, make_job


def running(url: str, rate: float | None, **progress: object) -> Job:
    told = Progress.model_validate({"bytes_per_second": rate, "connections": 2} | progress)
    job = make_job(info=make_info(download_url=url))
    return job.model_copy(update={"worker": WorkerId("w"), "status": Status.DOWNLOADING, "progress": told})


def test_rates_and_connections_are_summed_by_the_host_that_is_asked() -> None:
    jobs = [
        running("https://a.example/1", 1024.0 * 1024),
        running("https://a.example/2", 512.0 * 1024, retries=1),
        running("https://a.example/3", None, source="b.example"),
    ]
    first, second = by_host(jobs)
    assert first.as_json() == {
        "host": "a.example",
        "jobs": 2,
        "connections": 4,
        "bytes_per_second": 1572864,
        "retries": 1,
    }
    assert str(first) == "a.example: 1.5 MiB/s, 2 jobs, 4 connections, 1 retry"
    assert str(second) == "b.example: 0.0 MiB/s, 1 job, 2 connections"


def test_a_job_that_waits_is_no_traffic() -> None:
    assert by_host([make_job()]) == ()
