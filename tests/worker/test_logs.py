"""Logs: one event is one line, secrets are gone before any sink, and no broken sink stops the work."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from download_worker import logs
from download_worker.logs import LOG_NAME, MAX_TRACE_CHARS, set_up
from download_worker.text import Redactor
from tests import canaries

SECRET = canaries.IN_URL
REDACT = Redactor([SECRET])
HOSTILE = [
    "one\ntwo\r\nthree",
    "one\u2028two\u2029three\x85four\x0bfive\x0cs\x1cix",
    '{"level": "error"}\n{"level": "forged"}',
    "{braces} {0} {extra[job_id]} {",
    "<red>markup</red> <bold> </> \\<x>",
    "\x1b[2J\x1b]0;title\x07 \u202e",
    "\udcff\x00",
    "%s %d %(x)s",
]


@pytest.fixture(autouse=True)
def quiet_afterwards() -> Iterator[None]:
    yield
    logger.remove()
    logger.configure(extra={}, patcher=lambda _: None)


def lines(state: Path) -> list[dict[str, Any]]:
    logger.complete()
    data = (state / LOG_NAME).read_bytes()
    assert data.isascii()
    return [json.loads(line) for line in data.decode().splitlines()]


@pytest.mark.parametrize("text", HOSTILE)
def test_t29_one_event_is_one_line_whatever_it_says(tmp_path: Path, text: str) -> None:
    set_up(tmp_path, REDACT, terminal=False)
    logger.info(text)
    logger.info("about {}", text)
    with logger.contextualize(job_id="j-1"):
        logger.warning("{}", text)
    told = lines(tmp_path)
    assert [line["message"] for line in told] == [text, f"about {text}", text]
    assert [line["job_id"] for line in told] == ["-", "-", "j-1"]
    assert [line["level"] for line in told] == ["info", "info", "warning"]
    assert all(line["time"].endswith("Z") and line["where"].startswith(__name__) for line in told)


@pytest.mark.parametrize("text", HOSTILE)
def test_t27_on_a_terminal_one_event_is_one_visible_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(None, REDACT)
    with logger.contextualize(job_id="0123456789"):
        logger.info("{}", text)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.endswith("\n")
    assert len(told.err.splitlines()) == 1
    assert told.err[:-1].isprintable()
    assert " 01234567 " in told.err


def test_t22_secrets_are_in_no_line_and_in_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(tmp_path, REDACT)
    another_sink: list[str] = []
    logger.add(lambda message: another_sink.append(str(message)), format="{message} {exception}")
    logger.info("token {} and hf_{} and https://u:{}@h/?token={}", SECRET, "x" * 20, SECRET, SECRET)
    try:
        local = f"hf_{'y' * 20}"
        raise ValueError(f"could not use {SECRET} or {local}")
    except ValueError as error:
        logger.opt(exception=error).error("it failed with {}", SECRET)
    told = (tmp_path / LOG_NAME).read_text() + capsys.readouterr().err
    assert SECRET not in told + "".join(another_sink)
    assert "hf_" not in told.replace("hf_{", "")
    trace = lines(tmp_path)[-1]["trace"]
    assert "ValueError: could not use [secret]" in trace
    assert "test_logs.py" in trace


def test_t22_a_thread_that_dies_tells_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    set_up(tmp_path, REDACT)

    def die() -> None:
        raise KeyError(SECRET)

    thread = threading.Thread(target=die, name="job-1")
    thread.start()
    thread.join()
    told = capsys.readouterr().err
    assert SECRET not in told and "the thread job-1 died" in told
    (line,) = lines(tmp_path)
    assert line["level"] == "error" and "KeyError: '[secret]'" in line["trace"]


def test_a_trace_keeps_its_end_and_is_bounded(tmp_path: Path) -> None:
    set_up(tmp_path, REDACT, terminal=False)
    try:
        raise ValueError("x" * 10 * MAX_TRACE_CHARS + "the end")
    except ValueError as error:
        logger.opt(exception=error).error("long")
    trace = lines(tmp_path)[-1]["trace"]
    assert len(trace) == MAX_TRACE_CHARS
    assert trace.endswith("the end\n")


def test_the_terminal_hears_its_level_and_the_file_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up(tmp_path, REDACT, level="WARNING")
    logger.debug("ours to study")
    logger.warning("heals by itself")
    assert "ours" not in capsys.readouterr().err
    assert [line["level"] for line in lines(tmp_path)] == ["debug", "warning"]


def test_setting_up_again_replaces_the_sinks(tmp_path: Path) -> None:
    for _ in range(3):
        set_up(tmp_path, REDACT, terminal=False)
    logger.info("once")
    assert len(lines(tmp_path)) == 1


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files as Linux does")


def open_logs() -> int:
    return sum(os.path.realpath(file).endswith(LOG_NAME) for file in Path("/proc/self/fd").iterdir())


class Broken(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def write(self, text: str) -> int:
        raise self._error


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "full"), ValueError("I/O operation on closed file")])
def test_p13_a_terminal_that_has_gone_stops_nothing(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(tmp_path, REDACT)
    monkeypatch.setattr(sys, "stderr", Broken(error))
    logger.info("still working")
    assert [line["message"] for line in lines(tmp_path)] == ["still working"]


def test_p13_without_any_stderr_the_file_is_still_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(tmp_path, REDACT)
    monkeypatch.setattr(sys, "stderr", None)
    logger.info("still working")
    assert len(lines(tmp_path)) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_p13_t22_a_full_disk_stops_nothing_and_no_complaint_tells_a_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / LOG_NAME).symlink_to("/dev/full")
    set_up(tmp_path, REDACT)
    try:
        raise ValueError(f"with {SECRET}")
    except ValueError as error:
        logger.opt(exception=error).error("failed with {}", SECRET)
    (tmp_path / LOG_NAME).unlink()
    logger.info("there is room again")
    told = capsys.readouterr().err
    assert "failed with [secret]" in told
    assert SECRET not in told
    assert "Traceback" not in told
    assert [line["message"] for line in lines(tmp_path)] == ["there is room again"]


def test_d1_half_a_line_takes_no_other_line_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk was full in the middle of it."""
    write, left_bytes = os.write, [10]

    def filling(descriptor: int, line: bytes) -> int:
        if not left_bytes[0]:
            raise OSError(28, "full")
        done = write(descriptor, line[: left_bytes[0]])
        left_bytes[0] -= done
        return done

    set_up(tmp_path, REDACT, terminal=False)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", filling)
        logger.info("lost")
    logger.info("there is room again")
    logger.info("and still")
    written = (tmp_path / LOG_NAME).read_text().splitlines()
    assert [json.loads(line)["message"] for line in written[1:]] == ["there is room again", "and still"]


