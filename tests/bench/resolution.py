"""Resolution measured: the real resolvers look for models of which the right bytes are known, in a world of mistakes.

`python -m tests.bench.resolution [--seed 7] [--manager model-list.json]` prints a table: for every scene the precision
and recall of what may be fetched unasked (right: the same bytes as the embedded URL's), how often the right file is
among those that are shown, what it costs, and whether `confidence` means what it says. The templates' index is left
out, because it is the truth; agent and probe are off, because a head of made-up bytes tells nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from comfy_doctor.asking import AnswerCache, Asker
from comfy_doctor.needs import Key, Need, Use
from comfy_doctor.resolve import Resolution, resolve
from comfy_doctor.resolvers.civitai import CivitaiPlaces, CivitaiSearch
from comfy_doctor.resolvers.huggingface import HuggingFaceFiles, HuggingFaceSearch
from comfy_doctor.resolvers.manager_list import ManagerList
from comfy_doctor.resolvers.resolver import AUTOMATIC, Resolver
from download_worker.settings import Settings
from download_worker.web.session import Web
from tests.bench.resolution_world import (
    BACKGROUND,
    SCENES,
    Scene,
    Truth,
    Wanted,
    World,
    civitai_world,
    truths_of_manager,
    truths_of_templates,
    world,
)
from tests.hub.civitai import Civitai
from tests.hub.huggingface import HuggingFace

SEED = 7
BINS = (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, AUTOMATIC, 0.93, 0.95, 1.01)
PLENTY = (10**9, 300)
"""Questions in a window: the bench counts them, the stand-in does not stop at the 500 that the real host allows."""


@dataclass(frozen=True, slots=True)
class Outcome:
    wanted: Wanted
    resolution: Resolution

    @property
    def chosen(self) -> bool | None:
        """Whether the automatic choice is right; None where there is none."""
        choice = self.resolution.choice
        return None if choice is None else choice.sha256 in self.wanted.right

    @property
    def shown(self) -> bool:
        return any(candidate.sha256 in self.wanted.right for candidate in self.resolution.candidates)

    @property
    def first(self) -> bool:
        candidates = self.resolution.candidates
        return bool(candidates) and candidates[0].sha256 in self.wanted.right

    @property
    def locked(self) -> bool:
        """Sure and right, but a licence is to be accepted first."""
        sure = (c for c in self.resolution.candidates if c.gated and c.confidence >= AUTOMATIC)
        return self.chosen is None and any(candidate.sha256 in self.wanted.right for candidate in sure)


@dataclass(frozen=True, slots=True)
class Bin:
    """Candidates of about this confidence: how many, how sure on the average, and which share is right."""

    count: int
    confidence: float
    right: float


@dataclass(frozen=True, slots=True)
class Measured:
    """`requests` of all models together."""

    outcomes: tuple[Outcome, ...]
    requests: int
    seconds: float

    @property
    def picks(self) -> int:
        return sum(outcome.chosen is not None for outcome in self.outcomes)

    @property
    def wrong(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.chosen is False]

    @property
    def precision(self) -> float:
        return _share(outcome.chosen for outcome in self.outcomes if outcome.chosen is not None)

    @property
    def findable(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.wanted.right]

    @property
    def recall(self) -> float:
        return _share(outcome.chosen is True for outcome in self.findable)

    @property
    def locked(self) -> float:
        return _share(outcome.locked for outcome in self.findable)

    @property
    def recall_at_candidates(self) -> float:
        return _share(outcome.shown for outcome in self.findable)

    @property
    def recall_at_first(self) -> float:
        return _share(outcome.first for outcome in self.findable)

    def bins(self) -> list[Bin]:
        """Of every candidate that nothing stands in the way of, by its confidence."""
        weighed = [
            (candidate.confidence, candidate.sha256 in outcome.wanted.right)
            for outcome in self.outcomes
            for candidate in outcome.resolution.candidates
            if candidate.obstacle is None
        ]
        held = ([pair for pair in weighed if low <= pair[0] < high] for low, high in pairwise(BINS))
        return [Bin(len(pairs), *(_share(values) for values in zip(*pairs, strict=True))) for pairs in held if pairs]

    @property
    def calibration_error(self) -> float:
        """Expected: the mean distance between confidence and share right, each bin by its count."""
        bins = self.bins()
        total = sum(each.count for each in bins)
        return sum(each.count * abs(each.confidence - each.right) for each in bins) / total if total else 0.0


def measured(place: World, model_list: Path | None = None) -> Measured:
    """Stand the world up on the loopback and look for all that is wanted, as a plan for each workflow does."""
    with (
        tempfile.TemporaryDirectory() as folder,
        HuggingFace(place.repositories) as hub,
        Civitai(place.models) as civitai,
    ):
        hub.window = {"api": PLENTY, "resolvers": PLENTY}
        settings = Settings(home=Path(folder), hf_endpoint=hub.base, civitai_endpoint=civitai.base)
        asker = Asker(Web(settings), AnswerCache(Path(folder) / "answers.db"))
        needs = [_need(wanted) for wanted in place.wanted]
        sources = list(_sources(asker, model_list))
        found: dict[Key, Resolution] = {}
        began = time.perf_counter()
        for together in _by_workflow(needs):
            found |= resolve(together, sources)
        seconds = time.perf_counter() - began
        outcomes = tuple(Outcome(wanted, found[need.key]) for wanted, need in zip(place.wanted, needs, strict=True))
        return Measured(outcomes, len(hub.requests) + len(civitai.requests), seconds)


def _sources(asker: Asker, model_list: Path | None) -> Iterator[Resolver]:
    """Those of `wiring.sources`, in their order, without the templates' index, this disk and the agent."""
    if model_list is not None:
        yield ManagerList(model_list.read_bytes)
    yield HuggingFaceFiles(asker)
    yield CivitaiPlaces(asker)
    yield HuggingFaceSearch(asker)
    yield CivitaiSearch(asker)


