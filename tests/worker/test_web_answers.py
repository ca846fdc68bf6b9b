"""What the head of an answer means: statuses, waits, framing, redirects. No sockets, no clock."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from download_worker.errors import Code, GiveUp, Trouble, TryLater
from download_worker.web.answers import (
    Asked,
    Framing,
    check_head,
    framing,
    redirect_target,
    refusal,
    retry_after_seconds,
)
from download_worker.web.origins import Credential
from tests import canaries

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
URL = f"https://huggingface.co/owner/name/resolve/main/f.safetensors?token={canaries.IN_URL}"
TOKEN = Credential("HF_TOKEN", SecretStr(canaries.HF))
NO_TOKEN = Credential("HF_TOKEN", None)


def judged(
    status: int,
    headers: dict[str, str] | None = None,
    credential: Credential | None = NO_TOKEN,
    crossed: bool = False,
    said: str = "",
) -> Trouble:
    return refusal(status, headers or {}, Asked(URL, credential, crossed), now=NOW, cap_seconds=3600.0, said=said)


@pytest.mark.parametrize("status", [401, 403])
def test_h14_a_closed_door_is_final_and_the_hint_names_the_variable(status: int) -> None:
    trouble = judged(status)
    assert isinstance(trouble, GiveUp) and trouble.code is Code.AUTH
    assert "HF_TOKEN" in trouble.hint and "no token was sent" in trouble.message


@pytest.mark.parametrize("status", [401, 403])
def test_h14_a_token_that_does_not_help_is_named_but_never_shown(status: int) -> None:
    trouble = judged(status, credential=TOKEN)
    assert "HF_TOKEN" in trouble.hint and canaries.WORD not in str(trouble)


def test_h14_a_gated_repository_says_where_to_accept_the_licence() -> None:
    for status, credential in ((401, NO_TOKEN), (403, TOKEN)):
        trouble = judged(status, {"x-error-code": "GatedRepo"}, credential)
        assert "https://huggingface.co/owner/name" in trouble.hint and "HF_TOKEN" in trouble.hint
        assert "licence" in trouble.hint


def test_h14_a_host_without_a_known_token_is_no_place_to_set_one() -> None:
    trouble = judged(401, credential=None)
    assert trouble.code is Code.AUTH and "TOKEN" not in trouble.hint


@pytest.mark.parametrize("status", [400, 401, 403])
def test_h21_a_storage_host_that_refuses_a_signed_link_is_asked_again_later(status: int) -> None:
    trouble = judged(status, crossed=True)
    assert isinstance(trouble, TryLater) and trouble.code is Code.SERVER_ERROR


@pytest.mark.parametrize("status", [404, 410, 451])
def test_h15_what_is_gone_is_looked_for_elsewhere(status: int) -> None:
    trouble = judged(status)
    assert isinstance(trouble, GiveUp) and trouble.code is Code.NOT_FOUND and trouble.elsewhere


@pytest.mark.parametrize("status", [429, 503])
def test_h16_a_busy_host_is_given_the_time_it_asks_for(status: int) -> None:
    trouble = judged(status, {"retry-after": "7"})
    assert isinstance(trouble, TryLater) and trouble.code is Code.BUSY_HOST
    assert trouble.retry_after_seconds == 7.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "1"}, 1.0),
        ({"retry-after": " 30 "}, 30.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "999999999"}, 3600.0),
        ({"retry-after": "9" * 400}, 3600.0),
        ({"retry-after": "Thu, 01 Jan 2026 12:01:00 GMT"}, 60.0),
        ({"retry-after": "Fri, 31 Dec 2099 23:59:59 GMT"}, 3600.0),
        ({"retry-after": "Thu, 01 Jan 2015 12:00:00 GMT"}, 0.0),
        ({"retry-after": "soon; maybe"}, None),
        ({"retry-after": "Mon, 01 Jan 2026 00:00:00 +999999999999999999"}, None),
        ({"retry-after": f"Mon, 01 Jan {'9' * 20} 00:00:00 GMT"}, None),
        ({"retry-after": f"Mon, 01 Jan 2026 {'9' * 20}:00:00 GMT"}, None),
        ({"retry-after": "Mon, 01 Jan 0001 00:00:00 +2359"}, 0.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "٣"}, None),
        ({}, None),
        ({"ratelimit": '"resolvers";r=0;t=112'}, 112.0),
        ({"ratelimit": '"resolvers";r=2996;t=281'}, None),
        ({"ratelimit": '"resolvers";r=0;t=112', "retry-after": "soon"}, 112.0),
        ({"ratelimit": '"resolvers";r=0;t=99999'}, 3600.0),
        ({"ratelimit": '"resolvers";r=0;t=112', "retry-after": "3"}, 3.0),
    ],
)
def test_h16_retry_after_is_obeyed_up_to_a_cap_and_garbage_is_nothing(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after_seconds(headers, now=NOW, cap_seconds=3600.0) == seconds


@given(st.text(max_size=80))
def test_h16_no_retry_after_can_break_us_or_exceed_the_cap(text: str) -> None:
    seconds = retry_after_seconds({"retry-after": text, "ratelimit": text}, now=NOW, cap_seconds=3600.0)
    assert seconds is None or 0.0 <= seconds <= 3600.0


def test_n12_a_proxy_that_wants_a_login_is_no_fault_of_the_host() -> None:
    trouble = judged(407)
    assert isinstance(trouble, TryLater) and trouble.code is Code.NO_CONNECTION and "proxy" in trouble.hint


@pytest.mark.parametrize("status", [408, 500, 502, 504, 520, 599])
def test_h17_a_broken_server_is_tried_again(status: int) -> None:
    trouble = judged(status)
    assert isinstance(trouble, TryLater) and trouble.code is Code.SERVER_ERROR


@pytest.mark.parametrize("status", [204, 206, 300, 304, 305, 400, 418, 600])
def test_h24_any_other_status_is_no_answer(status: int) -> None:
    trouble = judged(status)
    assert isinstance(trouble, GiveUp) and trouble.code is Code.LYING_SERVER and trouble.elsewhere


def test_t22_t27_a_refusal_shows_the_hosts_words_safely_and_no_secret() -> None:
    trouble = judged(404, said="gone \x1b[2J" + "x" * 9000)
    assert "\x1b" not in str(trouble) and canaries.WORD not in str(trouble) and len(str(trouble)) < 1000


def test_framing_by_length_by_chunks_or_by_silence() -> None:
    assert framing({"content-length": "12"}, "h") == Framing(12, False)
    assert framing({"transfer-encoding": "chunked"}, "h") == Framing(None, True)
    assert framing({}, "h") == Framing(None, False)


@pytest.mark.parametrize(
    "headers",
    [
        {"content-length": "-5"},
        {"content-length": "12abc"},
        {"content-length": "5, 100000"},
        {"content-length": "5, 5"},
        {"content-length": ""},
        {"content-length": "+5"},
        {"content-length": "٣"},
        {"content-length": "9" * 30},
        {"content-length": "5", "transfer-encoding": "chunked"},
        {"transfer-encoding": "gzip, chunked"},
        {"transfer-encoding": "identity"},
    ],
)
def test_h11_a_head_that_contradicts_itself_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(GiveUp) as caught:
        framing(headers, "h")
    assert caught.value.code is Code.LYING_SERVER


def test_h23_a_head_beyond_64_kib_or_100_headers_is_refused() -> None:
    check_head({f"x-{n}": "v" for n in range(100)}, "h")
    for bomb in ({f"x-{n}": "v" for n in range(101)}, {"x": "v" * 70_000}):
        with pytest.raises(GiveUp):
            check_head(bomb, "h")


def test_h19_a_redirect_says_where_or_is_refused() -> None:
    assert redirect_target(200, {"location": "/x"}, URL) is None
    assert redirect_target(304, {"location": "/x"}, URL) is None
    for status in (301, 302, 303, 307, 308):
        assert redirect_target(status, {"location": "/x"}, URL) == "/x"
        with pytest.raises(GiveUp) as caught:
            redirect_target(status, {}, URL)
        assert caught.value.code is Code.REDIRECTS and canaries.WORD not in str(caught.value)


def test_a_location_in_utf_8_is_read_as_such() -> None:
    assert redirect_target(302, {"location": "/mödel".encode().decode("latin-1")}, URL) == "/mödel"
