"""Texts as programs really leave them in metadata: which of them may be a workflow, and what they are called.

A workflow is written as JSON under a key (`workflow`, `prompt`), or in any field behind such a word and a colon
("workflow:{…}", "Prompt:{…}", in any case), or as one object that holds both (VideoHelperSuite's comment, UserComment
of several image savers). So only what begins like a JSON object, or like one inside a JSON string, is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from comfy_doctor.workflows.containers.source import Text

KEYWORDS = ("workflow", "prompt")
"""`workflow` holds the drawing (UI format), `prompt` what was run (API format)."""

_PADDING = b" \t\r\n\0"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NAMED = re.compile(rb"([A-Za-z_]{1,32})\s{0,16}:\s{0,64}(?=[{\"])")
# A JSON object, or one that was encoded once or twice more.
_OBJECT = re.compile(rb'(?:"\\{0,3}){0,4}\{\s*(?:\\{0,7}["}]|\\n)')


def candidate(text: Text) -> Text | None:
    """The text without padding and prefix, its key in lower case and plain; None when it cannot be a workflow."""
    key = re.split(r"[.:/]", text.key.strip())[-1].lower()
    data = text.data.strip(_PADDING).removeprefix(_BYTE_ORDER_MARK)
    named = _NAMED.match(data)
    if named:
        key, data = named[1].decode("ascii").lower(), data[named.end() :]
    return Text(key, data) if _OBJECT.match(data) else None


def by_promise(texts: Iterable[Text]) -> list[Text]:
    """The drawing first, then what may hold both, then what was run."""
    order = {"workflow": 0, "prompt": 2}
    return sorted(texts, key=lambda text: order.get(text.key, 1))


def complete(texts: Iterable[Text]) -> bool:
    """Nothing better can come."""
    return {text.key for text in texts}.issuperset(KEYWORDS)


def utf8(text: bytes) -> bytes:
    """Fields that are Latin-1 or ASCII by their standard are UTF-8 by the habit of many programs."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1").encode("utf-8")
    return text


def from_utf16(text: bytes, encoding: str) -> bytes:
    return text.decode(encoding, "replace").encode("utf-8")


def utf16_of_any_order(text: bytes) -> bytes:
    """Which half of the first letters is empty tells the byte order; none of them tells that it is no UTF-16 at all."""
    if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return from_utf16(text, "utf-16")
    head = text[:64]
    if b"\0" not in head:
        return utf8(text)
    big = head[0::2].count(0) >= head[1::2].count(0)
    return from_utf16(text, "utf-16-be" if big else "utf-16-le")


def pairs(comments: Iterable[bytes]) -> Iterator[Text]:
    """`KEY=value` as Vorbis comments write it."""
    for comment in comments:
        key, sign, value = comment.partition(b"=")
        if sign and len(key) <= 256:
            yield Text(key.decode("latin-1"), value)
