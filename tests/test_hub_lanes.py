"""The hub towards a client with several connections or a kept one, looked at over raw sockets."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple
from urllib.parse import quote

import pytest

from tests import canaries
from tests.hub import BEHAVIOURS, Hub, SizedPattern, lanes
from tests.hub.behaviours import SEED_OF_ANOTHER_VERSION, bitflip, rst_mid, s503, stall_mid
from tests.hub.wearing import beyond

FILE = SizedPattern(100_000)
BYTES = FILE.read(0, FILE.size)
SIGNED = quote(canaries.SIGNATURE)
OTHER = SizedPattern(FILE.size, seed=SEED_OF_ANOTHER_VERSION).read(0, FILE.size)


class Heard(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection that is kept: what stands behind an answer is the beginning of the next."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.stream = sock.makefile("rb")

    def ask(self, asked: str | None = None, target: str = "/f") -> Heard:
        self.send(asked, target)
        status, headers = self.head()
        return Heard(status, headers, self.stream.read(int(headers["content-length"])))

    def send(self, asked: str | None = None, target: str = "/f") -> None:
        host = "{}:{}".format(*self.sock.getpeername())
        range_line = f"Range: bytes={asked}\r\n" if asked else ""
        self.sock.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{range_line}\r\n".encode())

    def head(self) -> tuple[int, dict[str, str]]:
        line = self.stream.readline()
        if not line:
            raise EOFError
        headers: dict[str, str] = {}
        while told := self.stream.readline().strip():
            name, _, value = told.decode("latin-1").partition(": ")
            headers[name.lower()] = f"{headers[name.lower()]}, {value}" if name.lower() in headers else value
        return int(line.split()[1]), headers


@contextmanager
def client_of(hub: Hub, patience: float = 5.0) -> Iterator[Client]:
    with socket.create_connection((hub.host, hub.port), timeout=patience) as sock:
        client = Client(sock)
        with client.stream:
            yield client


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        hub.publish("/f", FILE, etag='"v1"')
        yield hub


@pytest.mark.parametrize(("name", "status"), [("busy_403", 403), ("busy_429", 429), ("busy_503", 503)])
def test_a_second_connection_is_refused_while_the_first_has_not_all(hub: Hub, name: str, status: int) -> None:
    hub.behave("/f", [stall_mid.times(1), BEHAVIOURS[name]])
    with client_of(hub) as first, client_of(hub) as second:
        first.send("0-49999")
        hub.wait_for(lambda hub: hub.bytes_sent("/f") == 25_000)
        assert second.ask("50000-").status == status
        hub.release()
        assert first.head()[0] == 206 and first.stream.read(50_000) == BYTES[:50_000]
        for client in (first, second, first):
            assert client.ask("50000-").body == BYTES[50_000:], "one after the other is not busy"


def test_a_second_connection_is_reset_unheard_or_given_the_whole_file(hub: Hub) -> None:
    for name in ("busy_rst", "busy_stall", "busy_whole"):
        path = f"/{name}"
        hub.publish(path, FILE, behaviour=[stall_mid.times(1), BEHAVIOURS[name]])
        with client_of(hub) as first, client_of(hub, patience=0.05) as second:
            first.send("0-49999", path)
            hub.wait_for(lambda hub, path=path: hub.bytes_sent(path) == 25_000)  # type: ignore[misc]
            if name == "busy_whole":
                heard = second.ask("50000-", path)
                assert (heard.status, heard.body) == (200, BYTES)
            else:
                with pytest.raises(ConnectionResetError if name == "busy_rst" else TimeoutError):
                    second.ask("50000-", path)


def test_a_connection_ends_after_so_many_bytes_whatever_the_answers(hub: Hub) -> None:
    hub.behave("/f", lanes.cut_per_connection(after_bytes=60_000))
    with client_of(hub) as client:
        assert client.ask("0-39999").body == BYTES[:40_000]
        assert client.ask("40000-").body == BYTES[40_000:60_000]
        with pytest.raises((EOFError, ConnectionError)):
            client.ask("60000-")
    with client_of(hub) as client:
        assert len(client.ask("60000-").body) == 40_000


@pytest.mark.parametrize(
    ("name", "status", "told", "body"),
    [
        ("range_end_ignored", 206, "bytes 40000-99999/100000", BYTES[40_000:]),
        ("range_overlong", 206, "bytes 40000-49999/100000", BYTES[40_000:] + SizedPattern(100_000).read(0, 50_000)),
        ("range_short", 206, "bytes 40000-45000/100000", BYTES[40_000:45_001]),
        ("range_length_lies", 206, "bytes 40000-49999/100000", BYTES[40_000:45_000]),
        ("range_unknown_total", 206, "bytes 40000-49999/*", BYTES[40_000:50_000]),
        ("two_content_ranges", 206, "bytes 40000-49999/100000, bytes 0-9/10", BYTES[40_000:50_000]),
        ("shifted_range", 206, "bytes 40000-49999/100000", BYTES[39_999:49_999]),
        ("swapped_silently", 206, "bytes 40000-49999/100000", OTHER[40_000:50_000]),
    ],
)
def test_a_part_is_more_less_or_another(hub: Hub, name: str, status: int, told: str, body: bytes) -> None:
    hub.behave("/f", BEHAVIOURS[name])
    with client_of(hub) as client:
        assert client.ask().body == BYTES, "the whole file is right"
        heard = client.ask("40000-49999")
        assert (heard.status, heard.headers["content-range"], heard.body) == (status, told, body)
        assert heard.headers["etag"] == '"v1"'


def test_a_part_comes_packed_or_as_a_page_or_unasked_or_with_a_wrong_bit(hub: Hub) -> None:
    with client_of(hub) as client:
        hub.behave("/f", lanes.range_multipart)
        packed = client.ask("40000-49999")
        assert packed.headers["content-type"].startswith("multipart/byteranges")
        assert "content-range" not in packed.headers
        assert b"Content-Range: bytes 40000-49999/100000\r\n\r\n" + BYTES[40_000:50_000] in packed.body
        hub.behave("/f", lanes.html_on_range)
        assert client.ask("40000-").body.startswith(b"<!DOCTYPE html>") and client.ask().body == BYTES
        hub.behave("/f", lanes.s206_unasked)
        assert client.ask().status == 206 and client.ask("5-9").body == BYTES[5:10]
        hub.behave("/f", lanes.flipped_range)
        wrong = client.ask("40000-49999").body
        assert [at for at in range(10_000) if wrong[at] != BYTES[40_000 + at]] == [5_000]
        assert client.ask("0-9999").body == BYTES[:10_000]


def test_one_file_has_several_versions(hub: Hub) -> None:
    with client_of(hub) as one, client_of(hub) as two:
        hub.behave("/f", lanes.etag_per_connection)
        assert one.ask().headers["etag"] == one.ask().headers["etag"] != two.ask().headers["etag"]
        hub.behave("/f", lanes.weak_etag_changes)
        assert [one.ask().headers["etag"] for _ in range(2)] == ['W/"1"', 'W/"2"']
        hub.behave("/f", lanes.new_version_each_time)
        former, newer = one.ask(), one.ask()
        assert former.headers["etag"] != newer.headers["etag"] and former.body != newer.body
        assert former.body[:1024] == newer.body[:1024] == BYTES[:1024]


def test_a_kept_connection_ends_falls_silent_or_brings_what_nobody_asked_for(hub: Hub) -> None:
    hub.behave("/f", lanes.closes_silently)
    with client_of(hub) as client:
        heard = client.ask()
        assert heard.body == BYTES and "connection" not in heard.headers
        with pytest.raises((EOFError, ConnectionError)):
            client.ask()
    hub.behave("/f", lanes.second_question_unheard)
    with client_of(hub, patience=0.05) as client:
        assert client.ask().body == BYTES
        with pytest.raises(TimeoutError):
            client.ask()
    hub.behave("/f", lanes.extra_bytes_late(seconds=0.001))
    with client_of(hub) as client:
        assert client.ask("0-9").body == BYTES[:10]
        assert client.ask("10-19").body == b"evil"
    hub.behave("/f", lanes.smuggled_range)
    with client_of(hub) as client:
        assert client.ask("0-9999").body == BYTES[:10_000]
        forged = client.ask("10000-19999")
        assert (forged.status, forged.headers["content-range"]) == (206, "bytes 10000-75535/100000")
        assert forged.headers["etag"] == '"v1"' and forged.body != BYTES[10_000:75_536]


def test_heads_and_chunks_take_for_ever(hub: Hub) -> None:
    def begins(name: str, limit: int = 200_000) -> bytes:
        hub.behave("/f", BEHAVIOURS[name])
        with client_of(hub) as client:
            client.send()
            return client.stream.read(limit)

    assert begins("continue_endless").startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
    assert BYTES[:50_000] + b"\r\nnot-a-size\r\n" in begins("chunk_garbage")
    assert begins("chunk_line_endless").rstrip(b"x").endswith(b"\r\n\r\n5;")
    assert BYTES + b"\r\n0\r\nX-Trailer: x\r\nX-Trailer: x\r\n" in begins("chunk_trailer_endless")
    hub.behave("/f", lanes.drip_head(bytes_per_second=1000.0))
    with client_of(hub) as client:
        client.send()
        assert client.stream.read(20) == b"HTTP/1.1 200 OK\r\nCon"


def test_a_signed_address_is_good_for_one_question(hub: Hub) -> None:
    hub.behave("/f", lanes.signed(to="/g"))
    with client_of(hub) as client:
        assert [client.ask().headers["location"] for _ in range(2)] == [f"/g?signature={SIGNED}.{n}" for n in (1, 2)]
    hub.behave("/f", lanes.s403_expiring)
    with client_of(hub) as client:
        first = client.ask().headers["location"]
        assert first == f"/f?signature={SIGNED}.1"
        assert client.ask(target=first).body == BYTES
        assert client.ask(target=first).status == 403
        second = client.ask().headers["location"]
        assert second != first and client.ask("9-", target=second).body == BYTES[9:]


def test_a_bad_line_breaks_off_now_and_then_in_the_same_places_for_the_same_seed(hub: Hub) -> None:
    def lengths() -> list[int]:
        """How many bytes of body each answer brought, as the hub counted them."""
        hub.behave("/f", lanes.ragged(seed=3, delay_seconds_max=0.001))
        before = len(hub.hits)
        for _ in range(12):
            with client_of(hub) as client, suppress(ConnectionError, EOFError):
                client.send()
                client.head()
                client.stream.read(FILE.size)
        hub.wait_for(lambda hub: hub.hits[-1].ended)
        return [hit.bytes_sent for hit in hub.hits[before:]]

    first = lengths()
    assert 0 < first.count(FILE.size) < 12
    assert lengths() == first


def test_a_behaviour_may_concern_a_part_of_the_file_only_and_so_many_requests_of_those(hub: Hub) -> None:
    hub.behave("/f", s503.where(beyond(0.5)).times(2))
    with client_of(hub) as client:
        asked = ("0-9", "50000-50009", "10-19", "60000-60009", "60000-60009", None)
        assert [client.ask(each).status for each in asked] == [206, 503, 206, 503, 206, 200]
    hub.behave("/f", [bitflip(offset=70_000), rst_mid.where(beyond(0.9))])
    with client_of(hub) as client:
        assert client.ask("70000-70000").body != BYTES[70_000:70_001]
        with pytest.raises(ConnectionResetError):
            client.ask("90000-")
