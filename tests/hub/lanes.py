"""How a host misbehaves towards a client with several connections, or with one that it keeps for more questions.

What such a client can get wrong: to take a part for another part, bytes of two versions for one file, the end of one
answer for the beginning of the next, one bad connection for a bad host, a limit on connections for a refusal.
"""

from dataclasses import replace
from random import Random
from urllib.parse import quote, urljoin

from tests import canaries

from .behaviours import ENDLESS_BYTES, HTML, SEED_OF_ANOTHER_VERSION, SMUGGLED, drip, refused, stall_mid, stall_now
from .data import EMPTY, Blob, Data, Flipped, Joined, Repeated, SizedPattern, Slice
from .messages import Ending, Reply, text_reply
from .wearing import Behaviour, Turn, beyond, listed, on_reply, on_turn

BOUNDARY = "THE-HUB-AND-NOTHING-BUT"

# --- one connection of several ---

stalled_segment = listed(stall_mid.where(beyond(0.5)).times(1), "stalled_segment")
slow_segment = listed(drip(bytes_per_second=20.0).where(beyond(0.5)).times(1), "slow_segment")


@on_reply
def cut_per_connection(turn: Turn, reply: Reply, after_bytes: int = 1 << 20) -> Reply:
    """No connection carries more than so many body bytes; then it ends, in the middle of whatever answer."""
    left = max(0, after_bytes - turn.connection_bytes)
    return reply if reply.body.size <= left else reply.stopping(Ending.CLOSE, left)


@on_reply
def ragged(turn: Turn, reply: Reply, seed: int = 1, delay_seconds_max: float = 0.05) -> Reply:
    """A bad line: pauses, and the first answer and two of three others break off somewhere."""
    rng = Random(seed * 1_000_003 + turn.number)
    late = replace(reply, delay_seconds=rng.uniform(0, delay_seconds_max))
    if rng.randrange(3) == 0 and turn.number > 1:
        return late
    return late.stopping(rng.choice([Ending.CLOSE, Ending.RESET]), rng.randrange(reply.body.size + 1))


