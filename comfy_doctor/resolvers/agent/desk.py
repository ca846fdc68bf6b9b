"""The desk between a model and the searches: what it is shown of one search, and which addresses are therefore real.

Everything shown is bounded, escaped, freed of secrets and of invisible signs. An address is real when it is the own
address of a result that was shown; what stands in a title, a name or a text is only text.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from loguru import logger

from comfy_doctor.resolvers.agent.actions import Call, Tool
from comfy_doctor.resolvers.agent.searches import Hit, Searches
from comfy_doctor.resolvers.likeness import nearest
from comfy_doctor.resolvers.resolver import Quest
from comfy_doctor.sites import place_of
from download_worker.errors import Code, Trouble
from download_worker.leash import Leash
from download_worker.text import public_url, safe_text

MAX_SHOWN = 12
MAX_SHOWN_OF_ONE_PAGE = 4
"""One repository with fifty quants must not hide the others; a listing shows more of it."""
MAX_RESULT_CHARS = 6_000
MAX_SHOWN_URL_CHARS = 500
_MAX_ABOUT_CHARS = 240
_MAX_FACT_CHARS = 160
_MAX_FACTS = 6

Facts = dict[str, Any]


def wanted_facts(quest: Quest, redact: Callable[[str], str]) -> Facts:
    """What a model is told of a need: nothing of this machine, no folder of the user's own, no source."""
    need = quest.need

    def shown(text: str) -> str:
        return safe_text(redact(text), max_chars=_MAX_FACT_CHARS)

    nodes = sorted({use.node_type for use in need.uses})[:_MAX_FACTS]
    return {
        "file": shown(need.filename.rpartition("\\")[2]),
        "folder": None if need.folder is None else shown(need.folder),
        "loaded_by": [shown(node) for node in nodes],
        "families": [shown(family) for family in sorted(quest.families)[:_MAX_FACTS]],
    }


class Desk:
    """One need's searches. `troubles`: hosts that could not be asked; `looked` counts the searches that were made."""

    def __init__(self, filename: str, searches: Searches, redact: Callable[[str], str]) -> None:
        self._filename = filename
        self._searches = searches
        self._redact = redact
        self._real: dict[tuple[str, ...], Hit] = {}
        self._asked: set[Call] = set()
        self.looked = 0
        self.troubles: list[str] = []

    @property
    def tools(self) -> frozenset[Tool]:
        return frozenset(Tool) if self._searches.has_web else frozenset(Tool) - {Tool.WEB_SEARCH}

    @property
    def hits(self) -> tuple[Hit, ...]:
        """Every file that was shown, each place once."""
        return tuple(self._real.values())

    def hit(self, url: str) -> Hit | None:
        """The result at the address that the model named; None for an address that no search returned."""
        return self._real.get(place_of(url))

    def use(self, call: Call, leash: Leash) -> Facts:
        """Make the search, and say what of it the model may see. Raises Interrupted."""
        if call in self._asked:
            return {"error": "this search was made already; its results stand above"}
        self._asked.add(call)
        try:
            hits = self._made(call, leash)
        except Trouble as trouble:
            return self._trouble(call, trouble)
        self.looked += 1
        logger.debug("the agent: {} “{}” brings {} results", call.tool, call.query, len(hits))
        return self._shown(call, hits)

    def _made(self, call: Call, leash: Leash) -> tuple[Hit, ...]:
        match call.tool:
            case Tool.SEARCH_HUGGING_FACE:
                return self._searches.search_hugging_face(call.query, leash)
            case Tool.LIST_HUGGING_FACE_REPO:
                return self._searches.list_hugging_face_repo(call.query, leash)
            case Tool.SEARCH_CIVITAI:
                return self._searches.search_civitai(call.query, call.type, leash)
            case Tool.WEB_SEARCH:
                return self._searches.web_search(call.query, leash)

    def _trouble(self, call: Call, trouble: Trouble) -> Facts:
        if trouble.code is Code.NOT_FOUND:
            self.looked += 1
            return {"error": "there is no such thing, or it is not public"}
        self.troubles.append(trouble.message)
        logger.debug("the agent: {} could not be asked: {}", call.tool, trouble.message)
        return {"error": "this search cannot be made now"}

    def _shown(self, call: Call, hits: Sequence[Hit]) -> Facts:
        of_one_page = MAX_SHOWN if call.tool is Tool.LIST_HUGGING_FACE_REPO else MAX_SHOWN_OF_ONE_PAGE
        results: list[Facts] = []
        for hit in chosen(self._filename, hits, of_one_page):
            facts = self._facts(hit)
            if len(json.dumps([*results, facts])) > MAX_RESULT_CHARS:
                break
            results.append(facts)
            self._remember(hit)
        return {"results": results, "not_shown": len(hits) - len(results)}

    def _facts(self, hit: Hit) -> Facts:
        about = {"about": self._safe(hit.text, _MAX_ABOUT_CHARS)}
        if not hit.filename:
            return {"page": public_url(hit.url)} | about
        return {"url": public_url(hit.url), "file": self._safe(hit.filename, 2 * _MAX_FACT_CHARS)} | (
            {"size_bytes": hit.size} | about
        )

    def _safe(self, text: str, max_chars: int) -> str:
        return safe_text(self._redact(text), max_chars=max_chars)

    def _remember(self, hit: Hit) -> None:
        """A listing knows digest and size, which the search that found the repository does not."""
        place = place_of(public_url(hit.url))
        known = self._real.get(place)
        if hit.filename and (known is None or known.sha256 is None):
            self._real[place] = hit


def chosen(filename: str, hits: Sequence[Hit], of_one_page: int) -> list[Hit]:
    """The hits that are shown: those of like names first, then the host's own order; few of any one page."""
    usable = [hit for hit in hits if len(hit.url) <= MAX_SHOWN_URL_CHARS and public_url(hit.url).isprintable()]
    ranks: Mapping[str, int] = {
        near.name: rank for rank, near in enumerate(nearest(filename, [hit.filename for hit in usable], len(usable)))
    }
    taken: Counter[str | None] = Counter()
    found: list[Hit] = []
    for hit in sorted(usable, key=lambda hit: ranks.get(hit.filename, len(ranks))):
        taken[hit.page] += 1
        if taken[hit.page] <= of_one_page:
            found.append(hit)
    return found[:MAX_SHOWN]
