"""What a git checkout says of itself, read as files: git itself is never run.

Layout (gitrepository-layout): `.git` is a folder, or a file with `gitdir: PATH` in a worktree or submodule; `config`
holds the remotes; `HEAD` is a commit or names a ref, which is a file below `refs/` or a line of `packed-refs`.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from comfy_doctor.comfyui.plain_files import read_start

MAX_GIT_FILE_BYTES = 1024 * 1024
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_REF = re.compile(r"ref: (refs/[\w./+@-]{1,200})\Z")
_SECTION = re.compile(r"\s*\[(.+)\]\s*\Z")
_URL = re.compile(r"\s*url\s*=\s*(\S+)\s*\Z")
_SSH = re.compile(r"(?:ssh://)?[\w.-]+@([\w.-]+)(?::\d+)?[:/](.+)\Z")


def origin_url(folder: Path) -> str | None:
    """Where this checkout came from: an https URL without `.git` and without credentials, None where unknown."""
    section = ""
    for line in _text(_shared(_git(folder)) / "config").splitlines():
        head = _SECTION.match(line)
        if head is not None:
            section = head[1]
        elif section == 'remote "origin"' and (url := _URL.match(line)) is not None:
            return repository_url(url[1])
    return None


def head_commit(folder: Path) -> str | None:
    """The commit that is checked out (40 or 64 lower-case hex), None where the files do not tell."""
    git = _git(folder)
    head = _text(git / "HEAD").strip()
    ref = _REF.match(head)
    if ref is None:
        return head if _COMMIT.match(head) else None
    if ".." in ref[1]:
        return None
    for place in (git, _shared(git)):
        commit = _text(place / ref[1]).strip()
        if _COMMIT.match(commit):
            return commit
    for line in _text(_shared(git) / "packed-refs").splitlines():
        commit, _, name = line.partition(" ")
        if name == ref[1] and _COMMIT.match(commit):
            return commit
    return None


def repository_url(written: str) -> str | None:
    """`git@github.com:owner/name.git` and its like as `https://github.com/owner/name`; None for a local path."""
    text = written.strip()
    ssh = _SSH.match(text)
    if ssh is not None and "://" not in text.removeprefix("ssh://"):
        text = f"https://{ssh[1]}/{ssh[2]}"
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError:
        return None
    if parts.scheme not in ("http", "https", "git") or not host:
        return None
    return f"https://{host}/{parts.path.strip('/').removesuffix('.git')}"


def _git(folder: Path) -> Path:
    place = folder / ".git"
    try:
        linked = place.is_file()
    except OSError:
        return place
    if not linked:
        return place
    told = _text(place).strip().removeprefix("gitdir: ")
    return folder / told if told else place


def _shared(git: Path) -> Path:
    """Where a worktree keeps what it shares with its main checkout."""
    common = _text(git / "commondir").strip()
    return git / common if common else git


def _text(path: Path) -> str:
    try:
        return read_start(path, MAX_GIT_FILE_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""
