"""The way to one URL: its redirects followed by hand, its credentials for its own origin only, its connection kept.

Where the redirects led is remembered for the next question (in memory only: such an address carries a signature), and
all routes to the same URL share what is remembered, so that sixteen connections cost one question to the origin. When
the remembered address refuses (a signature runs out, H21; one edge of a CDN is broken), the way begins at the origin
again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from download_worker.errors import Code, GiveUp, Trouble, told_without_secrets
from download_worker.leash import Leash
from download_worker.text import public_url
from download_worker.web.answers import Asked, Framing, Headers, redirect_target
from download_worker.web.body import Body
from download_worker.web.link import Reply
from download_worker.web.origins import Address, Credential, Origin, next_hop
from download_worker.web.proxies import Proxy
from download_worker.web.translation import body_errors
from download_worker.web.wire import GET, Question, Wire

MAX_REDIRECTS = 10
_BRINGS_A_FILE = frozenset({200, 206, 416})
_TOO_MANY_REQUESTS = 429


@dataclass(frozen=True)
class Answer:
    """The head of an answer, and its body to be read. `url` is where it finally came from, without secrets."""

    status: int
    headers: Headers = field(repr=False)
    url: str
    framing: Framing
    asked: Asked
    _body: Body = field(repr=False)
    _cut: Callable[[], None] = field(repr=False)
    _leash: Leash = field(repr=False)
    hops: tuple[Headers, ...] = field(default=(), repr=False)
    """The heads of the redirects on the way here, in order: Hugging Face tells digest and size there (FACTS 5)."""

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    def read(self, max_bytes: int) -> bytes:
        """What is there, at least one byte; empty at the end of the body. Waits as long as the stall timeout.

        The end of a body without framing may also be a cut line, or a pulled leash: the caller has to ask.
        Raises TryLater(stalled, cut_short), Interrupted.
        """
        with body_errors(self.host, self._leash):
            return self._body.read(max_bytes)

    def read_into(self, view: memoryview) -> int:
        """As `read`, but into the beginning of `view`; answers how many bytes, 0 at the end of the body."""
        with body_errors(self.host, self._leash):
            return self._body.read_into(view)

    def read_soon(self, view: memoryview, seconds: float) -> int | None:
        """As `read_into`, but None if nothing has come within so long."""
        with body_errors(self.host, self._leash):
            return self._body.read_soon(view, seconds)

    def more_within(self, seconds: float) -> bool:
        """Whether a read would not wait longer than that: so that nobody sits on bytes while the host is silent."""
        return self._body.more_within(seconds)

    def shutdown(self) -> None:
        """Cut a read that blocks, from another thread. Never raises."""
        self._cut()


class Keys(Protocol):
    """Who may see what: the secrets and proxies of one origin."""

    def authorization(self, origin: Origin) -> dict[str, str]: ...

    def credential(self, origin: Origin) -> Credential | None: ...

    def doubts(self, start: Address, status: int) -> Sequence[float]: ...

    def proxy(self, address: Address) -> Proxy | None: ...

    def redact(self, text: str) -> str: ...


class Led(NamedTuple):
    """Where redirects led. `crossed`: they left the origin, so no secret may be sent any more, not even back there."""

    address: Address
    crossed: bool = False
    hops: tuple[Headers, ...] = ()


class Way:
    """What the routes to one URL know together. Thread-safe."""

    def __init__(self, start: Address) -> None:
        self.start = start
        self._lock = threading.Lock()
        self._led: Led | None = None

    @property
    def led(self) -> Led | None:
        return self._led

    def remember(self, led: Led) -> None:
        with self._lock:
            self._led = led if led.hops else None

    def forget(self, led: Led) -> None:
        """Unless another route has found a newer one already."""
        with self._lock:
            if self._led is led:
                self._led = None


class Route:
    """One connection at a time to one URL. Not for two threads at once, except `cut`."""

    def __init__(self, way: Way, wire: Wire, keys: Keys, leash: Leash, *, keep: bool = True) -> None:
        self.way = way
        self._wire = wire
        self._keys = keys
        self._leash = leash
        self._keep = {} if keep else {"Connection": "close"}

    @contextmanager
    def ask(self, headers: Mapping[str, str] | None = None, question: Question = GET) -> Iterator[Answer]:
        """Ask for the URL; leave one answer before the next question.

        The answer has any status but a redirect's; see `Web.refusal`. A `question` that stays at home is not redirected
        to another origin: then the redirect itself is the answer.

        Raises:
            BadRequest: bad_url. Refused: refused_address. TryLater: no_connection, stalled, lying_server.
            GiveUp: tls, redirects, lying_server. Interrupted.
        """
        self._leash.check()
        asking = {**self._keep, **(headers or {})}
        with told_without_secrets(self._keys.redact):
            reply, led = self._remembered(asking, question) or self._followed(asking, question)
            try:
                with _told_whether_beyond(led):
                    yield self._answer(reply, led)
            finally:
                reply.close()

    def cut(self) -> None:
        """From any thread; never raises. A read that blocks ends at once, and nothing more is asked."""
        self._wire.cut()

    def _remembered(self, headers: dict[str, str], question: Question) -> tuple[Reply, Led] | None:
        """The answer from where the redirects led before; None when the way has to begin at its start again."""
        for _ in range(2):  # another route may have found a newer address in the meantime
            led = self.way.led
            if led is None or question.keeps_to_itself:
                return None
            try:
                reply = self._sent(led, headers, question)
            except Trouble:
                self.way.forget(led)
                raise
            if reply.status in _BRINGS_A_FILE:
                return reply, led
            self.way.forget(led)
            if reply.status == _TOO_MANY_REQUESTS:  # another question now, if only by way of the origin, is one more
                return reply, led
            reply.close()
        return None

    def _followed(self, headers: dict[str, str], question: Question) -> tuple[Reply, Led]:
        """The first answer that is no redirect. Credentials go to the first origin, never again once that was left."""
        start = self.way.start
        led, reply = Led(start), self._first(headers, question)
        while True:
            try:
                target = _target(reply, led.address)
            except Trouble:
                reply.close()
                raise
            if target is None or (question.keeps_to_itself and target.origin != start.origin):
                if reply.status in _BRINGS_A_FILE:
                    self.way.remember(led)
                return reply, led
            reply.pass_over()
            if len(led.hops) == MAX_REDIRECTS:
                message = f"{public_url(str(start))} redirects more than {MAX_REDIRECTS} times"
                raise GiveUp(Code.REDIRECTS, message, elsewhere=True)
            led = Led(target, led.crossed or target.origin != led.address.origin, (*led.hops, reply.headers))
            reply = self._sent(led, headers, question)

    def _first(self, headers: dict[str, str], question: Question) -> Reply:
        """The answer of the start, asked for again where it may be a mistake."""
        led = Led(self.way.start)
        reply = self._sent(led, headers, question)
        for pause_seconds in self._keys.doubts(led.address, reply.status):
            reply.close()
            self._leash.wait(pause_seconds)
            reply = self._sent(led, headers, question)
            if not self._keys.doubts(led.address, reply.status):
                break
        return reply

    def _sent(self, led: Led, headers: dict[str, str], question: Question) -> Reply:
        own = {} if led.crossed else self._keys.authorization(self.way.start.origin)
        with _told_whether_beyond(led):
            return self._wire.send(led.address, {**headers, **own}, question, self._keys.proxy(led.address))

    def _answer(self, reply: Reply, led: Led) -> Answer:
        start = self.way.start
        asked = Asked(public_url(str(start)), self._keys.credential(start.origin), led.crossed)
        frame = reply.framing(led.address.origin.host)
        where = public_url(str(led.address))
        ends = (reply.body, self._wire.cut, self._leash, led.hops)
        return Answer(reply.status, reply.headers, where, frame, asked, *ends)


@contextmanager
def _told_whether_beyond(led: Led) -> Iterator[None]:
    """Also of what the reader of an answer makes of it: a refusal, say."""
    try:
        yield
    except Trouble as trouble:
        trouble.beyond = led.crossed
        raise


def _target(reply: Reply, current: Address) -> Address | None:
    location = redirect_target(reply.status, reply.headers, str(current))
    return None if location is None else next_hop(current, location)