def test_d1_a_new_file_begins_with_a_whole_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def torn(descriptor: int, line: bytes) -> int:
        if len(line) < 50:
            raise OSError(28, "full")
        return len(line) - 10

    set_up(tmp_path, REDACT, terminal=False)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", torn)
        logger.info("lost")
    (tmp_path / LOG_NAME).rename(tmp_path / "away")
    logger.info("anew")
    assert len((tmp_path / LOG_NAME).read_text().splitlines()) == 1


def test_d6_a_place_where_no_log_can_be_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    set_up(tmp_path / "file" / "state", REDACT)
    logger.info("still working")
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert "still working" in told


def test_a_full_file_makes_room_and_only_so_many_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "ROTATE_AT_BYTES", 1_000)
    set_up(tmp_path, REDACT, terminal=False)
    for number in range(100):
        logger.info("line {}", number)
    assert {path.name for path in tmp_path.iterdir()} <= {LOG_NAME, *(f"{LOG_NAME}.{n}" for n in range(1, 6))}
    files = sorted(tmp_path.glob(f"{LOG_NAME}.*"), reverse=True)
    assert len(files) == logs.KEEP_FILES
    written = [*files, tmp_path / LOG_NAME]
    kept = [json.loads(line)["message"] for file in written for line in file.read_text().splitlines()]
    assert kept == [f"line {100 - left}" for left in range(len(kept), 0, -1)], "the newest, in order, none lost between"
    assert all(file.stat().st_size < 1_200 for file in files)


@pytest.mark.parametrize("begun", [False, True], ids=["not begun", "begun"])
def test_p13_a_file_that_another_worker_rotated_is_begun_anew(tmp_path: Path, begun: bool) -> None:
    set_up(tmp_path, REDACT, terminal=False)
    logger.info("before")
    (tmp_path / LOG_NAME).rename(tmp_path / f"{LOG_NAME}.1")
    if begun:
        (tmp_path / LOG_NAME).touch()
    logger.info("after")
    assert [line["message"] for line in lines(tmp_path)] == ["after"]