@on_reply
def flipped_range(turn: Turn, reply: Reply) -> Reply:
    """Every answer that begins inside the file has a wrong bit in its middle; one from byte 0 on is right."""
    if turn.asked is None or turn.asked[0] == 0 or not reply.body.size:
        return reply
    return replace(reply, body=Flipped(reply.body, reply.body.size // 2))


@on_reply
def shifted_range(turn: Turn, reply: Reply, by: int = 1) -> Reply:
    """The head says the right part, the bytes are those of `by` earlier."""
    if reply.status != 206 or reply.first_byte < by:
        return reply
    start, data = reply.first_byte - by, turn.item.data
    return replace(reply, body=Slice(data, start, start + reply.body.size))


# --- no more than one connection ---


def _when_busy(name: str, instead: Behaviour) -> Behaviour:
    """More than `most` answers at once for one path are not given: the next is answered like this."""

    def act(turn: Turn, reply: Reply, most: int = 1) -> Reply:
        return instead.after(turn, reply, **dict(instead.parameters)) if turn.busy > most else reply

    return listed(Behaviour(name, after=act))


def _plainly(status: int, *headers: tuple[str, str]) -> Behaviour:
    return Behaviour(str(status), after=lambda turn, reply: refused(status, *headers))


busy_403 = _when_busy("busy_403", _plainly(403))
"""So the Xet bridge of Hugging Face does with many parallel ranges."""
busy_429 = _when_busy("busy_429", _plainly(429, ("Retry-After", "1")))
busy_503 = _when_busy("busy_503", _plainly(503))
busy_stall = _when_busy("busy_stall", stall_now)
busy_rst = _when_busy(
    "busy_rst",
    Behaviour("rst", after=lambda turn, reply: Reply(0, head=EMPTY, ending=Ending.RESET)),
)


@on_turn
def busy_whole(turn: Turn, most: int = 1) -> Turn:
    """Beside an answer that is under way a range is ignored: 200 and the whole file."""
    return replace(turn, request=turn.request.without("range")) if turn.busy > most else turn


# --- more, less or another part than was asked for ---


@on_turn
def range_end_ignored(turn: Turn) -> Turn:
    """Goes on to the end of the file, and says so."""
    if turn.asked is None:
        return turn
    return replace(turn, request=turn.request.asking("range", f"bytes={turn.asked[0]}-"))


@on_reply
def range_overlong(turn: Turn, reply: Reply, extra_bytes: int = 100_000) -> Reply:
    """Says the right part, and sends so many bytes more; its length says so."""
    if reply.status != 206:
        return reply
    stop, data = reply.first_byte + reply.body.size, turn.item.data
    more = Joined(Slice(data, stop, data.size), SizedPattern(extra_bytes))
    return reply.with_body(Joined(reply.body, Slice(more, 0, extra_bytes)))


@on_turn
def range_short(turn: Turn) -> Turn:
    """Sends the first half of what was asked for, and says so (RFC 9110, 15.3.7: it may)."""
    if turn.asked is None or turn.asked[0] >= turn.asked[1]:
        return turn
    start, stop = turn.asked
    return replace(turn, request=turn.request.asking("range", f"bytes={start}-{(start + stop) // 2}"))


@on_reply
def range_length_lies(turn: Turn, reply: Reply) -> Reply:
    """Says the right part, and a length of half of it, which is what comes."""
    return reply.with_body(Slice(reply.body, 0, reply.body.size // 2)) if reply.status == 206 else reply


@on_reply
def range_unknown_total(turn: Turn, reply: Reply) -> Reply:
    told = reply.header("Content-Range")
    return reply if told is None else reply.with_header("Content-Range", f"{told.partition('/')[0]}/*")


@on_reply
def two_content_ranges(turn: Turn, reply: Reply) -> Reply:
    return reply.adding(("Content-Range", "bytes 0-9/10")) if reply.status == 206 else reply


@on_reply
def range_multipart(turn: Turn, reply: Reply) -> Reply:
    """The one part that was asked for, packed as if it were several (RFC 9110, 15.3.7.2: it must not)."""
    if reply.status != 206:
        return reply
    told = f"Content-Type: application/octet-stream\r\nContent-Range: {reply.header('Content-Range')}\r\n\r\n"
    opening, closing = Blob(f"--{BOUNDARY}\r\n{told}".encode()), Blob(f"\r\n--{BOUNDARY}--\r\n".encode())
    packed = reply.without("Content-Range").with_body(Joined(opening, Joined(reply.body, closing)))
    return packed.with_header("Content-Type", f"multipart/byteranges; boundary={BOUNDARY}")


@on_reply
def s206_unasked(turn: Turn, reply: Reply) -> Reply:
    """A part, the whole one, although none was asked for."""
    if turn.asked is not None or reply.status != 200:
        return reply
    size = turn.item.data.size
    return replace(reply.adding(("Content-Range", f"bytes 0-{size - 1}/{size}")), status=206)


@on_reply
def html_on_range(turn: Turn, reply: Reply) -> Reply:
    """The file for who asks for all of it, a page for who asks for a part."""
    return text_reply(200, HTML, kind="text/html; charset=utf-8") if turn.asked is not None else reply


# --- one file, several versions ---


@on_turn
def etag_per_connection(turn: Turn) -> Turn:
    """Several machines behind one name, each with an ETag of its own for the same bytes."""
    return replace(turn, item=replace(turn.item, etag=f'"machine-{turn.connection}"', last_modified=None))


@on_turn
def weak_etag_changes(turn: Turn) -> Turn:
    return replace(turn, item=replace(turn.item, etag=f'W/"{turn.number}"', last_modified=None))


def version_of(data: Data, number: int) -> SizedPattern:
    """The newer file that `new_version_each_time` serves to the request of this number: same size, same first KiB."""
    return SizedPattern(data.size, SEED_OF_ANOTHER_VERSION + number, data.read(0, min(1024, data.size)))


@on_turn
def new_version_each_time(turn: Turn) -> Turn:
    """Each question finds a newer file of the same size, with an ETag of its own."""
    newer = version_of(turn.item.data, turn.number)
    return replace(turn, item=replace(turn.item, data=newer, etag=f'"version-{turn.number}"'))


@on_turn
def swapped_silently(turn: Turn, data: Data | None = None) -> Turn:
    """Another file of the same size from the second request on, under the same ETag."""
    other = data or SizedPattern(turn.item.data.size, seed=SEED_OF_ANOTHER_VERSION)
    return replace(turn, item=replace(turn.item, data=other))


swapped_silently = listed(swapped_silently.after_request(1))


# --- a connection that is kept ---


@on_reply
def closes_silently(turn: Turn, reply: Reply) -> Reply:
    """Promises to keep the connection, and ends it after the body."""
    return replace(reply, ending=Ending.CLOSE)


@on_reply
def second_question_unheard(turn: Turn, reply: Reply) -> Reply:
    """Each connection is good for one answer; the next question on it meets silence."""
    return stall_now.after(turn, reply) if turn.nth_on_connection > 1 else reply


@on_reply
def extra_bytes_late(turn: Turn, reply: Reply, extra: bytes = SMUGGLED, seconds: float = 0.01) -> Reply:
    """As extra_bytes_keepalive, but they come a moment after the body: perhaps behind the next question already."""
    return replace(reply, trailer=extra, trailer_delay_seconds=seconds)


@on_reply
def smuggled_range(turn: Turn, reply: Reply, size: int = 1 << 16) -> Reply:
    """After a part comes, unasked, an answer that looks like the next part of the file, with wrong bytes."""
    stop, total = reply.first_byte + reply.body.size, turn.item.data.size
    size = min(size, total - stop)
    if reply.status != 206 or size <= 0:
        return replace(reply, trailer=SMUGGLED)
    part = ("Content-Range", f"bytes {stop}-{stop + size - 1}/{total}")
    forged = Reply(206, (("ETag", reply.header("ETag") or ""), part)).with_body(SizedPattern(size, seed=666))
    return replace(reply, trailer=forged.head_bytes() + forged.body.read(0, size))


# --- heads and chunks that take for ever ---


@on_reply
def slow_head(turn: Turn, reply: Reply, seconds: float = 0.2) -> Reply:
    return replace(reply, delay_seconds=seconds)


@on_reply
def drip_head(turn: Turn, reply: Reply, bytes_per_second: float = 20.0) -> Reply:
    """Byte by byte: never silent, never done."""
    return replace(reply, head=Blob(reply.head_bytes()), bytes_per_second=bytes_per_second)


@on_reply
def continue_endless(turn: Turn, reply: Reply, size: int = ENDLESS_BYTES) -> Reply:
    """One interim answer after the other (RFC 9110, 15.2: a client reads them all)."""
    told = Repeated(b"HTTP/1.1 100 Continue\r\n\r\n", size)
    return replace(reply, status=0, head=told, body=EMPTY, ending=Ending.CLOSE)


@on_reply
def chunk_garbage(turn: Turn, reply: Reply) -> Reply:
    """One good chunk, then a size that is none."""
    half = reply.body.size // 2
    good = Joined(Blob(b"%x\r\n" % half), Slice(reply.body, 0, half))
    return _framed_by_hand(reply, Joined(good, Blob(b"\r\nnot-a-size\r\n" + bytes(1000))))


@on_reply
def chunk_line_endless(turn: Turn, reply: Reply, size: int = ENDLESS_BYTES) -> Reply:
    """A chunk's first line that never ends."""
    return _framed_by_hand(reply, Repeated(b"x", size, b"5;"))


@on_reply
def chunk_trailer_endless(turn: Turn, reply: Reply, size: int = ENDLESS_BYTES) -> Reply:
    """All chunks, then trailer fields without end."""
    framed = Joined(Joined(Blob(b"%x\r\n" % reply.body.size), reply.body), Blob(b"\r\n0\r\n"))
    return _framed_by_hand(reply, Joined(framed, Repeated(b"X-Trailer: x\r\n", size)))


def _framed_by_hand(reply: Reply, body: Data) -> Reply:
    told = reply.without("Content-Length").with_header("Transfer-Encoding", "chunked")
    return replace(told, body=body, ending=Ending.CLOSE)


# --- addresses that run out ---


@on_reply
def signed(turn: Turn, reply: Reply, to: str = "/signed") -> Reply:
    """Redirects to that address, each time with another signature."""
    return _led_to(turn, to)


@on_reply
def s403_expiring(turn: Turn, reply: Reply, uses: int = 1) -> Reply:
    """Redirects to a signed address of its own that is good for so many questions, then refused."""
    if not turn.request.query.startswith("signature="):
        return _led_to(turn, turn.request.path)
    return refused(403) if turn.repeats > uses else reply


def _led_to(turn: Turn, where: str) -> Reply:
    """There with a signature that was not used before, and that belongs to nobody else."""
    canaries.BOOK.bind(canaries.SIGNATURE, urljoin(f"http://{turn.request.headers['host']}", where))
    return refused(302, ("Location", f"{where}?signature={quote(canaries.SIGNATURE)}.{turn.number}"))
