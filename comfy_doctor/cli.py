"""`comfy-doctor`: commands carry options to verbs and show what they answer; they decide nothing."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comfy_doctor import wiring
from comfy_doctor.choices import Form, Which, YesNo
from download_worker.command_line import Common, private_umask, program_options, run, verb
from download_worker.report import Report

if TYPE_CHECKING:
    from comfy_doctor.render import Narrator
    from comfy_doctor.wiring import Desk

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Finds what a ComfyUI workflow lacks, fetches it, proves it, and puts it in place.",
    epilog="Begin with: comfy-doctor demo, or comfy-doctor diagnose workflow.json",
)
jobs_app = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode=None, help="The jobs of the download worker."
)
app.callback()(program_options)
app.add_typer(jobs_app, name="jobs")


@dataclass(frozen=True)
class Manners(Common):
    """The common options of the doctor: the worker's, and which ComfyUI is meant."""

    comfyui: Annotated[
        Path | None, typer.Option(help="The ComfyUI install.", envvar="COMFYUI_PATH", show_default=False)
    ] = None
    server: Annotated[
        str | None,
        typer.Option(help="A running ComfyUI, used if it answers.", envvar="COMFYUI_URL", show_default=False),
    ] = None
    extra_paths: Annotated[
        Path | None, typer.Option(help="An extra_model_paths.yaml beside the install's own.", show_default=False)
    ] = None
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask nobody for sources; kept answers must do.", show_default=False)
    ] = False


Paths = Annotated[
    list[str] | None,
    typer.Argument(metavar="FILE", help="Workflows, folders of them, manifests, or URLs.", show_default=False),
]
Models = Annotated[
    Which, typer.Option(help="all: also what is optional or muted; required: what active nodes need; skip: none.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Rewrite = Annotated[
    bool, typer.Option("--rewrite", help="Teach workflows the names that their models have here; keeps a backup.")
]
AnyJob = Annotated[str, typer.Argument(metavar="ID", help="A job id, or its beginning.", show_default=False)]
MaybeJob = Annotated[str | None, typer.Argument(metavar="[ID]", help="One job; else all.", show_default=False)]
Failed = Annotated[bool, typer.Option("--failed", help="Every failed job.")]


def main() -> int:
    return run(app, "comfy-doctor", defaults={"jobs": "list"})


def _render(report: Report, common: Common) -> None:
    wiring.show(report, quiet=common.quiet, color=not common.no_color)


def _desk(common: Manners) -> Desk:
    named = (common.comfyui, common.server, common.extra_paths)
    here = wiring.desk(common.home, *named, offline=common.offline)
    wiring.set_up_logs(here, verbose=common.verbose)
    return here


def _narrator(common: Manners, *, yes: bool) -> Narrator:
    ask = not (yes or common.json) and sys.stdin.isatty()
    return wiring.narrator(quiet=common.quiet or common.json, color=not common.no_color, ask=ask, agreed=yes)


@verb(app, Manners, _render, "fix")
def fix(
    common: Manners, paths: Paths = None, models: Models = "required", rewrite: Rewrite = False, yes: Yes = False
) -> Report:
    """Diagnose, fetch, prove, place: the whole cure.

    Example: comfy-doctor fix workflow.json --comfyui ~/ComfyUI
    """
    umask = private_umask()
    return wiring.fix(_desk(common), paths or [], _narrator(common, yes=yes), umask, models, rewrites=rewrite)


@verb(app, Manners, _render, "diagnose")
def diagnose(
    common: Manners,
    paths: Paths = None,
    watch: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Diagnose each workflow that appears there.", show_default=False)
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="With --watch: also fetch what each of them lacks.")] = False,
) -> Report:
    """What these workflows need and what is missing.

    Example: comfy-doctor diagnose ~/workflows --json
    """
    if watch is None:
        if apply:
            raise typer.BadParameter("--apply goes with --watch; otherwise use `comfy-doctor fix`")
        return wiring.diagnose(_desk(common), paths or [])
    if paths:
        raise typer.BadParameter("--watch names the one folder that is watched")
    private_umask()
    shown = wiring.reporter(as_json=common.json, quiet=common.quiet, color=not common.no_color)
    tell = wiring.narrator(quiet=common.quiet, color=not common.no_color, ask=False, agreed=apply).say
    return wiring.watch(_desk(common), watch, shown, tell, apply=apply)


@verb(app, Manners, _render, "plan")
def plan(
    common: Manners,
    paths: Paths = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write it to this file, for `apply`.", show_default=False)
    ] = None,
    models: Models = "required",
    nodes: Annotated[YesNo, typer.Option(help="Whether missing node packs are items of it.")] = "yes",
    form: Annotated[
        Form, typer.Option("--as", help="urls or aria2: print that instead, for your own downloader.")
    ] = "plan",
) -> Report:
    """What would be fetched from where, what it costs, and what cannot be had.

    Example: comfy-doctor plan workflow.json -o plan.json
    """
    tell = _narrator(common, yes=False).say
    return wiring.plan(_desk(common), paths or [], models, output, nodes=nodes == "yes", form=form, tell=tell)


@verb(app, Manners, _render, "apply")
def apply(
    common: Manners,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A plan that `plan -o` wrote.", show_default=False)],
    yes: Yes = False,
) -> Report:
    """Carry out a plan: hand in its downloads, make its links. A second time changes nothing.

    Example: comfy-doctor apply plan.json
    """
    private_umask()
    return wiring.apply(_desk(common), file, _narrator(common, yes=yes))


@verb(app, Manners, _render, "lock")
def lock(
    common: Manners,
    paths: Paths = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write, *.lock.json.")] = Path(
        "workflow.lock.json"
    ),
) -> Report:
    """Write down the exact models and packs that workflows use here.

    Example: comfy-doctor lock workflow.json -o workflow.lock.json
    """
    return wiring.lock(_desk(common), paths or [], output)


