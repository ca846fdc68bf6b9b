"""Which picture belongs to which command, and where it is shown."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType

from rich.console import Console, RenderableType
from rich.text import Text

from comfy_doctor.render.diagnoses import diagnosis
from comfy_doctor.render.jobs import listed, shown
from comfy_doctor.render.plans import plan
from download_worker.command_line import complain
from download_worker.report import Report
from download_worker.text import safe_text

Picture = Callable[[Report], RenderableType | None]

_PICTURES: Mapping[str, Picture] = MappingProxyType(
    {"diagnose": diagnosis, "plan": plan, "apply": listed, "jobs list": listed, "jobs show": shown}
)


def show(report: Report, *, quiet: bool, color: bool) -> None:
    console = Console(file=sys.stdout, no_color=not color, highlight=False, soft_wrap=False)
    draw = _PICTURES.get(report.command)
    if "text" in report.data:  # what was asked for in a form of its own, as it is
        sys.stdout.write(report.data["text"])
    elif draw is not None and not quiet and report.data:
        picture = draw(report)
        if picture is not None:
            console.print(picture, soft_wrap=report.command in ("diagnose", "plan"))
    if not quiet:
        for message in report.messages:
            console.print(Text(safe_text(message)), soft_wrap=True)
    complain(report)
