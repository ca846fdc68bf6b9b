"""What Hugging Face answers, read into values, pure: heads of files, trees, and lists of repositories.

Facts: FACTS 5. The SHA-256 is X-Linked-ETag of the redirect, or `lfs.oid` in a tree; every other hash is another one.
Errors are told apart by X-Error-Code, and a repository that is missing looks like a private one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeGuard

from comfy_doctor.asking import Head
from comfy_doctor.sites import HubFile, site_of
from download_worker.endpoints import HF_HOME

MAX_PATH_CHARS = 1024
MAX_SIBLINGS = 20_000
MAX_SIZE_BYTES = 1 << 50
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_REPO = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}\Z", re.ASCII)
_SIZE = re.compile(r"[0-9]{1,15}\Z", re.ASCII)


class Standing(StrEnum):
    """How things stand with a file that was asked for."""

    HERE = "here"
    GATED = "gated"
    NOT_APPROVED = "gated, and our token has no access yet"
    REJECTED = "our token is not valid"
    NO_FILE = "the repository has no such file"
    NO_REVISION = "the repository has no such revision"
    NO_REPOSITORY = "the repository is missing or private"
    DISABLED = "disabled by Hugging Face"
    BLOCKED = "blocked for legal reasons"
    STRANGE = "no answer that Hugging Face would give"

    @property
    def gone(self) -> bool:
        return self in _GONE


_GONE = frozenset({Standing.NO_FILE, Standing.NO_REVISION, Standing.NO_REPOSITORY, Standing.BLOCKED})


@dataclass(frozen=True, slots=True)
class Blob:
    """One file of a repository. `size` in bytes; `sha256` None for a small file outside LFS: nobody tells one."""

    path: str
    size: int | None = None
    sha256: str | None = None

    @property
    def filename(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Seen:
    """A file's head. `repo` is where it really is: another one than was asked for, if that was renamed or replaced."""

    standing: Standing
    repo: str
    commit: str | None = None
    blob: Blob | None = None


@dataclass(frozen=True, slots=True)
class Repo:
    """A repository as lists tell it, with the paths of its files at `commit`."""

    id: str
    commit: str
    paths: tuple[str, ...]
    gated: bool = False
    downloads: int = 0

    @property
    def owner(self) -> str:
        return self.id.partition("/")[0]


def is_ours(head: Head) -> bool:
    """Whether this is an answer of Hugging Face, and not of some network's login page in between."""
    return bool(head.first("x-repo-commit") or head.first("x-error-code"))


def seen_of(head: Head, asked: HubFile) -> Seen:
    repo = _final_repo(head, asked.repo)
    if 200 <= head.status < 400:
        commit = head.first("x-repo-commit")
        if commit is None or not _COMMIT.match(commit):
            return Seen(Standing.STRANGE, repo)  # a login page of some network in between
        return Seen(Standing.HERE, repo, commit, Blob(asked.path, _size_of(head), _sha256(head.first("x-linked-etag"))))
    return Seen(_standing(head), repo)


def blobs_of(body: Any) -> Iterator[Blob]:
    """The files in one page of a tree; entries that cannot be read are left out."""
    for entry in body if isinstance(body, list) else ():
        if not isinstance(entry, dict) or entry.get("type") != "file":
            continue
        path, lfs = entry.get("path"), entry.get("lfs")
        if not _is_path(path):
            continue
        lfs = lfs if isinstance(lfs, dict) else {}
        yield Blob(path, _size(lfs.get("size", entry.get("size"))), _sha256(lfs.get("oid")))


def repos_of(body: Any) -> Iterator[Repo]:
    """The repositories in one page of a list that was asked for with `full=true`; private ones are left out."""
    for entry in body if isinstance(body, list) else ():
        repo = _repo(entry) if isinstance(entry, dict) else None
        if repo is not None:
            yield repo


def _repo(entry: dict[str, Any]) -> Repo | None:
    name, commit, siblings = entry.get("id"), entry.get("sha"), entry.get("siblings")
    if not (isinstance(name, str) and _REPO.match(name) and isinstance(commit, str) and _COMMIT.match(commit)):
        return None
    if entry.get("private") or entry.get("disabled") or not isinstance(siblings, list):
        return None
    named = (each.get("rfilename") for each in siblings[:MAX_SIBLINGS] if isinstance(each, dict))
    downloads = entry.get("downloads")
    return Repo(
        name,
        commit,
        tuple(path for path in named if _is_path(path)),
        gated=bool(entry.get("gated")),
        downloads=downloads if isinstance(downloads, int) else 0,
    )


def _standing(head: Head) -> Standing:
    code = head.headers.get("x-error-code", "")
    said = head.headers.get("x-error-message", "")
    if code == "GatedRepo":
        return Standing.GATED if head.status == 401 else Standing.NOT_APPROVED
    if code in _BY_CODE:
        return _BY_CODE[code]
    if head.status == 451:
        return Standing.BLOCKED
    if not (code or said):
        return Standing.STRANGE  # Hugging Face says why; a proxy that lets nobody out does not
    if head.status == 401:
        return Standing.REJECTED if "credentials in authorization" in said.lower() else Standing.NO_REPOSITORY
    if head.status == 403:
        return Standing.DISABLED if "disabled" in said.lower() else Standing.NOT_APPROVED
    return Standing.NO_REPOSITORY if head.status in (404, 410) else Standing.STRANGE


_BY_CODE = {
    "EntryNotFound": Standing.NO_FILE,
    "RevisionNotFound": Standing.NO_REVISION,
    "RepoNotFound": Standing.NO_REPOSITORY,
}


def _final_repo(head: Head, asked: str) -> str:
    """Renames and other spellings are answered with a redirect that stays at the host."""
    repo = asked
    for hop in (*head.hops, head.headers):
        location = hop.get("location", "")
        site = site_of(HF_HOME + location) if location.startswith("/") else site_of(location)
        if isinstance(site, HubFile):
            repo = site.repo
    return repo


def _size_of(head: Head) -> int | None:
    linked = head.first("x-linked-size")
    if linked is None and head.status == 200:
        linked = head.headers.get("content-length")
    return int(linked) if linked and _SIZE.match(linked) else None


def _sha256(tag: object) -> str | None:
    if not isinstance(tag, str):
        return None
    plain = tag.strip().removeprefix("W/").strip('"').lower()
    return plain if _SHA256.match(plain) else None


def _size(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= MAX_SIZE_BYTES else None


def _is_path(path: object) -> TypeGuard[str]:
    return isinstance(path, str) and 0 < len(path) <= MAX_PATH_CHARS
