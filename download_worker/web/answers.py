"""What the head of an answer means, pure: how long its body is, whether it is a redirect, and what a refusal is worth.

The status table follows FAULTS.md H11, H14–H19, H24 and what Hugging Face and Civitai were seen to answer (FACTS 5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import urlsplit

from download_worker.errors import Code, GiveUp, Trouble, TryLater
from download_worker.text import public_url, safe_text
from download_worker.web.origins import Credential
from download_worker.web.proxies import PROXY_HINT

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 100
MAX_EXPLANATION_CHARS = 300
MAX_SECONDS_DIGITS = 18

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GONE = frozenset({404, 410, 451})
_BUSY = frozenset({429, 503})
# A storage host that was redirected to takes signatures, not tokens: this one has run out or was not ready yet (H21;
# the bridge of Hugging Face does so now and then). Asking its origin again gives a new one. S3 says 403, Cloudflare R2
# says 400 (https://developers.cloudflare.com/r2/api/error-codes, 10018 ExpiredRequest).
_LINK_RAN_OUT = frozenset({400, 401, 403})

Headers = Mapping[str, str]
"""Header names in lower case; several of one name are joined with a comma and a space."""


class Framing(NamedTuple):
    """How the end of the body is known: by its length in bytes, by its last chunk, or (neither) only by silence."""

    length: int | None
    chunked: bool


class Asked(NamedTuple):
    """The question that a refusal answers."""

    url: str
    """Without secrets, since it is shown."""
    credential: Credential | None
    """Of the origin that was asked first."""
    crossed: bool
    """The answer came from another origin, to which a redirect led."""


def framing(headers: Headers, host: str) -> Framing:
    """Raises GiveUp(lying_server) where the head contradicts itself (H11: such a body has no certain end)."""
    length, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is not None and coding.strip().lower() != "chunked":
        raise _lying(host, f"sends a transfer coding that nobody asked for: {safe_text(coding, max_chars=80)}")
    if length is None:
        return Framing(None, coding is not None)
    if coding is not None:
        raise _lying(host, "tells a length and sends chunks")
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise _lying(host, f"tells a length that is none: {safe_text(length, max_chars=80)}")
    return Framing(int(length), chunked=False)


def check_head(headers: Headers, host: str) -> None:
    """Raises GiveUp(lying_server) for a head that is larger than any honest one (H23)."""
    size = sum(len(name) + len(value) + 4 for name, value in headers.items())
    if size > MAX_HEAD_BYTES or len(headers) > MAX_HEADERS:
        raise _lying(host, f"sends a head of {size} bytes")


def is_redirect(status: int) -> bool:
    return status in _REDIRECTS


def redirect_target(status: int, headers: Headers, url: str) -> str | None:
    """Where to go on, or None when this is no redirect. Raises GiveUp(redirects) when it does not say where (H19)."""
    if not is_redirect(status):
        return None
    location = headers.get("location", "").strip()
    if not location:
        raise GiveUp(Code.REDIRECTS, f"{public_url(url)} redirects to nowhere", elsewhere=True)
    try:
        return location.encode("latin-1").decode("utf-8")  # http.client reads heads as Latin-1, hosts write UTF-8
    except UnicodeError:
        return location


def refusal(
    status: int, headers: Headers, asked: Asked, *, now: datetime, cap_seconds: float, said: str = ""
) -> Trouble:
    """What a status means for the job, for every status that brings no file. `said` is the host's own explanation."""
    host = urlsplit(asked.url).hostname or "the host"
    told = safe_text(said, max_chars=MAX_EXPLANATION_CHARS)
    message = f"{host} answered {status} for {public_url(asked.url)}" + (f" ({told})" if told else "")
    if asked.crossed and status in _LINK_RAN_OUT:
        return TryLater(Code.SERVER_ERROR, f"{message}: its signed link is not valid, a new one is asked for")
    if status in (401, 403):
        return _unauthorised(headers, asked, message)
    if status in _GONE:
        return GiveUp(Code.NOT_FOUND, message, elsewhere=True)
    if status in _BUSY:
        wait = retry_after_seconds(headers, now=now, cap_seconds=cap_seconds)
        return TryLater(Code.BUSY_HOST, message, retry_after_seconds=wait)
    if status == 407:
        return TryLater(Code.NO_CONNECTION, f"the proxy before {host} wants a login", hint=PROXY_HINT)
    if status == 408 or 500 <= status <= 599:
        return TryLater(Code.SERVER_ERROR, message)
    return GiveUp(Code.LYING_SERVER, f"{message}, which is no answer to our question", elsewhere=True)


def retry_after_seconds(headers: Headers, *, now: datetime, cap_seconds: float) -> float | None:
    """What the host asks for, at most the cap; None when it says nothing that can be understood (H16).

    `Retry-After` holds seconds or an HTTP date (RFC 9110, 10.2.3). Hugging Face may leave it out and tell the seconds
    until its window ends in `RateLimit: "resolvers";r=0;t=112` (FACTS 5).
    """
    seconds = _asked_seconds(headers.get("retry-after", "").strip(), now)
    window = re.search(r";\s*r=0\s*;\s*t=([0-9]{1,9})\b", headers.get("ratelimit", ""))
    if seconds is None and window:
        seconds = float(window[1])
    return None if seconds is None else min(seconds, cap_seconds)


def _asked_seconds(text: str, now: datetime) -> float | None:
    if re.fullmatch(r"[0-9]+", text):
        return float(text[:MAX_SECONDS_DIGITS])
    try:
        date = parsedate_to_datetime(text[:64])
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now.timestamp()
    except (ValueError, OverflowError):
        return None
    return max(seconds, 0.0)


def _unauthorised(headers: Headers, asked: Asked, message: str) -> Trouble:
    credential = asked.credential
    if credential is None:
        return GiveUp(
            Code.AUTH, message, hint="it wants a login that is not known here; use another source", elsewhere=True
        )
    name = credential.variable
    if headers.get("x-error-code") == "GatedRepo":
        page = _model_page(asked.url)
        return GiveUp(
            Code.AUTH, message, hint=f"accept the licence on {page}, set {name}, then retry the job", elsewhere=True
        )
    if credential.token is None:
        return GiveUp(Code.AUTH, f"{message}; no token was sent", hint=f"set {name} to your token, then retry the job")
    return GiveUp(
        Code.AUTH, message, hint=f"the token in {name} does not open this file: check it and your access to the file"
    )


def _model_page(url: str) -> str:
    parts = urlsplit(url)
    owner_and_name = "/".join(parts.path.partition("/resolve/")[0].split("/")[-2:])
    return f"{parts.scheme}://{parts.netloc}/{owner_and_name}"


def _lying(host: str, what: str) -> GiveUp:
    return GiveUp(Code.LYING_SERVER, f"{host} {what}", elsewhere=True)
