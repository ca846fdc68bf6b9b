"""Jobs for people: the list, and one job with its history and evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from comfy_doctor.render.words import TONES, cell, sign, size_of, table
from download_worker.report import Report
from download_worker.text import safe_text


def listed(report: Report) -> RenderableType | None:
    jobs = report.data["jobs"]
    counts = report.data.get("counts", {})
    if "counts" not in report.data:  # the jobs of one command, and not the queue
        return _job_table(jobs) if jobs else None
    line = Text("no jobs yet: `comfy-doctor fix WORKFLOW` or `comfy-doctor enqueue URL --type FOLDER` makes some")
    if any(counts.values()):
        line = Text(", ".join(f"{number} {word}" for word, number in counts.items() if number))
    if report.data.get("queue_paused"):
        line.append("; the queue is paused (`comfy-doctor jobs resume`)", style="yellow")
    return Group(_job_table(jobs), line) if jobs else line


def _job_table(jobs: Sequence[Mapping[str, Any]]) -> Table:
    rows = table("", "job", "file", "folder", "done", "note")
    for job in jobs:
        info, progress, result = job["model_info"], job["progress"], job["result"]
        done = (
            f"{size_of(progress['bytes'])} of {size_of(progress['total'])}"
            if progress["total"]
            else size_of(progress["bytes"])
        )
        note = result["reason"] or (f"waits until {job['not_before']}" if job["not_before"] else "")
        note = note or _coming(progress)
        note = "paused" if job["paused"] and job["status"] not in ("SUCCESS", "FAILED") else note
        row = (job["job_id"][:8], info["expected_filename"], info["model_type"], done, note.partition(";")[0])
        rows.add_row(sign(job["status"], f"{TONES[job['status']][0]} {job['status']}"), *map(cell, row))
    return rows


def _coming(progress: Mapping[str, Any]) -> str:
    """How the bytes come just now; nothing where none do."""
    number, speed = progress["connections"], progress["bytes_per_second"]
    if not number or not speed:
        return ""
    lines = f"{number} connection{'s' * (number != 1)}"
    return f"{size_of(round(speed))}/s over {lines} from {progress.get('source') or 'its host'}"


def shown(report: Report) -> RenderableType | None:
    parts: list[RenderableType] = []
    for job in report.data["jobs"]:
        info, result = job["model_info"], job["result"]
        table = Table.grid(padding=(0, 2))
        facts = {
            "job": job["job_id"],
            "status": job["status"],
            "file": "/".join(filter(None, (info["model_type"], info["subfolder"], info["expected_filename"]))),
            "from": info["download_url"],
            "mirrors": ", ".join(info["mirrors"]),
            "source": info["source"],
            "sha256": result["sha256"] or info["sha256"],
            "place": result["path"],
            "proof": result["proof"],
            "reason": result["reason"],
            "coming": _coming(job["progress"]),
            "attempts": job["attempts"],
            "retries": job["progress"].get("retries"),
            "last setback": job["progress"].get("trouble"),
            "waits until": job["not_before"],
        }
        for name, value in facts.items():
            if value not in (None, "", 0):
                table.add_row(Text(name, style="dim"), cell(value))
        parts.append(table)
        for step in (result["verdict"] or {}).get("evidence", ()):
            fields = ", ".join(f"{key}: {value}" for key, value in step.items() if key != "step")
            parts.append(
                Padding(Text(f"evidence, {safe_text(step.get('step', '?'))}: {safe_text(fields)}", style="dim"), (0, 2))
            )
        for event in job["history"]:
            parts.append(Text(f"{event['timestamp']}  {safe_text(event['event'])}"))
    return Group(*parts)
