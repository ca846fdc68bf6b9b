"""How a host misbehaves, the classics: connection, ranges and validators, length, content, status, redirects, head.

What only a client with several connections, or with one that is kept, can fall over is in `lanes.py`; how behaviours
are worn and put together stands in `wearing.py`. Each is known to `BEHAVIOURS` by the name that FAULTS.md gives it.
"""

import gzip
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import quote

from .data import EMPTY, Blob, Data, Flipped, Repeated, SizedPattern
from .messages import Ending, Reply, text_reply
from .wearing import BEHAVIOURS as BEHAVIOURS
from .wearing import Behaviour as Behaviour
from .wearing import Turn as Turn
from .wearing import in_turn as in_turn
from .wearing import listed, on_reply, on_turn

ENDLESS_BYTES = 1 << 30
"""As good as endless, and still no danger to the disk of who forgets to stop reading."""

SEED_OF_ANOTHER_VERSION = 2_000_003
SMUGGLED = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
HTML = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><h1>Just a moment...</h1></body></html>\n"


# --- the connection ---


@on_reply
def rst_now(turn: Turn, reply: Reply) -> Reply:
    return replace(reply, status=0, head=EMPTY, body=EMPTY, ending=Ending.RESET)


@on_reply
def rst_mid(turn: Turn, reply: Reply, after_bytes: int | None = None) -> Reply:
    return reply.stopping(Ending.RESET, after_bytes)


@on_reply
def eof_mid(turn: Turn, reply: Reply, after_bytes: int | None = None) -> Reply:
    return reply.stopping(Ending.CLOSE, after_bytes)


@on_reply
def stall_mid(turn: Turn, reply: Reply, after_bytes: int | None = None) -> Reply:
    return reply.stopping(Ending.STALL, after_bytes)


@on_reply
def stall_now(turn: Turn, reply: Reply) -> Reply:
    """Not even a status line until it is released; then nothing but the end."""
    return replace(reply, status=0, head=EMPTY, body=EMPTY, cut=0, ending=Ending.STALL)


@on_reply
def drip(turn: Turn, reply: Reply, bytes_per_second: float = 1.0) -> Reply:
    return replace(reply, bytes_per_second=bytes_per_second)


# --- ranges and validators ---


@on_turn
def range_ignored(turn: Turn) -> Turn:
    return replace(turn, request=turn.request.without("range"))


@on_turn
def range_wrong_start(turn: Turn, shift: int = 1) -> Turn:
    """Answers for `shift` bytes further on, and says so."""
    if turn.asked is None:
        return turn
    start, stop = turn.asked
    return replace(turn, request=turn.request.asking("range", f"bytes={start + shift}-{stop - 1 + shift}"))


@on_reply
def range_no_content_range(turn: Turn, reply: Reply) -> Reply:
    return reply.without("Content-Range")


@on_reply
def range_total_changed(turn: Turn, reply: Reply, by: int = 1) -> Reply:
    told = reply.header("Content-Range")
    if told is None:
        return reply
    part, _, total = told.partition("/")
    return reply.with_header("Content-Range", f"{part}/{int(total) + by}")


@on_turn
def etag_changed(turn: Turn, data: Data | None = None) -> Turn:
    """Another file of the same size from the second request on, with its own ETag; If-Range is honoured."""
    other = data or SizedPattern(turn.item.data.size, seed=SEED_OF_ANOTHER_VERSION)
    return replace(turn, item=replace(turn.item, data=other, etag='"another-version"'))


@on_turn
def etag_changed_no_ifrange(turn: Turn, data: Data | None = None) -> Turn:
    """As etag_changed, but a part of the new file goes out whatever If-Range says."""
    changed = etag_changed.before(turn, data)
    return replace(changed, request=changed.request.without("if-range"))


etag_changed = listed(etag_changed.after_request(1))
etag_changed_no_ifrange = listed(etag_changed_no_ifrange.after_request(1))


@on_turn
def weak_etag(turn: Turn) -> Turn:
    return replace(turn, item=replace(turn.item, etag='W/"weak"', last_modified=None))


@on_turn
def no_validator(turn: Turn) -> Turn:
    return replace(turn, item=replace(turn.item, etag=None, last_modified=None))


