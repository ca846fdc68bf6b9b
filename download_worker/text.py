"""Text that came from outside, made safe to show; and text that goes outside, freed of secrets.

Both are total functions: they never raise, and applying them twice changes nothing more.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

MAX_SHOWN_CHARS = 2_000
_REMOVED = "[secret]"
# Control, format (bidi, zero-width), surrogate, private use, line and paragraph separators.
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
# Query keys that carry a credential, by their last word: Civitai's token, the signatures of S3, Google, CloudFront,
# Tencent and Alibaba with what goes with them, Azure's sig, the Authorization of Backblaze B2, Akamai's hdnts.
_QUERY_KEYS = (
    r"(?:[\w.-]{0,40}[_.-])?(?:token|sig|signature|credential|authorization|auth|jwt|password|secret|hmac)"
    r"|(?:[\w.-]{0,40}(?:access|api|auth)[_-]?)?key(?:id)?|key-pair-id|policy|hdn(?:ts|tl|ea)"
)
_SECRET_QUERY = re.compile(rf"(?i)(?:{_QUERY_KEYS})\Z")
# Of these the ones that a person has: a row needs none of them, but a signature is what makes its URL work.
_OUR_TOKENS = frozenset({"token", "access_token", "api_key", "apikey", "access_key"})
_IN_TEXT = (
    re.compile(r"(?i)(?<=\bbearer )[\w.~+/=-]{6,}"),
    re.compile(r"(?i)(?<=authorization: basic )[\w+/=]+"),
    re.compile(r"\b(hf|sk|ghp|gho|github_pat)[_-][A-Za-z0-9_-]{8,}"),
    re.compile(rf"(?i)(?<=[?&])(?:{_QUERY_KEYS})=[^&\s\"'<>]+"),
    re.compile(r"(?<=://)[^/\s\"']+(?=@)"),
)


def safe_text(text: object, *, max_chars: int = MAX_SHOWN_CHARS) -> str:
    """One line in which everything invisible is visible: ESC becomes `\\x1b`, a bidi override `<U+202E>`.

    What is longer than `max_chars` ends with how long it was; the answer itself is never longer than that.
    """
    raw = str(text)
    clipped = raw[:max_chars]
    shown = clipped if clipped.isascii() and clipped.isprintable() else "".join(map(_visible, clipped))
    if len(raw) <= max_chars and len(shown) <= max_chars:
        return shown
    rest = f"… ({len(raw)} characters)"[:max_chars]
    return shown[: max_chars - len(rest)] + rest


def _visible(char: str) -> str:
    if unicodedata.category(char) not in _INVISIBLE_CATEGORIES:
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"<U+{code:04X}>"


def public_url(url: str) -> str:
    """The URL as it may be stored in a log or shown: no user, no password, no token, no signature."""
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return _REMOVED
    host = parts.netloc.rpartition("@")[2]
    if not host and "@" in url:
        return _REMOVED  # malformed, as in `https:/user:password@host`: nobody can say what of it is public
    kept = [(key, _REMOVED if _SECRET_QUERY.match(key) else value) for key, value in query]
    query_text = (
        urlencode(kept, quote_via=quote, safe="[]/:", errors="replace")
        if any(v == _REMOVED for _, v in kept)
        else parts.query
    )
    return urlunsplit((parts.scheme, host, parts.path, query_text, ""))


def without_credentials(url: str) -> str:
    """The URL as it may be kept in a row: without user, password, `token=` and its like; the worker adds its own token.

    Raises ValueError when it is no URL.
    """
    parts = urlsplit(url)
    query = [pair for pair in parts.query.split("&") if not _is_our_token(pair.partition("=")[0])]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "&".join(query), ""))


def _is_our_token(key: str) -> bool:
    return unquote(key).lower().replace("-", "_") in _OUR_TOKENS


class Redactor:
    """Removes known secrets and everything that looks like one. One instance serves every sink of a process."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {form for secret in secrets if len(secret) >= 4 for form in (secret, quote(secret, safe=""))}
        # What was removed already is found first and stays as it is, also when a secret is a word in it.
        words = (_REMOVED, *sorted(known, key=len, reverse=True))
        self._known = re.compile("|".join(map(re.escape, words)))

    def __call__(self, text: str) -> str:
        text = self._known.sub(_REMOVED, text)
        for pattern in _IN_TEXT:
            text = pattern.sub(_REMOVED, text)
        return text
