"""Through a SOCKS5 proxy (RFC 1928, RFC 1929), spoken by PySocks on a socket that can be cut like any other."""

from __future__ import annotations

import importlib
import socket
from typing import Any

from download_worker.web.line import Line
from download_worker.web.names import Place
from download_worker.web.proxies import Proxy


class SocksError(OSError):
    """The proxy was reached and does not lead there."""


def through(proxy: Proxy, at: Place, host: str, port: int, line: Line, *, timeout_seconds: float) -> socket.socket:
    """A connection to `host`, a name only where the proxy resolves names, by the proxy at this address.

    Raises OSError: the proxy is not there; SocksError: it does not lead to the host.
    """
    socks: Any = importlib.import_module("socks")  # an extra; `parse_proxy` has looked for it
    dialing: Any = socks.socksocket(at.family, socket.SOCK_STREAM)
    try:
        dialing.settimeout(timeout_seconds)
        dialing.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.hold(dialing)
        user, password = proxy.login or (None, None)
        dialing.set_proxy(socks.SOCKS5, at.address, at.sockaddr[1], proxy.resolves_names, user, password)
        dialing.connect((host, port))
        # As a plain socket again: PySocks receives in Python.
        sock = socket.socket(at.family, socket.SOCK_STREAM, fileno=dialing.detach())
    except socks.ProxyConnectionError as error:
        raise (error.socket_err or error) from error
    except socks.ProxyError as error:
        raise SocksError(str(error)) from error
    finally:
        dialing.close()
    sock.settimeout(timeout_seconds)
    return sock
