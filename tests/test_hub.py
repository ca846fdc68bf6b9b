"""The hub is a tool that other tests trust: here it is looked at over raw sockets, honest and otherwise."""

import gzip
import http.client
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors

from tests import makers
from tests.hub import BEHAVIOURS, RETRY_AFTER, Blob, Hub, SizedPattern, in_turn, sha256_of
from tests.hub.behaviours import (
    SEED_OF_ANOTHER_VERSION,
    chunked,
    etag_changed,
    length_short,
    redirect,
    rst_mid,
    s403,
    s429,
    s503,
    stall_mid,
)
from tests.hub.llm import Answer, LlmStub, error, hold

ENDLESS = ("stall_mid", "stall_now", "drip", "chunked_endless", "header_endless_line")
SLOW = frozenset({"drip", "drip_head", "slow_segment"})
FILE = SizedPattern(100_000)
BYTES = FILE.read(0, FILE.size)
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Heard:
    """What a client read until the end of the connection, or until `size` bytes of body; `error` is what ended it."""

    head: str
    body: bytes
    error: type[OSError] | None

    @property
    def status(self) -> str:
        return self.head.split("\r\n", 1)[0].partition(" ")[2]

    def all(self, name: str) -> list[str]:
        pairs = [line.partition(": ") for line in self.head.split("\r\n")[1:]]
        return [value for key, _, value in pairs if key == name]


