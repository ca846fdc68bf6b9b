"""What holds for every test: examples are never judged by the clock, and a failure prints what reproduces it."""

from __future__ import annotations

import gc

from hypothesis import settings

settings.register_profile("house", deadline=None, max_examples=50, print_blob=True)
settings.load_profile("house")


def pytest_collection_finish() -> None:
    """What the collection made stays to the end: looking through it again at every full sweep costs seconds."""
    gc.collect()
    gc.freeze()
