"""Text from outside made safe to show, and text that goes outside freed of secrets: total, idempotent, quick."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from download_worker.text import MAX_SHOWN_CHARS, Redactor, public_url, safe_text, without_credentials

QUICK_SECONDS = 0.05
ANYTHING = st.text(st.characters(codec=None), max_size=300)  # lone surrogates included
ESCAPES = {
    "\x1b[2J\x1b[H": "\\x1b[2J\\x1b[H",
    "\x1b]0;title\x07": "\\x1b]0;title\\x07",
    "\x1b]52;c;cm0gLXJm\x1b\\": "\\x1b]52;c;cm0gLXJm\\x1b\\",
    "\x1b]8;;https://evil.example\x07link": "\\x1b]8;;https://evil.example\\x07link",
    "\x1bP$qm\x1b\\": "\\x1bP$qm\\x1b\\",
    "\x9b31m": "\\x9b31m",
    "\x7f\x08\r\n\t": "\\x7f\\x08\\x0d\\x0a\\x09",
    "gpj.\u202eexe": "gpj.<U+202E>exe",
    "a\u200bb\u2060\ufeffc": "a<U+200B>b<U+2060><U+FEFF>c",
    "one\u2028two\u2029three\x85four": "one<U+2028>two<U+2029>three\\x85four",
    "\udcff\U000e0041\ue000": "<U+DCFF><U+E0041><U+E000>",
}
TOKEN = "hf_" + "QwErTyUiOp" * 2


@pytest.mark.parametrize(("hostile", "shown"), ESCAPES.items())
def test_t27_t29_what_a_terminal_would_obey_is_shown_instead(hostile: str, shown: str) -> None:
    assert safe_text(hostile) == shown


def test_ordinary_names_of_all_languages_stay_as_they_are() -> None:
    for name in ("epic_lora_v2.safetensors", "Ökö-Modell (v1).ckpt", "水墨画.safetensors", "modèle é [x].pt", "👍"):
        assert safe_text(name) == name


@given(ANYTHING)
def test_safe_text_leaves_nothing_invisible_and_is_done_after_once(text: str) -> None:
    shown = safe_text(text)
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    assert safe_text(shown) == shown


@given(ANYTHING, st.integers(0, 60))
def test_safe_text_is_never_longer_than_asked_for(text: str, max_chars: int) -> None:
    shown = safe_text(text, max_chars=max_chars)
    assert len(shown) <= max_chars
    assert safe_text(shown, max_chars=max_chars) == shown


def test_long_text_ends_with_how_long_it_was() -> None:
    assert safe_text("x" * 5_000).endswith("… (5000 characters)")
    assert len(safe_text("\x1b" * MAX_SHOWN_CHARS)) == MAX_SHOWN_CHARS, "what is made visible counts as well"
    assert safe_text("x" * MAX_SHOWN_CHARS) == "x" * MAX_SHOWN_CHARS


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/x.pt", "https://h/x.pt"),
        ("https://h/x?download=true&v=1%2F2", "https://h/x?download=true&v=1%2F2"),
        ("https://user:pw@h/x", "https://h/x"),
        ("https://ghp_abcdefghij@h/x", "https://h/x"),
        ("https://h/x?token=abc&a=1", "https://h/x?token=[secret]&a=1"),
        ("https://h/x?%74oken=abc", "https://h/x?token=[secret]"),
        ("https://h/x?API_KEY=abc&api-key=d", "https://h/x?API_KEY=[secret]&api-key=[secret]"),
        ("https://h/x?X-Amz-Signature=ff&X-Amz-Credential=k", None),
        ("https://h/x?Policy=p&Signature=s&Key-Pair-Id=k", None),
        ("https://h/x?se=1&sig=abc", "https://h/x?se=1&sig=[secret]"),
        ("https://h/x?Authorization=3_abc", "https://h/x?Authorization=[secret]"),
        ("https://h/x?security-token=abc&x-oss-signature=abc", None),
        ("https://h/x?q-signature=abc&x-cos-security-token=abc&OSSAccessKeyId=abc", None),
        ("https://h/x?access-token=abc&auth=abc&auth_key=abc&jwt=abc&hdnts=exp=1~hmac=abc", None),
        ("https://h/x?X-Goog-Credential=k&X-Amz-Security-Token=abc&id_token=abc&client_secret=abc", None),
        ("https://h/x?author=me&monkey=1&authority=2&design=3", "https://h/x?author=me&monkey=1&authority=2&design=3"),
        ("https://h/x#access_token=abc", "https://h/x"),
        ("http://[::1", "[secret]"),
        ("https:/user:pw@h/x", "[secret]"),
        ("user:pw@h/x", "[secret]"),
    ],
)
def test_t22_a_public_url_has_no_user_no_token_and_no_signature(url: str, shown: str | None) -> None:
    public = public_url(url)
    assert shown is None or public == shown
    assert not any(secret in public for secret in ("pw", "abc", "=ff", "=k", "=p&", "=s&", "ghp_"))


@given(ANYTHING | st.builds("https://{}?{}#{}".format, ANYTHING, ANYTHING, ANYTHING))
def test_public_url_never_raises_and_is_done_after_once(url: str) -> None:
    assert public_url(public_url(url)) == public_url(url)


def test_t22_a_kept_url_is_without_user_and_token_however_the_key_is_written() -> None:
    url = "https://u:p@h:8443/x?Token=a&%74oken=b&access_token=c&TOKEN&tokens=stay&sig=needed#f"
    assert without_credentials(url) == "https://h:8443/x?tokens=stay&sig=needed"
    url = "https://h/x?api_key=a&API-Key=b&apikey=c&access_key=d&AWSAccessKeyId=stays&X-Amz-Credential=stays"
    assert without_credentials(url) == "https://h/x?AWSAccessKeyId=stays&X-Amz-Credential=stays"
    assert public_url("https://h/x?access_key=abc") == "https://h/x?access_key=[secret]"


@pytest.mark.parametrize(
    "leak",
    [
        f"Authorization: Bearer {TOKEN}",
        "authorization: bearer abc.def-ghi_jkl==",
        "Proxy-Authorization: Basic topsecretvalue==",
        f"token {TOKEN} is wrong",
        "sk-proj-abcdefgh12345678",
        "GET /x?a=1&token=topsecretvalue HTTP/1.1",
        "GET /x?X-Amz-Signature=topsecretvalue",
        "GET /x?Authorization=topsecretvalue",
        "GET /x?a=1&x-cos-security-token=topsecretvalue&b=2",
        "GET /x?hdnts=exp=1~hmac=topsecretvalue",
        "GET /x?jwt=topsecretvalue",
        "https://user:topsecretvalue@host/x",
        "https://user:pw@topsecretvalue@host/x",
        "https://topsecretvalue@host/x",
        "plain known-secret in the text",
        "url-quoted p%C3%A4ss%2Fword%2B",
        "päss/word+",
    ],
)
def test_t22_a_redactor_removes_what_it_knows_and_what_looks_like_a_secret(leak: str) -> None:
    clean = Redactor(["known-secret", "päss/word+", "abc"])(leak)
    hidden = ("QwErTy", "abc.def", "proj-abc", "topsecretvalue", "known-secret", "p%C3", "päss", "pw@")
    assert not any(secret in clean for secret in hidden), clean
    assert "[secret]" in clean


def test_a_redactor_leaves_ordinary_text_alone_and_does_not_take_a_short_word_for_a_secret() -> None:
    text = "downloading https://host/x?download=true from user@host: 3 of 9 MB, skinny_model-v1, abc"
    assert Redactor(["abc", ""])(text) == text


@given(ANYTHING | st.just("secret [secret] ?token=[secret] https://[secret]@h"), st.lists(st.text(max_size=12)))
def test_a_redactor_never_raises_and_is_done_after_once(text: str, secrets: list[str]) -> None:
    redact = Redactor([*secrets, "secret", "[secret"])
    assert redact(redact(text)) == redact(text)


@given(st.text(st.characters(codec="ascii"), max_size=30), st.text("abcXYZ019+/=._-", min_size=4, max_size=40))
def test_t22_no_text_carries_a_known_secret_through(around: str, secret: str) -> None:
    clean = Redactor([secret])(f"{around}{secret}{around}")
    assert secret not in clean.replace("[secret]", "")


@pytest.mark.parametrize(
    "hostile",
    [
        "://" * 30_000,
        "://" + "a" * 100_000,
        "://" + "a:" * 50_000,
        "?token=" * 15_000,
        "bearer " * 15_000,
        "bearer " + "a" * 100_000 + " ",
        "hf_" * 30_000,
        "hf_" + "-" * 100_000,
        "https://h/?" + "&" * 100_000,
        "https://h/?" + "a=1&" * 25_000,
        "https://" + "@" * 100_000,
        "\x1b" * 100_000,
        "\u202e" * 100_000,
    ],
    ids=lambda text: repr(text[:12]),
)
@pytest.mark.parametrize("function", [safe_text, public_url, Redactor(["known"])], ids=["safe", "url", "redact"])
def test_t30_no_text_makes_a_rule_slow(function: Redactor, hostile: str) -> None:
    best = min(_seconds(function, hostile) for _ in range(3))
    assert best < QUICK_SECONDS * 2, "linear: a hundred thousand characters in a blink"


def _seconds(function: Redactor, text: str) -> float:
    began = time.process_time()
    function(text)
    return time.process_time() - began
