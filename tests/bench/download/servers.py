"""The far side: nginx where it is installed, else `sendfile_server`, each in processes of its own.

A `Door` is what a server is like: TLS, so many bytes per second for each connection, a cut after so many bytes. The
latter two are always ours: nginx cannot cut, and its `limit_rate` begins anew with every request, with a second's worth
at once (measured: who asks for small ranges is not limited). Both write a line for every answer, from which
`Server.told` sums what was sent.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench.download.goods import Certificates
from tests.bench.download.measuring import Failed

ROOT = Path(__file__).parents[3]
LOG_FORMAT = "$connection $msec $request_time $bytes_sent $status"
READY_SECONDS = 10.0
SETTLE_SECONDS = 0.1
NGINX = """
daemon off;
{user}
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    log_format lines "{log_format}";
    access_log {folder}/access.log lines;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    server {{
        listen {host}:{port} {tls};
        root {stock};
        add_header X-Repo-Commit 0000000000000000000000000000000000000000;
        rewrite ^/.+/resolve/[^/]+/(.*)$ /$1 break;
        {lines}
    }}
}}
"""


class Door(NamedTuple):
    tls: bool = False
    bytes_per_second: int | None = None
    cut_bytes: int | None = None


class Place(NamedTuple):
    """Where server and client stand: an address, and what must precede a command so that it runs on that side."""

    host: str = "127.0.0.1"
    server_side: tuple[str, ...] = ()
    client_side: tuple[str, ...] = ()


class Told(NamedTuple):
    """What the server's log says of one run."""

    sent_bytes: int
    connections: int
    last_opened_seconds: float
    """The last connection's first request, counted from the first one's."""


class Server:
    def __init__(self, base: str, log: Path, program: str, *, settle_seconds: float = SETTLE_SECONDS) -> None:
        self.base = base
        self.program = program
        self._log = log
        self._settle_seconds = settle_seconds
        self._read = 0

    def url(self, name: str) -> str:
        return f"{self.base}/{name}"

    def told(self) -> Told:
        """Since the last time. Waits until the log has been quiet for a moment: an answer is logged when it ends."""
        size, before = self._size(), -1
        while size != before:
            time.sleep(self._settle_seconds)
            size, before = self._size(), size
        with self._log.open() as file:
            file.seek(self._read)
            lines = [line.split() for line in file]
            self._read = file.tell()
        opened: dict[str, float] = {}
        for serial, ended, seconds, _sent, _status in lines:
            opened.setdefault(serial, float(ended) - float(seconds))
        span = max(opened.values()) - min(opened.values()) if opened else 0.0
        return Told(sum(int(line[3]) for line in lines), len(opened), span)

    def _size(self) -> int:
        return self._log.stat().st_size if self._log.exists() else 0


def bound_to_us() -> tuple[str, ...]:
    """What must precede a command so that it does not outlive the bench, however that ends (util-linux)."""
    return ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()


def nginx_is_here() -> bool:
    return shutil.which("nginx") is not None


@contextmanager
def serving(stock: Path, folder: Path, door: Door, place: Place, certificates: Certificates) -> Iterator[Server]:
    """A server of `stock` that ends with the context. `folder` is new, for its own files. Raises Failed."""
    folder.mkdir()
    port = _free_port()
    by_nginx = nginx_is_here() and door.cut_bytes is None and door.bytes_per_second is None
    if by_nginx:
        command = _nginx(stock, folder, door, place.host, port, certificates)
    else:
        command = _ours(stock, folder, door, place.host, port, certificates)
    process = subprocess.Popen(
        [*bound_to_us(), *place.server_side, *command],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _await_ready(process, folder / "nginx.pid" if by_nginx else None)
        base = f"{'https' if door.tls else 'http'}://{place.host}:{port}"
        yield Server(base, folder / "access.log", "nginx" if by_nginx else "our sendfile server")
    finally:
        process.terminate()
        process.communicate()


def _nginx(stock: Path, folder: Path, door: Door, host: str, port: int, certificates: Certificates) -> list[str]:
    lines = []
    if door.tls:
        lines = [f"ssl_certificate {certificates.certificate};", f"ssl_certificate_key {certificates.key};"]
    config = folder / "nginx.conf"
    config.write_text(
        NGINX.format(
            user="user root;" if os.geteuid() == 0 else "",  # else its workers cannot read the folder
            folder=folder,
            log_format=LOG_FORMAT,
            host=host,
            port=port,
            tls="ssl" if door.tls else "",
            stock=stock,
            lines="\n        ".join(lines),
        )
    )
    return ["nginx", "-e", f"{folder}/error.log", "-p", str(folder), "-c", str(config)]


def _ours(stock: Path, folder: Path, door: Door, host: str, port: int, certificates: Certificates) -> list[str]:
    command = [sys.executable, "-m", "tests.bench.download.sendfile_server", str(stock), host, str(port)]
    command.append(str(folder / "access.log"))
    if door.cut_bytes:
        command += ["--cut", str(door.cut_bytes)]
    if door.bytes_per_second:
        command += ["--rate", str(door.bytes_per_second)]
    if door.tls:
        command += ["--tls", str(certificates.certificate), str(certificates.key)]
    return command


def _await_ready(process: subprocess.Popen[bytes], pid_file: Path | None) -> None:
    """nginx writes its pid file after it listens; ours says so."""
    assert process.stdout is not None
    if pid_file is None:
        if process.stdout.readline().strip() != b"ready":
            raise Failed("the bench's own server did not start")
        return
    patience = time.monotonic() + READY_SECONDS
    while not pid_file.exists():
        if process.poll() is not None or time.monotonic() > patience:
            raise Failed(f"nginx did not start: {(pid_file.parent / 'error.log').read_text()[-300:]}")
        time.sleep(0.01)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