def _by_workflow(needs: Sequence[Need]) -> Iterable[list[Need]]:
    """Each model once, with the first workflow that asks for it: that is how many are looked for together."""
    together: dict[str, list[Need]] = defaultdict(list)
    for need in needs:
        together[need.uses[0].workflow].append(need)
    return together.values()


def _need(wanted: Wanted) -> Need:
    uses = tuple(Use(workflow, "1", "Loader", "name", active=True) for workflow in wanted.workflows)
    return Need(wanted.folder, wanted.name, uses)


def _share(values: Iterable[float]) -> float:
    held = list(values)
    return sum(held) / len(held) if held else 1.0


def table(title: str, result: Measured) -> str:
    count = len(result.outcomes)
    lines = [
        f"{title}: {count} models, {len(result.findable)} of them can be found",
        f"  precision {result.precision:.4f} ({result.picks} picked, {len(result.wrong)} wrong)"
        f"   recall {result.recall:.3f}, and {result.locked:.3f} wait for a token"
        f"   right one first {result.recall_at_first:.3f}   among the shown {result.recall_at_candidates:.3f}",
        f"  {result.requests / count:.1f} requests and {result.seconds / count * 1000:.0f} ms a model"
        f" ({result.seconds:.1f} s in all)   calibration error {result.calibration_error:.3f}",
        "  " + "   ".join(f"{each.confidence:.2f}: {each.right:.2f} of {each.count}" for each in result.bins()),
    ]
    for outcome in result.wrong:
        choice = outcome.resolution.choice
        lines.append(f"    wrong: {outcome.wanted.folder}/{outcome.wanted.name} <- {choice.url if choice else ''}")
    return "\n".join(lines)


def scenes(seed: int, model_list: Path | None, background: int) -> Iterator[tuple[str, Callable[[], Measured]]]:
    def look(truths: Sequence[Truth], scene: Scene, beside: Path | None = None) -> Measured:
        return measured(world(truths, seed, scene, background), beside)

    templates = truths_of_templates()
    for scene, words in SCENES.items():
        yield f"templates, {words}", partial(look, templates, scene)
    if model_list is not None:
        yield "templates, with ComfyUI-Manager's list", partial(look, templates, "as they are", model_list)
        listed = truths_of_manager(model_list)
        for scene, words in SCENES.items():
            yield f"ComfyUI-Manager's list, {words}", partial(look, listed, scene)
    yield "made-up models of Civitai", lambda: measured(civitai_world(seed, background=background))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.resolution")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--background", type=int, default=BACKGROUND, help="other repositories")
    parser.add_argument("--manager", type=Path, help="a model-list.json of ComfyUI-Manager")
    parser.add_argument("--only", default="", help="scenes whose title has this text")
    options = parser.parse_args()
    sys.stdout.write(f"seed {options.seed}\n")
    for title, run in scenes(options.seed, options.manager, options.background):
        if options.only in title:
            sys.stdout.write(table(title, run()) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
