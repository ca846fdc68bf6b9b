"""The house stands: imports go down a floor, the two packages meet at one door, and every wall holds.

The floors are those of ARCHITECTURE.md. A key is a module or a folder; a module belongs to the longest key that fits.
It may import what is on a lower floor of its own package, and its neighbours under the same key.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("comfy_doctor", "download_worker", "verify_prompts")

FLOORS: dict[str, int] = {
    "verify_prompts": 0,
    # the workshop
    "download_worker": 0,
    **dict.fromkeys(("download_worker.errors", "download_worker.clock", "download_worker.endpoints"), 1),
    **dict.fromkeys(("download_worker.sqlite_files", "download_worker.limits", "download_worker.small_files"), 1),
    **dict.fromkeys(("download_worker.text", "download_worker.digests", "download_worker.json_texts"), 1),
    **dict.fromkeys(("download_worker.anchor", "download_worker.ballast", "download_worker.threads"), 2),
    **dict.fromkeys(("download_worker.settings", "download_worker.report", "download_worker.jobs.places"), 2),
    **dict.fromkeys(("download_worker.command_line", "download_worker.database", "download_worker.jobs.job"), 3),
    **dict.fromkeys(("download_worker.leash", "download_worker.owners", "download_worker.room"), 4),
    **dict.fromkeys(("download_worker.jobs.moves", "download_worker.jobs.proof", "download_worker.jobs.tables"), 4),
    "download_worker.traffic": 4,
    **dict.fromkeys(("download_worker.jobs.ledger", "download_worker.jobs.bell", "download_worker.jobs.statements"), 5),
    **dict.fromkeys(("download_worker.jobs.queue_folder", "download_worker.migrations", "download_worker.web"), 5),
    "download_worker.jobs.queue_watch": 6,
    **dict.fromkeys(("download_worker.fetchers.fetcher", "download_worker.quarantine"), 5),
    **dict.fromkeys(("download_worker.pace", "download_worker.mounts"), 5),
    **dict.fromkeys(("download_worker.hosts", "download_worker.volumes"), 6),
    **dict.fromkeys(("download_worker.fetchers", "download_worker.verifiers", "download_worker.installers"), 6),
    "download_worker.jobs.rows": 6,
    **dict.fromkeys(("download_worker.jobs", "download_worker.workshop"), 7),
    **dict.fromkeys(("download_worker.housekeeping", "download_worker.patience", "download_worker.sources"), 8),
    "download_worker.process": 9,
    "download_worker.engines": 10,
    **dict.fromkeys(("download_worker.logs", "download_worker.service"), 11),
    "download_worker.wiring": 12,
    "download_worker.cli": 13,
    "download_worker.__main__": 14,
    # the consulting room
    "comfy_doctor": 0,
    **dict.fromkeys(
        (
            "comfy_doctor.findings",
            "comfy_doctor.needs",
            "comfy_doctor.settings",
            "comfy_doctor.sites",
            "comfy_doctor.choices",
            "comfy_doctor.model_names",
        ),
        1,
    ),
    **dict.fromkeys(("comfy_doctor.troubles", "comfy_doctor.workflows"), 2),
    "comfy_doctor.asking": 2,
    **dict.fromkeys(("comfy_doctor.comfyui", "comfy_doctor.manifests"), 3),
    **dict.fromkeys(("comfy_doctor.node_packs", "comfy_doctor.resolvers", "comfy_doctor.library"), 4),
    **dict.fromkeys(("comfy_doctor.reading", "comfy_doctor.node_findings", "comfy_doctor.resolve"), 5),
    "comfy_doctor.diagnose": 6,
    **dict.fromkeys(("comfy_doctor.plan", "comfy_doctor.job_verbs", "comfy_doctor.rewrite", "comfy_doctor.lock"), 7),
    **dict.fromkeys(("comfy_doctor.apply", "comfy_doctor.plan_forms", "comfy_doctor.render"), 8),
    **dict.fromkeys(("comfy_doctor.fix", "comfy_doctor.watch", "comfy_doctor.plan_file", "comfy_doctor.outlook"), 9),
    **dict.fromkeys(("comfy_doctor.demo", "comfy_doctor.tui", "comfy_doctor.sources"), 10),
    "comfy_doctor.wiring": 11,
    "comfy_doctor.cli": 12,
    "comfy_doctor.__main__": 13,
}
NO_FOLDER_OF_ITS_OWN = frozenset({"download_worker", "comfy_doctor", "download_worker.jobs"})
"""Here a new module needs a floor of its own: the key stands for the `__init__` and the named ones only."""

LEAVES_OF_JOBS = frozenset({"counter", "sql_ledger", "memory_ledger", "persist_queue"})

DOOR = frozenset(
    {
        "sqlite_files",
        *("errors", "clock", "text", "report", "command_line", "settings", "database", "digests", "endpoints"),
        *("leash", "json_texts"),
    }
)
DOOR_FOLDERS = frozenset({"jobs", "fetchers", "verifiers", "web"})
WIRING_ONLY = frozenset({"wiring", "engines"})

WALLS: dict[str, tuple[str, ...]] = {
    "textual": ("comfy_doctor.tui",),
    "rich": ("comfy_doctor.render", "comfy_doctor.tui"),
    "yaml": ("comfy_doctor.comfyui.extra_paths",),
    "openai": ("download_worker.verifiers.rubric",),
    "PIL": (),
    "rapidfuzz": ("comfy_doctor.resolvers.likeness",),
    "comfyui_workflow_templates_json": ("comfy_doctor.resolvers.templates",),
    "persistqueue": ("download_worker.jobs.persist_queue",),
    "watchdog": ("download_worker.jobs.queue_watch", "comfy_doctor.watch"),
    "magic": ("download_worker.verifiers.filetype",),
    "safetensors": ("download_worker.verifiers.safetensors_file",),
    "alembic": ("download_worker.database", "download_worker.migrations"),
    "sqlalchemy": (
        *("download_worker.database", "download_worker.migrations"),
        *("download_worker.jobs.tables", "download_worker.jobs.sql_ledger", "download_worker.jobs.rows"),
        "download_worker.jobs.statements",
    ),
    "requests": ("download_worker.web",),
    "xxhash": ("download_worker.fetchers.http.hashing",),
    "urllib3": ("download_worker.web",),
    "fastapi": (),
    "procrastinate": (),
    "torch": (),
    "numpy": (),
}
# T45: what runs code that comes with the data, or hands a line to a shell.
FORBIDDEN_MODULES = frozenset({"pickle", "joblib", "marshal", "shelve", "dill", "cloudpickle", "pty", "imp"})
FORBIDDEN_CALLS = frozenset({"eval", "exec", "compile", "__import__"})
FORBIDDEN_ATTRIBUTES = frozenset({"extractall", "unpack_archive", "getoutput", "getstatusoutput"})
FORBIDDEN_PATHS = frozenset({"yaml.load", "yaml.unsafe_load", "os.system", "os.popen", "torch.load", "os.fork"})


@dataclass(frozen=True)
class Import:
    """`module` imports `target`, a module of ours in full or a foreign one as it is written."""

    module: str
    target: str
    line: int
    inside_function: bool
    text: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def sources() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return found


def imports_of(module: str, source: str, ours: frozenset[str]) -> Iterator[Import]:
    lines = source.splitlines()

    def walk(node: ast.AST, inside: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                for target in sorted(_targets(child, ours)):
                    yield Import(module, target, child.lineno, inside, lines[child.lineno - 1])
            yield from walk(child, inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    yield from walk(ast.parse(source), inside=False)


def _targets(node: ast.Import | ast.ImportFrom, ours: frozenset[str]) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    assert node.level == 0, "relative imports have no place here"
    full = {f"{node.module}.{alias.name}" for alias in node.names}
    return {name if name in ours else str(node.module) for name in full}


def key_of(module: str) -> str | None:
    """The longest key that fits; None for a module that has no floor."""
    parts = module.split(".")
    keys = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    key = next((key for key in keys if key in FLOORS), None)
    homeless = key in NO_FOLDER_OF_ITS_OWN and key != module
    if homeless and not (key == "download_worker.jobs" and parts[-1] in LEAVES_OF_JOBS):
        return None
    return key


def is_within(module: str, wall: str) -> bool:
    return module == wall or module.startswith(f"{wall}.")


def upward(found: Import) -> bool:
    package = found.target.split(".")[0]
    if package not in PACKAGES or package != found.module.split(".")[0]:
        return False
    own, other = key_of(found.module), key_of(found.target)
    assert own is not None and other is not None, f"{found}: no floor is known for it"
    neighbours = own == other and own != "download_worker.jobs"
    return not (neighbours or FLOORS[other] < FLOORS[own])


def through_a_wall(found: Import) -> bool:
    wall = WALLS.get(found.target.split(".")[0])
    return wall is not None and not any(is_within(found.module, room) for room in wall)


def past_the_door(found: Import) -> bool:
    """Between the packages: never from the worker to the doctor, and the other way only through the door."""
    own, other = found.module.split(".")[0], found.target.split(".")
    if other[0] not in PACKAGES or other[0] == own:
        return False
    if own != "comfy_doctor" or other[0] != "download_worker":
        return True
    room = other[1] if len(other) > 1 else ""
    return not (room in DOOR | DOOR_FOLDERS or (room in WIRING_ONLY and found.module == "comfy_doctor.wiring"))


def hidden(found: Import) -> bool:
    """Inside a function, neither in the wiring nor with a reason."""
    if not found.inside_function or found.module.endswith(".wiring"):
        return False
    return not found.text.partition("noqa: PLC0415 - ")[2].strip()


def forbidden(source: str) -> list[str]:
    """What T45 forbids, with its line."""
    broken: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(lineno=line, names=names):
                broken += [(line, name.name) for name in names if name.name.split(".")[0] in FORBIDDEN_MODULES]
            case ast.ImportFrom(lineno=line, module=str(module), names=names):
                full = {f"{module}.{name.name}" for name in names} | {module}
                if module.split(".")[0] in FORBIDDEN_MODULES or full & FORBIDDEN_PATHS:
                    broken.append((line, module))
            case ast.Call(lineno=line, func=ast.Name(id=name)) if name in FORBIDDEN_CALLS:
                broken.append((line, name))
            case ast.Attribute(lineno=line, attr=name) if (
                name in FORBIDDEN_ATTRIBUTES or ast.unparse(node) in FORBIDDEN_PATHS
            ):
                broken.append((line, ast.unparse(node)))
            case ast.keyword(arg="shell" | "allow_pickle", value=value) if ast.unparse(value) != "False":
                broken.append((value.lineno, ast.unparse(node.value)))
            case _:
                pass
    return [f"{line}: {what}" for line, what in broken]


@pytest.fixture(scope="module")
def house() -> Mapping[str, str]:
    return sources()


@pytest.fixture(scope="module")
def imports(house: Mapping[str, str]) -> list[Import]:
    ours = frozenset(house)
    return [found for module, source in house.items() for found in imports_of(module, source, ours)]


def told(broken: list[Import]) -> str:
    return "\n".join(map(str, broken))


def test_every_module_has_a_floor(house: Mapping[str, str]) -> None:
    assert [module for module in house if key_of(module) is None] == []
    assert [key for key in FLOORS if key not in house] == [], "a floor of nothing"
    assert len(house) > 80


def test_imports_go_down(imports: list[Import]) -> None:
    broken = [found for found in imports if upward(found)]
    assert not broken, told(broken)


def test_there_are_no_cycles(house: Mapping[str, str], imports: list[Import]) -> None:
    graph: dict[str, set[str]] = {module: set() for module in house}
    for found in imports:
        if found.target in graph and found.target != found.module:
            graph[found.module].add(found.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_the_packages_meet_only_at_the_door(imports: list[Import]) -> None:
    broken = [found for found in imports if past_the_door(found)]
    assert not broken, told(broken)


def test_third_party_walls_hold(imports: list[Import]) -> None:
    broken = [found for found in imports if through_a_wall(found)]
    assert not broken, told(broken)


def test_no_import_hides_in_a_function_without_a_reason(imports: list[Import]) -> None:
    broken = [found for found in imports if hidden(found)]
    assert not broken, told(broken)


def test_t45_nothing_of_ours_can_run_what_it_reads(house: Mapping[str, str]) -> None:
    broken = {module: found for module, source in house.items() if (found := forbidden(source))}
    assert broken == {}


# The rules themselves can fail


@pytest.mark.parametrize(
    ("module", "line", "rule"),
    [
        ("download_worker.errors", "from download_worker.jobs import job", upward),
        ("download_worker.jobs.job", "import download_worker.jobs.moves", upward),
        ("download_worker.jobs.counter", "from download_worker.jobs.sql_ledger import SqlLedger", upward),
        ("download_worker.room", "from download_worker.leash import Leash", upward),
        ("comfy_doctor.plan", "from comfy_doctor.job_verbs import change", upward),
        ("download_worker.text", "from comfy_doctor.needs import Need", past_the_door),
        ("comfy_doctor.fix", "from download_worker import wiring", past_the_door),
        ("comfy_doctor.fix", "from download_worker.process import process", past_the_door),
        ("comfy_doctor.fix", "import openai", through_a_wall),
        ("comfy_doctor.cli", "from rich.text import Text", through_a_wall),
        ("download_worker.verifiers.digest", "import magic", through_a_wall),
        ("comfy_doctor.fix", "def f():\n    import json", hidden),
        ("comfy_doctor.fix", "def f():\n    import json  # noqa: PLC0415", hidden),
    ],
)
def test_a_broken_rule_is_found(house: Mapping[str, str], module: str, line: str, rule: object) -> None:
    (found,) = imports_of(module, line, frozenset(house))
    assert rule(found)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("download_worker.verifiers.digest", "from download_worker.verifiers.reading import check"),
        ("download_worker.process", "from download_worker.room import Room"),
        ("comfy_doctor.wiring", "def f():\n    from download_worker import wiring"),
        ("comfy_doctor.tui.app", "import textual.app"),
        ("download_worker.database", "def f():\n    import alembic  # noqa: PLC0415 - half a second"),
    ],
)
def test_what_is_allowed_is_not_found(house: Mapping[str, str], module: str, line: str) -> None:
    (found,) = imports_of(module, line, frozenset(house))
    assert not [rule for rule in (upward, past_the_door, through_a_wall, hidden) if rule(found)]


def test_a_module_without_a_floor_is_homeless() -> None:
    for homeless in ("download_worker.helpers", "comfy_doctor.utils", "download_worker.jobs.misc", "elsewhere"):
        assert key_of(homeless) is None
    assert key_of("download_worker.verifiers.gguf_file") == "download_worker.verifiers"


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "import marshal as m",
        "eval('1')",
        "exec(x)",
        "yaml.load(x)",
        "from os import system",
        "os.system('x')",
        "tar.extractall()",
        "subprocess.run('x', shell=True)",
        "subprocess.run('x', shell=flag)",
        "numpy.load(f, allow_pickle=True)",
        "torch.load(f)",
    ],
)
def test_t45_what_is_forbidden_is_found(line: str) -> None:
    assert forbidden(line)


def test_t45_what_only_sounds_alike_is_not_found() -> None:
    assert not forbidden("connection.execute(x)\nre.compile(x)\nyaml.safe_load(x)\nrun(x, shell=False)\nmodel.eval()")


# What is loaded, asked of real processes

LOADED = "; import sys; sys.stderr.write(' '.join(sys.modules))"
HELP = "import sys; from comfy_doctor.cli import main; sys.argv = ['comfy-doctor', *{words}]; code = main()"


def loaded(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", code + LOADED], capture_output=True, text=True, check=True, timeout=60, cwd=ROOT
    )
    return {name.split(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize(
    "code",
    [
        "import download_worker",
        "import download_worker.wiring, download_worker.cli",
        "import download_worker.engines.local",
        "import download_worker.jobs.counter, download_worker.jobs.sql_ledger",
    ],
)
def test_the_worker_loads_neither_textual_nor_openai(code: str) -> None:
    modules = loaded(code)
    assert "download_worker" in modules
    assert not modules & {"textual", "openai", "comfy_doctor", "alembic", "rich"}


@pytest.mark.parametrize("words", [["--help"], ["fix", "--help"], ["jobs", "--help"]])
def test_help_waits_for_no_room(words: list[str]) -> None:
    modules = loaded(HELP.format(words=words))
    assert "typer" in modules
    if len(words) > 1:
        modules.discard("pydantic")  # typer itself reads the options of a command with it
    assert not modules & {"sqlalchemy", "textual", "openai", "pydantic", "rich", "requests", "alembic", "persistqueue"}
