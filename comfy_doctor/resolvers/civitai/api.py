"""The questions that Civitai's API takes, each with its bound; answers as records.

Written for civitai.com: the web moves them to the user's endpoint. Sources: FACTS 5 and Civitai's own reference
(developer.civitai.com/site/reference, read 2026).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from comfy_doctor.asking import DAY, Asker
from comfy_doctor.resolvers.civitai.records import Version, sha256_in, version_of, versions_of_model
from download_worker.endpoints import CIVITAI_HOME
from download_worker.errors import Code, GiveUp
from download_worker.leash import Leash

API = f"{CIVITAI_HOME}/api/v1"
MAX_DIGESTS_FOR_VERSIONS = 100
MAX_DIGESTS_FOR_IDS = 10_000
MAX_MODELS_PER_PAGE = 50
"""Civitai takes up to 100; a model brings all its versions and pictures, so that a page is some megabytes already."""


@dataclass(frozen=True, slots=True)
class Api:
    """One look, on one leash. Every question raises what `Asker.json` raises."""

    asker: Asker
    leash: Leash

    def version(self, number: int) -> Version:
        """Raises also GiveUp(lying_server): what came is no version."""
        return _the_version(self._get(f"{API}/model-versions/{number}"), f"version {number}")

    def model(self, number: int) -> tuple[Version, ...]:
        body = self._get(f"{API}/models/{number}")
        if not isinstance(body, dict) or not isinstance(body.get("modelVersions"), list):
            what = f"Civitai answers something else than a model for model {number}"
            raise GiveUp(Code.LYING_SERVER, what, elsewhere=True)
        return versions_of_model(body)

    def by_digest(self, sha256: str) -> Version:
        """A version that holds it; which of its files it is, its digests tell. Raises as `version`."""
        found = self._get(f"{API}/model-versions/by-hash/{sha256}")
        return _the_version(found, f"the SHA-256 {sha256}")

    def by_digests(self, digests: Sequence[str]) -> tuple[Version, ...]:
        """For at most `MAX_DIGESTS_FOR_VERSIONS`; what Civitai does not know is left out."""
        body = self._post(f"{API}/model-versions/by-hash", digests)
        found = (version_of(entry) for entry in _listed(body, 10 * MAX_DIGESTS_FOR_VERSIONS))
        return tuple(version for version in found if version is not None)

    def known_digests(self, digests: Sequence[str]) -> frozenset[str]:
        """Those that Civitai knows, of at most `MAX_DIGESTS_FOR_IDS`."""
        body = self._post(f"{API}/model-versions/by-hash/ids", digests)
        told = (entry.get("hash") for entry in _listed(body, 4 * MAX_DIGESTS_FOR_IDS) if isinstance(entry, dict))
        return frozenset(digest for digest in map(sha256_in, told) if digest is not None)

    def search(self, words: str, types: Sequence[str], cursor: str | None = None) -> tuple[list[Version], str | None]:
        """One page of models whose names match, as their versions; and the cursor of the next page."""
        asked: list[tuple[str, Any]] = [("query", words), ("limit", MAX_MODELS_PER_PAGE), ("nsfw", "true")]
        asked += [("types", each) for each in types] + ([("cursor", cursor)] if cursor else [])
        body = self._get(f"{API}/models?{urlencode(asked, errors='replace')}")
        items = body.get("items") if isinstance(body, dict) else None
        if not isinstance(items, list):
            raise GiveUp(Code.LYING_SERVER, "Civitai answers a search with no list of models", elsewhere=True)
        found = [version for item in items[:MAX_MODELS_PER_PAGE] for version in versions_of_model(item)]
        metadata = body.get("metadata")
        following = metadata.get("nextCursor") if isinstance(metadata, dict) else None
        return found, str(following) if following else None

    def _get(self, url: str) -> Any:
        return self.asker.json(url, max_age_seconds=DAY, leash=self.leash)

    def _post(self, url: str, digests: Sequence[str]) -> Any:
        return self.asker.json(url, body=list(digests), max_age_seconds=DAY, leash=self.leash)


def _the_version(body: Any, asked: str) -> Version:
    found = version_of(body)
    if found is None:
        raise GiveUp(Code.LYING_SERVER, f"Civitai answers something else than a version for {asked}", elsewhere=True)
    return found


def _listed(body: Any, limit: int) -> Iterator[Any]:
    if not isinstance(body, list):
        raise GiveUp(Code.LYING_SERVER, "Civitai answers no list to a list of digests", elsewhere=True)
    yield from body[:limit]
