"""Where the cells of the matrix are played: hosts on the loopback, one honest file, another one of the same size."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import NamedTuple

from tests.hub import Hub, SizedPattern, certificates, lanes, sha256_of
from tests.hub.behaviours import SEED_OF_ANOTHER_VERSION
from tests.makers import safetensors_prefix

FILE_BYTES = 2_600_003
FILE = SizedPattern(FILE_BYTES, prefix=safetensors_prefix(FILE_BYTES))
OTHER = SizedPattern(FILE_BYTES, seed=SEED_OF_ANOTHER_VERSION, prefix=safetensors_prefix(FILE_BYTES))
"""A sound model, too, with the same head."""
BYTES, OTHER_BYTES = FILE.read(0, FILE_BYTES), OTHER.read(0, FILE_BYTES)
SHA256 = sha256_of(FILE)
VERSIONS_MAX = 40
SHARES = (0.0, 0.01, 0.5, 0.99)


def is_another_whole_file(content: bytes) -> bool:
    """Whether these are the bytes of one file that some host served instead, from its first to its last."""
    newer = (lanes.version_of(FILE, number) for number in range(1, VERSIONS_MAX))
    return content == OTHER_BYTES or any(content == version.read(0, FILE_BYTES) for version in newer)


class Known(StrEnum):
    DIGEST = "digest"
    SIZE = "size"
    NOTHING = "nothing"


class Cell(NamedTuple):
    """How much of the file is here already, what the job knows of it, and whether several connections are forced."""

    share: float
    known: Known
    segmented: bool = False

    @property
    def fresh(self) -> bool:
        return self.share == 0

    @property
    def here_bytes(self) -> int:
        return int(FILE_BYTES * self.share)

    def __str__(self) -> str:
        where = "fresh" if self.fresh else f"at {self.share:.0%}"
        return f"{where}, {self.known} known{', segmented' if self.segmented else ''}"


CELLS = tuple(Cell(share, known) for share in SHARES for known in Known)
SEGMENTED = tuple(Cell(share, known, segmented=True) for share in (0.0, 0.5) for known in Known)

_paths = itertools.count(1)


@dataclass
class Hosts:
    """`plain` and `secure` serve the file, `other` is where some redirects lead, `foreign` is not allowed."""

    plain: Hub
    secure: Hub
    other: Hub
    foreign: Hub

    @staticmethod
    def fresh_path(name: str) -> str:
        """No two cells share a path, so that none sees the requests of another."""
        return f"/{next(_paths)}/{name}.safetensors"

    @contextmanager
    def throttled(self, bytes_per_second: float) -> Iterator[None]:
        """Every connection of every host, inside."""
        hubs = (self.plain, self.secure, self.other)
        for hub in hubs:
            hub.bytes_per_second = bytes_per_second
        try:
            yield
        finally:
            for hub in hubs:
                hub.bytes_per_second = None

    @property
    def allowed(self) -> tuple[str, ...]:
        return tuple(f"{hub.host}:{hub.port}" for hub in (self.plain, self.secure, self.other))


class Stage:
    """`with Stage() as hosts:`"""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Hosts:
        plain, other, foreign = (self._stack.enter_context(Hub()) for _ in range(3))
        secure = self._stack.enter_context(Hub(ssl_context=certificates.serving()))
        return Hosts(plain, secure, other, foreign)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
