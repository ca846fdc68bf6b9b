"""The hub: a model host on the loopback that publishes files, misbehaves as it is told, and remembers every request."""

import json
import ssl
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from zlib import crc32

from .connection import Connection
from .data import Blob, Data, SizedPattern, sha256_of
from .honest import Item, honest
from .loopback import Loopback
from .messages import Reply, Request
from .wearing import Behaviour, Turn, Worn, answer, together, worn_for


@dataclass(frozen=True)
class Hit:
    """One request and what became of it.

    `status` is 0 where no honest status line was sent, `first_byte` the offset in the file of the first body byte,
    `bytes_sent` the body bytes handed to the socket so far; `started` and `ended` are seconds of the monotonic clock,
    `ended` is None while it goes on.
    """

    method: str
    target: str
    path: str
    query: str
    headers: Mapping[str, str]
    status: int
    first_byte: int
    connection: int
    started: float
    ended: float | None = None
    bytes_sent: int = 0


@dataclass
class Shelf:
    """A published file, what its host may wear, and what it counts since it put that on.

    `seen` counts requests per method, `asked` per target, `worn` what was worn by its place in the wardrobe.
    """

    item: Item
    wardrobe: tuple[Behaviour, ...] = ()
    seen: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    worn: Counter[int] = field(default_factory=Counter)


@dataclass
class Traffic:
    """One connection: how many requests it made, and how many body bytes it got."""

    requests: int = 0
    sent_bytes: int = 0


NOT_KNOWN_YET = 1 << 62


class Hub(Loopback):
    """A model host. `bytes_per_second` throttles every connection and may be set while it runs."""

    def __init__(
        self,
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        bytes_per_second: float | None = None,
        log_path: Path | None = None,
    ) -> None:
        self.bytes_per_second = bytes_per_second
        self._log_path = log_path
        self._shelves: dict[str, Shelf] = {}
        self._hits: list[Hit] = []
        self._due_bytes: dict[int, int] = {}
        """Answers under way, by the place of their hit: the body bytes after which they are over for the client."""
        super().__init__(port, ssl_context, host)

    def publish(
        self,
        path: str,
        data: bytes | Data,
        *,
        behaviour: Worn = None,
        etag: str | None = "strong",
        last_modified: str | None = None,
        content_type: str = "application/octet-stream",
        sha256_header: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Put a file at a path and return its URL. The ETag is made from the bytes unless given; None sends none."""
        held = Blob(data) if isinstance(data, bytes) else data
        told = tuple((headers or {}).items())
        if sha256_header:
            told += (("X-Linked-ETag", f'"{sha256_of(held)}"'), ("X-Linked-Size", str(held.size)))
        item = Item(held, _strong_etag(held) if etag == "strong" else etag, last_modified, content_type, told)
        with self._changed:
            self._shelves[_rooted(path)] = Shelf(item, together(behaviour))
        return self.url(path)

    def behave(self, path: str, behaviour: Worn, times: int | None = None) -> None:
        """Misbehave so at this path from now on, or so many times; None is honest again. KeyError if unpublished."""
        worn = together(behaviour)
        wardrobe = worn if times is None else tuple(each.times(times) for each in worn)
        with self._changed:
            self._shelves[_rooted(path)] = Shelf(self._shelves[_rooted(path)].item, wardrobe)

    @property
    def hits(self) -> list[Hit]:
        """All requests so far in the order of arrival, those under way included."""
        with self._changed:
            return list(self._hits)

    def hits_for(self, path: str) -> list[Hit]:
        return [hit for hit in self.hits if hit.path == _rooted(path)]

    def bytes_sent(self, path: str) -> int:
        return sum(hit.bytes_sent for hit in self.hits_for(path))

    def forget_hits(self) -> None:
        """Begin the list anew; only while no request is under way."""
        with self._changed:
            self._hits.clear()

    def _converse(self, connection: Connection) -> None:
        alive, traffic = True, Traffic()
        for request in connection.requests():
            traffic.requests += 1
            number = self._open_hit(request, connection)
            try:
                reply = self._reply(request, number, traffic)
                note = partial(self._count, number, traffic)
                alive = connection.deliver(reply, note, lambda: self.bytes_per_second)
            finally:
                self._close_hit(number)
            if not alive or request.last_of_connection():
                return

    def _reply(self, request: Request, number: int, traffic: Traffic) -> Reply:
        reply = self._chosen(request, number, traffic)
        if request.method == "HEAD":
            reply = reply.bodiless()
        with self._changed:
            self._hits[number] = replace(self._hits[number], status=reply.status, first_byte=reply.first_byte)
            self._due_bytes[number] = reply.body.size
        return reply

    def _chosen(self, request: Request, number: int, traffic: Traffic) -> Reply:
        with self._changed:
            shelf = self._shelves.get(request.path)
            if shelf is None:
                return honest(request, None)
            shelf.seen[request.method] += 1
            shelf.asked[request.target] += 1
            turn = Turn(
                request,
                shelf.item,
                number=shelf.seen.total(),
                connection=self._hits[number].connection,
                nth_on_connection=traffic.requests,
                connection_bytes=traffic.sent_bytes,
                busy=self._busy(request.path),
                repeats=shelf.asked[request.target],
            )
            worn = worn_for(turn, shelf.wardrobe, shelf.seen, shelf.worn)
        return answer(turn, worn)

    def _busy(self, path: str) -> int:
        """Answers for this path that their clients do not have to the last byte yet; the caller holds the books."""
        under_way = ((self._hits[number], due) for number, due in self._due_bytes.items())
        return sum(hit.path == path and hit.bytes_sent < due for hit, due in under_way)

    def _open_hit(self, request: Request, connection: Connection) -> int:
        """Nothing of the answer is decided yet: its hit has no status, no first byte and no end."""
        hit = Hit(
            request.method,
            request.target,
            request.path,
            request.query,
            request.headers,
            status=0,
            first_byte=0,
            connection=connection.number,
            started=time.monotonic(),
        )
        with self._changed:
            self._hits.append(hit)
            self._due_bytes[len(self._hits) - 1] = NOT_KNOWN_YET
            self._changed.notify_all()
            return len(self._hits) - 1

    def _count(self, number: int, traffic: Traffic, count: int) -> None:
        with self._changed:
            traffic.sent_bytes += count
            hit = self._hits[number]
            self._hits[number] = replace(hit, bytes_sent=hit.bytes_sent + count)
            self._changed.notify_all()

    def _close_hit(self, number: int) -> None:
        with self._changed:
            del self._due_bytes[number]
            hit = self._hits[number] = replace(self._hits[number], ended=time.monotonic())
            if self._log_path is not None:
                with self._log_path.open("a", encoding="utf-8") as log:
                    log.write(json.dumps(asdict(hit)) + "\n")
            self._changed.notify_all()


def _rooted(path: str) -> str:
    return "/" + path.lstrip("/")


def _strong_etag(data: Data) -> str:
    """The digest of the bytes; a pattern may be too large for that and is known by what makes it."""
    if isinstance(data, SizedPattern):
        return f'"pattern-{data.seed}-{data.size}-{crc32(data.prefix)}"'
    return f'"{sha256_of(data)}"'
