"""Pictures of the dashboard: `python -m tests.tui.gallery OUT_DIR` writes SVG, and PNG where rsvg-convert is."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

from textual.pilot import Pilot

from comfy_doctor.tui.app import Dashboard
from download_worker.clock import FakeClock
from download_worker.jobs.job import Job
from tests.tui.hostile import hostile_jobs
from tests.tui.samples import NOW, counter_over, evening, ledger_of

SIZES = ((80, 24), (120, 32), (160, 45), (200, 50))
# Name → the jobs, and what is pressed before the picture is taken.
SCENES: dict[str, tuple[list[Job], tuple[str, ...]]] = {
    "evening": (evening(), ()),
    "failed": (evening(), ("end", "up", "up", "up", "up", "up")),
    "read-success": (evening(), ("end", "up", "up", "enter")),
    "cancel": (evening(), ("c",)),
    "help": (evening(), ("question_mark",)),
    "search": (evening(), ("slash", *"flux")),
    "nothing-found": (evening(), ("slash", *"zzz")),
    "empty": ([], ()),
    "paused": (evening(), ("P", "down", "down", "down", "down", "down")),
    "hostile": (hostile_jobs(), ()),
    "told": (evening(), ("R", "y")),
}


async def paint(out: Path, scene: str, size: tuple[int, int]) -> Path:
    jobs, keys = SCENES[scene]
    counter = counter_over(ledger_of(jobs), FakeClock(NOW))
    app = Dashboard(counter, workers=lambda: 0 if scene == "paused" else 1, now=lambda: NOW, refresh_seconds=0.05)
    async with app.run_test(size=size, notifications=True) as pilot:
        await settle(pilot)
        for key in keys:
            await pilot.press(key)
        await settle(pilot)
        path = out / f"{scene}-{size[0]}x{size[1]}.svg"
        # librsvg drops the spaces that a text begins with unless it is told not to.
        svg = app.export_screenshot().replace("<text ", '<text xml:space="preserve" ')
        path.write_text(svg, encoding="utf-8")
        return path


async def settle(pilot: Pilot[None]) -> None:
    await pilot.pause(0.3)


def main(out: Path, only: list[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for scene in only or SCENES:
        for size in SIZES:
            path = asyncio.run(paint(out, scene, size))
            if converter := shutil.which("rsvg-convert"):
                subprocess.run([converter, "-w", str(size[0] * 9), "-o", path.with_suffix(".png"), path], check=True)
            print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
