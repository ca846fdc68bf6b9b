"""Server and client in two network namespaces with a long fat pipe between them (`longpipe.c`). Linux, and root.

netem is not in every kernel, so every packet passes a program of ours, which delays it, holds it to the link's rate and
loses some. TCP sees single segments of 1500 bytes lost: one cubic connection at 0.1 % and 80 ms then makes about
MSS / RTT × 1.22 / √p = 0.7 MB/s once slow start is over (Mathis et al. 1997), one of bbr most of the link's rate.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench.download.measuring import Failed
from tests.bench.download.servers import Place

SOURCE = Path(__file__).with_suffix(".c")
SERVER, CLIENT = "10.77.0.1", "10.77.0.2"
MTU_BYTES = 1500
SEED = 4
TOOLS = {"gcc": "gcc", "ip": "iproute2", "nsenter": "util-linux"}
# No memory of an earlier run's path, and buffers of several times the 10 MB that the pipe holds.
SYSTEM = {
    "tcp_no_metrics_save": "1",
    "tcp_rmem": "4096 131072 67108864",
    "tcp_wmem": "4096 65536 67108864",
}


class Link(NamedTuple):
    """`loss` is the share of segments, each way; `congestion` the algorithm of both sides."""

    round_trip_ms: float
    megabits_per_second: float
    loss: float
    congestion: str

    @property
    def queue_bytes(self) -> int:
        """What the bottleneck holds before it drops: as much as is on the way in one round trip."""
        return int(self.megabits_per_second * 1e6 / 8 * self.round_trip_ms / 1e3)


def why_not(link: Link) -> str | None:
    """Why there can be no such pipe here; None where there can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "network namespaces need root"
    if not Path("/dev/net/tun").exists():
        return "no /dev/net/tun (modprobe tun)"
    lacking = [f"{tool} (apt-get install {package})" for tool, package in TOOLS.items() if not shutil.which(tool)]
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    if link.congestion not in Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split():
        return f"no {link.congestion} in this kernel (modprobe tcp_{link.congestion})"
    return None


@contextmanager
def long_pipe(link: Link, folder: Path, seed: int = SEED) -> Iterator[Place]:
    """The pipe exists while the context lasts, and goes with this process, however that ends.

    `folder` takes the program. Raises CalledProcessError, Failed.
    """
    program = folder / "longpipe"
    subprocess.run(["gcc", "-O2", "-o", str(program), str(SOURCE), "-lm"], check=True)
    words = (link.round_trip_ms * 500, link.megabits_per_second * 1e6, link.loss, link.queue_bytes, seed)
    command = [str(program), *(f"{word:.10g}" for word in words)]
    with (folder / "longpipe.log").open("ab") as log:
        pipe = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
    assert pipe.stdout is not None
    try:
        said = pipe.stdout.readline().split()
        if len(said) != 3:
            raise Failed(f"the long pipe did not start: {(folder / 'longpipe.log').read_text()}")
        pid, server, client = map(int, said)
        sides = [("nsenter", f"--net=/proc/{pid}/fd/{fd}") for fd in (server, client)]
        for side, own, other in zip(sides, (SERVER, CLIENT), (CLIENT, SERVER), strict=True):
            _set_up(side, own, other, link)
        yield Place(SERVER, *sides)
    finally:
        pipe.communicate()


def _set_up(side: tuple[str, ...], own: str, other: str, link: Link) -> None:
    commands = [
        "ip link set lo up",
        f"ip link set pipe mtu {MTU_BYTES} txqueuelen 10000 up",
        f"ip addr add {own} dev pipe",
        # By the route: a namespace may make its default only of what tcp_allowed_congestion_control of the host names.
        f"ip route add {other} dev pipe src {own} congctl {link.congestion}",
    ]
    commands += [f"echo '{value}' > /proc/sys/net/ipv4/{name}" for name, value in SYSTEM.items()]
    subprocess.run([*side, "sh", "-e", "-c", "\n".join(commands)], check=True)
