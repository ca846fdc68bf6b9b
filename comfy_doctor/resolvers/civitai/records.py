"""What Civitai's API says of a model, its versions and their files, as values. Pure; whatever it leaves out is None.

Shapes (FACTS 5, ../shared/api_samples): a version comes alone with its `model` beside it, or inside its model; counts,
availability, hashes and the fields about early access may be missing or null, `files` is empty once it was archived.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from comfy_doctor.sites import CivitaiPlace, site_of
from download_worker.endpoints import CIVITAI_HOME

MAX_VERSIONS_OF_A_MODEL = 500
MAX_FILES_OF_A_VERSION = 200
MAX_NAME_CHARS = 255
BYTES_PER_KB = 1024
_FIRST_YEAR, _LAST_YEAR = 2000, 9990
_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")


@dataclass(frozen=True, slots=True)
class File:
    """One file, in Civitai's words: `kind` "Model", "Pruned Model", "VAE", "Training Data" …, `format` "SafeTensor",
    "PickleTensor", "GGUF" …, `pruning` "full" or "pruned", `precision` "fp16" …; `size` exact in bytes or None."""

    name: str
    kind: str
    url: str
    sha256: str | None = None
    size: int | None = None
    primary: bool = False
    format: str | None = None
    pruning: str | None = None
    precision: str | None = None
    number: str | None = None
    danger: str | None = None
    """What one of Civitai's scanners found in it."""


@dataclass(frozen=True, slots=True)
class Version:
    """`type` is that of its model ("Checkpoint", "LORA" …). Dates are in UTC."""

    id: int
    model: int | None
    name: str
    model_name: str
    type: str
    base_model: str
    files: tuple[File, ...]
    status: str | None = None
    availability: str | None = None
    usage: str | None = None
    mode: str | None = None
    early_access_until: datetime | None = None
    paid: bool = False
    wants_login: bool = False

    @property
    def page(self) -> str:
        return f"{CIVITAI_HOME}/models/{self.model}?modelVersionId={self.id}" if self.model else self.url

    @property
    def url(self) -> str:
        return CivitaiPlace(self.model, self.id).url

    @property
    def title(self) -> str:
        return f"{self.model_name} ({self.name})" if self.name else self.model_name


def version_of(body: Any) -> Version | None:
    """A version that came alone; None when this is none."""
    model = body.get("model") if isinstance(body, dict) else None
    return _version(body, model if isinstance(model, dict) else {})


def versions_of_model(body: Any) -> tuple[Version, ...]:
    """The versions inside a model, the newest first as Civitai lists them; empty when this is no model."""
    found = (_version(each, body) for each in _objects(body, "modelVersions", MAX_VERSIONS_OF_A_MODEL))
    return tuple(version for version in found if version is not None)


def sha256_in(value: Any) -> str | None:
    """A SHA-256 in lower case; None for anything else."""
    return value.lower() if isinstance(value, str) and _SHA256.match(value) else None


def _version(body: Any, model: Mapping[str, Any]) -> Version | None:
    number = body.get("id") if isinstance(body, dict) else None
    if not isinstance(number, int):
        return None
    owner = body.get("modelId", model.get("id"))
    return Version(
        id=number,
        model=owner if isinstance(owner, int) else None,
        name=_text(body.get("name")),
        model_name=_text(model.get("name")),
        type=_text(model.get("type")),
        base_model=_text(body.get("baseModel")),
        files=tuple(_files(body, number)),
        status=_word(body.get("status")),
        availability=_word(body.get("availability")),
        usage=_word(body.get("usageControl")),
        mode=_word(model.get("mode")),
        early_access_until=_early_access(body),
        paid=bool(body.get("paidAccess")),
        wants_login=body.get("requireAuth") is True,
    )


def _files(body: Mapping[str, Any], version: int) -> Iterator[File]:
    for entry in _objects(body, "files", MAX_FILES_OF_A_VERSION):
        name = _text(entry.get("name"))
        if not name:
            continue
        metadata = entry["metadata"] if isinstance(entry.get("metadata"), dict) else {}
        hashes = entry["hashes"] if isinstance(entry.get("hashes"), dict) else {}
        sha256 = sha256_in(hashes.get("SHA256"))
        yield File(
            name=name,
            kind=_text(entry.get("type")),
            url=_download_url(entry, metadata, version),
            sha256=sha256,
            size=_exact_size(entry.get("sizeKB")) if sha256 else None,
            primary=entry.get("primary") is True,
            format=_word(metadata.get("format")),
            pruning=_word(metadata.get("size")),
            precision=_word(metadata.get("fp")),
            number=str(entry["id"]) if isinstance(entry.get("id"), int) else None,
            danger=_danger(entry),
        )


def _exact_size(kilobytes: Any) -> int | None:
    """Bytes, where the number of kilobytes comes out even: Civitai rounds some of them."""
    if isinstance(kilobytes, bool) or not isinstance(kilobytes, int | float) or not 0 < kilobytes < 1e12:
        return None
    size = kilobytes * BYTES_PER_KB
    return int(size) if size == int(size) else None


def _download_url(entry: Mapping[str, Any], metadata: Mapping[str, Any], version: int) -> str:
    """The one that Civitai names, if it leads to this version; else the version's, with what tells this file."""
    named = entry.get("downloadUrl")
    site = site_of(named) if isinstance(named, str) else None
    if isinstance(site, CivitaiPlace) and site.version == version:
        return str(named)
    plain = CivitaiPlace(None, version).url
    if entry.get("primary") is True:
        return plain
    told = {"type": _text(entry.get("type")), **{key: _text(metadata.get(key)) for key in ("format", "size", "fp")}}
    return f"{plain}?{urlencode({key: word for key, word in told.items() if word})}"


def _danger(entry: Mapping[str, Any]) -> str | None:
    for scan in ("virusScan", "pickleScan"):
        if entry.get(f"{scan}Result") == "Danger":
            return _text(entry.get(f"{scan}Message")) or "it is dangerous"
    return None


def _early_access(body: Mapping[str, Any]) -> datetime | None:
    """When it becomes free. Newer answers name the moment, older ones days after publication (0: never was paid)."""
    for key in ("earlyAccessEndsAt", "earlyAccessDeadline"):
        ends = moment(body.get(key))
        if ends is not None:
            return ends
    days, published = body.get("earlyAccessTimeFrame"), moment(body.get("publishedAt"))
    if published is None or isinstance(days, bool) or not isinstance(days, int) or not 0 < days < 1000:
        return None
    return published + timedelta(days=days)


def moment(value: Any) -> datetime | None:
    """An ISO 8601 time as Civitai writes it, in UTC; None for anything else."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if found is None or not _FIRST_YEAR <= found.year <= _LAST_YEAR:
        return None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _objects(body: Any, key: str, limit: int) -> Iterator[dict[str, Any]]:
    entries = body.get(key) if isinstance(body, dict) else None
    yield from (entry for entry in (entries[:limit] if isinstance(entries, list) else ()) if isinstance(entry, dict))


def _text(value: Any) -> str:
    """Bounded, and without the half characters that JSON may carry and no URL or terminal can."""
    return value[:MAX_NAME_CHARS].encode(errors="replace").decode() if isinstance(value, str) else ""


def _word(value: Any) -> str | None:
    return _text(value) or None
