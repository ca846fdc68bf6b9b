"""What a diagnosis and a plan cost, at two sizes each: CPU seconds, and whether the larger costs more than its share.

`python -m tests.bench.diagnosis` prints a table. `growth` is the cost per piece at the larger size, divided by that at
the smaller one: about 1 where costs are linear, less where something fixed is shared. For orientation; the tests assert
on behaviour and on work, never on time.
"""

from __future__ import annotations

import gc
import hashlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from comfy_doctor.asking import AnswerCache, Asker
from comfy_doctor.comfyui.install import Install
from comfy_doctor.comfyui.packs import installed_packs
from comfy_doctor.comfyui.shelves import Inventory
from comfy_doctor.diagnose import ModelFinding, State, diagnose
from comfy_doctor.library.digests import Digests
from comfy_doctor.needs import Candidate, FolderFrom, Need, NodeUse, PackClue, Use
from comfy_doctor.node_findings import node_findings
from comfy_doctor.plan import Plan, make_plan
from comfy_doctor.plan_file import read_plan, write_plan
from comfy_doctor.resolve import Resolution, resolve
from comfy_doctor.resolvers.consensus import judge
from comfy_doctor.resolvers.huggingface import HuggingFaceFiles, HuggingFaceSearch
from comfy_doctor.resolvers.likeness import Names, nearest
from comfy_doctor.resolvers.templates import CouldNotRead, installed_bundle
from download_worker.leash import Leash
from download_worker.settings import Settings
from download_worker.web.session import Web
from tests.doctor.drawing import node, saved, ui
from tests.hub.huggingface import HuggingFace, RepoFile, Repository

ROUNDS = 3
ENOUGH_SECONDS = 2.0
"""What takes as long as this is not repeated any further."""
PROCESS_ROUNDS = 3
PLENTY = (10**9, 300)
_WORDS = ("flux", "detail", "anime", "style", "wan", "real", "skin", "light", "dark", "oil", "retro", "pony", "qwen")
_ENDS = ("v1", "v2", "v1.5", "fp8", "bf16", "fp16", "pruned", "14B", "1.3B", "Q4_K_M")


_COLUMNS = (("few", 9), ("many", 10), ("few s", 10), ("many s", 10), ("µs per piece", 14), ("growth", 9))


class Row(NamedTuple):
    """`run` is called with a size and answers what is to be measured there; that is called `ROUNDS` times."""

    name: str
    sizes: tuple[int, int]
    run: Callable[[int], Callable[[], object]]


def cpu_seconds(work: Callable[[], object]) -> float:
    """Median of some rounds. Neighbours on the machine move it less than they move the clock on the wall."""
    seconds = []
    for _ in range(ROUNDS):
        gc.collect()
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
        if sum(seconds) >= ENOUGH_SECONDS:
            break
    return statistics.median(seconds)


def model_names(count: int) -> list[str]:
    """Names as people give them, each once."""
    kinds = len(_WORDS)
    return [
        f"sub{i % 200:03d}/{_WORDS[i % kinds]}_{_WORDS[i // 7 % kinds]}-{_WORDS[i // 31 % kinds]}"
        f"_{_ENDS[i // 3 % len(_ENDS)]}_{i:06d}.safetensors"
        for i in range(count)
    ]


def library(root: Path, count: int) -> Install:
    """An install with so many empty files among its loras."""
    for name in model_names(count):
        path = root / "models" / "loras" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Install(root)


