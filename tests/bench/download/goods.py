"""What is downloaded: valid safetensors files of made-up bytes with known digests, and an authority for TLS.

Made below one temporary folder and flushed, so that writing them back disturbs no measurement.
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.makers import safetensors_prefix

MIB = 1 << 20
SEED = 4


@dataclass(frozen=True, slots=True)
class Ware:
    """One file to be had. `sha256` is lower hex."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Certificates:
    authority: Path
    certificate: Path
    key: Path


class Stock:
    """The server's folder. A file is made when it is first asked for, and is the same for a seed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._wares: dict[str, Ware] = {}
        folder.mkdir()

    def wares(self, count: int, size_bytes: int) -> tuple[Ware, ...]:
        return tuple(self._ware(f"model-{size_bytes}-{number:03}.safetensors", size_bytes) for number in range(count))

    def _ware(self, name: str, size_bytes: int) -> Ware:
        if name not in self._wares:
            self._wares[name] = Ware(name, size_bytes, _written(self.folder / name, size_bytes))
        return self._wares[name]


def _written(path: Path, size_bytes: int) -> str:
    digest, bytes_of = hashlib.sha256(), random.Random(f"{SEED} {path.name}").randbytes
    with path.open("wb") as file:
        piece = safetensors_prefix(size_bytes)
        while piece:
            file.write(piece)
            digest.update(piece)
            piece = bytes_of(min(8 * MIB, size_bytes - file.tell()))
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def certificates(folder: Path, host: str) -> Certificates:
    """A new authority and a certificate of its for `host`, an IP address. Raises CalledProcessError."""
    folder.mkdir()
    made = Certificates(folder / "authority.pem", folder / "server.pem", folder / "server.key")
    _openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=bench"
             " -keyout authority.key -out authority.pem", folder)  # fmt: skip
    _openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server"
             " -keyout server.key -out server.csr", folder)  # fmt: skip
    (folder / "names").write_text(f"subjectAltName=IP:{host}\n")
    _openssl("x509 -req -days 2 -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial"
             " -extfile names -out server.pem", folder)  # fmt: skip
    return made


def _openssl(words: str, folder: Path) -> None:
    subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)
