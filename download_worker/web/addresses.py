"""Which addresses may be connected to, pure: the public internet, and what the user named.

A URL that somebody else wrote must not reach this machine, its network or a cloud's metadata service (SSRF). Names
prove nothing, so the rule is asked about addresses: about each one that a name resolves to, and again about the peer
that was really connected to. Ranges: IANA special-purpose address registries for IPv4 and IPv6.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from download_worker.errors import BadRequest, Code, Refused

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NOT_PUBLIC_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT
            "127.0.0.0/8",
            "169.254.0.0/16",  # link-local; clouds answer with their metadata there
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and the broadcast address
        ),
    )
)
_GLOBAL_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: an IPv4 address in disguise, and out of use
            "3fff::/20",  # documentation
        ),
    )
)
# RFC 6052: the IPv4 address is the last 32 bits. On networks with IPv6 only, every IPv4 host looks like this.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: IPAddress) -> bool:
    """Whether this is an address of the public internet, seen through mappings of IPv4 into IPv6."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    inner = _embedded(address)
    if inner is not None:
        return is_public(inner)
    return address in _GLOBAL_UNICAST_V6 and not any(address in network for network in _NOT_PUBLIC_V6)


def is_address(host: str) -> bool:
    """Whether a host, as `parse_url` gives it, is an address and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class AllowedNetwork(NamedTuple):
    network: Network
    port: int | None


class AllowedName(NamedTuple):
    host: str
    port: int | None


@dataclass(frozen=True)
class AddressPolicy:
    """The public internet, and these. A port of None is every port."""

    names: frozenset[AllowedName] = frozenset()
    networks: tuple[AllowedNetwork, ...] = ()

    @staticmethod
    def allowing(entries: Iterable[str], endpoints: Iterable[tuple[str, int]] = ()) -> AddressPolicy:
        """The policy with these entries of allow_hosts, and these pairs of host and port.

        Raises BadRequest(bad_setting) naming the entry that cannot be read.
        """
        allowed = [*map(_entry, entries), *(_allowed(host, port) for host, port in endpoints)]
        return AddressPolicy(
            names=frozenset(each for each in allowed if isinstance(each, AllowedName)),
            networks=tuple(each for each in allowed if isinstance(each, AllowedNetwork)),
        )

    def check(self, host: str, port: int, address: str) -> None:
        """May we connect to this address, which is what `host` led to?

        Raises:
            Refused: `refused_address`.
        """
        try:
            found = ipaddress.ip_address(address)
        except ValueError as error:
            raise Refused(Code.REFUSED_ADDRESS, f"{host} led to “{address[:80]!a}”, which is no address") from error
        if not (is_public(found) or self._named(host, port, found)):
            where = address if address != host else "it"
            raise Refused(Code.REFUSED_ADDRESS, f"{host}:{port} is not public: {where} is a special or private address")

    def _named(self, host: str, port: int, address: IPAddress) -> bool:
        if AllowedName(host, None) in self.names or AllowedName(host, port) in self.names:
            return True
        plain = _embedded(address) if isinstance(address, ipaddress.IPv6Address) else None
        return any(
            allowed.port in (None, port)
            and (address in allowed.network or (plain is not None and plain in allowed.network))
            for allowed in self.networks
        )


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that packets to this one really go to, if it is one in other clothes."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 else None


def _entry(text: str) -> AllowedName | AllowedNetwork:
    """`host`, `host:port`, `[v6]:port`, an address, or a CIDR."""
    try:
        return AllowedNetwork(ipaddress.ip_network(text, strict=False), None)
    except ValueError:
        pass  # then it is a name, or has a port
    match = re.fullmatch(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[\w.-]+))(?::(?P<port>\d{1,5}))?", text)
    port = int(match["port"]) if match and match["port"] else None
    if match is None or (port is not None and not 0 < port < 65536):
        raise BadRequest(Code.BAD_SETTING, f"allow_hosts: “{text[:80]!a}” is neither host, host:port nor CIDR")
    return _allowed((match["v6"] or match["name"]).lower(), port)


def _allowed(host: str, port: int | None) -> AllowedName | AllowedNetwork:
    try:
        return AllowedNetwork(ipaddress.ip_network(host), port)
    except ValueError:
        return AllowedName(host, port)
