"""What is compared with what, and what is aimed at: one entry for each scenario of the performance targets.

A limit is either what this machine can do in this minute (receive, write and hash, perfectly overlapped) or what the
link lets through. A target is a ratio of medians of one run, at most so much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tests.bench.download.goods import MIB
from tests.bench.download.longpipe import Link
from tests.bench.download.servers import Door

BEST = "the best peer"
LIMIT = "the limit"
ONE_CONNECTION_BYTES_PER_SECOND = 20 * MIB
MOST_CONNECTIONS = 16
LONG_FAT = Link(round_trip_ms=80, megabits_per_second=1000, loss=0.001, congestion="bbr")
LONG_FAT_CUBIC = LONG_FAT._replace(congestion="cubic")
SINGLE = ("curl + sha", "wget + sha", "aria2 -x16 -k1M", "pget", "hf_hub")
MANY = ("curl + sha", "aria2 -x16 -k1M", "axel -n16", "pget")


class Target(NamedTuple):
    """At most `ratio` of what `over` names: LIMIT, BEST, or a peer. `of`: seconds, cpu, sent (over the file), MiB."""

    ratio: float
    over: str = LIMIT
    of: str = "seconds"


PLAIN = Door()
MEMORY = Target(200, "", "MiB")


@dataclass(frozen=True, slots=True)
class Scenario:
    title: str
    peers: tuple[str, ...]
    targets: tuple[Target, ...]
    megabytes: int = 1024
    files: int = 1
    door: Door = PLAIN
    link: Link | None = None
    process_is_judged: bool = True
    """Else only a worker that runs already is: a start alone takes longer than what is measured."""

    def link_seconds(self) -> float:
        """How long the link, or the connections that are allowed, need for all bytes at full rate; 0.0: unshaped."""
        n_bytes = self.files * self.megabytes * MIB
        if self.link:
            return n_bytes * 8 / (self.link.megabits_per_second * 1e6)
        rate = self.door.bytes_per_second
        return n_bytes / (rate * MOST_CONNECTIONS) if rate else 0.0


SCENARIOS: Mapping[str, Scenario] = {
    "A": Scenario(
        "one file over HTTP, loopback",
        SINGLE,
        (Target(1.25), Target(0.5, BEST), Target(0.6, "curl + sha", "cpu"), MEMORY),
    ),
    "A64": Scenario(
        "a small file over HTTP, loopback", SINGLE, (Target(2.0), MEMORY), megabytes=64, process_is_judged=False
    ),
    "T": Scenario(
        "one file over TLS, loopback", SINGLE, (Target(1.25), Target(0.6, BEST), MEMORY), door=Door(tls=True)
    ),
    "B": Scenario(
        "20 MiB/s for each connection, 16 allowed",
        MANY,
        (Target(1.15), Target(1.0, BEST), MEMORY),
        door=Door(bytes_per_second=ONE_CONNECTION_BYTES_PER_SECOND),
    ),
    "W": Scenario("long fat pipe, bbr", MANY, (Target(1.2), Target(0.72, BEST), MEMORY), link=LONG_FAT),
    "L": Scenario(
        "long fat pipe, cubic",
        tuple(name for name in MANY if name != "curl + sha"),  # one connection takes two to three minutes
        (Target(0.75, BEST), MEMORY),
        megabytes=128,
        link=LONG_FAT_CUBIC,
    ),
    "F": Scenario(
        "every connection is cut after 37 MiB",
        ("curl in a loop", "wget + sha", "aria2 -x16 -k1M", "axel -n16", "pget", "hf_hub"),
        (Target(0.7, BEST), Target(1.01, "", "sent"), MEMORY),
        door=Door(cut_bytes=37 * MIB),
    ),
    "M": Scenario(
        "200 files of 4 MiB, each a job",
        ("wget list", "curl -Z", "aria2 -j16", "curl per job", "wget per job"),
        (Target(0.85, BEST), MEMORY),
        megabytes=4,
        files=200,
    ),
    "ML": Scenario(
        "200 files of 4 MiB over the long fat pipe",
        ("curl -Z", "aria2 -j16"),
        (Target(0.85, BEST), MEMORY),
        megabytes=4,
        files=200,
        link=LONG_FAT,
    ),
}
QUICK = ("A", "A64", "T", "B", "F", "M")
