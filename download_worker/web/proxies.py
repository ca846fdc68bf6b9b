"""Which proxy leads to a host, if any: only what the user configured, and never a word of its password. Pure.

`proxy` is for every host but those of `no_proxy`, whose rules are curl's: a name stands for itself and all below it, an
address for itself, a network in CIDR for all its addresses, each perhaps with a port, and `*` for everything. The
variables of the environment (HTTP_PROXY and its like, read by requests) count only with `use_environment_proxies`.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

from requests.utils import get_environ_proxies, select_proxy

from download_worker.errors import BadRequest, Code
from download_worker.settings import Settings
from download_worker.web.addresses import is_address
from download_worker.web.origins import Address, Origin

PROXY_HINT = "check the proxy setting, its user and its password; the worker tries again by itself"

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


class Login(NamedTuple):
    user: str
    password: str


@dataclass(frozen=True)
class Proxy:
    """`socks5` is told addresses that were looked up here, `socks5h` names; so are `http` and `https`."""

    scheme: str
    host: str
    port: int
    login: Login | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """Without its login, for people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def is_socks(self) -> bool:
        return self.scheme.startswith("socks")

    @property
    def resolves_names(self) -> bool:
        return self.scheme != "socks5"

    @property
    def url(self) -> str:
        """With its login: only for the adapter of requests, which makes a Proxy-Authorization of it."""
        if self.login is None:
            return str(self)
        scheme, _, rest = str(self).partition("://")
        return f"{scheme}://{quote(self.login.user, safe='')}:{quote(self.login.password, safe='')}@{rest}"


class Proxies:
    """Raises BadRequest(bad_setting) when the configured proxy cannot be used here."""

    def __init__(self, settings: Settings) -> None:
        self._ambient = settings.use_environment_proxies
        self._spared = settings.no_proxy
        url = "" if settings.proxy is None else settings.proxy.get_secret_value()
        self._proxy = parse_proxy(url, "proxy") if url else None

    def leading_to(self, address: Address) -> Proxy | None:
        """Raises BadRequest(bad_setting): the environment names a proxy that cannot be used."""
        if self._proxy is not None:
            return None if spares(self._spared, address.origin) else self._proxy
        if not self._ambient:
            return None
        named = select_proxy(str(address), get_environ_proxies(str(address), no_proxy=None))
        return parse_proxy(named, "the proxy of the environment") if named else None


def parse_proxy(url: str, key: str) -> Proxy:
    """Raises BadRequest(bad_setting) naming the key; never the URL, which may hold a password."""
    scheme, host, port, parts = _parts(url if "://" in url else f"http://{url}")
    if scheme not in _PORTS or not host or port == 0:
        kinds = ", ".join(f"{each}://" for each in _PORTS)
        raise BadRequest(Code.BAD_SETTING, f"{key}: it must be host:port after one of {kinds}")
    if scheme.startswith("socks") and importlib.util.find_spec("socks") is None:
        hint = "install the extra: pip install 'comfy-doctor[socks]'"
        raise BadRequest(Code.BAD_SETTING, f"{key}: a SOCKS proxy needs the package PySocks", hint=hint)
    login = None
    if parts is not None and parts.username is not None:
        login = Login(unquote(parts.username), unquote(parts.password or ""))
    return Proxy(scheme, host, port or _PORTS[scheme], login)


def spares(entries: Iterable[str], origin: Origin) -> bool:
    """Whether a host is asked without the proxy."""
    return any(_spares(entry.strip().lower(), origin) for entry in entries)


def _spares(entry: str, origin: Origin) -> bool:
    if entry == "*":
        return True
    if not re.fullmatch(r"[0-9a-f:.]*/\d+|[0-9a-f]*:[0-9a-f:.]*:[0-9a-f:.]*", entry):  # neither CIDR nor bare IPv6
        entry, port = re.fullmatch(r"(.*?)(?::(\d{1,5}))?", entry, re.DOTALL).groups()  # type: ignore[union-attr]
        if port is not None and int(port) != origin.port:
            return False
    entry = entry.removeprefix("*").strip("[]").lstrip(".").rstrip(".")
    if not is_address(origin.host):
        return bool(entry) and f".{origin.host.rstrip('.')}".endswith(f".{entry}")
    try:
        return ipaddress.ip_address(origin.host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def _parts(url: str) -> tuple[str, str, int | None, SplitResult | None]:
    try:
        parts = urlsplit(url.strip())
        return parts.scheme.lower(), parts.hostname or "", parts.port, parts
    except ValueError:
        return "", "", None, None
