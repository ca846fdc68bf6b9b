"""Does the publisher know these very bytes? Asked of the publisher, never of a field in a job."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Protocol
from urllib.parse import urlsplit

from loguru import logger

from download_worker.errors import Trouble
from download_worker.jobs.job import ModelInfo
from download_worker.leash import Leash
from download_worker.settings import Settings

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_VERSION_IN_URL = re.compile(r"/api/download/models/(\d{1,18})/?\Z")


class PublishedDigest(Protocol):
    def __call__(self, wanted: ModelInfo, sha256: str, leash: Leash) -> bool:
        """Whether the publisher of what is wanted publishes this lower-case digest for it; False when in doubt.

        Raises Interrupted."""
        ...


class GetJson(Protocol):
    def __call__(self, url: str, *, leash: Leash | None = None) -> object:
        """The decoded body, which has a bound. Raises Trouble, ValueError or Interrupted."""
        ...


def nobody_publishes(wanted: ModelInfo, sha256: str, leash: Leash) -> bool:
    """The answer without a network."""
    return False


class CivitaiPublished:
    """Asks Civitai which model version has a file with this digest.

    `GET /api/v1/model-versions/by-hash/{sha256}` answers one version, whose `files[].hashes.SHA256` are upper-case hex,
    or 404 (Civitai's server source, August 2026).
    """

    def __init__(self, settings: Settings, get_json: GetJson) -> None:
        self._endpoint = settings.civitai_endpoint
        self._get_json = get_json

    def __call__(self, wanted: ModelInfo, sha256: str, leash: Leash) -> bool:
        if not _SHA256.match(sha256):
            return False
        try:
            version = self._get_json(f"{self._endpoint}/api/v1/model-versions/by-hash/{sha256}", leash=leash)
        except (Trouble, ValueError) as error:
            logger.warning(
                "Civitai does not confirm {}: {}; its file is proven without", wanted.expected_filename, error
            )
            return False
        return _is_meant(version, wanted, sha256) and sha256 in _digests(version)


def _is_meant(version: object, wanted: ModelInfo, sha256: str) -> bool:
    """A version number in the URL must be this version's, or any file on Civitai would pass for any other; a digest in
    the job settles it as well."""
    named = _VERSION_IN_URL.search(urlsplit(wanted.download_url).path)
    if named is None or (wanted.sha256 or "").lower() == sha256:
        return True
    return isinstance(version, dict) and type(version.get("id")) is int and version["id"] == int(named[1])


def _digests(version: object) -> Iterable[str]:
    """The SHA-256 of each file of a version, lower-case; whatever has another shape is left out."""
    files: Any = version.get("files") if isinstance(version, dict) else None
    for file in files if isinstance(files, list) else ():
        hashes = file.get("hashes") if isinstance(file, dict) else None
        digest = hashes.get("SHA256") if isinstance(hashes, dict) else None
        if isinstance(digest, str):
            yield digest.lower()
