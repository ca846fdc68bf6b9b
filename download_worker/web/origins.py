"""Rules about URLs, pure: which ones we take, where they really point, and which token belongs to which origin.

A URL is parsed once, strictly, so that no two readers can disagree about its host. URLs of Hugging Face and Civitai
follow their endpoints when the user moved them. A token belongs to the exact origin (scheme, host, port) of its
endpoint and to nothing else.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from pydantic import SecretStr

from download_worker.endpoints import CIVITAI_HOME, HF_HOME
from download_worker.errors import BadRequest, Code, GiveUp
from download_worker.settings import Settings
from download_worker.text import public_url, safe_text
from download_worker.web.addresses import AddressPolicy, is_address

MAX_URL_CHARS = 16 * 1024
DEFAULT_PORTS = {"http": 80, "https": 443}

_HF_HOSTS = frozenset({"huggingface.co", "hf.co"})
_CIVITAI_HOSTS = frozenset({"civitai.com", "www.civitai.com"})
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z")
# WHATWG URL, “ends in a number”: such a host is an IPv4 address to every resolver, however oddly it is written.
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)\Z")
# Anything invisible, and the backslash that some readers take for a slash.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\\]")
# Hugging Face: `/owner/repo/blob/revision/path` shows the page about a file, `…/resolve/…` is the file (FACTS 5).
_HF_PAGE = re.compile(r"\A(?P<repo>(?:/(?:datasets|spaces))?/[^/]+(?:/[^/]+)?)/blob/(?=[^/]+/)")


class Origin(NamedTuple):
    """Who is asked: `host` is lower case, without brackets; `port` is always a number."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if DEFAULT_PORTS[self.scheme] == self.port else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


class Address(NamedTuple):
    """A URL that was parsed and found plain. `path` begins with a slash; there is no user and no fragment."""

    origin: Origin
    path: str
    query: str

    def __str__(self) -> str:
        return f"{self.origin}{self.path}{'?' if self.query else ''}{self.query}"


class Credential(NamedTuple):
    """A token and the variable that it comes from. The variable may be shown, the token never."""

    variable: str
    token: SecretStr | None


def parse_url(url: str) -> Address:
    """The one reading of a URL.

    Raises:
        BadRequest: `bad_url`: not http or https, with a user or password, or with a host or port in an odd form.
    """
    if len(url) > MAX_URL_CHARS:
        raise _bad(url[:200], f"it is longer than {MAX_URL_CHARS} characters")
    if _FORBIDDEN.search(url):
        raise _bad(url, "it has a control character or a backslash")
    try:
        parts = urlsplit(url.strip(" "))
        port = parts.port
    except ValueError as error:
        raise _bad(url, "its host or port cannot be read") from error
    scheme = parts.scheme.lower()
    if scheme not in DEFAULT_PORTS:
        raise _bad(url, "only http and https are fetched")
    if "@" in parts.netloc:
        raise _bad(url, "it carries a user name or a password")
    if port == 0:
        raise _bad(url, "its port is 0")
    origin = Origin(scheme, _plain_host(url, parts.netloc), port or DEFAULT_PORTS[scheme])
    return Address(origin, parts.path or "/", parts.query)


def effective_url(url: str, settings: Settings) -> str:
    """Where a job's URL really points: moved to the user's endpoint, and to the file instead of the page about it.

    Raises:
        BadRequest: `bad_url`, see `parse_url`.
    """
    address = parse_url(url)
    hugging_face = parse_url(settings.hf_endpoint)
    moved = _moved(address, _HF_HOSTS, hugging_face)
    moved = _moved(moved, _CIVITAI_HOSTS, parse_url(settings.civitai_endpoint))
    if moved.origin == hugging_face.origin:
        moved = moved._replace(path=_file_path(moved.path, hugging_face.path.rstrip("/")))
    return str(moved)


def next_hop(current: Address, location: str) -> Address:
    """Where a redirect leads. It may be relative; it may not leave https once we are there.

    Raises:
        GiveUp: `redirects`, the target is nothing that we would have fetched in the first place.
    """
    try:
        target = parse_url(urljoin(str(current), location))
    except (BadRequest, ValueError) as error:
        reason = error.message if isinstance(error, BadRequest) else "its target cannot be read"
        raise _bad_redirect(current, reason) from error
    if current.origin.scheme == "https" and target.origin.scheme == "http":
        raise _bad_redirect(current, f"it leaves https for {public_url(str(target))}")
    return target


def credential_for(origin: Origin, settings: Settings) -> Credential | None:
    """The token that may go to this exact origin; its `token` is None where the user set none.

    A plain http origin gets one only where the user moved the endpoint there by name.
    """
    known = (
        (settings.hf_endpoint, Credential("HF_TOKEN", settings.hf_token)),
        (settings.civitai_endpoint, Credential("CIVITAI_API_TOKEN", settings.civitai_api_token)),
    )
    for endpoint, credential in known:
        if parse_url(endpoint).origin == origin:
            return credential
    return None


def address_policy(settings: Settings) -> AddressPolicy:
    """What the user allows beside the public internet; an endpoint that was moved is named by that.

    Raises:
        BadRequest: `bad_setting`, an entry of allow_hosts cannot be read.
    """
    pairs = ((settings.hf_endpoint, HF_HOME), (settings.civitai_endpoint, CIVITAI_HOME))
    moved = (parse_url(endpoint).origin for endpoint, home in pairs if endpoint != home)
    return AddressPolicy.allowing(settings.allow_hosts, ((origin.host, origin.port) for origin in moved))


def check_url(url: str, settings: Settings) -> None:
    """What can be said about a job's URL without asking anybody; its host's addresses are judged when it is fetched.

    Raises:
        BadRequest: `bad_url`, see `parse_url`. Refused: `refused_address`, its host is an address that is not public.
    """
    host, port = parse_url(effective_url(url, settings)).origin[1:]
    if is_address(host):
        address_policy(settings).check(host, port, host)


def _plain_host(url: str, netloc: str) -> str:
    """The host as exactly one thing: a name in ASCII, four decimal numbers, or an IPv6 address in brackets."""
    bracketed = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::\d*)?", netloc)
    try:
        if bracketed:
            return str(ipaddress.IPv6Address(bracketed[1]))
        host = netloc.partition(":")[0].lower()
        if _ENDS_IN_NUMBER.match(host):
            return str(ipaddress.IPv4Address(host))
    except ValueError as error:
        raise _bad(url, "its host is an address in an odd form") from error
    if len(host) > 253 or not _HOST_NAME.match(host) or netloc.count(":") > 1:
        raise _bad(url, "its host is no plain host name")
    return host


def _moved(address: Address, homes: frozenset[str], endpoint: Address) -> Address:
    """From one of the homes, on its usual port, to the endpoint; its path prefix goes before the path."""
    origin = address.origin
    if origin.host not in homes or origin.port != DEFAULT_PORTS[origin.scheme]:
        return address
    return address._replace(origin=endpoint.origin, path=endpoint.path.rstrip("/") + address.path)


def _file_path(path: str, prefix: str) -> str:
    if not path.startswith(f"{prefix}/"):
        return path
    return prefix + _HF_PAGE.sub(r"\g<repo>/resolve/", path.removeprefix(prefix), count=1)


def _bad(url: str, why: str) -> BadRequest:
    return BadRequest(Code.BAD_URL, f"“{safe_text(public_url(url), max_chars=300)}” cannot be fetched: {why}")


def _bad_redirect(current: Address, why: str) -> GiveUp:
    return GiveUp(Code.REDIRECTS, f"a redirect of {public_url(str(current))} is refused: {why}", elsewhere=True)
