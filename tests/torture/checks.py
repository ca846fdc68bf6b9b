"""What must be true when the torture is over."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from download_worker.jobs.job import Status
from download_worker.jobs.ledger import Question
from tests.hub import Hit
from tests.torture.durable import asked_again
from tests.torture.stage import Stage
from tests.torture.trouble import Troublemaker

SAME_LIFE_SECONDS = 1.0
"""The connections of one life begin within this; later ones may belong to the next life."""


@dataclass
class Findings:
    broken: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)


def check_all(stage: Stage, trouble: Troublemaker) -> Findings:
    findings = Findings(broken=list(stage.sightings))
    jobs = stage.ledger.jobs(Question(limit=100_000))
    hits = stage.hub.hits
    _every_job_ended_once(stage, findings)
    _the_library_is_right(stage, findings)
    _nothing_durable_was_fetched_again(hits, trouble, findings)
    findings.figures |= {
        "jobs": len(jobs),
        "files": len(stage.wanted),
        "attempts": sum(job.attempts for job in jobs),
        "starts": stage.starts,
        "requests": len(hits),
        "bytes_sent": sum(hit.bytes_sent for hit in hits),
        "bytes_wanted": sum(map(len, stage.wanted.values())),
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


def _nothing_durable_was_fetched_again(hits: list[Hit], trouble: Troublemaker, findings: Findings) -> None:
    """The life after a kill asks for what is not durable, and for nothing else."""
    by_path: dict[str, list[Hit]] = defaultdict(list)
    for hit in hits:
        by_path[hit.path].append(hit)
    checked = 0
    for path, deaths in trouble.durable_at_death.items():
        if path in trouble.stopped_paths:
            continue  # its former owner may wake up and ask once more from where it stood
        for at, durable in deaths:
            later = [hit for hit in by_path[path] if hit.started > at]
            next_life = [hit.first_byte for hit in later if hit.started < later[0].started + SAME_LIFE_SECONDS]
            checked += bool(next_life)
            again = asked_again(next_life, durable)
            if again:
                findings.broken.append(f"{path}: durable {durable}, but asked from {again}")
    findings.figures["resumes_checked"] = checked
