"""What a URL says by itself: a file of a Hugging Face repository, a version on Civitai, or just a URL. Pure.

Forms (FACTS 5): huggingface.co/OWNER/NAME/{resolve,blob,raw}/REVISION/PATH; civitai.com/models/ID?modelVersionId=V,
civitai.com/api/download/models/V?…, and the urn `urn:air:ECOSYSTEM:TYPE:civitai:MODEL@VERSION`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, unquote, urlsplit

from download_worker.endpoints import CIVITAI_HOME, HF_HOME

_HF_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co", "hf-mirror.com"})
_CIVITAI_HOSTS = frozenset({"civitai.com", "www.civitai.com", "civitai.red", "www.civitai.red", "civitai.green"})
_HF_FILE = re.compile(r"/([\w.-]{1,96})/([\w.-]{1,96})/(?:resolve|blob|raw)/([^/]+)/(.+)\Z")
_HF_REPO = re.compile(r"/([\w.-]{1,96})/([\w.-]{1,96})(?:/tree/([^/]+)(?:/(.*))?)?/?\Z")
_HF_PAGES = frozenset({"models", "datasets", "spaces", "docs", "blog", "papers", "collections", "api", "settings"})
_CIVITAI_DOWNLOAD = re.compile(r"/api/download/models/(\d{1,12})/?\Z")
_CIVITAI_MODEL = re.compile(r"/models/(\d{1,12})(?:/[^/]*)?/?\Z")
_CIVITAI_VERSION = re.compile(r"/(?:api/v1/)?model-versions/(\d{1,12})/?\Z")
_NUMBER = re.compile(r"[0-9]{1,12}\Z")
_AIR = re.compile(r"(?:urn:)?air:[\w.-]+:[\w.-]+:civitai:(\d{1,12})(?:@(\d{1,12}))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a Hugging Face repository. `repo` is "owner/name", `path` is not quoted."""

    repo: str
    revision: str
    path: str

    @property
    def filename(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def url(self) -> str:
        revision = quote(self.revision, safe="", errors="replace")
        return f"{HF_HOME}/{self.repo}/resolve/{revision}/{quote(self.path, errors='replace')}"


@dataclass(frozen=True, slots=True)
class HubRepo:
    """A repository or a folder in it; `under` has no slash at its ends."""

    repo: str
    revision: str = "main"
    under: str = ""


@dataclass(frozen=True, slots=True)
class CivitaiPlace:
    """A model, or one version of it, on Civitai: at least one of both is known."""

    model: int | None
    version: int | None

    @property
    def url(self) -> str:
        """The download URL of a version, else the page of the model."""
        if self.version is not None:
            return f"{CIVITAI_HOME}/api/download/models/{self.version}"
        return f"{CIVITAI_HOME}/models/{self.model}"


Site = HubFile | HubRepo | CivitaiPlace


def site_of(url: str) -> Site | None:
    """What this URL or AIR urn names; None for a URL of any other kind. Never raises."""
    air = _AIR.match(url.strip())
    if air is not None:
        return CivitaiPlace(int(air[1]), int(air[2]) if air[2] else None)
    try:
        url.encode()  # JSON may carry half characters, and no URL can
        parts = urlsplit(url.strip())
        host = (parts.hostname or "").lower()
    except ValueError:
        return None
    if parts.scheme not in ("http", "https"):
        return None
    if host in _HF_HOSTS:
        return _on_hub(parts.path)
    if host in _CIVITAI_HOSTS:
        return _on_civitai(parts.path, parts.query)
    return None


def place_of(url: str) -> tuple[str, ...]:
    """Equal for two URLs that name the same file: other revision words, spellings and queries make no other place."""
    site = site_of(url)
    if isinstance(site, HubFile):
        return ("huggingface", site.repo.lower(), site.path)
    if isinstance(site, CivitaiPlace) and site.version is not None:
        wanted = parse_qs(urlsplit(url).query)
        return (
            "civitai",
            str(site.version),
            *(f"{key}={wanted[key][0]}" for key in sorted(_FILE_CHOICE & set(wanted))),
        )
    return ("url", url.partition("#")[0])


_FILE_CHOICE = frozenset({"type", "format", "size", "fp", "fileId"})
"""One version on Civitai may hold several files; these words of the query choose among them."""


def _on_hub(path: str) -> HubFile | HubRepo | None:
    if not {".", ".."}.isdisjoint(unquote(path).split("/")):
        return None  # it would be another repository's file than the one that is shown
    file = _HF_FILE.match(path)
    if file is not None:
        return HubFile(f"{file[1]}/{file[2]}", unquote(file[3]), unquote(file[4]))
    repo = _HF_REPO.match(path)
    if repo is None or repo[1].lower() in _HF_PAGES:
        return None
    return HubRepo(f"{repo[1]}/{repo[2]}", unquote(repo[3] or "main"), unquote(repo[4] or "").strip("/"))


def _on_civitai(path: str, query: str) -> CivitaiPlace | None:
    direct = _CIVITAI_DOWNLOAD.match(path) or _CIVITAI_VERSION.match(path)
    if direct is not None:
        return CivitaiPlace(None, int(direct[1]))
    model = _CIVITAI_MODEL.match(path)
    if model is None:
        return None
    version = parse_qs(query).get("modelVersionId", [""])[0]
    return CivitaiPlace(int(model[1]), int(version) if _NUMBER.match(version) else None)
