"""What would be done for each missing model, and why: pure, nothing is asked and nothing is written.

First depth: the candidates are those that the workflows themselves carry. More sources come behind the same values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from comfy_doctor.diagnose import ModelFinding, State
from comfy_doctor.needs import Candidate
from download_worker.errors import Refused
from download_worker.jobs.places import target_path

Action = Literal["download", "relink", "skip", "ask"]


@dataclass(frozen=True)
class Item:
    """One missing model: what is to be done about it, with what, and why."""

    model: ModelFinding
    action: Action
    why: str
    choice: Candidate | None = None

    def public(self) -> dict[str, Any]:
        return {
            "kind": "model",
            "need": self.model.public(),
            "choice": self.choice.public() if self.choice else None,
            "candidates": [candidate.public() for candidate in self.model.need.candidates],
            "action": self.action,
            "why": self.why,
        }


def make_plan(models: Sequence[ModelFinding]) -> tuple[Item, ...]:
    """One item for every active model that is not in its place; inactive ones are nobody's need."""
    return tuple(_item(model) for model in models if model.need.active and model.state is not State.PRESENT)


def _item(model: ModelFinding) -> Item:
    if model.state is State.ELSEWHERE:
        return Item(model, "relink", f"the file is here as {model.relink}: choose that in the workflow")
    if model.state is State.UNKNOWN:
        return Item(model, "ask", model.reason)
    if model.need.folder is None:
        return Item(model, "ask", "nothing tells which model folder it belongs to")
    best = model.need.best
    if best is None:
        why = "the workflow names no source; enqueue a URL for it with `comfy-doctor enqueue`"
        return Item(model, "ask", why)
    try:
        target_path(Path(), model.need.folder, model.need.subfolder, model.need.filename)
    except Refused as refusal:
        return Item(model, "ask", refusal.message)
    return Item(model, "download", f"{best.source} source in the workflow", best)