def bare_walk(root: Path) -> int:
    """The least that any walk costs: every entry is named and told to be a folder or not."""
    count, waiting = 0, [str(root)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    waiting.append(entry.path)
                else:
                    count += 1
    return count


def workflows(folder: Path, count: int) -> Path:
    """So many files: the official templates, again and again, or drawn ones where the package is not there."""
    folder.mkdir()
    try:
        files = [file for file in installed_bundle().folder.iterdir() if not file.name.startswith("index")]
        templates = [file.read_bytes() for file in files if file.name.endswith(".json")]
    except CouldNotRead:
        drawn = saved(folder / "drawn.json", ui(*(node(i, "LoraLoader", f"{i}.safetensors", 1, 1) for i in range(30))))
        templates = [drawn.read_bytes()]
    for number in range(count):
        (folder / f"{number:05d}.json").write_bytes(templates[number % len(templates)])
    return folder


def uses_of_nodes(count: int) -> list[NodeUse]:
    """Of three thousand types, some with a mark and some with the name of a pack."""
    clues = [PackClue(cnr_id=f"pack-{i:03d}") if i % 3 == 0 else PackClue() for i in range(300)]
    return [
        NodeUse(Use(f"{i // 50}.json", str(i), f"Type {i % 3000} (mark{i % 50})", None, True), clues[i % 300])
        for i in range(count)
    ]


def packs(root: Path, count: int) -> Path:
    """Packs of fifty files, of which five register something."""
    for number in range(count):
        for file in range(50):
            path = root / f"pack-{number:03d}" / f"part{file % 5}" / f"nodes{file}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            mapping = f'NODE_CLASS_MAPPINGS = {{"Own {number} {file}": None}}\n' if file < 5 else ""
            path.write_text("class Node:\n    def run(self, image):\n        return (image,)\n" * 40 + mapping)
    return root


def need(number: int, workflow: str = "one.json") -> Need:
    name = f"flux_model{number:05d}.safetensors"
    return Need("loras", name, (Use(workflow, str(number), "LoraLoader", "lora_name", True, name),), FolderFrom.TABLE)


def candidate(number: int, owner: int = 0) -> Candidate:
    name = need(number).name
    digest = hashlib.sha256(f"{number} {owner}".encode()).hexdigest()
    url = f"https://huggingface.co/owner{owner}/r{number}/resolve/main/{name}"
    return Candidate(
        url, name, "loras", "huggingface", size=1000 + number, sha256=digest, confidence=0.5, evidence=("told",)
    )


def plan_of(count: int, root: Path) -> Plan:
    needs = [need(number) for number in range(count)]
    models = [ModelFinding(each, State.MISSING, "not there") for each in needs]
    found = {each.key: Resolution(each, (candidate(i),), candidate(i)) for i, each in enumerate(needs)}
    return Plan(make_plan(models, found, models_root=root))


def rows(home: Path) -> Iterator[Row]:
    empty = Install(home / "empty")

    def one_file(count: int) -> Callable[[], object]:
        nodes = (node(i, "LoraLoader", f"{i}.safetensors", 1, 1) for i in range(count))
        path = saved(home / f"nodes{count}.json", ui(*nodes))
        return lambda: diagnose([path], empty)

    yield Row("one workflow of so many loaders", (1_000, 4_000), one_file)
    installs = {count: library(home / f"library{count}", count) for count in (3_000, 30_000)}
    yield Row("bare walk of so many files", (3_000, 30_000), lambda count: lambda: bare_walk(installs[count].root))
    yield Row(
        "shelf of so many files", (3_000, 30_000), lambda count: lambda: Inventory(installs[count]).shelf("loras")
    )

    def near(count: int) -> Callable[[], object]:
        names = Names(model_names(count))
        nearest("once.safetensors", names, 1)  # they are taken apart once, and asked for each missing model
        return lambda: nearest("flux_detail-anime_v9_gone.safetensors", names, 3)

    yield Row("near names among so many", (10_000, 100_000), near)
    yield from _rows_of_nodes(home)
    yield from _rows_of_plans(home)
    yield from _rows_of_caches(home)


def _rows_of_nodes(home: Path) -> Iterator[Row]:
    roots = {count: packs(home / f"packs{count}", count) for count in (20, 100)}

    def mapping(count: int) -> Callable[[], object]:
        uses, here = uses_of_nodes(count), installed_packs([home / "packs100"])
        here.find_types({entry.use.node_type for entry in uses})  # the scan has a row of its own
        return lambda: node_findings(uses, here)

    yield Row("so many uses of nodes, 100 packs", (5_000, 50_000), mapping)
    types = [f"Type {i} (mark{i % 50})" for i in range(1_000)]
    yield Row(
        "scan of so many packs for 1,000 types",
        (20, 100),
        lambda count: lambda: installed_packs([roots[count]]).find_types(types),
    )


def _rows_of_plans(home: Path) -> Iterator[Row]:
    plan, key = home / "plan.json", home / "plan.key"
    yield Row("plan of so many items", (1_000, 10_000), lambda count: lambda: plan_of(count, home))

    def writing(count: int) -> Callable[[], object]:
        made = plan_of(count, home)
        return lambda: write_plan(plan, made, key)

    yield Row("write its file", (1_000, 5_000), writing)

    def reading(count: int) -> Callable[[], object]:
        path = home / f"plan{count}.json"
        write_plan(path, plan_of(count, home), key)
        return lambda: read_plan(path, home, key)

    yield Row("read its file", (1_000, 5_000), reading)

    def judging(count: int) -> Callable[[], object]:
        heard = [candidate(1, owner) for owner in range(count)]
        return lambda: judge(need(1), heard, ())

    yield Row("judge so many candidates", (200, 1_000), judging)

    def together(count: int) -> Callable[[], object]:
        needs = [need(number) for number in range(count)]
        return lambda: resolve(needs, ())

    yield Row("so many models of one workflow", (500, 2_000), together)


def _rows_of_caches(home: Path) -> Iterator[Row]:
    def answers(count: int) -> Callable[[], object]:
        cache = AnswerCache(home / f"answers{count}.db")
        for number in range(count):
            cache.write(f"key {number}", {"text": "x" * 500, "number": number})
        return lambda: [cache.read(f"key {number}", None) for number in range(count)]

    yield Row("so many kept answers read", (300, 3_000), answers)

    def digests(count: int) -> Callable[[], object]:
        cache, folder = Digests(home / f"digests{count}.db", now=lambda: time.time() + 60), home / f"files{count}"
        folder.mkdir()
        files = [folder / str(number) for number in range(count)]
        for file in files:
            file.write_bytes(b"model")
            cache.digest_of(file, Leash())
        return lambda: [cache.remembered(file) for file in files]

    yield Row("so many known digests", (30, 300), digests)


def line(name: str, sizes: tuple[int, int], seconds: tuple[float, float]) -> str:
    (small, large), (few, many) = sizes, seconds
    growth = (many / large) / (few / small)
    return f"{name:40}{small:>9,}{large:>10,}{few:10.3f}{many:10.3f}{many / large * 1e6:14.1f}{growth:9.2f}\n"


_READ_ALL = """
import re, resource, sys, time
from pathlib import Path
from comfy_doctor.comfyui.install import Install
from comfy_doctor.diagnose import diagnose
began = time.process_time()
diagnose([sys.argv[1]], Install(Path(sys.argv[2])))
seconds = time.process_time() - began
try:  # ru_maxrss of a child begins at what its parent had
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(seconds, peak)
"""


def reading(home: Path, sizes: tuple[int, int] = (1_000, 2_000)) -> Iterator[str]:
    """So many workflows, each lot in a process of its own: CPU seconds and peak memory."""
    seconds, peaks = [], []
    for count in sizes:
        folder = workflows(home / f"workflows{count}", count)
        command = [sys.executable, "-c", _READ_ALL, str(folder), str(home / "empty")]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        seconds.append(float(told[0]))
        peaks.append(int(told[1]))
    yield line("diagnose so many workflows", sizes, (seconds[0], seconds[1]))
    each = (peaks[1] - peaks[0]) / (sizes[1] - sizes[0])
    yield f"    peak memory {peaks[0] / 1024:.0f} and {peaks[1] / 1024:.0f} MiB: {each:.1f} KiB for each more\n"


def resolution(home: Path, counts: Sequence[int] = (50, 200)) -> Iterator[str]:
    """Missing models at a stand-in of Hugging Face that has every second one, by search alone."""
    repositories = [
        Repository(f"owner{number % 40}/flux_model{number:05d}", files=[RepoFile.lfs(need(number).name)])
        for number in range(0, max(counts), 2)
    ]
    for count in counts:
        with HuggingFace(repositories) as hub:
            hub.window = {"api": PLENTY, "resolvers": PLENTY}
            settings = Settings(home=home, hf_endpoint=hub.base)
            asker = Asker(Web(settings), AnswerCache(home / f"asked{count}.db"))
            wanted = [need(number) for number in range(count)]
            for kept in ("", ", kept answers"):
                before, began, burnt = len(hub.requests), time.perf_counter(), time.process_time()
                found = resolve(wanted, [HuggingFaceFiles(asker), HuggingFaceSearch(asker)])
                shown = sum(bool(each.candidates) for each in found.values())
                yield (
                    f"resolve {count} models{kept}: {(len(hub.requests) - before) / count:.1f} requests and "
                    f"{(time.process_time() - burnt) / count * 1000:.1f} CPU ms each (the stand-in's with it), "
                    f"{time.perf_counter() - began:.1f} s in all; candidates for {shown}"
                )


def whole_process(*arguments: str | Path) -> str:
    """CPU seconds of the program from start to end: the median of some runs."""
    burnt = []
    for _ in range(PROCESS_ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "comfy_doctor", *arguments], capture_output=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        burnt.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return f"comfy-doctor {arguments[0]}: {statistics.median(burnt):.2f} CPU s as a whole process"


def main() -> None:
    say = sys.stdout.write
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "empty" / "models").mkdir(parents=True)
        columns = "".join(f"{word:>{width}}" for word, width in _COLUMNS)
        say(f"{'diagnosis, CPU s':40}{columns}\n")
        for words in reading(home):
            say(words)
        for row in rows(home):
            few, many = (cpu_seconds(row.run(size)) for size in row.sizes)
            say(line(row.name, row.sizes, (few, many)))
            sys.stdout.flush()
        for words in resolution(home):
            say(words + "\n")
        small = saved(home / "small.json", ui(node(1, "LoraLoader", "missing.safetensors", 1, 1)))
        say(whole_process("--help") + "\n")
        say(whole_process("diagnose", small, "--home", home, "--comfyui", home / "empty", "--offline") + "\n")


if __name__ == "__main__":
    main()
