"""One large file from a host on the loopback until it is in its place, durable and with its SHA-256 known.

Ours is a whole worker process that drains one job; the peers are whole processes too, followed by
`openssl dgst -sha256` (which uses the SHA extensions) and a sync of the file. Runs are interleaved; the table gives
median, minimum and maximum seconds, CPU seconds, and the ratio of medians to ours.
"""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from download_worker import wiring
from download_worker.jobs.job import ModelInfo
from download_worker.settings import Settings
from tests.makers import safetensors_prefix

ROOT = Path(__file__).parents[2]
SERVER = """
import sys, time
from tests.hub import Hub, SizedPattern
from tests.makers import safetensors_prefix
size = int(sys.argv[1])
with Hub() as hub:
    print(hub.publish("model.safetensors", SizedPattern(size, prefix=safetensors_prefix(size))), flush=True)
    sys.stdin.read()
"""
PEERS = {
    "curl + sha": "curl -sS -C - -o {file} {url} && openssl dgst -sha256 {file} && sync {file}",
    "wget + sha": "wget -q -c -O {file} {url} && openssl dgst -sha256 {file} && sync {file}",
    "aria2 + sha": "aria2c -q -x1 -o {name} -d {folder} {url} && openssl dgst -sha256 {file} && sync {file}",
}


class Run(NamedTuple):
    seconds: float
    cpu_seconds: float


def main(size_bytes: int, rounds: int) -> None:
    peers = {name: line for name, line in PEERS.items() if shutil.which(line.split()[0]) and shutil.which("openssl")}
    for name in PEERS.keys() - peers.keys():
        sys.stdout.write(f"{name}: left out, not installed (apt-get install {PEERS[name].split()[0]} openssl)\n")
    assert safetensors_prefix(size_bytes)
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(size_bytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=_environment(),
    )
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    contenders: dict[str, Callable[[Path], Run]] = {"comfy-doctor": lambda folder: _ours(folder, url)}
    contenders |= {name: lambda folder, line=line: _peer(folder, url, line) for name, line in peers.items()}  # type: ignore[misc]
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    try:
        for _ in range(rounds):
            for name, contend in contenders.items():
                with tempfile.TemporaryDirectory() as folder:
                    runs[name].append(contend(Path(folder)))
    finally:
        server.kill()
        server.communicate()
    _table(runs, size_bytes)


def _ours(folder: Path, url: str) -> Run:
    settings = Settings(home=folder / "home", allow_hosts=("127.0.0.1",))
    info = ModelInfo(expected_filename="model.safetensors", model_type="checkpoints", download_url=url)
    with wiring.counter_of(settings) as counter:
        counter.submit(info, folder / "models")
    environment = {"COMFY_DOCTOR_HOME": str(settings.home), "COMFY_DOCTOR_ALLOW_HOSTS": "127.0.0.1"}
    run = _timed([sys.executable, "-m", "download_worker", "run", "--drain", "--quiet"], environment)
    assert (folder / "models/checkpoints/model.safetensors").exists(), "our own run failed"
    return run


def _peer(folder: Path, url: str, line: str) -> Run:
    file = folder / "model.safetensors"
    words = {"file": file, "folder": folder, "name": file.name, "url": url}
    script = line.format(**{key: shlex.quote(str(word)) for key, word in words.items()})
    return _timed(["sh", "-c", script], {})


def _timed(command: list[str], environment: dict[str, str]) -> Run:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=_environment() | environment, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Run(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}


def _table(runs: dict[str, list[Run]], size_bytes: int) -> None:
    ours = statistics.median(run.seconds for run in runs["comfy-doctor"])
    sys.stdout.write(f"\n{size_bytes >> 20} MiB over HTTP   median    min    max    CPU  ratio to ours\n")
    for name, done in runs.items():
        seconds = [run.seconds for run in done]
        middle, cpu = statistics.median(seconds), statistics.median(run.cpu_seconds for run in done)
        row = f"{middle:7.2f}{min(seconds):7.2f}{max(seconds):7.2f}{cpu:7.2f}{middle / ours:9.2f}"
        sys.stdout.write(f"{name:20}{row}\n")
