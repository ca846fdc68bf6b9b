"""One guarded connection to one origin, by the adapter of requests: dialed by a Dialer and always verified.

Of requests the adapter is used and not the Session: so nothing of the environment, no cookie, no netrc and no
automatic redirect can get in by itself. A link knows no secret: those come with each question. It may outlive the
stream that dialed it (`idle.py`), and then serves another one to the very same origin by the very same proxy.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool

from download_worker.leash import Leash
from download_worker.web.addresses import AddressPolicy
from download_worker.web.answers import Framing, Headers, framing
from download_worker.web.body import Body
from download_worker.web.dialing import Dialer
from download_worker.web.line import Line
from download_worker.web.names import Names
from download_worker.web.origins import Origin
from download_worker.web.proxies import Proxy
from download_worker.web.tls import TlsContext
from download_worker.web.translation import FAR_SIDE_ERRORS

SHORT_BYTES = 16 * 1024
"""So much of a body that nobody wants is read all the same, so that its connection stays."""
SHORT_PIECES = 4
SHORT_SECONDS = 0.05
"""For each of so many pieces of it; a new connection takes longer to most hosts."""


@dataclass(frozen=True)
class Network:
    """What all connections have in common. `timeouts` are seconds to connect and seconds without a byte."""

    policy: AddressPolicy
    names: Names
    ssl_context: TlsContext
    timeouts: tuple[float, float]


class Goal(NamedTuple):
    """Where a link leads. With the login of the proxy: another user's connection is another one."""

    origin: Origin
    proxy: Proxy | None


class Reply:
    """An answer as it came, redirects included."""

    def __init__(self, response: requests.Response, headers: Headers) -> None:
        self.status = response.status_code
        self.headers = headers
        self.body = Body(response.raw)
        self.left_a_clean_line = False
        """It is closed, and not one byte of it is left on its connection."""
        self._response = response
        self._raw: Any = response.raw
        self.connection: HTTPConnection | None = self._raw.connection

    def framing(self, host: str) -> Framing:
        return framing(self.headers, host)

    def pass_over(self) -> None:
        """Nobody wants its body: what is left of a short one is read where it comes at once. Then `close`."""
        try:
            for _ in range(SHORT_PIECES if self._is_short else 0):
                if not self.body.more_within(SHORT_SECONDS) or not self.body.read(SHORT_BYTES):
                    break
        except FAR_SIDE_ERRORS:
            pass  # then its connection does not stay
        finally:
            self.close()

    @property
    def _is_short(self) -> bool:
        length = self.headers.get("content-length", "")
        return length.isdecimal() and len(length) < 8 and int(length) <= SHORT_BYTES

    def close(self) -> None:
        """Give its connection back for the next question, or end it."""
        if self.body.ended_cleanly():
            self._raw._original_response.close()
            self._raw.release_conn()
            self.left_a_clean_line = True
            return
        self._response.close()
        if self.connection is not None:  # behind chunks urllib3 may have given it back by itself
            self.connection.close()


class Link:
    """At most one connection at a time, dialed when it is needed. Not for two threads at once."""

    def __init__(self, goal: Goal, network: Network, line: Line, leash: Leash) -> None:
        self.goal = goal
        self._timeouts = network.timeouts
        self._line = line
        self._spare: socket.socket | None = None  # of the line, while nobody has us
        self._dialer = Dialer(network.policy, network.names, line, leash, connect_timeout_seconds=network.timeouts[0])
        self._adapter = _GuardedAdapter(self._dialer, network.ssl_context)
        self._connection: HTTPConnection | None = None
        self._last: Reply | None = None
        self._proxies: Mapping[str, str] = {}
        proxy = goal.proxy
        if proxy is not None and proxy.is_socks:
            self._dialer.via = proxy
        elif proxy is not None:
            self._proxies = {goal.origin.scheme: proxy.url}

    @property
    def dialed(self) -> int:
        """Connections that were tried so far."""
        return self._dialer.dialed

    def judge(self) -> None:
        """See `Dialer.judge`."""
        self._dialer.judge(self.goal.origin.host, self.goal.origin.port)

    def send(self, asking: requests.PreparedRequest) -> Reply:
        """Raises what requests, urllib3 and http.client raise; see `head_errors`."""
        self._last = None
        response = self._adapter.send(asking, stream=True, timeout=self._timeouts, verify=True, proxies=self._proxies)
        reply = Reply(response, {name.lower(): value for name, value in response.headers.items()})
        former, self._connection, self._last = self._connection, reply.connection, reply
        if former is not None and former is not self._connection:
            former.close()  # urllib3 leaves it open until the garbage collector comes
        return reply

    @property
    def is_quiet(self) -> bool:
        """The last answer on it is over, it is still connected, and there is nothing to be read: no byte, no end."""
        over = self._last is not None and self._last.left_a_clean_line
        return over and self._connection is not None and self._connection.is_connected

    def leave(self) -> bool:
        """Its stream has ended. Whether another one may have it: not after a cut, which may have met it anywhere."""
        self._spare = self._line.let_go() if self.is_quiet else None
        return self._spare is not None

    def serve(self, line: Line, leash: Leash) -> None:
        """Another stream, after `leave`; what cuts that stream cuts us."""
        spare, self._spare = self._spare, None
        self._line = line
        self._dialer.serve(line, leash)
        if spare is not None:
            line.take_over(spare)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._adapter.close()
        if self._spare is not None:
            self._spare.close()
            self._spare = None


class _GuardedAdapter(HTTPAdapter):
    """The adapter of requests, whose connections are made by a Dialer and whose certificates are always verified."""

    def __init__(self, dialer: Dialer, ssl_context: TlsContext) -> None:
        self._connections = _dialed_by(dialer)
        self._ssl_context = ssl_context
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._ssl_context, **pool_kwargs)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        context = self._ssl_context
        return super().proxy_manager_for(proxy, ssl_context=context, proxy_ssl_context=context, **proxy_kwargs)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """The context holds the trusted certificates already; loading a bundle for each connection costs 20 ms."""
        conn.cert_reqs = "CERT_REQUIRED"

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        pool = cast(HTTPConnectionPool, super().get_connection_with_tls_context(*args, **kwargs))
        plain, secure = self._connections
        pool.ConnectionCls = secure if pool.scheme == "https" else plain
        return pool


def _dialed_by(dialer: Dialer) -> tuple[type[HTTPConnection], type[HTTPSConnection]]:
    """Classes, because urllib3 makes its connections itself; at `_new_conn` its own SOCKS connections step in, too."""

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return dialer.dial(self._dns_host, self.port, trusted=self.proxy is not None)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return dialer.dial(self._dns_host, self.port, trusted=self.proxy is not None)

    return Plain, Secure
