"""The hub as a program: prints its address and serves the files of a folder.

python -m tests.hub --port 8000 --dir models --behave /a.safetensors=s503@2
"""

import argparse
import signal
import threading
from pathlib import Path

from .data import FileData
from .hub import Hub
from .wearing import BEHAVIOURS, Behaviour


def main() -> None:
    options = _options()
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with Hub(options.port, bytes_per_second=options.bytes_per_second, log_path=options.log) as hub:
        for file in sorted(path for path in options.dir.rglob("*") if path.is_file()):
            hub.publish(file.relative_to(options.dir).as_posix(), FileData(file))
        for path, behaviour in map(_worn, options.behave):
            hub.behave(path, behaviour)
        print(hub.base, flush=True)
        stopped.wait()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.hub", description="Serve a folder as a model host.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--bytes-per-second", type=float)
    parser.add_argument("--log", type=Path, help="one JSON line per finished request")
    parser.add_argument("--behave", action="append", default=[], metavar="PATH=NAME[@TIMES]")
    return parser.parse_args()


def _worn(text: str) -> tuple[str, Behaviour]:
    path, _, told = text.rpartition("=")
    name, _, times = told.partition("@")
    return path, BEHAVIOURS[name].times(int(times)) if times else BEHAVIOURS[name]


if __name__ == "__main__":
    main()
