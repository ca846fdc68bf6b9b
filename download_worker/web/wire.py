"""One guarded connection at a time, by the adapter of requests: it is dialed by a Dialer and always verified.

Of requests the adapter is used and not the Session: so nothing of the environment, no cookie, no netrc and no
automatic redirect can get in by itself. A connection stays open for the next question only when the answer before it
was read to its end and nothing followed it (H29); a host that hung up in between is dialed again.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool

from download_worker import __version__
from download_worker.errors import BadRequest, Code, TryLater
from download_worker.leash import Leash
from download_worker.text import public_url
from download_worker.web.addresses import AddressPolicy, is_address
from download_worker.web.answers import Framing, Headers, check_head, framing
from download_worker.web.body import Body
from download_worker.web.dialing import Dialer
from download_worker.web.line import Line
from download_worker.web.names import Names
from download_worker.web.origins import Address, Origin
from download_worker.web.proxies import Proxy
from download_worker.web.tls import TlsContext
from download_worker.web.translation import head_errors

USER_AGENT = f"comfy-doctor/{__version__}"
"""Plain on purpose: Civitai sends a browser to its login page, and everybody else an error in JSON (FACTS 5)."""

_PLAIN = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}


class Question(NamedTuple):
    """How a URL is asked for. A `body` is sent as JSON, and never to another origin than the one it was meant for."""

    method: Literal["GET", "HEAD", "POST"] = "GET"
    body: Any = None
    stays_home: bool = False

    @property
    def keeps_to_itself(self) -> bool:
        return self.stays_home or self.body is not None


GET = Question()


@dataclass(frozen=True)
class Network:
    """What all connections have in common. `timeouts` are seconds to connect and seconds without a byte."""

    policy: AddressPolicy
    names: Names
    ssl_context: TlsContext
    timeouts: tuple[float, float]


class Reply:
    """An answer as it came, redirects included."""

    def __init__(self, response: requests.Response, headers: Headers) -> None:
        self.status = response.status_code
        self.headers = headers
        self.body = Body(response.raw)
        self._response = response
        self._raw: Any = response.raw
        self.connection: HTTPConnection | None = self._raw.connection

    def framing(self, host: str) -> Framing:
        return framing(self.headers, host)

    def close(self) -> None:
        """Give its connection back for the next question, or end it."""
        if self.body.ended_cleanly():
            self._raw._original_response.close()
            self._raw.release_conn()
            return
        self._response.close()
        if self.connection is not None:  # behind chunks urllib3 may have given it back by itself
            self.connection.close()


class Wire:
    """Asks, one question after the other. `close` it; `cut` it from any other thread."""

    def __init__(self, network: Network, leash: Leash) -> None:
        self._timeouts = network.timeouts
        self._leash = leash
        self._line = Line()
        self._dialer = Dialer(
            network.policy, network.names, self._line, leash, connect_timeout_seconds=network.timeouts[0]
        )
        self._adapter = _GuardedAdapter(self._dialer, network.ssl_context)
        self._connection: HTTPConnection | None = None
        self._judged: set[Origin] = set()

    def send(
        self, address: Address, headers: Mapping[str, str], question: Question, proxy: Proxy | None = None
    ) -> Reply:
        """Raises what `Route.ask` says."""
        try:
            asking = requests.Request(
                question.method, str(address), headers={**_PLAIN, **headers}, json=question.body
            ).prepare()
        except (requests.RequestException, ValueError) as error:
            raise BadRequest(Code.BAD_URL, f"{public_url(str(address))} cannot be asked for") from error
        self._dialer.via = proxy if proxy is not None and proxy.is_socks else None
        proxies = {}
        if proxy is not None and not proxy.is_socks:
            proxies = {address.origin.scheme: proxy.url}
            self._judge(address.origin)
        dialed = self._dialer.dialed
        try:
            return self._sent(asking, address, proxies)
        except TryLater as trouble:
            was_new = self._dialer.dialed != dialed
            if was_new or trouble.code is Code.STALLED or question.method == "POST":
                raise
        return self._sent(asking, address, proxies)  # on a connection that the host had left in the meantime

    def _judge(self, origin: Origin) -> None:
        """Once for each origin: its name is a proxy's to look up."""
        if origin not in self._judged and not is_address(origin.host):
            self._dialer.judge(origin.host, origin.port)
            self._judged.add(origin)

    def cut(self) -> None:
        """From any thread; never raises. Nothing is asked or read on it any more."""
        self._line.cut()

    def close(self) -> None:
        self._keep(None)
        self._adapter.close()
        self._line.close()

    def _keep(self, connection: HTTPConnection | None) -> None:
        """This one and no other: urllib3 leaves a pooled connection open until the garbage collector comes."""
        former, self._connection = self._connection, connection
        if former is not None and former is not connection:
            former.close()

    def _sent(self, asking: requests.PreparedRequest, address: Address, proxies: dict[str, str]) -> Reply:
        host = address.origin.host
        with head_errors(host, self._leash):
            response = self._adapter.send(asking, stream=True, timeout=self._timeouts, verify=True, proxies=proxies)
        reply = Reply(response, {name.lower(): value for name, value in response.headers.items()})
        self._keep(reply.connection)
        try:
            check_head(reply.headers, host)
        except BaseException:
            reply.close()
            raise
        return reply


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
