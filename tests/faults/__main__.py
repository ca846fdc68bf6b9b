"""`python -m tests.faults [NAME …] [--only ours|peers]`: each fault with us, with `wget -c` and with `curl -C -`.

Counts of runs per row: good, wrong (it said that all is well), failed (it said so), hung. Of ours, `unrevealed` is
told apart: nobody knew a digest, and nothing else could have shown what was wrong. Exit 1 if a cell of ours ended
otherwise than its rule says.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from loguru import logger

from tests.faults import peers
from tests.faults.catalogue import FAULTS, Fault
from tests.faults.rules import CHANGED, HUNG, RIGHT, UNREVEALED, WAITING, WRONG
from tests.faults.stage import CELLS, SEGMENTED, SHARES, Cell, Hosts, Known, Stage
from tests.faults.walk import QUESTIONS_MAX, play

OURS, PEERS = "ours", "peers"
WORDS = {RIGHT: "good", CHANGED: "good", UNREVEALED: UNREVEALED, WRONG: "wrong", HUNG: "hung", WAITING: "hung"}
COLUMNS = ("good", UNREVEALED, "wrong", "failed", "hung")


def main() -> int:
    options = _options()
    logger.remove()
    chosen = [fault for fault in FAULTS if not options.names or fault.name in options.names]
    others = {} if options.only == OURS else peers.installed()
    who = [*([] if options.only == PEERS else [OURS]), *others]
    sums: dict[str, Counter[str]] = {name: Counter() for name in who}
    broken: list[str] = []
    print(f"{'fault':26} {'rows':10}" + "".join(f" {name:>34}" for name in sums))
    with Stage() as hosts, tempfile.TemporaryDirectory(prefix="comfy-doctor-faults-") as home:
        for fault in chosen:
            folder = Path(home) / fault.name
            row = {OURS: _ours(fault, hosts, folder, broken)} if OURS in sums else {}
            row |= {peer: _theirs(command, fault, hosts, folder / peer) for peer, command in others.items()}
            for name, counted in row.items():
                sums[name] += counted
            print(_line(fault.name, " ".join(fault.rows), row.values()), flush=True)
    print(_line(f"{len(chosen)} faults", "", sums.values()))
    for line in broken:
        print(f"BROKEN: {line}", file=sys.stderr)
    return 1 if broken else 0


def _ours(fault: Fault, hosts: Hosts, folder: Path, broken: list[str]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for number, cell in enumerate((*CELLS, *SEGMENTED)):
        ended = play(fault, cell, hosts, folder / str(number))
        counted[WORDS.get(ended.end, "failed")] += 1
        if ended.end not in fault.rule(cell) or ended.questions > QUESTIONS_MAX:
            broken.append(f"{fault.name}: {cell}: {ended.end} after {ended.questions} questions ({ended.told})")
    return counted


def _theirs(command: peers.Command, fault: Fault, hosts: Hosts, folder: Path) -> Counter[str]:
    if fault.mirror:
        return Counter()  # they know no second source
    cells = (Cell(share, Known.NOTHING) for share in SHARES)
    return Counter(str(peers.run(command, fault, cell, hosts, folder / str(cell.share))) for cell in cells)


def _line(name: str, rows: str, counts: Iterable[Counter[str]]) -> str:
    told = (", ".join(f"{count[word]} {word}" for word in COLUMNS if count[word]) for count in counts)
    return f"{name:26} {rows:10}" + "".join(f" {text:>34}" for text in told)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("names", nargs="*", help="only these faults")
    parser.add_argument("--only", choices=(OURS, PEERS))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
