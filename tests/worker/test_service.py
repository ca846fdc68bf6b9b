"""The systemd unit: what stands in it, and what is said when systemd does not take it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from download_worker import service
from download_worker.errors import BadRequest, Code, GiveUp
from download_worker.service import UNIT_NAME, install, unit_path, unit_text
from tests import canaries

HOME = Path("/srv/comfy doctor/100%/$HOME")


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were run; nothing is really run."""
    commands: list[list[str]] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        assert options.get("timeout"), "nothing may hang for ever"
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(shutil, "which", lambda _: "/bin/systemctl")
    monkeypatch.setattr(service, "unit_path", lambda *, user: tmp_path / "units" / UNIT_NAME)
    return commands


def test_a_unit_quotes_its_paths_as_systemd_reads_them() -> None:
    lines = unit_text(HOME, user=True).splitlines()
    assert "EnvironmentFile=-/srv/comfy doctor/100%%/$HOME/worker.env" in lines
    start = next(line for line in lines if line.startswith("ExecStart="))
    assert start.endswith(' -m download_worker run --home "/srv/comfy doctor/100%%/$$HOME"')
    assert sys.executable in start


def test_t22_a_unit_holds_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", canaries.HF)
    assert canaries.WORD not in unit_text(Path("/srv/home"), user=False)


@pytest.mark.parametrize("name", ["a\nExecStartPre=/bin/evil", "a\r", "a\0", "a\x1b", "a\u2028b"])
def test_t33_a_home_cannot_add_a_line_to_the_unit(name: str) -> None:
    with pytest.raises(BadRequest) as refused:
        unit_text(Path("/srv") / name, user=True)
    assert refused.value.code is Code.BAD_SETTING
    assert refused.value.message.isprintable()


def test_p1_p3_a_unit_restarts_for_ever_and_leaves_time_to_stop() -> None:
    text = unit_text(Path("/srv/home"), user=True)
    for line in ("Restart=always", "StartLimitIntervalSec=0", "KillMode=mixed", "WantedBy=default.target"):
        assert line in text.splitlines()
    assert int(text.partition("TimeoutStopSec=")[2].split()[0]) > 5
    assert "WantedBy=multi-user.target" in unit_text(Path("/srv/home"), user=False)


def test_a_unit_is_put_where_systemd_looks() -> None:
    assert unit_path(user=False) == Path("/etc/systemd/system") / UNIT_NAME
    assert unit_path(user=True) == Path.home() / ".config/systemd/user" / UNIT_NAME


def test_installing_writes_the_unit_and_starts_it(ran: list[list[str]]) -> None:
    path, commands = install(HOME, user=True)
    assert path.read_text() == unit_text(HOME, user=True)
    assert path.stat().st_mode & 0o777 == 0o644
    assert commands == ("systemctl --user daemon-reload", f"systemctl --user enable --now {UNIT_NAME}")
    assert [" ".join(command) for command in ran] == list(commands)
    assert install(HOME, user=True)[0] == path, "twice is once"


def test_without_systemd_it_says_what_to_do_by_hand(ran: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(GiveUp) as told:
        install(HOME, user=False)
    assert "systemctl daemon-reload" in told.value.hint
    assert ran == []


@pytest.mark.parametrize("fault", ["refuses", "hangs", "vanishes"])
def test_what_systemd_says_is_passed_on(ran: list[list[str]], fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if fault == "hangs":
            raise subprocess.TimeoutExpired(command, 30)
        if fault == "vanishes":
            raise FileNotFoundError(2, "No such file or directory", "systemctl")
        return subprocess.CompletedProcess(command, 1, "", "Failed to connect to bus\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(GiveUp) as told:
        install(HOME, user=True)
    said = {"refuses": "Failed to connect to bus", "hangs": "timed out", "vanishes": "No such file"}[fault]
    assert said in told.value.message
    assert UNIT_NAME in told.value.hint


def test_d6_a_place_that_may_not_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(service, "unit_path", lambda *, user: tmp_path / "file" / UNIT_NAME)
    with pytest.raises(GiveUp) as told:
        install(HOME, user=True)
    assert told.value.code is Code.PERMISSION
    assert str(tmp_path / "file") in told.value.message
