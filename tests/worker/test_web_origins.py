"""Whom a URL really names, where it is moved to, and which token goes there. No sockets."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from download_worker.errors import BadRequest, Code, GiveUp, Refused
from download_worker.settings import Settings
from download_worker.web.origins import Origin, check_url, credential_for, effective_url, next_hop, parse_url
from tests import canaries

HF = SecretStr(canaries.HF)
CIVITAI = SecretStr(canaries.CIVITAI)


def settings(**values: Any) -> Settings:
    return Settings(home=Path("/nowhere"), **values)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://huggingface.co/a", Origin("https", "huggingface.co", 443)),
        ("HTTP://Example.COM:8080/a", Origin("http", "example.com", 8080)),
        ("http://127.0.0.1/", Origin("http", "127.0.0.1", 80)),
        ("http://[::1]:8000/x", Origin("http", "::1", 8000)),
        ("http://[0:0:0:0:0:0:0:1]/x", Origin("http", "::1", 80)),
        ("https://xn--mller-kva.example/x", Origin("https", "xn--mller-kva.example", 443)),
        ("https://my_bucket.s3.example/x", Origin("https", "my_bucket.s3.example", 443)),
    ],
)
def test_a_plain_url_names_one_origin(url: str, origin: Origin) -> None:
    assert parse_url(url).origin == origin


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.com/x",
        "javascript:alert(1)",
        "//example.com/x",
        "example.com/x",
        "https:///x",
        "https://user@example.com/x",
        "https://user:secret@example.com/x",
        "https://huggingface.co@evil.example/x",
        "https://example.com:0/x",
        "https://example.com:99999/x",
        "https://example.com:abc/x",
        "https://example.com:80:80/x",
        "https://exa mple.com/x",
        "https://example.com./x",
        "https://-example.com/x",
        "https://exa%6dple.com/x",
        "https://127.0.0.1%2f@evil.example/x",
        "https://evil.example\\@huggingface.co/x",
        "https://example.com/a\nb",
        "https://example.com/a\tb",
        "https://example.com/a\x00b",
        "https://exämple.com/x",
        "https://huggingface。co/x",
        "https://[::1/x",
        "https://[::1%25eth0]/x",
        "https://[v1.x]/x",
        "https://" + "a" * 300 + ".example/x",
        "https://example.com/" + "a" * 20_000,
    ],
)
def test_t18_a_url_in_an_odd_form_is_refused(url: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_url(url)
    assert caught.value.code is Code.BAD_URL


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "017700000001", "0x7f.1", "127.1", "0177.0.0.1", "127.0.0.01", "1.2.3.4.5", "0x"],
)
def test_t18_decimal_octal_and_hex_hosts_are_refused(host: str) -> None:
    with pytest.raises(BadRequest, match="odd form"):
        parse_url(f"http://{host}/x")


def test_t22_a_refused_url_does_not_tell_its_password() -> None:
    with pytest.raises(BadRequest) as caught:
        parse_url(f"https://user:{canaries.PASSWORD}@example.com/x?token={canaries.IN_URL}")
    assert "planted-secret" not in str(caught.value)


@given(st.text(max_size=60))
def test_reading_any_text_ends_in_an_address_or_a_named_refusal(text: str) -> None:
    for url in (text, f"http://{text}", f"https://{text}/x"):
        try:
            address = parse_url(url)
        except BadRequest as refusal:
            assert refusal.code is Code.BAD_URL
        else:
            assert parse_url(str(address)) == address, "and reading it again changes nothing"


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("https://huggingface.co/o/r/resolve/main/f.bin?x=1", "http://127.0.0.1:9000/hf/o/r/resolve/main/f.bin?x=1"),
        ("https://hf.co/o/r/resolve/main/f.bin", "http://127.0.0.1:9000/hf/o/r/resolve/main/f.bin"),
        ("http://huggingface.co/o/r/resolve/main/f.bin", "http://127.0.0.1:9000/hf/o/r/resolve/main/f.bin"),
        ("https://huggingface.co/o/r/blob/main/d/f.bin", "http://127.0.0.1:9000/hf/o/r/resolve/main/d/f.bin"),
        ("https://civitai.com/api/download/models/1", "https://mirror.example/api/download/models/1"),
        ("https://www.civitai.com/api/download/models/1", "https://mirror.example/api/download/models/1"),
        ("https://cdn-lfs.huggingface.co/o/r/f.bin", "https://cdn-lfs.huggingface.co/o/r/f.bin"),
        ("https://huggingface.co:8443/o/r/f.bin", "https://huggingface.co:8443/o/r/f.bin"),
        ("https://huggingface.co.evil.example/o", "https://huggingface.co.evil.example/o"),
    ],
)
def test_urls_of_the_originals_follow_the_moved_endpoints_and_others_do_not(url: str, where: str) -> None:
    moved = settings(hf_endpoint="http://127.0.0.1:9000/hf/", civitai_endpoint="https://mirror.example")
    assert effective_url(url, moved) == where


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("/o/r/blob/main/f.bin", "/o/r/resolve/main/f.bin"),
        ("/r/blob/main/f.bin", "/r/resolve/main/f.bin"),
        ("/datasets/o/r/blob/main/f.bin", "/datasets/o/r/resolve/main/f.bin"),
        ("/o/r/resolve/main/blob/x/f.bin", "/o/r/resolve/main/blob/x/f.bin"),
        ("/o/r/blob/main/blob/x/f.bin", "/o/r/resolve/main/blob/x/f.bin"),
        ("/o/r/resolve/main/f.bin", "/o/r/resolve/main/f.bin"),
    ],
)
def test_the_page_about_a_file_becomes_the_file(path: str, file: str) -> None:
    assert effective_url(f"https://huggingface.co{path}", settings()) == f"https://huggingface.co{file}"
    assert effective_url(f"https://elsewhere.example{path}", settings()) == f"https://elsewhere.example{path}"


def test_t21_a_token_belongs_to_one_exact_origin() -> None:
    own = settings(hf_token=HF, civitai_api_token=CIVITAI)
    found = credential_for(Origin("https", "huggingface.co", 443), own)
    assert found is not None and (found.variable, found.token) == ("HF_TOKEN", HF)
    found = credential_for(Origin("https", "civitai.com", 443), own)
    assert found is not None and (found.variable, found.token) == ("CIVITAI_API_TOKEN", CIVITAI)
    for other in (
        Origin("http", "huggingface.co", 80),
        Origin("http", "huggingface.co", 443),
        Origin("https", "huggingface.co", 8443),
        Origin("https", "cdn-lfs.huggingface.co", 443),
        Origin("https", "huggingface.co.evil.example", 443),
        Origin("https", "civitai.red", 443),
    ):
        assert credential_for(other, own) is None


def test_t21_the_token_goes_with_the_endpoint_and_no_longer_to_the_original() -> None:
    moved = settings(hf_token=HF, hf_endpoint="http://hub.internal:9000")
    found = credential_for(Origin("http", "hub.internal", 9000), moved)
    assert found is not None and found.token == HF
    assert credential_for(Origin("https", "huggingface.co", 443), moved) is None
    assert credential_for(Origin("https", "hub.internal", 9000), moved) is None


def test_a_redirect_may_be_relative() -> None:
    here = parse_url("https://huggingface.co/old/r/resolve/main/f.bin?a=1")
    assert str(next_hop(here, "/new/r/resolve/main/f.bin")) == "https://huggingface.co/new/r/resolve/main/f.bin"
    assert str(next_hop(here, "//cdn.example/f?s=1")) == "https://cdn.example/f?s=1"


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://x.example/",
        "https://u:p@x.example/",
        "http://x.example/",
        "https://0x7f.1/",
        "https://[",
        "gopher:",
    ],
)
def test_h19_h22_t20_a_redirect_to_what_we_would_not_fetch_is_refused(location: str) -> None:
    with pytest.raises(GiveUp) as caught:
        next_hop(parse_url("https://huggingface.co/x"), location)
    assert caught.value.code is Code.REDIRECTS


def test_t18_a_url_with_a_private_address_is_refused_at_the_counter() -> None:
    for url in ("http://169.254.169.254/latest", "http://[::1]/x", "http://10.0.0.1:8080/x"):
        with pytest.raises(Refused) as caught:
            check_url(url, settings())
        assert caught.value.code is Code.REFUSED_ADDRESS
    check_url("http://10.0.0.1:8080/x", settings(allow_hosts=("10.0.0.1:8080",)))
    check_url("https://huggingface.co/o/r/resolve/main/f", settings(hf_endpoint="http://127.0.0.1:9000"))
    check_url("https://a-name-that-nobody-looks-up.example/x", settings())
    with pytest.raises(BadRequest):
        check_url("ftp://example.com/x", settings())
