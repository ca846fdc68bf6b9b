"""The manners of every command: one JSON document whatever happens, exit codes by class, never a traceback."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from download_worker.command_line import Common, complain, private_umask, program_options, run, verb
from download_worker.errors import NEXT_STEP, BadRequest, Code, GiveUp, Refused, Trouble, TryLater
from download_worker.report import Complaint, ExitCode, Report, report_of
from tests import canaries

HOSTILE = "\x1b]0;title\x07 line\nline \u202e \udcff \x9b31m"
SECRET = canaries.HF
ENVELOPE = {"comfy_doctor_result", "command", "status", "exit_code", "data", "messages", "errors"}

Fails = Callable[[BaseException | Report], typer.Typer]


@pytest.fixture
def app_that() -> Fails:
    def make(outcome: BaseException | Report) -> typer.Typer:
        app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
        app.callback()(program_options)

        @verb(app, Common, render, "act")
        def act(
            common: Common,
            word: Annotated[str, typer.Argument()] = "",
            number: Annotated[int, typer.Option(min=1, max=9)] = 1,
        ) -> Report:
            """Act."""
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        group = typer.Typer(no_args_is_help=True)
        app.add_typer(group, name="group")

        @verb(group, Common, render, "list")
        def list_all(common: Common) -> Report:
            """List."""
            if str(common.home) == "/fails":
                raise BadRequest(Code.BAD_URL, "no")
            return Report("another word", data={"home": str(common.home)})

        return app

    return make


def render(report: Report, _common: Common) -> None:
    complain(report)
    for message in report.messages:
        sys.stdout.write(f"{message}\n")


FINE = Report("act", data={"b": 1, "a": {"d": 2, "c": 3}}, messages=("done",))


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    told = capsys.readouterr()
    assert told.err == "", "with --json, nothing else"
    assert told.out.isascii()
    assert [char for char in told.out if ord(char) < 32] == ["\n"] * told.out.count("\n"), "no order to a terminal"
    parsed: dict[str, Any] = json.loads(told.out)
    assert parsed.keys() == ENVELOPE
    assert json.dumps(parsed, sort_keys=True, indent=2) + "\n" == told.out, "keys are sorted at every depth"
    assert parsed["comfy_doctor_result"] == 1
    return parsed


def test_what_went_well_is_data_on_stdout(app_that: Fails, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app_that(FINE), "prog", ["act"]) == 0
    assert capsys.readouterr() == ("done\n", "")
    assert run(app_that(FINE), "prog", ["act", "--json"]) == 0
    told = document(capsys)
    assert (told["status"], told["command"], told["data"]["a"], told["messages"]) == (
        *("success", "act", {"c": 3, "d": 2}, ["done"]),
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--json", "act"],
        ["act", "--json", "--nonsense"],
        ["act", "--number", "10", "--json"],
        ["act", "--number", "many", "--json"],
        ["act", "--json", "one", "two"],
        ["nothing-like-it", "--json"],
        ["group", "nothing-like-it", "--json"],
        ["group", "--json"],
        ["act", "--json", "--home"],
        ["--json"],
        ["act", "--json", "--number"],
        ["\udcff\x1b", "--json"],
    ],
)
def test_g1_wrong_usage_is_one_document_and_exit_2(
    app_that: Fails, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app_that(FINE), "prog", words) == 2
    told = document(capsys)
    assert (told["status"], told["exit_code"]) == ("error", 2)
    (error,) = told["errors"]
    assert error["code"] == "usage"
    assert "--help" in error["hint"]


def test_wrong_usage_without_json_is_two_lines_on_stderr(app_that: Fails, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app_that(FINE), "prog", ["act", f"--{HOSTILE}"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 2
    assert "\x1b" not in told.err
    assert "\u202e" not in told.err


EVERY_CLASS = [
    (Refused(Code.UNSAFE_NAME, "no"), 5),
    (BadRequest(Code.BAD_URL, "no"), 2),
    (BadRequest(Code.BAD_SETTING, "no"), 2),
    (TryLater(Code.DATABASE_BUSY, "no"), 3),
    (TryLater(Code.DISK_FULL, "no"), 3),
    (GiveUp(Code.DATABASE_UNUSABLE, "no"), 3),
    (GiveUp(Code.PERMISSION, "no"), 3),
    (GiveUp(Code.STORAGE, "no"), 3),
    (TryLater(Code.QUEUE_BUSY, "no"), 3),
    (GiveUp(Code.NOT_FOUND, "no"), 1),
    (TryLater(Code.NO_CONNECTION, "no"), 1),
]


@pytest.mark.parametrize(("trouble", "code"), EVERY_CLASS, ids=lambda value: str(getattr(value, "code", value)))
@pytest.mark.parametrize("as_json", [True, False])
def test_every_trouble_has_its_exit_code_and_its_next_step(
    app_that: Fails, trouble: Trouble, code: int, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app_that(trouble), "prog", ["act", *(["--json"] if as_json else [])]) == code
    if as_json:
        told = document(capsys)
        assert told["exit_code"] == code
        assert told["errors"] == [{"code": trouble.code, "message": "no", "hint": NEXT_STEP[Code(trouble.code)]}]
    else:
        told_people = capsys.readouterr()
        assert told_people.out == ""
        assert told_people.err == f"error: no\n  next: {NEXT_STEP[Code(trouble.code)]}  [{trouble.code}]\n"


@pytest.mark.parametrize("error", [RuntimeError(HOSTILE), KeyError("x"), AssertionError(), OSError(28, "full")])
def test_g1_a_fault_of_ours_is_told_without_a_traceback(
    app_that: Fails, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app_that(error), "prog", ["act", "--json"]) == 1
    assert document(capsys)["errors"][0]["code"] == "internal"
    assert run(app_that(error), "prog", ["act"]) == 1
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    assert "\x1b" not in told.err
    assert type(error).__name__ in told.err
    assert run(app_that(error), "prog", ["act", "--verbose"]) == 1
    assert "Traceback" in capsys.readouterr().err, "unless it is asked for"


@pytest.mark.parametrize(
    "words", [f"GET https://user:{SECRET}@h/x?token={SECRET} with Bearer {SECRET}", *canaries.TOKENS.values()]
)
def test_t22_a_fault_of_ours_tells_no_secret(app_that: Fails, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    leak = RuntimeError(words)
    for spoken in (["act", "--json"], ["act", "--verbose"], ["act"]):
        run(app_that(leak), "prog", spoken)
        told = capsys.readouterr()
        assert canaries.WORD not in told.out + told.err


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), typer.Abort()])
def test_an_interrupted_command_ends_with_130(
    app_that: Fails, interrupt: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app_that(interrupt), "prog", ["act", "--json"]) == 130
    assert document(capsys)["exit_code"] == 130


@pytest.mark.parametrize("code", ExitCode)
def test_the_exit_code_of_a_report_is_the_programs(
    app_that: Fails, code: ExitCode, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app_that(Report("act", code)), "prog", ["act", "--json"]) == code
    assert document(capsys)["status"] == ("partial" if code is ExitCode.PARTLY else "success")


def test_a_name_that_is_not_utf8_can_be_told(app_that: Fails, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app_that(Report("act", data={"path": HOSTILE})), "prog", ["act", "--json"]) == 0
    assert document(capsys)["data"]["path"] == HOSTILE


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_json_can_be_told_in_every_locale(app_that: Fails, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors="strict"))
    assert run(app_that(Report("act", data={"path": "水墨\udcff"})), "prog", ["act", "--json"]) == 0
    assert json.loads(raw.getvalue())["data"] == {"path": "水墨\udcff"}


def test_a_group_may_mean_one_of_its_commands(app_that: Fails, capsys: pytest.CaptureFixture[str]) -> None:
    defaults = {"group": "list"}
    assert run(app_that(FINE), "prog", ["group", "--json", "--home", "/h"], defaults=defaults) == 0
    assert document(capsys)["data"] == {"home": "/h"}
    assert run(app_that(FINE), "prog", ["group", "--help"], defaults=defaults) == 0
    assert "list" in capsys.readouterr().out
    assert run(app_that(FINE), "prog", ["group", "nonsense", "--json"], defaults=defaults) == 2


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["act"], "act"),
        (["act", "--nonsense"], "act"),
        (["group", "list"], "group list"),
        (["group", "--home", "/h"], "group list"),
        (["group", "list", "--home", "/fails"], "group list"),
        (["group", "list", "--nonsense"], "group list"),
        (["group", "nonsense"], "group"),
        (["--home", "/x", "act"], ""),
    ],
)
def test_a_document_names_the_command_that_was_reached_however_it_ends(
    app_that: Fails, words: list[str], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(app_that(FINE), "prog", [*words, "--json"], defaults={"group": "list"})
    assert document(capsys)["command"] == command


@pytest.mark.parametrize("outcome", [KeyboardInterrupt(), RuntimeError(), GiveUp(Code.STORAGE, "no")])
def test_a_command_that_breaks_is_named(
    app_that: Fails, outcome: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    run(app_that(outcome), "prog", ["act", "--json"])
    assert document(capsys)["command"] == "act"


def test_a_program_tells_its_version(app_that: Fails, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app_that(FINE), "prog", ["--version"]) == 0
    assert capsys.readouterr().out.startswith("prog ")


@pytest.mark.parametrize("words", [["--help"], ["act", "--help"], ["group", "--help"]])
def test_help_is_help(app_that: Fails, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app_that(FINE), "prog", words) == 0
    assert "Usage" in capsys.readouterr().out


def test_every_code_has_a_next_step_and_every_trouble_carries_it() -> None:
    assert NEXT_STEP.keys() == set(Code)
    for code in Code:
        trouble = GiveUp(code, "what happened")
        assert str(trouble) == f"what happened; {NEXT_STEP[code]}"
        assert report_of("x", trouble).errors == (Complaint(code, "what happened", NEXT_STEP[code]),)
        assert report_of("x", trouble).status == "error"
    assert GiveUp(Code.AUTH, "x", hint="better").hint == "better"


def test_refusals_and_bad_requests_keep_their_exit_code_whatever_the_code() -> None:
    for code in Code:
        assert Refused(code, "x").exit_code is ExitCode.REFUSED
        assert BadRequest(code, "x").exit_code is ExitCode.USAGE


@pytest.mark.skipif(os.name != "posix", reason="there is no umask here")
def test_our_own_files_are_private_and_models_are_not(tmp_path: Path) -> None:
    former = os.umask(0o022)
    try:
        assert private_umask() == 0o022
        (tmp_path / "ours").touch()
        assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == 0o600
    finally:
        os.umask(former)
