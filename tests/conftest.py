"""What holds for every test: examples are never judged by the clock, a failure prints what reproduces it, and no secret
is left behind (`canary_watch`)."""

from __future__ import annotations

import gc

import pytest
from hypothesis import settings

from tests import canaries
from tests.canary_watch import CanaryWatch

settings.register_profile("house", deadline=None, max_examples=50, print_blob=True)
settings.load_profile("house")


def pytest_configure(config: pytest.Config) -> None:
    watch, patch = CanaryWatch(), pytest.MonkeyPatch()
    watch.begin(patch)
    config.add_cleanup(patch.undo)
    config.pluginmanager.register(watch, "canary-watch")


@pytest.fixture
def no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a test about having none."""
    for variable in canaries.TOKENS:
        monkeypatch.delenv(variable)


def pytest_collection_finish() -> None:
    """What the collection made stays to the end: looking through it again at every full sweep costs seconds."""
    gc.collect()
    gc.freeze()
