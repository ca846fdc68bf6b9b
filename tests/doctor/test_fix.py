"""The watch over a cure: it ends when everything has ended, and when only somebody else can make it go on."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from comfy_doctor.comfyui.install import Install
from comfy_doctor.diagnose import Diagnosis, diagnose
from comfy_doctor.fix import Cure, fix, with_what_came
from comfy_doctor.plan import Disk, Plan, Sources, Volume, plan_for
from comfy_doctor.render import Narrator
from comfy_doctor.render import narrator as narrators
from download_worker.clock import FakeClock
from download_worker.errors import Code
from download_worker.jobs import moves
from download_worker.jobs.bell import MemoryBell
from download_worker.jobs.counter import Counter
from download_worker.jobs.job import Job, Lease, ModelInfo, Progress, WorkerId
from download_worker.jobs.ledger import Added
from download_worker.jobs.memory_ledger import MemoryLedger
from download_worker.report import ExitCode, Report
from tests import canaries

from .drawing import model, node, saved, ui

CLOCK = FakeClock()
MAX_WAITS = 20


class Hall:
    """An audience that agrees, and workers that do what the test says each time they are waited for."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.ledger = MemoryLedger()
        self.counter = Counter(self.ledger, MemoryBell(), CLOCK, lambda url: None)
        (folder / "ComfyUI/models/loras").mkdir(parents=True)
        self.install = Install(folder / "ComfyUI")
        entries = [model(name, "loras", f"https://h.example/{name}") for name in names]
        nodes = (node(n, "LoraLoader", e["name"], 1, 1, properties={"models": [e]}) for n, e in enumerate(entries, 1))
        self.workflow = saved(folder / "w.json", ui(*nodes))
        self.waits: list[Callable[[], object]] = []
        self.waited = 0
        self.free = 1000

    def fix(self) -> Report:
        return fix(Cure(self.look, lambda found: self.plan(), Path("/models"), self.counter, self, self))

    def look(self) -> Diagnosis:
        return diagnose([self.workflow], self.install)

    def plan(self) -> Plan:
        return plan_for(self.look(), Sources([], None, lambda path: Disk(1, self.free), lambda variable: False))

    def claimed(self) -> Job:
        job = self.ledger.claim(WorkerId("worker-1-aaaaaaaaaaaa"), Lease.starting(CLOCK.steady(), 60), CLOCK.now())
        assert job is not None
        return job

    def planned(self, plan: Plan) -> bool:
        return True

    def dispatched(self, added: Added) -> None: ...

    def watching(self, jobs: Sequence[Job]) -> None: ...

    def make_sure_one_runs(self) -> None: ...

    def wait(self, seconds: float) -> None:
        self.waited += 1
        assert self.waited < MAX_WAITS, "it watches for ever"
        if self.waits:
            self.waits.pop(0)()


def test_a_paused_queue_ends_the_watch_with_the_command_that_lets_it_go_on(tmp_path: Path) -> None:
    hall = Hall(tmp_path, "a.safetensors")
    hall.counter.pause_queue()
    report = hall.fix()
    assert (hall.waited, report.exit_code) == (0, ExitCode.FINDINGS)
    assert "the queue is paused: let it go on with `comfy-doctor jobs resume`" in report.messages


def test_what_runs_when_the_queue_is_paused_is_watched_to_its_end(tmp_path: Path) -> None:
    hall = Hall(tmp_path, "a.safetensors", "b.safetensors")

    def begin() -> None:
        job = hall.claimed()
        hall.counter.pause_queue()
        hall.waits.append(lambda: hall.ledger.change(job.claim, moves.failed(Code.NOT_FOUND, "gone", "t")))

    hall.waits.append(begin)
    assert sorted(job["status"] for job in hall.fix().data["jobs"]) == ["FAILED", "PENDING"]


