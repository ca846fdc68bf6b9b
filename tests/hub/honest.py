"""How an honest model host answers (RFC 9110): one Item, one Request, one Reply; no sockets, no state."""

import re
from dataclasses import dataclass, replace

from .data import EMPTY, Data, Slice
from .messages import Headers, Reply, Request, text_reply

ONE_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True)
class Item:
    """A published file and what its host says about it."""

    data: Data
    etag: str | None
    last_modified: str | None
    content_type: str
    headers: Headers = ()


def honest(request: Request, item: Item | None) -> Reply:
    """The right answer; `item` is None where nothing is published."""
    if item is None:
        return text_reply(404, "404 Not Found\n")
    if request.method not in ("GET", "HEAD"):
        return text_reply(405, "405 Method Not Allowed\n", ("Allow", "GET, HEAD"))
    size = item.data.size
    part = asked_range(request, size) if _if_range_holds(request, item) else None
    whole = Reply(200, described(item)).with_body(item.data)
    if part is None or request.method == "HEAD":
        return whole
    start, stop = part
    if start >= stop:
        return replace(whole.with_body(EMPTY).adding(("Content-Range", f"bytes */{size}")), status=416)
    told = ("Content-Range", f"bytes {start}-{stop - 1}/{size}")
    return replace(whole.with_body(Slice(item.data, start, stop)).adding(told), status=206, first_byte=start)


def described(item: Item) -> Headers:
    """The headers that speak of the file and not of this answer."""
    validators = (("ETag", item.etag), ("Last-Modified", item.last_modified))
    told = tuple((name, value) for name, value in validators if value is not None)
    return (("Content-Type", item.content_type), ("Accept-Ranges", "bytes"), *told, *item.headers)


def asked_range(request: Request, size: int) -> tuple[int, int] | None:
    """The range asked for as [start, stop), empty where it cannot be satisfied; None if none, several or nonsense."""
    match = ONE_RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def _if_range_holds(request: Request, item: Item) -> bool:
    """If-Range compares strongly: a weak ETag never matches, a date only when it is the very same."""
    condition = request.headers.get("if-range")
    if condition is None:
        return True
    if condition.startswith(('"', "W/")):
        return condition == item.etag and not condition.startswith("W/")
    return condition == item.last_modified
