"""Show 6: what may be fetched unasked is right, what is shown holds the right one, and confidence means what it says.

A small share of `python -m tests.bench.resolution`, which prints all scenes.
"""

from __future__ import annotations

from functools import cache

import pytest

from comfy_doctor.resolvers.resolver import AUTOMATIC
from tests.bench.resolution import Measured, measured
from tests.bench.resolution_world import Scene, Truth, civitai_world, truths_of_templates, world

pytest.importorskip("comfyui_workflow_templates_json", reason="the official templates are not installed")
pytestmark = pytest.mark.slow

SEED, EVERY, BACKGROUND = 11, 3, 600


@cache
def some_truths() -> list[Truth]:
    return truths_of_templates()[::EVERY]


def result(scene: Scene) -> Measured:
    return measured(world(some_truths(), SEED, scene, BACKGROUND))


def test_what_is_picked_by_name_is_right_and_most_is_picked() -> None:
    found = result("as they are")
    assert len(found.outcomes) > 100
    assert found.precision >= 0.99, [outcome.resolution.choice for outcome in found.wrong]
    assert found.recall + found.locked >= 0.75
    assert found.recall_at_candidates >= 0.95
    assert found.calibration_error <= 0.08
    assert found.requests / len(found.outcomes) <= 8


@pytest.mark.parametrize("scene", ["strangers", "gone"])
def test_where_nobody_is_known_nothing_is_picked_and_most_is_shown(scene: Scene) -> None:
    """Every name is on other bytes too, and some of them rank first or are all that is left."""
    found = result(scene)
    assert found.picks == 0
    assert found.recall_at_candidates >= 0.5
    assert all(candidate.confidence < AUTOMATIC for o in found.outcomes for candidate in o.resolution.candidates)


def test_models_of_civitai_are_shown_and_never_picked_by_name() -> None:
    found = measured(civitai_world(SEED, count=40, background=BACKGROUND))
    assert not found.wrong
    assert found.recall_at_candidates >= 0.9


def test_a_world_is_the_same_for_the_same_seed_and_holds_its_mistakes() -> None:
    one, same, other = (world(some_truths(), seed, background=50) for seed in (1, 1, 2))
    assert one == same != other
    beside = {w.name: w.right for w in one.wanted}
    wrong = {
        name
        for repository in one.repositories
        for file in repository.files
        if (name := file.path.rpartition("/")[2]) in beside and file.sha256 not in beside[name]
    }
    assert len(wrong) > len(one.wanted) / 4
