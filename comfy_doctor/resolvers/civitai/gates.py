"""Why a file on Civitai cannot be had, told from its record alone: early access, archived, taken down, not to download.

Pure. Whether its creator wants a login is only known when it is fetched: the record does not always say so.
"""

from __future__ import annotations

from datetime import datetime

from comfy_doctor.resolvers.civitai.records import File, Version
from download_worker.text import safe_text

TOKEN = "CIVITAI_API_TOKEN"  # noqa: S105 - the name of a variable
ELSEWHERE = "look for it at another source"
GONE = f"Civitai does not have this version any more; {ELSEWHERE}"


def obstacle_of(version: Version, file: File | None, now: datetime) -> str | None:
    """What stands in the way, with the next step; None where the record knows of nothing. `now` in UTC."""
    return _of_version(version, now) or _of_file(version, file)


def _of_version(version: Version, now: datetime) -> str | None:
    if version.mode == "Archived":
        return f"Civitai has archived it; {ELSEWHERE}"
    if version.mode == "TakenDown":
        return f"Civitai has taken it down; {ELSEWHERE}"
    if version.status not in (None, "Published"):
        return f"Civitai does not publish it (its status is {safe_text(version.status, max_chars=40)}); {ELSEWHERE}"
    if version.availability == "Private":
        return f"its creator keeps it private; {ELSEWHERE}"
    if version.usage not in (None, "Download"):
        return f"its creator lets it be used on Civitai only; {ELSEWHERE}"
    return _early(version, now)


def _early(version: Version, now: datetime) -> str | None:
    until = version.early_access_until
    step = f"buy it on {version.page} and set {TOKEN}"
    if until is not None:
        return f"early access until {until:%Y-%m-%d}: wait for that day, or {step}" if until > now else None
    return f"early access: {step}, or wait" if version.paid or version.availability == "EarlyAccess" else None


def _of_file(version: Version, file: File | None) -> str | None:
    if file is not None:
        return f"Civitai's scan says: {safe_text(file.danger, max_chars=120)}" if file.danger else None
    return None if version.files else f"Civitai has archived it: no file is left; {ELSEWHERE}"
