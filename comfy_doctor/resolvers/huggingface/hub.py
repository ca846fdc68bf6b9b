"""The questions that Hugging Face is asked: the head of a file, the tree of a repository, lists of repositories.

All bounds are here. Answers at a commit never change and are kept for a month, names of branches for an hour.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, urlencode

from comfy_doctor.asking import DAY, HOUR, Asker
from comfy_doctor.resolvers.huggingface.records import Blob, Repo, Seen, Standing, blobs_of, is_ours, repos_of, seen_of
from comfy_doctor.sites import HubFile
from download_worker.endpoints import HF_HOME
from download_worker.errors import Code, GiveUp, TryLater
from download_worker.leash import Leash

API = f"{HF_HOME}/api/models"
MAX_TREE_PAGES = 10
"""Of 1,000 entries each."""
SEARCH_REPOS = 50
AUTHOR_REPOS = 100
MAX_AUTHOR_PAGES = 4
MONTH = 30 * DAY
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")


class HubClient:
    """Raises what `Asker` raises, and GiveUp(lying_server) for a list that is none. Safe to share between threads."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def see(self, file: HubFile, leash: Leash) -> Seen:
        """How things stand with a file. Raises also TryLater(lying_server) for an answer that is not the host's."""
        head = self._asker.head(file.url, max_age_seconds=_age(file.revision), leash=leash, keep_if=is_ours)
        seen = seen_of(head, file)
        if seen.standing is Standing.STRANGE:
            message = f"huggingface.co answered {head.status} for {file.repo}, which is no answer to our question"
            raise TryLater(Code.LYING_SERVER, message, hint="check the network, then ask again")
        return seen

    def tree(self, repo: str, revision: str, leash: Leash, *, under: str = "", deep: bool = True) -> tuple[Blob, ...]:
        """All files of a repository or a folder in it, `deep` in all below; at most the first 10,000 entries."""
        path = f"/{quote(under)}" if under else ""
        url: str | None = f"{API}/{repo}/tree/{quote(revision, safe='')}{path}?recursive={str(deep).lower()}"
        found: list[Blob] = []
        for _ in range(MAX_TREE_PAGES):
            if url is None:
                break
            page = self._asker.page(url, max_age_seconds=_age(revision), leash=leash)
            found += blobs_of(_listed(page.body))
            url = page.next
        return tuple(found)

    def search(self, text: str, leash: Leash) -> tuple[Repo, ...]:
        """The most downloaded repositories whose id contains this text, with what they hold. One question."""
        asked = {"search": text, "limit": SEARCH_REPOS, "full": "true", "sort": "downloads", "direction": -1}
        return tuple(repos_of(_listed(self._asker.json(f"{API}?{urlencode(asked)}", leash=leash))))

    def of_author(self, author: str, leash: Leash) -> tuple[Repo, ...]:
        """The most downloaded 400 repositories of a publisher, with what they hold; kept for a day."""
        asked = {"author": author, "limit": AUTHOR_REPOS, "full": "true", "sort": "downloads", "direction": -1}
        url: str | None = f"{API}?{urlencode(asked)}"
        found: list[Repo] = []
        for _ in range(MAX_AUTHOR_PAGES):
            if url is None:
                break
            page = self._asker.page(url, leash=leash)
            found += repos_of(_listed(page.body))
            url = page.next
        return tuple(found)


def _listed(body: Any) -> list[Any]:
    """An empty list means that there is nothing; anything else but a list comes from somebody in between."""
    if not isinstance(body, list):
        raise GiveUp(Code.LYING_SERVER, "huggingface.co answers no list where it has always told one", elsewhere=True)
    return body


def _age(revision: str) -> float:
    return MONTH if _COMMIT.match(revision) else HOUR
