"""What must be true when the torture is over."""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass, field

from download_worker.jobs.job import Status
from download_worker.jobs.ledger import Question
from tests.torture.stage import Stage
from tests.torture.trouble import Troublemaker


@dataclass
class Findings:
    broken: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)


def check_all(stage: Stage, trouble: Troublemaker) -> Findings:
    findings = Findings(broken=list(stage.sightings))
    jobs = stage.ledger.jobs(Question(limit=100_000))
    _every_job_ended_once(stage, findings)
    _the_library_is_right(stage, findings)
    _bytes_went_on_where_they_were_durable(stage, trouble, findings)
    sent = sum(hit.bytes_sent for hit in stage.hub.hits)
    findings.figures |= {
        "jobs": len(jobs),
        "files": len(stage.wanted),
        "attempts": sum(job.attempts for job in jobs),
        "bytes_sent_over_bytes_wanted": round(sent / sum(map(len, stage.wanted.values())), 3),
    }
    return findings


def _every_job_ended_once(stage: Stage, findings: Findings) -> None:
    for job_id, info in stage.submitted.items():
        job = stage.ledger.get(job_id)
        if job.status is not Status.SUCCESS:
            findings.broken.append(
                f"{info.expected_filename} ended {job.status} ({job.result.reason}): {job.history[-3:]}"
            )
        ends = sum(event.event.startswith(("In place", "Was in place", "Already in place")) for event in job.history)
        if ends > 1:
            findings.broken.append(f"{info.expected_filename} ended {ends} times")


def _the_library_is_right(stage: Stage, findings: Findings) -> None:
    found = {path for path in stage.models.rglob("*") if path.is_file()}
    for path in found - set(stage.wanted):
        findings.broken.append(f"{path} does not belong in the library")
    for path, data in stage.wanted.items():
        if path not in found:
            findings.broken.append(f"{path.name} is not in the library")
        elif path.read_bytes() != data:
            findings.broken.append(f"{path.name} has wrong bytes")
    left = [path.name for path in stage.settings.staging.glob("*") if path.name in stage.submitted]
    if left:
        findings.broken.append(f"{len(left)} rooms are left in staging: {left[:3]}")


def _bytes_went_on_where_they_were_durable(stage: Stage, trouble: Troublemaker, findings: Findings) -> None:
    """The first request after a kill begins exactly at the last durable byte."""
    checked: Tally[str] = Tally()
    for path, deaths in trouble.durable_at_death.items():
        hits = stage.hub.hits_for(path)
        for at, durable in deaths:
            after = next((hit for hit in hits if hit.started > at), None)
            if after is None:
                continue
            checked["resumed"] += 1
            if after.first_byte != durable:
                findings.broken.append(f"{path}: durable to {durable}, but asked from {after.first_byte}")
    findings.figures["resumes_checked"] = checked["resumed"]
