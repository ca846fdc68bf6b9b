"""TlsStream against a server that is an SSLObject in this thread, so that every byte on the line is the test's own."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from download_worker.web.tls import TlsStream
from tests.hub import certificates

RECORD_BYTES = 16 * 1024
DATA = bytes(range(256)) * 64 * 4  # four records
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Server:
    """The other end of the line. `encrypted` is what these bytes look like there; nothing is sent by itself."""

    def __init__(self, version: ssl.TLSVersion) -> None:
        self.near, self.line = socket.socketpair()
        for end in (self.near, self.line):
            end.settimeout(5)
        context = certificates.serving()
        context.minimum_version = context.maximum_version = version
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
                self.line.sendall(self._outgoing.read())
                return
            except ssl.SSLWantReadError:
                self.line.sendall(self._outgoing.read())
                self._incoming.write(self.line.recv(65536))

    def encrypted(self, data: bytes) -> bytes:
        self._tls.write(data)
        return self._outgoing.read()

    def farewell(self) -> bytes:
        with suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        return self._outgoing.read()

    def close(self) -> None:
        self.near.close()
        self.line.close()


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def connected(request: pytest.FixtureRequest) -> Iterator[tuple[Server, TlsStream]]:
    server = Server(request.param)
    thread = threading.Thread(target=server.shake_hands)
    thread.start()
    stream = TlsStream(server.near, certificates.trusting(), "localhost")
    thread.join()
    yield server, stream
    server.close()


Connected = tuple[Server, TlsStream]


def read(stream: TlsStream, most_bytes: int = 1024 * 1024) -> bytes:
    view = memoryview(bytearray(most_bytes))
    return bytes(view[: stream.read_many(view)])


def test_all_records_that_have_arrived_come_at_once(connected: Connected) -> None:
    server, stream = connected
    server.line.sendall(server.encrypted(DATA))
    assert read(stream) == DATA
    assert not stream.has_more


def test_nobody_waits_for_the_rest_of_a_record_while_others_are_whole(connected: Connected) -> None:
    server, stream = connected
    sent = server.encrypted(DATA)
    server.line.sendall(sent[:-100])
    assert read(stream) == DATA[:-RECORD_BYTES]
    assert not stream.has_more
    server.line.sendall(sent[-100:])
    assert read(stream) == DATA[-RECORD_BYTES:]


def test_what_does_not_fit_is_there_without_the_network(connected: Connected) -> None:
    server, stream = connected
    server.line.sendall(server.encrypted(DATA))
    assert read(stream, 20_000) == DATA[:20_000]
    assert stream.has_more
    server.line.close()
    assert read(stream) == DATA[20_000:]


def test_what_came_before_a_forged_record_is_handed_over_first(connected: Connected) -> None:
    server, stream = connected
    good, forged = server.encrypted(DATA), bytearray(server.encrypted(DATA))
    forged[-20] ^= 1
    server.line.sendall(good + forged)
    assert read(stream) == DATA + DATA[:-RECORD_BYTES]
    for _ in range(3):
        with pytest.raises(ssl.SSLError):
            read(stream)


def hangs_up(server: Server) -> bytes:
    return b""


ENDS: list[Callable[[Server], bytes]] = [Server.farewell, hangs_up]


@pytest.mark.parametrize("last", ENDS, ids=["with a farewell", "without a word"])
def test_the_end_of_the_line_is_the_end(connected: Connected, last: Callable[[Server], bytes]) -> None:
    server, stream = connected
    server.line.sendall(server.encrypted(DATA) + last(server))
    server.line.close()
    assert read(stream) == DATA
    assert read(stream) == b""


def test_silence_is_told_after_the_timeout(connected: Connected) -> None:
    server, stream = connected
    server.line.sendall(server.encrypted(DATA)[:-100])
    stream.settimeout(0.01)
    assert read(stream) == DATA[:-RECORD_BYTES]
    with pytest.raises(TimeoutError):
        read(stream)


def test_n4_a_certificate_for_another_host_is_no_connection() -> None:
    server = Server(VERSIONS[0])

    def fail_to_shake_hands() -> None:
        with pytest.raises((ssl.SSLError, OSError)):
            server.shake_hands()

    thread = threading.Thread(target=fail_to_shake_hands)
    thread.start()
    with pytest.raises(ssl.SSLCertVerificationError):
        TlsStream(server.near, certificates.trusting(), "elsewhere.test")
    server.near.close()
    thread.join()
    server.close()