@on_reply
def always_416(turn: Turn, reply: Reply, content_range: bool = False) -> Reply:
    """Refuses every range; only a request without one gets the file."""
    if turn.asked is None:
        return reply
    return refused(416, *((("Content-Range", f"bytes */{turn.item.data.size}"),) if content_range else ()))


always_416_with_total = listed(always_416(content_range=True), "always_416_with_total")


# --- the length of the body ---


@on_reply
def no_length_close(turn: Turn, reply: Reply) -> Reply:
    return reply.without("Content-Length").closing()


@on_reply
def no_length_cut(turn: Turn, reply: Reply, after_bytes: int | None = None) -> Reply:
    return reply.without("Content-Length").closing().stopping(Ending.CLOSE, after_bytes)


@on_reply
def chunked(turn: Turn, reply: Reply) -> Reply:
    return replace(reply.without("Content-Length").with_header("Transfer-Encoding", "chunked"), chunked=True)


@on_reply
def chunked_cut(turn: Turn, reply: Reply, after_bytes: int | None = None) -> Reply:
    return chunked.after(turn, reply).stopping(Ending.CLOSE, after_bytes)


@on_reply
def chunked_endless(turn: Turn, reply: Reply, size: int = ENDLESS_BYTES) -> Reply:
    """The file, then noise and more noise."""
    start = reply.body.read(0, min(reply.body.size, 1 << 20))
    return replace(chunked.after(turn, reply), body=SizedPattern(size, prefix=start))


@on_reply
def length_short(turn: Turn, reply: Reply, length: int | None = None) -> Reply:
    """Says half and sends half."""
    said = reply.body.size // 2 if length is None else length
    return replace(reply.with_header("Content-Length", str(said)), cut=said, trailer=b"")


@on_reply
def length_long(turn: Turn, reply: Reply, length: int | None = None) -> Reply:
    """Says twice as much as there is, sends what there is, and hangs up."""
    said = reply.body.size * 2 if length is None else length
    return replace(reply.with_header("Content-Length", str(said)), ending=Ending.CLOSE)


@on_reply
def length_zero(turn: Turn, reply: Reply) -> Reply:
    return reply.with_body(EMPTY)


@on_reply
def length_negative(turn: Turn, reply: Reply) -> Reply:
    return replace(reply.with_header("Content-Length", "-5"), ending=Ending.CLOSE)


@on_reply
def length_garbage(turn: Turn, reply: Reply) -> Reply:
    return replace(reply.with_header("Content-Length", "12abc"), ending=Ending.CLOSE)


@on_reply
def two_lengths(turn: Turn, reply: Reply, other: int = 5) -> Reply:
    """The true length, then another."""
    return replace(reply.adding(("Content-Length", str(other))), ending=Ending.CLOSE)


@on_reply
def te_and_cl(turn: Turn, reply: Reply) -> Reply:
    framed = replace(reply.with_header("Transfer-Encoding", "chunked"), chunked=True)
    return replace(framed, ending=Ending.CLOSE)


@on_reply
def extra_bytes_keepalive(turn: Turn, reply: Reply, extra: bytes = SMUGGLED) -> Reply:
    return replace(reply, trailer=extra)


# --- the content ---


@on_reply
def gzip_encoded(turn: Turn, reply: Reply) -> Reply:
    packed = gzip.compress(reply.body.read(0, reply.body.size), compresslevel=1, mtime=0)
    return reply.with_body(Blob(packed)).with_header("Content-Encoding", "gzip")


@on_reply
def html_200(turn: Turn, reply: Reply) -> Reply:
    return text_reply(200, HTML, kind="text/html; charset=utf-8")


@on_reply
def html_as_octet(turn: Turn, reply: Reply, size: int = 2_000_000) -> Reply:
    return text_reply(200, HTML.ljust(size), kind="application/octet-stream")


@on_reply
def json_200(turn: Turn, reply: Reply, text: str = '{"error": "Invalid username or password."}') -> Reply:
    return text_reply(200, text, kind="application/json")


