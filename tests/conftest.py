"""What holds for every test: examples are never judged by the clock, and a failure prints what reproduces it."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("house", deadline=None, max_examples=50, print_blob=True)
settings.load_profile("house")