@verb(app, Manners, _render, "import")
def import_(
    common: Manners,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A lock file, or a .cec/pyproject.toml.", show_default=False)
    ],
    models: Models = "required",
    yes: Yes = False,
) -> Report:
    """Restore the models that a lock file or a manifest names.

    Example: comfy-doctor import workflow.lock.json
    """
    umask = private_umask()
    return wiring.restore(_desk(common), file, _narrator(common, yes=yes), umask, models)


@verb(app, Manners, _render, "enqueue")
def enqueue(
    common: Manners,
    url: Annotated[str, typer.Argument(help="Where the file is.", show_default=False)],
    model_type: Annotated[str, typer.Option("--type", help="Its model folder, for example loras.", show_default=False)],
    filename: Annotated[str | None, typer.Option(help="Its name there; else the URL's.", show_default=False)] = None,
    subfolder: Annotated[str, typer.Option(help="Below the model folder.", show_default=False)] = "",
    sha256: Annotated[str | None, typer.Option(help="The digest it must have.", show_default=False)] = None,
    size: Annotated[int | None, typer.Option(help="Its size in bytes.", show_default=False)] = None,
    mirror: Annotated[list[str] | None, typer.Option(help="Another source of it.", show_default=False)] = None,
    source: Annotated[str, typer.Option(help="Who proposed this URL.")] = "manual",
    priority: Annotated[int, typer.Option(help="Higher goes first.")] = 0,
) -> Report:
    """Hand in one file to be fetched, proven and placed.

    Example: comfy-doctor enqueue https://host/x.safetensors --type loras
    """
    private_umask()
    request = {
        "model_type": model_type,
        "download_url": url,
        "source": source,
        "sha256": sha256,
        "size": size,
        "subfolder": subfolder,
        "mirrors": tuple(mirror or ()),
    }
    return wiring.enqueue(_desk(common), filename, request, priority)


@verb(app, Manners, _render, "dashboard")
def dashboard(common: Manners) -> Report:
    """Every job live, with retry, cancel and pause.

    Example: comfy-doctor dashboard
    """
    private_umask()
    return wiring.dashboard(_desk(common), as_json=common.json)


@verb(app, Manners, _render, "demo")
def demo(common: Manners) -> Report:
    """The whole story on a stand-in host, in a minute.

    Example: comfy-doctor demo
    """
    umask = private_umask()
    narrator = wiring.narrator(quiet=common.quiet or common.json, color=not common.no_color, ask=False, agreed=True)
    return wiring.demo(narrator, umask)


@verb(jobs_app, Manners, _render, "list")
def list_jobs(
    common: Manners,
    status: Annotated[
        list[str] | None, typer.Option(help="Only this status; repeat for more.", show_default=False)
    ] = None,
    search: Annotated[str, typer.Option(help="In file name, folder or host.", show_default=False)] = "",
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=100_000)] = 200,
) -> Report:
    """Running, waiting and ended jobs, in this order.

    Example: comfy-doctor jobs --status FAILED
    """
    return wiring.list_jobs(_desk(common), status or [], search, limit)


@verb(jobs_app, Manners, _render, "show")
def show_job(common: Manners, job_id: AnyJob) -> Report:
    """One job with its history, evidence and verdict.

    Example: comfy-doctor jobs show 1f3a
    """
    return wiring.change_jobs(_desk(common), "show", job_id)


@verb(jobs_app, Manners, _render, "retry")
def retry(common: Manners, job_id: MaybeJob = None, failed: Failed = False) -> Report:
    """Try failed jobs again, from the bytes on disk.

    Example: comfy-doctor jobs retry --failed
    """
    if (job_id is None) != failed:
        raise typer.BadParameter("name one job, or all failed ones with --failed")
    return wiring.change_jobs(_desk(common), "retry", job_id)


@verb(jobs_app, Manners, _render, "cancel")
def cancel(common: Manners, job_id: AnyJob) -> Report:
    """Stop a job and remove what it has fetched so far.

    Example: comfy-doctor jobs cancel 1f3a
    """
    return wiring.change_jobs(_desk(common), "cancel", job_id)


@verb(jobs_app, Manners, _render, "pause")
def pause(common: Manners, job_id: MaybeJob = None) -> Report:
    """Hold one job, or without an ID the whole queue. What was fetched stays.

    Example: comfy-doctor jobs pause
    """
    return wiring.change_jobs(_desk(common), "pause", job_id)


@verb(jobs_app, Manners, _render, "resume")
def resume(common: Manners, job_id: MaybeJob = None) -> Report:
    """Let one job, or without an ID the whole queue, go on.

    Example: comfy-doctor jobs resume
    """
    return wiring.change_jobs(_desk(common), "resume", job_id)


@verb(jobs_app, Manners, _render, "priority")
def priority(
    common: Manners,
    job_id: AnyJob,
    number: Annotated[
        int,
        typer.Argument(
            metavar="N", help="Higher goes first; 0 is usual; write `-- ID -5` for less.", show_default=False
        ),
    ],
) -> Report:
    """Move a waiting job forward or back.

    Example: comfy-doctor jobs priority 1f3a 10
    """
    return wiring.prioritise(_desk(common), job_id, number)


@verb(jobs_app, Manners, _render, "prune")
def prune(
    common: Manners,
    days: Annotated[float, typer.Option(help="Only jobs that ended longer ago than this.", min=0)] = 30,
) -> Report:
    """Forget jobs that ended some time ago. Their files stay.

    Example: comfy-doctor jobs prune --days 7
    """
    return wiring.prune(_desk(common), days)