@pytest.mark.parametrize("goes", ["the file", "the folder"])
def test_p13_a_file_that_somebody_removed_is_begun_anew(tmp_path: Path, goes: str) -> None:
    state = tmp_path / "state"
    set_up(state, REDACT, terminal=False)
    for number in range(3):
        logger.info("before {}", number)
        (state / LOG_NAME).unlink()
        if goes == "the folder":
            state.rmdir()
        logger.info("after {}", number)
        assert [line["message"] for line in lines(state)] == [f"after {number}"]


def test_p13_two_workers_of_one_home_rotate_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever did not rotate it goes on in the new one, and not where nobody looks any more."""
    monkeypatch.setattr(logs, "ROTATE_AT_BYTES", 1_000)
    monkeypatch.setattr(logs, "KEEP_FILES", 100)
    set_up(tmp_path, REDACT, terminal=False)
    logger.add(logs._LogFile(tmp_path / LOG_NAME), level="DEBUG", format="{message}")
    for number in range(50):
        logger.info("line {}", number)
    files = sorted(tmp_path.glob(f"{LOG_NAME}*"))
    assert all(len(b"".join(file.read_bytes().splitlines(keepends=True)[:-1])) < 1_000 for file in files)
    told = sorted(json.loads(line)["message"] for file in files for line in file.read_text().splitlines())
    assert told == sorted(2 * [f"line {number}" for number in range(50)])


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps no log open")
def test_a_line_is_one_question_and_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(tmp_path, REDACT, terminal=False)
    logger.info("first")

    def never(*_: object) -> int:
        pytest.fail("it is open")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", never)
        patched.setattr(os, "close", never)
        logger.info("second")
    assert [line["message"] for line in lines(tmp_path)] == ["first", "second"]


def test_where_an_open_file_cannot_be_renamed_none_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "STAYS_OPEN", False)
    opened: list[int] = []
    closed: list[int] = []
    rotated: list[list[int]] = []
    os_open, os_close = os.open, os.close

    def counted_open(path: Path, flags: int, mode: int) -> int:
        opened.append(os_open(path, flags, mode))
        return opened[-1]

    def counted_close(descriptor: int) -> None:
        closed.append(descriptor)
        os_close(descriptor)

    monkeypatch.setattr(os, "open", counted_open)
    monkeypatch.setattr(os, "close", counted_close)
    monkeypatch.setattr(logs._LogFile, "_rotate", lambda _: rotated.append(list(closed)))
    set_up(tmp_path, REDACT, terminal=False)
    for number in range(3):
        logger.info("line {}", number)
        assert closed == opened
    monkeypatch.setattr(logs, "ROTATE_AT_BYTES", 1)
    logger.info("full")
    assert len(opened) == 4
    assert rotated == [opened], "it was closed before it was renamed"


@needs_proc
def test_sinks_that_are_replaced_leave_nothing_open(tmp_path: Path) -> None:
    for _ in range(3):
        set_up(tmp_path, REDACT, terminal=False)
        logger.info("x")
        assert open_logs() == 1
    logger.remove()
    assert open_logs() == 0


@needs_proc
def test_p13_a_write_that_fails_closes_the_file_and_the_next_line_opens_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(tmp_path, REDACT, terminal=False)
    logger.info("before")

    def stale(*_: object) -> int:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", stale)
        logger.info("lost")
    assert open_logs() == 0
    logger.info("after")
    assert [line["message"] for line in lines(tmp_path)] == ["before", "after"]


def test_a_line_that_is_taken_in_pieces_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(tmp_path, REDACT, terminal=False)
    os_write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, piece: os_write(descriptor, piece[:7]))
    logger.info("whole")
    assert [line["message"] for line in lines(tmp_path)] == ["whole"]


@pytest.mark.skipif(os.name != "posix", reason="modes are a POSIX idea")
def test_the_folder_of_the_log_is_private(tmp_path: Path) -> None:
    set_up(tmp_path / "state", REDACT, terminal=False)
    logger.info("x")
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
