"""What stands between a person and a file of Hugging Face, with the next step. Pure."""

from __future__ import annotations

from comfy_doctor.resolvers.huggingface.records import Standing
from comfy_doctor.sites import HubFile
from download_worker.endpoints import HF_HOME
from download_worker.text import safe_text

TOKEN = "HF_TOKEN"  # noqa: S105 - the name of the variable
WANT_TOKEN = frozenset({Standing.GATED, Standing.NOT_APPROVED, Standing.REJECTED})


def page_of(repo: str) -> str:
    return f"{HF_HOME}/{repo}"


def obstacle(standing: Standing, file: HubFile) -> str | None:
    """None for a file that is here."""
    repo, page = safe_text(file.repo), page_of(file.repo)
    match standing:
        case Standing.GATED:
            return f"{repo} is gated: accept its licence on {page}, then set {TOKEN} to a valid token of that account"
        case Standing.NOT_APPROVED:
            return f"the token in {TOKEN} has no access to {repo} yet: ask for it on {page}"
        case Standing.REJECTED:
            return f"the token in {TOKEN} is not valid: set it to one of {HF_HOME}/settings/tokens, or unset it"
        case Standing.NO_FILE:
            return f"{safe_text(file.path)} is gone from {repo}: look through its files on {page}"
        case Standing.NO_REVISION:
            return f"{repo} has no revision {safe_text(file.revision, max_chars=80)} any more: look through {page}"
        case Standing.NO_REPOSITORY:
            return f"{repo} is missing or private: if you have access to it, set {TOKEN}, else use another source"
        case Standing.DISABLED:
            return f"{repo} was disabled by Hugging Face: use another source"
        case Standing.BLOCKED:
            return f"{repo} is blocked for legal reasons: use another source"
        case _:
            return None
