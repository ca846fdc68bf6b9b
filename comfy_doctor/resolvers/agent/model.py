"""The model that searches: the endpoint of the rubric, held to another answer. Loads openai, which takes a second.

Deadlines, bounds, redirects, the key that goes to its own origin only, and what is done without where an endpoint
refuses a parameter: all that is the rubric's `LanguageModel`.
"""

from __future__ import annotations

from typing import Any

from download_worker.clock import Clock
from download_worker.settings import Settings
from download_worker.verifiers.rubric.model import LanguageModel


class SearchModel(LanguageModel):
    """Not shared between threads: it learns what its endpoint refuses."""

    def __init__(self, settings: Settings, clock: Clock, schema: dict[str, Any]) -> None:
        super().__init__(settings, clock)
        strict = {"name": "action", "strict": True, "schema": schema}
        self._formats = ({"type": "json_schema", "json_schema": strict}, *self._formats[1:])
