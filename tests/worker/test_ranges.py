"""What to ask for and what an answer is good for. Pure: an answer here is a status and some headers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from download_worker.errors import Code, GiveUp
from download_worker.fetchers.http.ranges import (
    AllHere,
    Append,
    AskAgain,
    Decision,
    End,
    Head,
    Held,
    Limits,
    Restart,
    Whole,
    ask,
    can_be_split,
    decide,
    described,
    end_of_body,
    is_same_file,
    parse_content_range,
)
from download_worker.jobs.job import ModelInfo
from download_worker.room import Span, Version
from download_worker.web.answers import Framing, framing

SHA = "ab" * 32
STRONG = Version("s", etag='"v1"')
DATED = Version("s", last_modified="Thu, 01 Jan 2026 00:00:00 GMT")
WEAK = Version("s", etag='W/"v1"')
WEAK_AND_DATED = Version("s", etag='W/"v1"', last_modified="Thu, 01 Jan 2026 00:00:00 GMT")
BARE = Version("s")


def wanted(size: int | None = None, sha256: str | None = None, name: str = "m.ckpt") -> ModelInfo:
    return ModelInfo(expected_filename=name, model_type="loras", download_url="http://h/m", size=size, sha256=sha256)


def decided(
    status: int,
    headers: dict[str, str],
    version: Version | None = STRONG,
    at: int = 40,
    *,
    total: int | None = 100,
    size: int | None = None,
    sha256: str | None = None,
    name: str = "m.ckpt",
    max_file_bytes: int = 10_000,
) -> Decision:
    head = Head(status, headers, framing(headers, "h"), "h")
    held = Held(version, total, begun=at > 0)
    return decide(head, held, at, wanted(size, sha256, name), Limits(size, max_file_bytes))


def part(first: int = 40, last: int = 99, total: int | str = 100, **more: str) -> dict[str, str]:
    headers = {
        "content-range": f"bytes {first}-{last}/{total}",
        "content-length": str(last - first + 1),
        "etag": '"v1"',
    }
    return headers | {name.replace("_", "-"): value for name, value in more.items()}


def test_nothing_here_asks_for_everything() -> None:
    assert ask(STRONG, 0, None) == {}


def test_a_strong_etag_or_a_date_makes_a_resume_conditional() -> None:
    assert ask(STRONG, 40, None) == {"Range": "bytes=40-", "If-Range": '"v1"'}
    assert ask(DATED, 40, None) == {"Range": "bytes=40-", "If-Range": "Thu, 01 Jan 2026 00:00:00 GMT"}


def test_a_stretch_is_asked_for_to_its_last_byte() -> None:
    assert ask(STRONG, 0, 10) == {"Range": "bytes=0-9", "If-Range": '"v1"'}
    assert ask(None, 40, 60) == {"Range": "bytes=40-59"}, "a source that was never heard has no version to name"


@pytest.mark.parametrize("version", [WEAK, WEAK_AND_DATED, BARE, None])
def test_h6_without_a_strong_validator_only_a_trusted_digest_allows_a_resume(version: Version | None) -> None:
    assert not can_be_split(version, wanted(size=100))
    assert can_be_split(version, wanted(sha256=SHA))
    assert ask(version, 40, None) == {"Range": "bytes=40-"}


@pytest.mark.parametrize("version", [STRONG, DATED])
def test_a_strong_validator_allows_a_resume(version: Version) -> None:
    assert can_be_split(version, wanted())


def test_another_source_helps_only_under_a_digest_or_the_same_strong_etag() -> None:
    same, other = Version("t", etag='"v1"'), Version("t", etag='"v2"')
    assert is_same_file(same, STRONG, wanted())
    pairs = ((other, STRONG), (BARE, BARE), (DATED, DATED), (WEAK, WEAK), (BARE, STRONG), (STRONG, BARE))
    for helper, lead in pairs:
        assert not is_same_file(helper, lead, wanted(size=100))
        assert is_same_file(helper, lead, wanted(sha256=SHA))


def test_a_part_that_fits_is_appended() -> None:
    assert decided(206, part()) == Append(Span(40, 100), 100)
    assert decided(206, part(last=59)) == Append(Span(40, 60), 100), "the rest is asked for next"
    assert decided(206, part(), total=None) == Append(Span(40, 100), 100), "the total may be news"


def test_h1_a_200_is_the_whole_file_whatever_was_asked() -> None:
    assert decided(200, {"content-length": "100"}) == Whole(100)


def test_h5_a_part_that_does_not_name_its_version_is_believed_only_under_a_digest() -> None:
    nameless = {name: value for name, value in part().items() if name != "etag"}
    assert isinstance(decided(206, nameless), Restart)
    assert decided(206, nameless, sha256=SHA) == Append(Span(40, 100), 100)


def test_h2_a_part_with_the_wrong_start_is_not_used_but_what_is_here_is_kept() -> None:
    for first in (0, 39, 41):
        assert isinstance(decided(206, part(first=first)), AskAgain)


def test_a_part_whose_length_contradicts_its_range_is_not_used() -> None:
    assert isinstance(decided(206, part(content_length="7")), AskAgain)


@pytest.mark.parametrize(
    "told",
    [
        None,
        "",
        "bytes 40-99/*",
        "bytes */100",
        "bytes=40-99/100",
        "bytes 99-40/100",
        "bytes 40-100/100",
        "items 40-99/100",
    ],
)
def test_h3_a_part_that_does_not_say_which_starts_over(told: str | None) -> None:
    headers = {"content-length": "60"} | ({} if told is None else {"content-range": told})
    assert isinstance(decided(206, headers), Restart)


def test_h4_another_total_starts_over() -> None:
    assert isinstance(decided(206, part(total=101)), Restart)
    assert isinstance(decided(206, part(first=41, total=101)), Restart)


def test_h5_another_version_starts_over() -> None:
    assert isinstance(decided(206, part(etag='"v2"')), Restart)
    assert isinstance(decided(206, part(last_modified="Fri, 02 Jan 2026 00:00:00 GMT"), DATED), Restart)
    assert isinstance(decided(206, part(etag='W/"v2"'), WEAK, sha256=SHA), Restart)


def test_h7_416_is_believed_only_with_the_right_size_and_a_digest_to_check() -> None:
    end = {"content-range": "bytes */40"}
    assert decided(416, end, sha256=SHA) == AllHere(40)
    assert decided(416, end, sha256=SHA, size=40) == AllHere(40)
    assert isinstance(decided(416, end), Restart), "no digest"
    assert isinstance(decided(416, end, sha256=SHA, size=100), Restart), "another size was expected"
    assert isinstance(decided(416, {"content-range": "bytes */100"}, sha256=SHA), Restart)
    assert isinstance(decided(416, {}, sha256=SHA), Restart)


@pytest.mark.parametrize("status", [206, 416])
def test_h24_a_part_that_nobody_asked_for_is_refused(status: int) -> None:
    with pytest.raises(GiveUp) as caught:
        decided(status, part(0), at=0)
    assert caught.value.code is Code.LYING_SERVER


@pytest.mark.parametrize("length", [99, 101, 0])
def test_h10_a_length_that_is_not_the_expected_size_is_refused_before_the_first_byte(length: int) -> None:
    with pytest.raises(GiveUp) as caught:
        decided(200, {"content-length": str(length)}, size=100)
    assert caught.value.code is Code.SIZE_MISMATCH and caught.value.elsewhere
    if length:
        with pytest.raises(GiveUp) as caught:
            decided(206, part(total=length, last=length - 1), total=None, size=100)
        assert caught.value.code is Code.SIZE_MISMATCH


def test_h10_an_empty_file_is_never_right() -> None:
    with pytest.raises(GiveUp) as caught:
        decided(200, {"content-length": "0"})
    assert caught.value.code is Code.SIZE_MISMATCH


def test_h13_a_page_of_another_size_is_called_a_page() -> None:
    with pytest.raises(GiveUp) as caught:
        decided(200, {"content-length": "7", "content-type": "text/html; charset=utf-8"}, size=100)
    assert caught.value.code is Code.HTML


def test_h26_a_file_beyond_the_limit_is_refused_before_the_first_byte() -> None:
    with pytest.raises(GiveUp) as caught:
        decided(200, {"content-length": "101"}, max_file_bytes=100)
    assert caught.value.code is Code.TOO_LARGE
    assert decided(200, {"content-length": "100"}, max_file_bytes=100) == Whole(100)


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "identity, gzip", "zstd"])
@pytest.mark.parametrize("status", [200, 206])
def test_h12_an_encoded_body_is_refused(status: int, encoding: str) -> None:
    with pytest.raises(GiveUp) as caught:
        decided(status, part() | {"content-encoding": encoding})
    assert caught.value.code is Code.LYING_SERVER


def test_h8_a_body_without_a_length_needs_something_that_proves_its_end() -> None:
    with pytest.raises(GiveUp) as caught:
        decided(200, {}, name="m.ckpt")
    assert caught.value.code is Code.LYING_SERVER and caught.value.elsewhere
    assert decided(200, {}, name="m.ckpt", size=100) == Whole(100)
    assert decided(200, {}, name="m.ckpt", sha256=SHA) == Whole(None)
    assert decided(200, {}, name="m.SafeTensors") == Whole(None), "its own header says how long it is"
    assert decided(200, {"transfer-encoding": "chunked"}, name="m.ckpt") == Whole(None), "the last chunk says so"


def test_h8_h9_what_the_end_of_a_body_means() -> None:
    silent, chunked, long = Framing(None, False), Framing(None, True), Framing(100, False)
    assert end_of_body(long, 100, 100, wanted()) is End.COMPLETE
    assert end_of_body(long, 99, 100, wanted()) is End.CUT
    assert end_of_body(silent, 99, 100, wanted(size=100)) is End.CUT
    assert end_of_body(chunked, 99, 100, wanted(size=100)) is End.CUT
    assert end_of_body(chunked, 99, None, wanted()) is End.COMPLETE
    assert end_of_body(silent, 99, None, wanted(sha256=SHA)) is End.DIGEST_DECIDES
    assert end_of_body(silent, 99, None, wanted(name="m.sft")) is End.COMPLETE


def test_a_version_keeps_the_validators_of_the_answer() -> None:
    headers = {"etag": '"v9"', "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT", "content-type": "x/y"}
    version = described("s", headers, "http://h/m")
    assert version == Version("s", '"v9"', headers["last-modified"], "x/y", "http://h/m")


def test_a_date_of_this_very_second_is_no_strong_validator() -> None:
    now = {"last-modified": "Thu, 01 Jan 2026 00:00:00 GMT", "date": "Thu, 01 Jan 2026 00:00:00 GMT"}
    assert described("s", now, "o").last_modified is None
    later = now | {"date": "Thu, 01 Jan 2026 00:00:01 GMT"}
    assert described("s", later, "o").last_modified == now["last-modified"]
    assert described("s", now | {"date": "garbage"}, "o").last_modified is None


def test_a_validator_that_would_not_fit_into_a_journal_is_none() -> None:
    assert described("s", {"etag": '"' + "x" * 9000 + '"'}, "o").etag is None


@given(st.integers(0, 10**18 - 1), st.integers(0, 10**18 - 1), st.integers(0, 10**18 - 1))
def test_a_content_range_is_read_back_or_refused(first: int, last: int, total: int) -> None:
    expected = (first, last, total) if first <= last < total else None
    assert parse_content_range(f"bytes {first}-{last}/{total}") == expected


@given(
    st.integers(0, 200),
    st.integers(0, 200),
    st.integers(0, 200),
    st.sampled_from(['"v1"', '"v2"', None]),
    st.integers(1, 150),
)
def test_h5_nothing_is_ever_appended_to_another_version_or_at_another_place(
    first: int, last: int, total: int, etag: str | None, at: int
) -> None:
    headers = {"content-range": f"bytes {first}-{last}/{total}"} | ({"etag": etag} if etag else {})
    head = Head(206, headers, Framing(None, False), "h")
    try:
        decision = decide(head, Held(STRONG, 100, True), at, wanted(size=100), Limits(100, 10_000))
    except GiveUp:
        return
    if isinstance(decision, Append):
        assert (first, total, decision.span.start, decision.total) == (at, 100, at, 100)
        assert etag != '"v2"'
