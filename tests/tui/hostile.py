"""Names that try to do something to a terminal, to Textual's markup, or to a column."""

from __future__ import annotations

from download_worker.jobs.job import Event, Job, Result, Status
from tests.tui.samples import ago, sample

HOSTILE_NAMES = (
    "[red]x[/].safetensors",
    "[@click=app.quit]click me[/].safetensors",
    "[unclosed [[ ]] [/bold] [/].safetensors",
    "esc\x1b[2J\x1b]0;owned\x07.safetensors",
    "osc52\x1b]52;c;cm0gLXJm\x07.safetensors",
    "c1\x9b31mred\x85.safetensors",
    "bidi\u202egnp.srosnetefas",
    "new\nline\r\u2028para.safetensors",
    "zero\u200bwidth\u2066x\u2069.safetensors",
    "絵画風の背景モデル高解像度版第二版改訂版.safetensors",
    "🦄✨🇩🇪👍🏽☁️ magic 👨‍👩‍👧.safetensors",
    "z" + "\u0301" * 120 + "algo.safetensors",
    "very_long_" + "x" * 178 + ".safetensors",
    "{braces} $variable %s \\[escaped].safetensors",
)


def hostile_jobs() -> list[Job]:
    """Each name as a failed job that carries it in every field which the outside can fill."""
    return [
        sample(
            100 + number,
            name,
            "loras",
            "evil.example",
            Status.FAILED,
            source=name,
            history=(Event(timestamp=ago(100), event=f"Failed: {name}"), Event(timestamp=ago(9), event=name)),
            result=Result(code="html", reason=f"the server said {name}"),
        )
        for number, name in enumerate(HOSTILE_NAMES)
    ]
