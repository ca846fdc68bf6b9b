"""The searches that a language model may ask for: read-only questions to the hosts that everybody may ask.

What comes back are hits, one per file. The host's own words fill them; a text that a stranger wrote (a model's name, a
web page) only ever stands in `text`, and an address in there is no hit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlencode, urlsplit

from comfy_doctor.resolvers.agent.actions import REPO
from comfy_doctor.sites import HubFile, site_of
from comfy_doctor.workflows.names import looks_like_model
from download_worker.endpoints import CIVITAI_HOME, HF_HOME
from download_worker.leash import Leash
from download_worker.text import without_credentials

MAX_REPOS = 10
MAX_FILES_PER_REPO = 1_000
MAX_MODELS = 10
MAX_WEB_RESULTS = 10
_MAX_TEXT_CHARS = 1_000
DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Hit:
    """One file that a search returned; a page, of which nothing can be fetched, has no `filename`.

    `size` in bytes and `sha256` in lower-case hex are what the host publishes, None where it does not. `obstacle` says
    why it cannot be had now.
    """

    url: str
    filename: str
    size: int | None = None
    sha256: str | None = None
    text: str = ""
    page: str | None = None
    gated: bool = False
    obstacle: str | None = None


class Searches(Protocol):
    """`has_web` says whether `web_search` may be asked. Each answers the host's best hits first.

    Every method raises Trouble (GiveUp(not_found) for what does not exist) and Interrupted.
    """

    @property
    def has_web(self) -> bool: ...

    def search_hugging_face(self, query: str, leash: Leash) -> tuple[Hit, ...]: ...

    def list_hugging_face_repo(self, repo: str, leash: Leash) -> tuple[Hit, ...]: ...

    def search_civitai(self, query: str, kind: str, leash: Leash) -> tuple[Hit, ...]: ...

    def web_search(self, query: str, leash: Leash) -> tuple[Hit, ...]: ...


class Asks(Protocol):
    """As much of `Asker` as is wanted here."""

    def json(
        self, url: str, *, body: Any = None, max_age_seconds: float = DAY_SECONDS, leash: Leash | None = None
    ) -> Any: ...


class HostSearches:
    """The searches at Hugging Face, Civitai, and a web search of the user's own choice.

    `search_url` has `{query}` in it and answers in the shape of SearXNG: `{"results": [{"url", "title", "content"}]}`
    (docs.searxng.org, Search API, `format=json`).
    """

    def __init__(self, asker: Asks, search_url: str | None = None) -> None:
        self._asker = asker
        self._search_url = search_url if search_url and "{query}" in search_url else None

    @property
    def has_web(self) -> bool:
        return self._search_url is not None

    def search_hugging_face(self, query: str, leash: Leash) -> tuple[Hit, ...]:
        """By repository: the host matches ids and tags, never file names (FACTS 5). Sizes are not told here."""
        asked = urlencode({"search": query, "full": "true", "limit": MAX_REPOS})
        body = self._asker.json(f"{HF_HOME}/api/models?{asked}", leash=leash)
        return tuple(hit for repo in _tables(body, MAX_REPOS) for hit in _of_repo(repo))

    def list_hugging_face_repo(self, repo: str, leash: Leash) -> tuple[Hit, ...]:
        body = self._asker.json(f"{HF_HOME}/api/models/{quote(repo)}/tree/main?recursive=true", leash=leash)
        entries = _tables(body, MAX_FILES_PER_REPO)
        return tuple(_of_tree(repo, entry) for entry in entries if _is_file(entry.get("path")))

    def search_civitai(self, query: str, kind: str, leash: Leash) -> tuple[Hit, ...]:
        """By model name; without `nsfw=true` much of it is invisible (FACTS 5)."""
        asked = {"query": query, "nsfw": "true", "limit": str(MAX_MODELS)} | ({"types": kind} if kind else {})
        body = self._asker.json(f"{CIVITAI_HOME}/api/v1/models?{urlencode(asked)}", leash=leash)
        models = _tables(body.get("items") if isinstance(body, dict) else None, MAX_MODELS)
        return tuple(hit for model in models for hit in _of_civitai(model))

    def web_search(self, query: str, leash: Leash) -> tuple[Hit, ...]:
        if self._search_url is None:
            return ()
        body = self._asker.json(self._search_url.replace("{query}", quote(query, safe="")), leash=leash)
        results = _tables(body.get("results") if isinstance(body, dict) else None, MAX_WEB_RESULTS)
        return tuple(hit for result in results if (hit := _of_web(result)) is not None)


def _tables(told: Any, most: int) -> list[dict[str, Any]]:
    return [entry for entry in told[:most] if isinstance(entry, dict)] if isinstance(told, list) else []


def _text(told: Any) -> str:
    return told[:_MAX_TEXT_CHARS] if isinstance(told, str) else ""


def _hex(told: Any) -> str | None:
    lowered = told.lower() if isinstance(told, str) else ""
    return lowered if len(lowered) == 64 and not lowered.strip("0123456789abcdef") else None


def _size(told: Any) -> int | None:
    return told if isinstance(told, int) and not isinstance(told, bool) and told >= 0 else None


def _of_repo(repo: dict[str, Any]) -> Iterator[Hit]:
    name = _text(repo.get("id") or repo.get("modelId"))
    if not REPO.match(name) or repo.get("private") is True or repo.get("disabled") is True:
        return
    downloads = _size(repo.get("downloads"))
    text = f"repository {name}" + (f", {downloads} downloads" if downloads else "")
    for sibling in _tables(repo.get("siblings"), MAX_FILES_PER_REPO):
        path = sibling.get("rfilename")
        if _is_file(path):
            yield _on_hub(name, str(path), text=text, gated=bool(repo.get("gated")))


def _of_tree(repo: str, entry: dict[str, Any]) -> Hit:
    lfs = entry.get("lfs")
    digest = _hex(lfs.get("oid")) if isinstance(lfs, dict) else None
    return _on_hub(repo, entry["path"], size=_size(entry.get("size")), sha256=digest, text=f"repository {repo}")


def _on_hub(repo: str, path: str, *, text: str, **known: Any) -> Hit:
    file = HubFile(repo, "main", path)
    return Hit(file.url, file.filename, text=text, page=f"{HF_HOME}/{quote(repo)}", **known)


def _of_civitai(model: dict[str, Any]) -> Iterator[Hit]:
    number = _size(model.get("id"))
    for version in _tables(model.get("modelVersions"), MAX_MODELS):
        said = (_text(model.get("type")), _text(model.get("name")), _text(version.get("name")))
        base = _text(version.get("baseModel"))
        text = " · ".join(filter(None, (*said, base and f"for {base}")))
        page = f"{CIVITAI_HOME}/models/{number}?modelVersionId={version.get('id')}"
        early = version.get("availability") == "EarlyAccess"
        for file in _tables(version.get("files"), MAX_MODELS):
            url, name, hashes = file.get("downloadUrl"), file.get("name"), file.get("hashes")
            if _is_https(url) and _is_name(name):
                digest = _hex(hashes.get("SHA256")) if isinstance(hashes, dict) else None
                yield Hit(
                    without_credentials(str(url)),
                    str(name),
                    size=_bytes(file.get("sizeKB")),
                    sha256=digest,
                    text=text,
                    page=page,
                    obstacle="early access: it must be bought, or waited for, on its page" if early else None,
                )


def _bytes(kilobytes: Any) -> int | None:
    """Civitai counts in KiB with a fraction; only what comes out as whole bytes is an exact size."""
    if isinstance(kilobytes, bool) or not isinstance(kilobytes, int | float) or not 0 < kilobytes < 2**40:
        return None
    size = kilobytes * 1024
    return round(size) if abs(size - round(size)) < 1e-3 else None


def _of_web(result: dict[str, Any]) -> Hit | None:
    url = result.get("url")
    if not _is_https(url):
        return None
    text = " · ".join(filter(None, (_text(result.get("title")), _text(result.get("content")))))
    site = site_of(str(url))
    if isinstance(site, HubFile):
        return _on_hub(site.repo, site.path, text=text) if _is_file(site.path) else None
    clean = without_credentials(str(url))
    name = unquote(urlsplit(clean).path.rpartition("/")[2])
    return Hit(clean, name if _is_name(name) else "", text=text, page=clean)


def _is_file(path: Any) -> bool:
    """A model's path that leaves its repository nowhere."""
    return looks_like_model(path) and not {".", "..", ""} & set(path.split("/"))


def _is_name(name: Any) -> bool:
    return _is_file(name) and not {"/", "\\"} & set(name)


def _is_https(url: Any) -> bool:
    if not isinstance(url, str) or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" and bool(parts.hostname)
    except ValueError:
        return False