@on_reply
def dispo_traversal(turn: Turn, reply: Reply, filename: str = "../../../../tmp/evil.py") -> Reply:
    hostile = f"attachment; filename=\"{filename}\"; filename*=UTF-8''{quote(filename, safe='')}"
    return reply.with_header("Content-Disposition", hostile)


@on_turn
def bitflip(turn: Turn, offset: int | None = None, bit: int = 0) -> Turn:
    """One bit of the file is wrong, in its middle if nobody says where; the ETag is still that of the right one."""
    data = turn.item.data
    return replace(turn, item=replace(turn.item, data=Flipped(data, data.size // 2 if offset is None else offset, bit)))


# --- the status ---

RETRY_AFTER: Mapping[str, str] = {
    "seconds": "1",
    "huge": "999999999",
    "date": "Fri, 31 Dec 2099 23:59:59 GMT",
    "garbage": "soon; maybe",
    "negative": "-1",
}


def refused(status: int, *headers: tuple[str, str]) -> Reply:
    return Reply(status, headers) if status in (204, 304) else text_reply(status, f"{status}\n", *headers)


def _status(status: int, *headers: tuple[str, str], retry_after: str | None = None) -> Behaviour:
    """A host that answers nothing but this status; `retry_after` is sent as it is unless it is None."""

    def act(turn: Turn, reply: Reply, retry_after: str | None = retry_after) -> Reply:
        told = () if retry_after is None else (("Retry-After", retry_after),)
        return refused(status, *headers, *told)

    return listed(Behaviour(f"s{status}", after=act))


s204 = _status(204)
s304 = _status(304)
s401 = _status(401, ("WWW-Authenticate", 'Bearer realm="hub"'))
s403 = _status(403)
s404 = _status(404)
s410 = _status(410)
s451 = _status(451)
s429 = _status(429, retry_after=RETRY_AFTER["seconds"])
s429_huge = listed(s429(retry_after=RETRY_AFTER["huge"]), "s429_huge")
s429_date = listed(s429(retry_after=RETRY_AFTER["date"]), "s429_date")
s429_garbage = listed(s429(retry_after=RETRY_AFTER["garbage"]), "s429_garbage")
s500 = _status(500)
s502 = _status(502)
s503 = _status(503)


@on_reply
def s416(turn: Turn, reply: Reply) -> Reply:
    """Refuses every request as if it were a range that cannot be satisfied, and tells the true size."""
    return refused(416, ("Content-Range", f"bytes */{turn.item.data.size}"))


# --- redirects ---


@on_reply
def redirect(turn: Turn, reply: Reply, to: str = "/elsewhere", status: int = 302) -> Reply:
    """To a path or an address; the headers of the published file go with it, as Hugging Face sends its digest."""
    return refused(status, *turn.item.headers, ("Location", to))


@on_reply
def redirect_loop(turn: Turn, reply: Reply, status: int = 302) -> Reply:
    """To itself, each time under a new query."""
    return refused(status, ("Location", f"{quote(turn.request.path)}?hop={turn.number}"))


@on_reply
def redirect_no_location(turn: Turn, reply: Reply, status: int = 302) -> Reply:
    return refused(status)


redirect_bad = listed(redirect(to="file:///etc/passwd"), "redirect_bad")


# --- the head ---


@on_reply
def header_bomb(turn: Turn, reply: Reply, count: int = 20_000) -> Reply:
    return reply.adding(*((f"X-Bomb-{number}", "b" * 64) for number in range(count)))


@on_reply
def header_endless_line(turn: Turn, reply: Reply, size: int = ENDLESS_BYTES) -> Reply:
    return replace(reply, head=Repeated(b"x", size, b"HTTP/1.1 200 OK\r\nX-Endless: "), body=EMPTY, ending=Ending.CLOSE)


@on_reply
def http09(turn: Turn, reply: Reply) -> Reply:
    return replace(reply, status=0, head=EMPTY, ending=Ending.CLOSE)


@on_reply
def bad_status_line(turn: Turn, reply: Reply, line: bytes = b"HTTP/1.1 two hundred OK") -> Reply:
    rest = reply.head_bytes().split(b"\r\n", 1)[1]
    return replace(reply, status=0, head=Blob(line + b"\r\n" + rest), ending=Ending.CLOSE)
