"""A worker of our own inside a verb: it dies aloud, stops at once, and a demo knows nothing of the user's settings."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from comfy_doctor import wiring
from comfy_doctor.settings import DoctorSettings
from comfy_doctor.troubles import DoctorCode, DoctorTrouble
from comfy_doctor.wiring import Desk, WorkerAtHand
from download_worker import wiring as worker_wiring
from download_worker.errors import Code, GiveUp, Trouble
from download_worker.settings import Settings
from tests import canaries


class Engine:
    def __init__(self, dies_of: Exception | None = None) -> None:
        self._dies_of = dies_of
        self._stopping = threading.Event()
        self.began = threading.Event()

    @property
    def ran(self) -> bool:
        return self.began.is_set()

    def run(self) -> None:
        self.began.set()
        if self._dies_of:
            raise self._dies_of
        assert self._stopping.wait(10)

    def stop(self) -> None:
        self._stopping.set()


@pytest.fixture
def here(tmp_path: Path) -> Desk:
    logger.remove()  # as the programs do when they begin
    return Desk(Settings(home=tmp_path), DoctorSettings())


def put_in(monkeypatch: pytest.MonkeyPatch, engine: Engine, opened: threading.Event | None = None) -> None:
    @contextmanager
    def engine_of(*_: object) -> Iterator[Engine]:
        assert opened is None or opened.wait(10)
        yield engine

    monkeypatch.setattr("download_worker.wiring.engine_of", engine_of)


@pytest.mark.parametrize(
    ("error", "code"), [(GiveUp(Code.DATABASE_UNUSABLE, "broken"), Code.DATABASE_UNUSABLE), (KeyError(), Code.INTERNAL)]
)
def test_whoever_waits_for_a_worker_hears_what_it_died_of(
    here: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception, code: Code, capsys: pytest.CaptureFixture[str]
) -> None:
    put_in(monkeypatch, Engine(error))
    workers = WorkerAtHand(here, 0o022)
    workers.make_sure_one_runs()
    _joined(workers)
    with pytest.raises(Trouble) as trouble:
        workers.make_sure_one_runs()
    assert trouble.value.code is code
    assert "Traceback" not in capsys.readouterr().err


def test_a_worker_that_is_stopped_while_it_starts_does_not_begin(here: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, opened = Engine(), threading.Event()
    put_in(monkeypatch, engine, opened)
    workers = WorkerAtHand(here, 0o022)
    workers.make_sure_one_runs()
    monkeypatch.setattr(wiring, "STOP_SECONDS", 0)
    workers.stop()
    opened.set()
    _joined(workers)
    assert not engine.ran


def test_a_worker_that_runs_is_stopped(here: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine()
    put_in(monkeypatch, engine)
    workers = WorkerAtHand(here, 0o022)
    workers.make_sure_one_runs()
    assert engine.began.wait(10)
    workers.stop()
    _joined(workers)
    workers.make_sure_one_runs()  # it would say what the worker has died of


def _joined(workers: WorkerAtHand) -> None:
    assert workers._thread is not None
    workers._thread.join(10)
    assert not workers._thread.is_alive()


def test_a_demo_touches_nothing_that_the_user_has_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = tmp_path / "mine.db"
    monkeypatch.setenv("COMFY_DOCTOR_DATABASE", f"sqlite:///{ledger}")
    monkeypatch.setenv("COMFY_DOCTOR_MAX_TRIES", "no number")
    monkeypatch.setenv("HF_TOKEN", canaries.HF)
    monkeypatch.setenv("HF_ENDPOINT", "https://elsewhere.example")
    seen: list[Settings] = []

    def tell(_narrator: Any, stage: Any) -> None:
        with stage(tmp_path / "home", "http://127.0.0.1:1") as (counter, _):
            counter.counts()

    def counter_of(settings: Settings) -> Any:
        seen.append(settings)
        return real(settings)

    real = worker_wiring.counter_of
    monkeypatch.setattr("comfy_doctor.demo.story.tell", tell)
    monkeypatch.setattr("download_worker.wiring.counter_of", counter_of)
    wiring.demo(None, 0o022)  # type: ignore[arg-type]
    (settings,) = seen
    assert (settings.secrets(), settings.llm_model, settings.max_tries) == ((), None, 8)
    assert (settings.home, settings.hf_endpoint) == (tmp_path / "home", "http://127.0.0.1:1")
    assert not ledger.exists()
    assert sqlite3.connect(tmp_path / "home/state/doctor.db").execute("select count(*) from jobs").fetchone() == (0,)


def test_a_dashboard_as_json_is_told_that_there_is_none(here: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DoctorTrouble) as trouble:
        wiring.dashboard(here, as_json=True)
    assert trouble.value.code is DoctorCode.NO_TERMINAL
    assert "jobs" in trouble.value.hint
    assert capsys.readouterr() == ("", "")
