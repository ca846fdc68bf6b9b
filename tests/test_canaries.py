"""The search for planted secrets finds them in every form that they travel in."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest

from tests import canaries


@pytest.mark.parametrize("canary", canaries.ALL)
def test_t22_a_canary_is_found_raw_and_quoted_and_in_base64(canary: str) -> None:
    for form in (canary, quote(canary, safe=""), base64.b64encode(canary.encode()).decode()):
        assert canaries.found_in(b"before " + form.encode() + b" after") == [canary]
    assert canaries.found_in(canary.encode(), but=[canary]) == []


def test_t22_a_proxys_password_is_found_in_the_header_that_carries_it() -> None:
    header = base64.b64encode(f"{canaries.PROXY_USER}:{canaries.PROXY_PASSWORD}".encode())
    assert canaries.found_in(b"Proxy-Authorization: Basic " + header) == [canaries.PROXY_PASSWORD]
