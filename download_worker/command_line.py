"""The manners of every command of both programs, in one place: common options, the JSON envelope, exit codes.

stdout is data, stderr is narration. A verb is a function that takes its own options and `Common`, and returns a Report;
`verb` makes a typer command of it. Nothing here imports a room: `--help` must not wait for any.
"""

from __future__ import annotations

import atexit
import functools
import gc
import inspect
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, get_type_hints

import typer

from download_worker.errors import NEXT_STEP, Code, Trouble
from download_worker.report import Complaint, ExitCode, Report, report_of
from download_worker.text import Redactor, safe_text

ALLOCATIONS_PER_COLLECTION = 200_000
"""By the garbage collector. A start makes 100,000 to 150,000 objects that all stay; a look through them is 30 ms."""
_TOKENS = ("HF_TOKEN", "CIVITAI_API_TOKEN", "OPENAI_API_KEY")
"""What a fault may name before, or without, settings that were read: not each of them looks like a token."""


@dataclass(frozen=True)
class Common:
    """What every command understands."""

    home: Annotated[
        Path | None,
        typer.Option(
            help="Holds comfy_doctor.toml, state/ and staging/.", envvar="COMFY_DOCTOR_HOME", show_default=False
        ),
    ] = None
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No narration.")] = False
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="More narration.")] = False
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.", envvar="NO_COLOR")] = False


@dataclass
class _Reached:
    """The path of the command that was reached, as `jobs list`: known while it runs, wanted when it has failed."""

    command: str = ""


def _path(context: typer.Context) -> str:
    return context.command_path.removeprefix(context.find_root().command_path).strip()


def _tell_version(context: typer.Context, wanted: bool) -> None:
    if not wanted:
        return
    import importlib.metadata  # noqa: PLC0415 - and with it zip files and e-mail: a tenth of what `--help` takes

    try:
        version = importlib.metadata.version("comfy-doctor")
    except importlib.metadata.PackageNotFoundError:
        version = "from a folder of sources, not installed"
    sys.stdout.write(f"{context.command_path} {version}\n")
    raise typer.Exit


def program_options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """The options of a program before its command, for `app.callback()`."""


KEYWORD = inspect.Parameter.KEYWORD_ONLY
Render = Callable[[Report, Common], None]


def verb(app: typer.Typer, common: type[Common], render: Render, name: str | None = None) -> Callable[[Any], Any]:
    """Register a function as a command: it also gets the common options, its Report is shown and ends the program."""

    def register(function: Callable[..., Report]) -> Callable[..., Report]:
        hints = get_type_hints(function, include_extras=True)
        shared = get_type_hints(common, include_extras=True)
        defaults = {field.name: field.default for field in fields(common)}

        @functools.wraps(function)
        def command(context: typer.Context, **options: Any) -> None:
            reached = context.ensure_object(_Reached)
            reached.command = _path(context)
            manners = common(**{key: options.pop(key) for key in shared})
            try:
                report = function(common=manners, **options)
            except KeyboardInterrupt as error:
                raise typer.Abort from error  # typer would end with 130 and not a word
            finish(replace(report, command=reached.command), manners, render)

        own = [p for p in inspect.signature(function).parameters.values() if p.name != "common"]
        parameters = [p.replace(annotation=hints[p.name], kind=p.KEYWORD_ONLY) for p in own]
        parameters += [inspect.Parameter(k, KEYWORD, default=defaults[k], annotation=shared[k]) for k in shared]
        parameters.append(inspect.Parameter("context", KEYWORD, annotation=typer.Context))
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        told = hints | shared | {"context": typer.Context}
        command.__annotations__ = {key: hint for key, hint in told.items() if key not in ("common", "return")}
        del command.__wrapped__  # else its signature would count, not ours
        app.command(name, no_args_is_help=False)(command)
        return function

    return register


def finish(report: Report, common: Common, render: Render) -> None:
    if common.json:
        print_json(report)
    else:
        render(report, common)
    raise typer.Exit(int(report.exit_code))


def print_json(report: Report) -> None:
    # ASCII: no terminal finds an order in it, no locale lacks a letter, and a name that is not UTF-8 can be told.
    json.dump(report.envelope(), sys.stdout, sort_keys=True, ensure_ascii=True, indent=2)
    sys.stdout.write("\n")
    sys.stdout.flush()


def complain(report: Report) -> None:
    """Errors for people, on stderr: what happened, and the next step."""
    for error in report.errors:
        sys.stderr.write(f"error: {safe_text(error.message)}\n  next: {safe_text(error.hint)}  [{error.code}]\n")


def run(
    app: typer.Typer,
    program: str,
    arguments: Sequence[str] | None = None,
    *,
    defaults: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Run the program and return its exit code. Every way to fail ends in a Report, also before the command begins.

    `defaults` names the command that a group of commands means when none is given.
    """
    gc.set_threshold(ALLOCATIONS_PER_COLLECTION)
    atexit.register(gc.freeze)  # else Python goes through all that was loaded several times more before it ends: 60 ms
    words = _completed(list(sys.argv[1:] if arguments is None else arguments), defaults)
    as_json = "--json" in words
    reached = _Reached()
    try:
        code = app(words, prog_name=program, standalone_mode=False, obj=reached)
        return int(code or 0)
    except typer.TyperException as error:
        report = _usage(error, program)
    except Trouble as trouble:
        report = report_of(reached.command, trouble)
    except (KeyboardInterrupt, typer.Abort):
        complaint = Complaint("interrupted", "interrupted", "nothing is lost: run the same command to go on")
        report = Report(reached.command, ExitCode.INTERRUPTED, errors=(complaint,))
    except BrokenPipeError:
        # The reader of our output has gone, as in `| head`: there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + getattr(signal, "SIGPIPE", 13)
    except Exception as error:  # noqa: BLE001 - a person never sees a traceback unless they ask for it
        redact = Redactor(os.environ.get(name, "") for name in _TOKENS)
        if "--verbose" in words or "-v" in words:
            trace = redact(traceback.format_exc())
            sys.stderr.writelines(f"{safe_text(line)}\n" for line in trace.splitlines())
        message = redact(f"{type(error).__name__}: {error}")
        hint = f"{NEXT_STEP[Code.INTERNAL]}; --verbose shows where it happened"
        report = Report(reached.command, ExitCode.FINDINGS, errors=(Complaint(Code.INTERNAL, message, hint),))
    if as_json:
        print_json(report)
    else:
        complain(report)
    return int(report.exit_code)


def _completed(words: list[str], defaults: Mapping[str, str]) -> list[str]:
    group, *rest = words or [""]
    bare = not rest or (rest[0].startswith("-") and "--help" not in rest)
    return [group, defaults[group], *rest] if group in defaults and bare else words


def _usage(error: typer.TyperException, program: str) -> Report:
    message = error.format_message() or "a command is missing"
    context = getattr(error, "ctx", None)  # of the command that was reached: `config --help` helps nobody without one
    asked = program if context is None else context.command_path
    complaint = Complaint("usage", message, f"see `{asked} --help`")
    return Report("" if context is None else _path(context), ExitCode.USAGE, errors=(complaint,))


_PRIVATE_UMASK = 0o077


def private_umask() -> int:
    """From here on our own files are for our own user only. Returns the former mask, which models are placed with."""
    return os.umask(_PRIVATE_UMASK)
