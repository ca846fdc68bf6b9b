"""Which addresses may be connected to: the vectors of T18, asked of the rule; nothing here opens a socket."""

import ipaddress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from download_worker.errors import BadRequest, Code, Refused
from download_worker.settings import Settings
from download_worker.web.addresses import AddressPolicy, is_public
from download_worker.web.origins import address_policy

SPECIAL = """
    0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.254 127.0.0.1 127.255.255.254 169.254.169.254
    172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255
    198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
    :: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1
    64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:20::1
    2001:db8::1 2002:7f00:1:: 2002:a00:1::1 2002:808:808::1 3fff::1 5f00::1 fc00::1 fd00::1 fd12:3456::1 fe80::1
    fe80::1%eth0 fec0::1 ff02::1 4000::1
"""
PUBLIC = """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 172.15.255.255
    172.32.0.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255
    2606:4700:4700::1111 2a00:1450:4001:81b::200e ::ffff:8.8.8.8 64:ff9b::808:808
"""


@pytest.mark.parametrize("address", SPECIAL.split())
def test_t18_special_and_private_addresses_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    with pytest.raises(Refused) as caught:
        AddressPolicy().check("model.example", 443, address)
    assert caught.value.code is Code.REFUSED_ADDRESS
    assert "COMFY_DOCTOR_ALLOW_HOSTS" in str(caught.value)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
    AddressPolicy().check("model.example", 443, address)


@given(st.ip_addresses())
def test_what_python_calls_private_is_never_public_here(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    known_mapping = isinstance(address, ipaddress.IPv6Address) and address in ipaddress.ip_network("64:ff9b::/96")
    if not address.is_global and not known_mapping:
        assert not is_public(address)


def test_what_is_no_address_at_all_is_refused() -> None:
    with pytest.raises(Refused):
        AddressPolicy().check("model.example", 443, "not-an-address")


def policy(*allow_hosts: str, **values: str) -> AddressPolicy:
    given: dict[str, Any] = {"home": Path("/nowhere"), "allow_hosts": allow_hosts}
    return address_policy(Settings(**(given | values)))


@pytest.mark.parametrize(
    ("entry", "host", "port", "address", "allowed"),
    [
        ("nas.local", "nas.local", 80, "192.168.1.5", True),
        ("NAS.local", "nas.local", 443, "192.168.1.5", True),
        ("nas.local", "other.local", 80, "192.168.1.5", False),
        ("nas.local:8080", "nas.local", 8080, "192.168.1.5", True),
        ("nas.local:8080", "nas.local", 80, "192.168.1.5", False),
        ("127.0.0.1", "127.0.0.1", 9000, "127.0.0.1", True),
        ("127.0.0.1", "localhost", 9000, "127.0.0.1", True),
        ("127.0.0.1:9000", "localhost", 9000, "127.0.0.1", True),
        ("127.0.0.1:9000", "127.0.0.1", 9001, "127.0.0.1", False),
        ("127.0.0.1", "mapped.example", 80, "::ffff:127.0.0.1", True),
        ("192.168.0.0/16", "anything.example", 80, "192.168.9.9", True),
        ("192.168.0.0/16", "anything.example", 80, "10.0.0.1", False),
        ("192.168.1.1/16", "anything.example", 80, "192.168.9.9", True),
        ("::1", "::1", 80, "::1", True),
        ("[::1]:8000", "::1", 8000, "::1", True),
        ("[::1]:8000", "::1", 8001, "::1", False),
        ("fd00::/8", "v6.example", 80, "fd12::1", True),
    ],
)
def test_the_user_may_name_hosts_ports_and_networks(
    entry: str, host: str, port: int, address: str, allowed: bool
) -> None:
    if allowed:
        policy(entry).check(host, port, address)
    else:
        with pytest.raises(Refused):
            policy(entry).check(host, port, address)


@pytest.mark.parametrize(
    "entry", ["http://127.0.0.1", "nas.local:0", "nas.local:70000", "a b", "10.0.0.0/99", "[::1", "*"]
)
def test_an_entry_that_cannot_be_read_is_named(entry: str) -> None:
    with pytest.raises(BadRequest) as caught:
        policy(entry)
    assert caught.value.code is Code.BAD_SETTING and "allow_hosts" in str(caught.value)


def test_a_moved_endpoint_counts_as_named_with_its_port_only() -> None:
    moved = policy(hf_endpoint="http://127.0.0.1:9000/prefix")
    moved.check("127.0.0.1", 9000, "127.0.0.1")
    with pytest.raises(Refused):
        moved.check("127.0.0.1", 9001, "127.0.0.1")


def test_an_endpoint_that_nobody_moved_is_not_allowed_to_be_private() -> None:
    with pytest.raises(Refused):
        policy().check("huggingface.co", 443, "10.0.0.1")
