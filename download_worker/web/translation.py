"""What requests, urllib3, http.client, ssl and the socket say when it goes wrong, in the words of the house.

They wrap each other in many layers, so the whole chain of causes is searched, and the first entry of the table that
any of them matches decides. Connecting itself is not here: `dialing.py` answers for that.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import requests
import urllib3.exceptions as pool

from download_worker.errors import Code, GiveUp, Trouble, TryLater
from download_worker.leash import Leash
from download_worker.text import safe_text
from download_worker.web.proxies import PROXY_HINT

MAX_CAUSES = 32
FAR_SIDE_ERRORS = (requests.RequestException, pool.HTTPError, http.client.HTTPException, OSError, ValueError)

_NOT_YET_VALID = 9  # X509_V_ERR_CERT_NOT_YET_VALID of OpenSSL
_ENDED_EARLY = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
_HEAD_TOO_LARGE = "got more than"  # how http.client begins when there are over 100 headers or 64 KiB in one line


@contextmanager
def head_errors(host: str, leash: Leash) -> Iterator[None]:
    """While the question is sent and the head of the answer is read.

    Raises:
        TryLater: no_connection, stalled, lying_server. GiveUp: tls, lying_server. Interrupted: the leash was pulled.
    """
    try:
        yield
    except FAR_SIDE_ERRORS as error:
        leash.check()
        raise _head_trouble(host, tuple(_causes(error))) from error


@contextmanager
def body_errors(host: str, leash: Leash) -> Iterator[None]:
    """While the body is read: whatever breaks it, what came so far is kept, and the next connection goes on.

    Raises:
        TryLater: stalled, cut_short. Interrupted: the leash was pulled.
    """
    try:
        yield
    except FAR_SIDE_ERRORS as error:
        leash.check()
        causes = tuple(_causes(error))
        if _any(causes, pool.ReadTimeoutError, TimeoutError):
            raise TryLater(Code.STALLED, f"{host} stopped sending") from error
        raise TryLater(Code.CUT_SHORT, f"{host} cut the line{_reason(causes)}") from error


def _head_trouble(host: str, causes: tuple[BaseException, ...]) -> Trouble:
    if _any(causes, requests.exceptions.ProxyError, pool.ProxyError):
        return TryLater(Code.NO_CONNECTION, f"the proxy does not lead to {host}: {_said(causes)}", hint=PROXY_HINT)
    if _any(causes, *_ENDED_EARLY):
        return TryLater(Code.NO_CONNECTION, f"{host} hung up during the TLS handshake")
    if _any(causes, ssl.SSLError, ssl.CertificateError, pool.SSLError):
        return _distrust(host, causes)
    if _any(causes, pool.ReadTimeoutError, requests.Timeout, TimeoutError):
        return TryLater(Code.STALLED, f"{host} took the question and did not answer")
    if _any(causes, pool.InvalidHeader) or any(_HEAD_TOO_LARGE in str(c) for c in causes):
        return GiveUp(Code.LYING_SERVER, f"{host} sends a head that is no honest one: {_said(causes)}", elsewhere=True)
    if _any(causes, ConnectionError, socket.gaierror):
        return TryLater(Code.NO_CONNECTION, f"{host} dropped the connection before it answered")
    return TryLater(Code.LYING_SERVER, f"{host} does not answer in HTTP as we know it")


def _distrust(host: str, causes: tuple[BaseException, ...]) -> Trouble:
    """Final, but for a certificate that only begins to hold later: then a clock is wrong, and most likely ours (C5)."""
    said = f"{host} cannot be trusted: {_said(causes)}"
    if any(getattr(cause, "verify_code", 0) == _NOT_YET_VALID for cause in causes):
        return TryLater(Code.TLS, said, hint="check the clock of this machine; the worker tries again by itself")
    return GiveUp(Code.TLS, said, elsewhere=True)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and everything that it wraps, outermost first."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < MAX_CAUSES:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = (*current.args, getattr(current, "reason", None), current.__cause__, current.__context__)
        waiting += [each for each in inner if isinstance(each, BaseException)]


def _any(causes: tuple[BaseException, ...], *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in causes)


def _said(causes: tuple[BaseException, ...]) -> str:
    """The innermost words, bounded: outer layers repeat URLs, which may carry a signature."""
    return safe_text(str(causes[-1]) or type(causes[-1]).__name__, max_chars=200)


def _reason(causes: tuple[BaseException, ...]) -> str:
    """What the operating system says about it, if it says anything."""
    words = [cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror]
    return f" ({words[-1]})" if words else ""
