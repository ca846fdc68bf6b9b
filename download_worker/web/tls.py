"""TLS that takes what has arrived in one call and decrypts it in memory.

Python's own goes to the socket twice for each record of 16 KiB, which for 1 GiB over the loopback are 130,000 calls and
0.95 s of CPU; this way they are some 10,000 and 0.7 s (AES-256-GCM), and the receiver waits for the network seldom
instead of after every record. The protocol is OpenSSL's, its manners those of urllib3's SSLTransport.
"""

from __future__ import annotations

import socket
import ssl
from typing import cast

from urllib3.util.ssltransport import SSLTransport

ENCRYPTED_BYTES = 128 * 1024
"""Taken from the socket at once, and for each connection twice in memory: here, and where OpenSSL reads it."""


class TlsContext(ssl.SSLContext):
    """The context of a client; its connections are TlsStreams. Make one with `client_context`."""

    def wrap_socket(self, sock: socket.socket, *, server_hostname: str) -> TlsStream:  # type: ignore[override]
        """All that urllib3 asks for. Raises ssl.SSLError, OSError."""
        return TlsStream(sock, self, server_hostname)


def client_context() -> TlsContext:
    """Certificates and host names are checked, against what the operating system trusts."""
    context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


class TlsStream(SSLTransport):
    """An encrypted connection, with as much of a socket's ways as http.client and urllib3 ask for."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server_hostname: str | None) -> None:
        self._encrypted = memoryview(bytearray(ENCRYPTED_BYTES))
        self._broken: ssl.SSLError | None = None
        super().__init__(sock, context, server_hostname)

    @property
    def has_more(self) -> bool:
        """Whether the last `read_many` left something for which nobody has to wait."""
        return self.sslobj.pending() > 0 or self.incoming.pending > 0  # a part of a record is in neither

    def read_many(self, view: memoryview) -> int:
        """At least one byte, and all that came with it; 0 at the end.

        Raises ssl.SSLError, OSError, TimeoutError; what was read before is handed over first.
        """
        got = 0
        while got < len(view) and (count := self._decrypt(view[got:], wait=got == 0)):
            got += count
        return got

    def _decrypt(self, view: memoryview, *, wait: bool) -> int:
        """What is in one record; 0 at the end, and where it would have to wait or is broken behind other bytes."""
        if self._broken is not None:
            raise self._broken
        while True:
            try:
                return cast(int, self.sslobj.read(len(view), view))
            except ssl.SSLWantReadError:
                if not wait:
                    return 0
                self._receive()
            except ssl.SSLError as error:
                if error.errno == ssl.SSL_ERROR_EOF:
                    return 0  # like any other line that was cut: the length of the body tells whether something lacks
                self._broken = error  # OpenSSL tells it once or twice, and then calls it the end
                if not wait:
                    return 0
                raise

    def _receive(self) -> None:
        if self.outgoing.pending:  # an answer to the other side's change of keys
            self.socket.sendall(self.outgoing.read())
        count = self.socket.recv_into(self._encrypted)
        if count:
            self.incoming.write(self._encrypted[:count])
        else:
            self.incoming.write_eof()

    # A TLS connection through this one (a proxy's) counts its files on the socket below.

    @property
    def _io_refs(self) -> int:
        return self.socket._io_refs  # type: ignore[attr-defined, no-any-return]

    @_io_refs.setter
    def _io_refs(self, count: int) -> None:
        self.socket._io_refs = count  # type: ignore[attr-defined]