def ask(
    hub: Hub, path: str = "/f", method: str = "GET", limit: int = 1 << 22, patience: float = 5.0, **headers: str
) -> Heard:
    """One request on a connection of its own, everything read as it comes."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    heard, error = bytearray(), None
    with socket.create_connection((hub.host, hub.port), timeout=patience) as client:
        client.sendall(f"{method} {path} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n{lines}\r\n".encode())
        try:
            while len(heard) < limit and (piece := client.recv(1 << 16)):
                heard += piece
        except OSError as caught:
            error = type(caught)
    head, _, body = bytes(heard).partition(b"\r\n\r\n")
    return Heard(head.decode("latin-1"), body, error)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        hub.publish("/f", FILE)
        yield hub


def test_an_honest_hub_sends_the_whole_file_with_its_length_and_a_strong_etag(hub: Hub) -> None:
    hub.publish("/b", b"hello")
    heard = ask(hub, "/b")
    assert (heard.status, heard.body, heard.all("Content-Length")) == ("200 OK", b"hello", ["5"])
    assert heard.all("ETag") == [f'"{sha256_of(Blob(b"hello"))}"']
    assert heard.all("Accept-Ranges") == ["bytes"]
    head = ask(hub, "/b", "HEAD")
    assert (head.status, head.body, head.all("Content-Length")) == ("200 OK", b"", ["5"])
    assert ask(hub, "/nothing").status == "404 Not Found"


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=70000-", 70_000, 100_000),
        ("bytes=99999-200000", 99_999, 100_000),
        ("bytes=-10", 99_990, 100_000),
    ],
)
def test_a_range_is_answered_with_exactly_its_bytes(hub: Hub, asked: str, start: int, stop: int) -> None:
    heard = ask(hub, Range=asked)
    assert heard.status == "206 Partial Content"
    assert heard.all("Content-Range") == [f"bytes {start}-{stop - 1}/100000"]
    assert heard.all("Content-Length") == [str(stop - start)]
    assert heard.body == BYTES[start:stop]
    assert hub.hits[-1].first_byte == start


def test_a_range_past_the_end_is_refused_with_the_true_size_and_nonsense_is_ignored(hub: Hub) -> None:
    heard = ask(hub, Range="bytes=100000-")
    assert (heard.status[:3], heard.all("Content-Range"), heard.body) == ("416", ["bytes */100000"], b"")
    for nonsense in ("bytes=5-2", "bytes=-", "bytes=1-2,4-5", "items=1-2"):
        assert ask(hub, Range=nonsense).body == BYTES


def test_if_range_gives_the_part_only_while_the_validator_is_the_same_and_strong(hub: Hub) -> None:
    day = "Wed, 21 Oct 2015 07:28:00 GMT"
    hub.publish("/v", BYTES, etag='"one"', last_modified=day)
    for good in ('"one"', day):
        assert ask(hub, "/v", Range="bytes=9-", If_Range=good).body == BYTES[9:]
    for bad in ('"two"', 'W/"one"', "Wed, 21 Oct 2015 07:28:01 GMT"):
        assert ask(hub, "/v", Range="bytes=9-", If_Range=bad).body == BYTES
    hub.publish("/w", BYTES, etag='W/"one"')
    assert ask(hub, "/w", Range="bytes=9-", If_Range='W/"one"').status == "200 OK"


def test_a_connection_serves_many_requests_and_every_hit_is_remembered(hub: Hub) -> None:
    with socket.create_connection((hub.host, hub.port), timeout=5) as client, client.makefile("rb") as stream:
        for number in range(3):
            client.sendall(b"GET /f?token=%d HTTP/1.1\r\nX-Thing: One\r\nRange: bytes=10-19\r\n\r\n" % number)
            while stream.readline().strip():
                pass
            assert stream.read(10) == BYTES[10:20]
            assert hub.bytes_sent("/f") == 10 * (number + 1)
        hub.wait_for(lambda hub: hub.hits[-1].ended)
    hits = hub.hits_for("/f")
    assert [hit.query for hit in hits] == ["token=0", "token=1", "token=2"]
    assert {(hit.method, hit.status, hit.first_byte, hit.headers["x-thing"], hit.connection) for hit in hits} == {
        ("GET", 206, 10, "One", 1)
    }
    assert all(hit.ended is not None and hit.ended >= hit.started for hit in hits)


def test_a_pattern_is_the_same_from_every_offset_and_may_begin_like_a_real_file() -> None:
    pattern = SizedPattern(200_000, seed=3, prefix=b"GGUF" * 20_000)
    whole = pattern.read(0, 200_000)
    assert len(whole) == 200_000
    assert whole[:80_000] == b"GGUF" * 20_000
    for start, stop in [(0, 1), (65_535, 65_537), (79_999, 131_073), (199_999, 300_000)]:
        assert pattern.read(start, stop) == whole[start:stop]
    assert pattern.read(131_072, 196_608) != SizedPattern(400_000, seed=3).read(196_608, 262_144)
    assert whole[80_000:] != SizedPattern(200_000, seed=4).read(80_000, 200_000)


def test_a_reset_and_an_early_end_come_after_the_bytes_that_were_agreed(hub: Hub) -> None:
    hub.behave("/f", BEHAVIOURS["rst_now"])
    assert ask(hub) == Heard("", b"", ConnectionResetError)
    for name, ended_by in (("rst_mid", ConnectionResetError), ("eof_mid", None)):
        hub.behave("/f", BEHAVIOURS[name](after_bytes=30_000))
        assert ask(hub).body == BYTES[:30_000]
        hub.behave("/f", BEHAVIOURS[name])
        heard = ask(hub, Range="bytes=20000-")
        assert (heard.all("Content-Length"), heard.body, heard.error) == (["80000"], BYTES[20_000:60_000], ended_by)
    assert [hit.bytes_sent for hit in hub.hits] == [0, 30_000, 40_000, 30_000, 40_000]


def test_a_stalled_hub_goes_on_when_it_is_released_and_notices_who_leaves(hub: Hub) -> None:
    hub.behave("/f", stall_mid)
    heard: list[Heard] = []
    patient = threading.Thread(target=lambda: heard.append(ask(hub)))
    patient.start()
    hub.wait_for(lambda hub: hub.bytes_sent("/f") == 50_000)
    assert hub.hits[0].ended is None
    hub.release()
    patient.join(5)
    assert heard[0].body == BYTES
    with socket.create_connection((hub.host, hub.port)) as client:
        client.sendall(b"GET /f HTTP/1.1\r\n\r\n")
        hub.wait_for(lambda hub: len(hub.hits) == 2 and hub.hits[1].bytes_sent == 50_000)
    hub.wait_for(lambda hub: hub.hits[1].ended)
    assert hub.hits[1].bytes_sent == 50_000


def test_closing_is_quick_whatever_the_connections_do() -> None:
    hub = Hub()
    clients = [socket.create_connection((hub.host, hub.port)) for _ in range(6)]
    for client, name in zip(clients, ENDLESS, strict=False):
        hub.publish(name, FILE, behaviour=BEHAVIOURS[name])
        client.sendall(f"GET /{name} HTTP/1.1\r\n\r\n".encode())
    hub.wait_for(lambda hub: len(hub.hits) == len(ENDLESS))
    started = time.monotonic()
    hub.close()
    assert time.monotonic() - started < 0.5
    assert not [thread for thread in threading.enumerate() if hub.base in thread.name]
    for client in clients:
        client.close()


def test_the_speed_is_kept_and_may_change_on_the_way(hub: Hub) -> None:
    hub.bytes_per_second = 100_000
    patient = threading.Thread(target=ask, args=(hub,))
    started = time.monotonic()
    patient.start()
    hub.wait_for(lambda hub: hub.bytes_sent("/f") >= 25_000)
    assert 0.15 < time.monotonic() - started < 1.0
    hub.bytes_per_second = None
    patient.join(5)
    assert time.monotonic() - started < 1.0
    hub.behave("/f", BEHAVIOURS["drip"](bytes_per_second=100))
    started = time.monotonic()
    with socket.create_connection((hub.host, hub.port)) as client:
        client.sendall(b"GET /f HTTP/1.1\r\n\r\n")
        hub.wait_for(lambda hub: len(hub.hits) == 2 and hub.hits[1].bytes_sent >= 20)
    assert 0.1 < time.monotonic() - started < 1.0


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program to make a certificate")
def test_a_hub_speaks_tls_to_who_trusts_it_and_closes_on_who_does_not(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=hub"
    command = [*made.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    big = SizedPattern(8_000_000)
    with Hub(ssl_context=context) as hub:
        url = hub.publish("/f", big)
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(url)
        trusting = ssl.create_default_context(cafile=str(certificate))
        with urllib.request.urlopen(url, context=trusting) as answer:
            assert answer.read() == big.read(0, big.size)
        assert hub.bytes_sent("/f") == big.size
        assert len(hub.hits) == 1
        hub.behave("/f", rst_mid)
        # Python 3.11 with OpenSSL 3 reports a reset inside TLS as an end of file, later ones may not
        with (
            pytest.raises((ConnectionResetError, http.client.IncompleteRead)),
            urllib.request.urlopen(url, context=trusting) as answer,
        ):
            answer.read()
        assert hub.hits[-1].bytes_sent == big.size // 2


def test_ranges_go_wrong_in_the_way_that_was_asked_for(hub: Hub) -> None:
    etag = ask(hub).all("ETag")[0]

    def ranged(name: str, **parameters: Any) -> tuple[str, list[str], bytes]:
        hub.behave("/f", BEHAVIOURS[name](**parameters))
        heard = ask(hub, Range="bytes=40000-", If_Range=etag)
        return heard.status[:3], heard.all("Content-Range"), heard.body

    assert ranged("range_ignored") == ("200", [], BYTES)
    assert ranged("range_wrong_start") == ("206", ["bytes 40001-99999/100000"], BYTES[40_001:])
    assert ranged("range_no_content_range") == ("206", [], BYTES[40_000:])
    assert ranged("range_total_changed") == ("206", ["bytes 40000-99999/100001"], BYTES[40_000:])
    assert ranged("always_416")[:2] == ("416", [])
    assert ranged("always_416", content_range=True)[:2] == ("416", ["bytes */100000"])
    assert ask(hub).body == BYTES
    assert ranged("s416")[:2] == ("416", ["bytes */100000"])


def test_a_file_that_is_replaced_is_new_from_the_second_request_on(hub: Hub) -> None:
    other = SizedPattern(FILE.size, seed=SEED_OF_ANOTHER_VERSION).read(0, FILE.size)
    for name, status, rest in (("etag_changed", "200", other), ("etag_changed_no_ifrange", "206", other[50_000:])):
        hub.behave("/f", BEHAVIOURS[name])
        first = ask(hub)
        second = ask(hub, Range="bytes=50000-", If_Range=first.all("ETag")[0])
        assert (first.body, second.status[:3], second.body) == (BYTES, status, rest)
        assert second.all("ETag") == ['"another-version"']
    assert other != BYTES


def test_behaviours_come_together_in_turn_for_a_while_and_for_one_method(hub: Hub) -> None:
    hub.behave("/f", [etag_changed, rst_mid.times(1)])
    first, second = ask(hub), ask(hub)
    assert (first.body, first.error) == (BYTES[:50_000], ConnectionResetError)
    assert (len(second.body), second.all("ETag")) == (100_000, ['"another-version"'])

    hub.behave("/f", in_turn(s503, length_short))
    assert [len(ask(hub).body) for _ in range(3)] == [4, 50_000, 100_000]

    hub.behave("/f", s503, times=2)
    assert [ask(hub).status[:3] for _ in range(3)] == ["503", "503", "200"]

    hub.behave("/f", s403.on("GET").times(1))
    assert [ask(hub, method=method).status[:3] for method in ("HEAD", "GET", "GET")] == ["200", "403", "200"]

    hub.behave("/f", None)
    assert ask(hub).body == BYTES
    with pytest.raises(TypeError, match="rst_mid knows no at"):
        rst_mid(at=3)
    with pytest.raises(KeyError):
        hub.behave("/never-published", rst_mid)


@pytest.mark.parametrize(
    ("name", "lengths", "body"),
    [
        ("no_length_close", [], BYTES),
        ("no_length_cut", [], BYTES[:50_000]),
        ("length_short", ["50000"], BYTES[:50_000]),
        ("length_long", ["200000"], BYTES),
        ("length_zero", ["0"], b""),
        ("length_negative", ["-5"], BYTES),
        ("length_garbage", ["12abc"], BYTES),
        ("two_lengths", ["100000", "5"], BYTES),
        ("extra_bytes_keepalive", ["100000"], BYTES + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        ("html_as_octet", ["2000000"], None),
    ],
)
def test_lengths_lie_in_the_way_that_was_asked_for(hub: Hub, name: str, lengths: list[str], body: bytes | None) -> None:
    hub.behave("/f", BEHAVIOURS[name])
    heard = ask(hub)
    assert heard.all("Content-Length") == lengths
    assert heard.body == body or (body is None and len(heard.body) == 2_000_000)


def test_chunks_end_rightly_are_cut_or_never_end(hub: Hub) -> None:
    framed = b"10000\r\n" + BYTES[:65536] + b"\r\n86a0\r\n" + BYTES[65536:] + b"\r\n"
    hub.behave("/f", chunked)
    assert ask(hub).body == framed + b"0\r\n\r\n"
    hub.behave("/f", BEHAVIOURS["te_and_cl"])
    heard = ask(hub)
    assert (heard.all("Content-Length"), heard.all("Transfer-Encoding")) == (["100000"], ["chunked"])
    assert heard.body == framed + b"0\r\n\r\n"
    assert hub.bytes_sent("/f") == 200_000
    hub.behave("/f", BEHAVIOURS["chunked_cut"])
    assert ask(hub).body == b"c350\r\n" + BYTES[:50_000] + b"\r\n"
    hub.behave("/f", BEHAVIOURS["chunked_endless"])
    assert len(ask(hub, limit=3_000_000).body) > 2_900_000


def test_the_content_is_not_what_it_seems(hub: Hub) -> None:
    def sent(name: str, **parameters: Any) -> Heard:
        hub.behave("/f", BEHAVIOURS[name](**parameters))
        return ask(hub, Accept_Encoding="identity")

    packed = sent("gzip_encoded")
    assert (packed.all("Content-Encoding"), gzip.decompress(packed.body)) == (["gzip"], BYTES)
    flipped = sent("bitflip", offset=7).body
    assert [at for at in range(FILE.size) if flipped[at] != BYTES[at]] == [7]
    assert flipped[7] ^ BYTES[7] == 1
    assert sent("html_200").all("Content-Type") == ["text/html; charset=utf-8"]
    assert json.loads(sent("json_200").body)
    hostile = sent("dispo_traversal")
    assert hostile.body == BYTES
    assert "../../" in hostile.all("Content-Disposition")[0]
    assert sent("weak_etag").all("ETag") == ['W/"weak"']
    assert sent("no_validator").all("ETag") == []


def test_statuses_and_redirects_say_what_they_should(hub: Hub) -> None:
    hub.behave("/f", s429(retry_after=RETRY_AFTER["huge"]))
    assert ask(hub).all("Retry-After") == ["999999999"]
    hub.behave("/f", BEHAVIOURS["s204"])
    assert (ask(hub).status, ask(hub).body) == ("204 No Content", b"")
    hub.publish("/r", b"", behaviour=redirect(to=hub.url("/f"), status=307), headers={"X-Linked-Size": "9"})
    heard = ask(hub, "/r")
    assert (heard.status[:3], heard.all("Location"), heard.all("X-Linked-Size")) == ("307", [hub.url("/f")], ["9"])
    hub.behave("/f", BEHAVIOURS["redirect_loop"])
    assert [ask(hub).all("Location") for _ in range(2)] == [["/f?hop=1"], ["/f?hop=2"]]
    hub.behave("/f", BEHAVIOURS["redirect_no_location"])
    assert (ask(hub).status[:3], ask(hub).all("Location")) == ("302", [])
    hub.behave("/f", BEHAVIOURS["redirect_bad"])
    assert ask(hub).all("Location") == ["file:///etc/passwd"]


def test_heads_are_missing_wrong_or_without_end(hub: Hub) -> None:
    hub.behave("/f", BEHAVIOURS["http09"])
    heard = ask(hub)
    assert heard.head.encode("latin-1") + heard.body in BYTES + b"\r\n\r\n"
    hub.behave("/f", BEHAVIOURS["bad_status_line"])
    assert (ask(hub).head.split("\r\n")[0], ask(hub).body) == ("HTTP/1.1 two hundred OK", BYTES)
    hub.behave("/f", BEHAVIOURS["header_bomb"])
    assert ask(hub).head.count("X-Bomb-") == 20_000
    hub.behave("/f", BEHAVIOURS["header_endless_line"])
    endless = ask(hub, limit=500_000)
    assert "\r\n\r\n" not in endless.head and endless.head.endswith("xxx")


@pytest.mark.parametrize("name", sorted(BEHAVIOURS.keys() - SLOW))
def test_every_behaviour_is_worn_without_hurting_the_hub(hub: Hub, name: str) -> None:
    hub.behave("/f", BEHAVIOURS[name])
    for method in ("GET", "HEAD"):
        ask(hub, method=method, limit=20_000, patience=0.05 if "stall" in name else 5.0)
    hub.behave("/f", None)
    assert ask(hub).body == BYTES


def test_the_hub_as_a_program_serves_a_folder_and_writes_its_hits(tmp_path: Path) -> None:
    models, log = tmp_path / "models", tmp_path / "hits.jsonl"
    (models / "loras").mkdir(parents=True)
    (models / "loras" / "a b.safetensors").write_bytes(BYTES)
    command = [sys.executable, "-m", "tests.hub", "--dir", str(models), "--log", str(log)]
    with subprocess.Popen(
        [*command, "--behave", "/loras/a b.safetensors=s503@1"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip() + "/loras/a%20b.safetensors"
        try:
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(url)
            assert refused.value.read() == b"503\n"
            refused.value.close()
            with urllib.request.urlopen(url) as answer:
                assert answer.read() == BYTES
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(5) == 0
    hits = [json.loads(line) for line in log.read_text().splitlines()]
    hits.sort(key=lambda hit: float(hit["started"]))
    assert [(hit["path"], hit["status"], hit["bytes_sent"]) for hit in hits] == [
        ("/loras/a b.safetensors", 503, 4),
        ("/loras/a b.safetensors", 200, 100_000),
    ]


def chat(stub: LlmStub, body: object, timeout: float = 5.0) -> tuple[int, Any]:
    request = urllib.request.Request(stub.base_url + "/chat/completions", json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.loads(refused.read())


def test_the_language_model_says_what_the_test_wrote_and_remembers_what_it_was_asked() -> None:
    with LlmStub(lambda body: Answer(content=json.dumps({"heard": body["messages"]}))) as stub:
        status, body = chat(stub, {"model": "m", "messages": ["hi"]})
        assert (status, body["model"]) == (200, "m")
        assert json.loads(body["choices"][0]["message"]["content"]) == {"heard": ["hi"]}
        assert stub.requests[0].body == {"model": "m", "messages": ["hi"]}
        stub.script = Answer(refusal="no", finish_reason="length")
        choice = chat(stub, {})[1]["choices"][0]
        assert choice["message"] == {"role": "assistant", "content": None, "refusal": "no"}
        assert choice["finish_reason"] == "length"
        stub.script = error(429, "rate_limit_exceeded", "slow down", "requests", retry_after="20")
        status, body = chat(stub, {})
        assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")


def test_the_language_model_may_hang_up_or_never_answer() -> None:
    with LlmStub(Answer(close=True)) as stub:
        with pytest.raises(OSError):
            chat(stub, {})
        stub.script = hold()
        with pytest.raises(TimeoutError):
            chat(stub, {}, timeout=0.1)
        assert len(stub.requests) == 2
        started = time.monotonic()
    assert time.monotonic() - started < 0.5


@pytest.mark.parametrize("size", [256, 4096, 65_536, 65_537, 65_539])
def test_a_made_safetensors_file_is_one_of_exactly_that_size(size: int) -> None:
    metadata = {"made": "here"} if size > 256 else None
    content = makers.safetensors_bytes(size, seed=2, metadata=metadata)
    assert len(content) == size
    assert content == makers.safetensors_bytes(size, seed=2, metadata=metadata)
    tensors: dict[str, Any] = dict(safetensors.deserialize(content))  # type: ignore[no-untyped-call]
    assert sum(len(tensor["data"]) for tensor in tensors.values()) > 0
    assert {tensor["dtype"] for tensor in tensors.values()} >= {"F32", "F16"}
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header.pop("__metadata__", None) == metadata
    assert header.keys() == tensors.keys()


def test_a_made_file_begins_as_its_kind_does() -> None:
    assert makers.html_page(3000).startswith(b"<!DOCTYPE html>") and len(makers.html_page(3000)) == 3000
    assert makers.zip_bytes()[:4] == b"PK\x03\x04"
    assert makers.elf_bytes()[:4] == b"\x7fELF" and len(makers.elf_bytes()) == 4096
    assert makers.pe_bytes()[:2] == b"MZ" and makers.pe_bytes()[0x80:0x84] == b"PE\0\0"
    assert makers.gguf_bytes()[:8] == b"GGUF\x03\0\0\0"
    with pytest.raises(ValueError, match="needs"):
        makers.safetensors_bytes(50)
