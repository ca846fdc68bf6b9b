"""The same faults for `wget -c` and `curl -C -`, as a script would call them: exit 0 is what they promise.

They cannot be told a size or a digest, so a row has one run per share that is here already. Their patience is made as
short as ours is in the matrix; whoever still runs after `SECONDS_MAX` hangs.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from tests.faults.catalogue import Fault
from tests.faults.stage import BYTES, FILE, Cell, Hosts, is_another_whole_file
from tests.hub.certificates import AUTHORITY

SECONDS_MAX = 12.0
TRIES = 3


class Outcome(StrEnum):
    """`good` is exit 0 with the right bytes, or with the whole file that replaced them; `failed` is any other exit."""

    GOOD = "good"
    WRONG = "wrong"
    FAILED = "failed"
    HUNG = "hung"


Command = Callable[[str, Path, Path], list[str]]


def _wget(url: str, target: Path, authority: Path) -> list[str]:
    patience = ["--timeout=1", f"--tries={TRIES}", "--waitretry=0", "--retry-connrefused"]
    return ["wget", "-q", "-c", *patience, f"--ca-certificate={authority}", "-O", str(target), url]


def _curl(url: str, target: Path, authority: Path) -> list[str]:
    patience = ["--connect-timeout", "2", "--speed-limit", "10000", "--speed-time", "1"]
    again = ["--retry", str(TRIES - 1), "--retry-delay", "1", "--retry-all-errors", "--retry-max-time", "10"]
    return ["curl", "-sfL", "-C", "-", *patience, *again, "--cacert", str(authority), "-o", str(target), url]


PEERS: dict[str, Command] = {"wget": _wget, "curl": _curl}


def installed() -> dict[str, Command]:
    return {name: command for name, command in PEERS.items() if shutil.which(name)}


def run(command: Command, fault: Fault, cell: Cell, hosts: Hosts, folder: Path) -> Outcome:
    host, path = fault.host(hosts), hosts.fresh_path(fault.name)
    url = host.publish(path, FILE, etag=fault.etag, last_modified=fault.last_modified)
    host.behave(path, fault.dress(cell, hosts))
    folder.mkdir(parents=True)
    target, authority = folder / "model.safetensors", folder / "authority.pem"
    authority.write_text(AUTHORITY)
    if not cell.fresh:
        target.write_bytes(BYTES[: cell.here_bytes])
    try:
        argv = command(url, target, authority)
        ended = subprocess.run(argv, cwd=folder, capture_output=True, timeout=SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired:
        return Outcome.HUNG
    if ended.returncode != 0:
        return Outcome.FAILED
    content = target.read_bytes() if target.exists() else b""
    return Outcome.GOOD if content == BYTES or is_another_whole_file(content) else Outcome.WRONG
