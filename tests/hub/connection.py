"""One TCP connection of a host: requests come in, replies go out as broken as they are written, and as slowly."""

import selectors
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from tests import canaries

from .data import PIECE_BYTES
from .messages import Ending, Reply, Request, read_request

STEPS_PER_SECOND = 20
DRAIN_SECONDS_MAX = 5.0


class Gate:
    """A place to wait in until it opens; waiting costs nothing and also ends when the client hangs up."""

    def __init__(self) -> None:
        self._inside, self._outside = socket.socketpair()

    def wait(self, client: socket.socket) -> bool:
        """True if the gate opened, False if the client left first (while it waits it has nothing else to say)."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._inside, selectors.EVENT_READ, True)
            selector.register(client, selectors.EVENT_READ, False)
            return any(key.data for key, _ in selector.select())

    def open(self) -> None:
        self._outside.close()

    def close(self) -> None:
        self.open()
        self._inside.close()


class Connection:
    """The host's side of one connection, numbered in the order of arrival."""

    def __init__(
        self,
        number: int,
        sock: socket.socket,
        books: threading.Condition,
        gate: Callable[[], Gate],
        closing: threading.Event,
    ) -> None:
        self.number = number
        self._books = books
        self._sock = sock
        self._stream = sock.makefile("rb")
        self._port = int(sock.getsockname()[1])
        self._gate = gate
        self._closing = closing
        self._due = 0.0

    def requests(self) -> Iterator[Request]:
        while (request := read_request(self._stream)) is not None:
            canaries.BOOK.request(self._port, request.method, request.target, request.headers, request.body)
            yield request

    def deliver(
        self,
        reply: Reply,
        note: Callable[[int], None] = lambda count: None,
        speed: Callable[[], float | None] = lambda: None,
    ) -> bool:
        """Send it; True if another request may follow.

        `note` gets the number of body bytes handed to the socket, `speed` (bytes per second) is asked again and again.
        """
        if reply.delay_seconds:
            self._closing.wait(reply.delay_seconds)
        self._send_head(reply, speed)
        cut = reply.body.size if reply.cut is None else min(reply.cut, reply.body.size)
        self._send_body(reply, 0, cut, note, speed)
        if reply.ending is Ending.STALL:
            if not self.stall():
                return False
            self._send_body(reply, cut, reply.body.size, note, speed)
        if reply.chunked and (reply.ending is Ending.STALL or reply.cut is None):
            self._sock.sendall(b"0\r\n\r\n" + reply.trailer)
        elif reply.trailer_delay_seconds and reply.cut is None:
            self._closing.wait(reply.trailer_delay_seconds)
            self._sock.sendall(reply.trailer)
        if reply.ending is Ending.RESET:
            self._reset()
        return not reply.last_of_connection()

    def stall(self) -> bool:
        """Say nothing until the gate opens; False if the client left first or the host closes."""
        return self._gate().wait(self._sock) and not self._closing.is_set()

    def hang_up(self) -> None:
        """End it from another thread: whatever this connection is doing fails at once."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._stream.close()
        self._sock.close()

    def _send_head(self, reply: Reply, speed: Callable[[], float | None]) -> None:
        if reply.head is None:
            self._sock.sendall(reply.head_bytes())
        else:
            head = Reply(0, body=reply.head, bytes_per_second=reply.bytes_per_second)
            self._send_body(head, 0, reply.head.size, lambda count: None, speed)

    def _send_body(
        self, reply: Reply, position: int, stop: int, note: Callable[[int], None], speed: Callable[[], float | None]
    ) -> None:
        while position < stop:
            rate = reply.bytes_per_second or speed()
            step = PIECE_BYTES if rate is None else max(1, min(PIECE_BYTES, int(rate / STEPS_PER_SECOND)))
            piece = reply.body.read(position, min(position + step, stop))
            if not piece:
                raise OSError("the published data ended early")
            if reply.chunked:
                self._sock.sendall(b"%x\r\n" % len(piece))
            position += len(piece)
            whole = position == reply.body.size and not reply.chunked and not reply.trailer_delay_seconds
            self._hand_over(piece, note, reply.trailer if whole else b"")
            if reply.chunked:
                self._sock.sendall(b"\r\n")
            if rate is not None:
                self._pace(len(piece) / rate)

    def _hand_over(self, piece: bytes, note: Callable[[int], None], trailer: bytes) -> None:
        """Sent and counted in one step: the books never show less than a client has read, nor more than was sent.

        A trailer goes with the last bytes, uncounted: who has those can also see that something stands behind them.
        """
        rest, uncounted = memoryview(piece + trailer), len(trailer)
        while rest:
            with self._books:
                sent = self._send_at_once(rest)
                note(max(0, min(sent, len(rest) - uncounted)))
            rest = rest[sent:]
            if not sent:
                with selectors.DefaultSelector() as selector:
                    selector.register(self._sock, selectors.EVENT_WRITE)
                    selector.select()

    def _send_at_once(self, piece: memoryview) -> int:
        """As many bytes as the kernel takes without waiting; TLS may take none for now, too."""
        self._sock.setblocking(False)
        try:
            return self._sock.send(piece)
        except (BlockingIOError, ssl.SSLWantWriteError):
            return 0
        finally:
            self._sock.setblocking(True)

    def _pace(self, seconds: float) -> None:
        now = time.monotonic()
        self._due = max(self._due, now) + seconds
        self._closing.wait(self._due - now)

    def _reset(self) -> None:
        """RST instead of FIN, once the client's kernel has what was sent: a reset throws away what is under way."""
        deadline = time.monotonic() + DRAIN_SECONDS_MAX
        while _unsent_bytes(self._sock) and time.monotonic() < deadline:
            if self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or self._closing.wait(0.001):
                return
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _unsent_bytes(sock: socket.socket) -> int:
    if sys.platform == "win32":
        return 0
    import fcntl
    import termios

    return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4), sys.byteorder)