def test_jobs_that_are_all_paused_end_the_watch_and_are_named(tmp_path: Path) -> None:
    hall = Hall(tmp_path, "a.safetensors")
    hall.waits.append(lambda: [hall.counter.pause(job.job_id) for job in hall.counter.jobs()])
    report = hall.fix()
    (job,) = report.data["jobs"]
    assert (
        f"a.safetensors is paused: let it go on with `comfy-doctor jobs resume {job['job_id'][:8]}`" in report.messages
    )


@pytest.mark.parametrize(("answer", "agreed"), [("y\n", True), ("n\n", False), ("", False)])
def test_a_quiet_narrator_still_shows_its_question_and_what_it_is_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, agreed: bool
) -> None:
    hall, shown = Hall(tmp_path, "a.safetensors"), io.StringIO()
    monkeypatch.setattr(narrators, "Console", lambda stderr, **options: Console(file=shown, **options))
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    narrator = Narrator(quiet=True, color=False, ask=True, agreed=False)
    plan = hall.plan()
    assert narrator.planned(plan) is agreed
    assert "a.safetensors" in shown.getvalue() and "Carry out this plan?" in shown.getvalue()
    before = shown.getvalue()
    narrator.say("more")
    assert shown.getvalue() == before, "and then it is quiet again"


def test_t22_a_plan_shows_no_signature(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hall = Hall(tmp_path)
    entry = model("a.safetensors", "loras", f"https://h.example/a.safetensors?sig={canaries.SIGNATURE}")
    drawn = ui(node(1, "LoraLoader", "a.safetensors", 1, 1, properties={"models": [entry]}))
    hall.workflow = saved(tmp_path / "x.json", drawn)
    canaries.BOOK.hold(hall.workflow)
    plan = hall.plan()
    Narrator(quiet=False, color=False, ask=False, agreed=True).planned(plan)
    told = capsys.readouterr()
    assert "a.safetensors" in told.err and canaries.WORD not in told.err + json.dumps(plan.data())


def test_what_does_not_fit_is_not_begun(tmp_path: Path) -> None:
    hall = Hall(tmp_path, "a.safetensors")
    hall.free = -1
    report = hall.fix()
    assert report.exit_code is ExitCode.SURROUNDINGS
    assert [error.code for error in report.errors] == ["disk_full"]
    assert hall.counter.jobs() == []


def test_what_a_job_has_fetched_already_needs_no_room_again(tmp_path: Path) -> None:
    hall, name = Hall(tmp_path, "a.safetensors"), "a.safetensors"
    folder = tmp_path / "models/loras"
    item = replace(hall.plan().items[0], target=folder / name)
    volume = Volume(folder, free=10, reserve=0, needed=100)
    plan = Plan((item,), volumes=(volume,))
    assert crowded(plan, hall.counter) == [100]
    info = ModelInfo(expected_filename=name, model_type="loras", download_url="https://h.example/a", size=100)
    hall.counter.submit(info, tmp_path / "models")
    job = hall.claimed()
    hall.ledger.change(job.claim, lambda seen: seen.model_copy(update={"progress": Progress(bytes=95, total=100)}))
    assert crowded(plan, hall.counter) == []


def crowded(plan: Plan, counter: Counter) -> list[int]:
    return [volume.needed for volume in with_what_came(plan, counter) if not volume.fits]


def test_an_unanswered_question_ends_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(narrators, "Console", lambda stderr, **options: Console(file=shown, **options))
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    Narrator(quiet=False, color=False, ask=True, agreed=False).asked("Go on?")
    assert shown.getvalue().endswith("\n")


def test_what_waits_for_a_verdict_ends_the_watch_with_the_reason(tmp_path: Path) -> None:
    hall = Hall(tmp_path, "a.safetensors")

    def begin() -> None:
        job = hall.claimed()
        hall.ledger.change(job.claim, moves.verifying("Verifying", 7, "t"))
        hall.ledger.change(job.claim, moves.put_off(CLOCK.now(), "qwen is silent; the file waits in staging", "t"))

    hall.waits.append(begin)
    (job,) = (report := hall.fix()).data["jobs"]
    assert job["status"] == "VERIFYING"
    assert any(word.startswith("a.safetensors: qwen is silent; the file waits in") for word in report.messages)
