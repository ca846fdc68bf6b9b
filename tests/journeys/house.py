"""The house of a journey: a home, a ComfyUI and a model host of its own, and both programs as a user starts them.

Every process is started through `House` and is killed with its whole group when the house closes, so that none outlives
a failing test. What the programs said is kept in files outside the home.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType, TracebackType
from typing import Any, Self

from comfy_doctor.needs import Need
from comfy_doctor.resolvers.resolver import Quest
from comfy_doctor.resolvers.templates import Templates
from download_worker import wiring
from download_worker.jobs.job import Job, JobId, ModelInfo, Status
from download_worker.leash import Leash
from download_worker.room import Journal, Room
from download_worker.settings import Settings
from tests import canaries
from tests.hub import Data, Hub, SizedPattern
from tests.makers import safetensors_bytes, safetensors_prefix

ROOT = Path(__file__).parents[2]
COMMAND_SECONDS = 60.0
START_SECONDS = 20.0
POLL_SECONDS = 0.02
ENVELOPE = {"comfy_doctor_result", "command", "status", "exit_code", "data", "messages", "errors"}
Env = Mapping[str, str]
NO_ENV: Env = MappingProxyType({})
"""Nothing beside the surroundings of the house."""
STATUSES_OF_EXIT: dict[int, set[str]] = {0: {"success"}, 1: {"success", "error"}, 4: {"partial"}}


@dataclass(frozen=True)
class Said:
    """How one command ended, and what it said."""

    exit_code: int
    stdout: str
    stderr: str

    @cached_property
    def envelope(self) -> dict[str, Any]:
        """stdout as the one JSON document that it must be."""
        envelope: dict[str, Any] = json.loads(self.stdout)
        assert envelope.keys() >= ENVELOPE, envelope.keys()
        assert envelope["comfy_doctor_result"] == 1
        assert envelope["exit_code"] == self.exit_code
        assert envelope["status"] in STATUSES_OF_EXIT.get(self.exit_code, {"error"})
        assert all(error["code"] and error["message"] and error["hint"] for error in envelope["errors"])
        return envelope

    @property
    def jobs(self) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = self.envelope["data"]["jobs"]
        return jobs

    @property
    def job_id(self) -> JobId:
        (job,) = self.jobs
        return JobId(job["job_id"])

    @property
    def error_code(self) -> str:
        (error,) = self.envelope["errors"]
        return str(error["code"])


@cache
def _templates() -> bytes:
    """The index of the official templates, which takes a second to make; every house begins with a copy."""
    with TemporaryDirectory() as folder:
        kept = Path(folder) / "templates.json"
        Templates(kept).look([Quest(Need("vae", "x", ()))], Leash())
        return kept.read_bytes()


def _channel(folder: Path) -> Path:
    """Lists of ComfyUI-Manager that know one pack and no model."""
    folder.mkdir()
    pack = "https://github.com/somebody/ComfyUI-Known"
    lists = {
        "extension-node-map.json": {pack: [["KnownNode"], {"title_aux": "Known"}]},
        "custom-node-list.json": {"custom_nodes": [{"title": "Known", "reference": pack, "files": [pack]}]},
        "model-list.json": {"models": []},
    }
    for name, document in lists.items():
        (folder / name).write_text(json.dumps(document), encoding="utf-8")
    return folder


class House:
    def __init__(self, folder: Path, home_name: str = "home") -> None:
        self.folder = folder
        self.home = folder / home_name
        self.comfyui = folder / "ComfyUI"
        self.models = self.comfyui / "models"
        self.models.mkdir(parents=True)
        self.comfyui.joinpath("main.py").touch()
        index = self.home / "state/cache/templates.json"
        index.parent.mkdir(parents=True, mode=0o700)
        index.write_bytes(_templates())
        self.notes = folder / "notes"
        self.notes.mkdir()
        self._stack = ExitStack()
        self.hub = self._stack.enter_context(Hub())
        self.env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder / "nobody"),
            "TMPDIR": str(self.notes),
            "COMFYUI_PATH": str(self.comfyui),
            "HF_ENDPOINT": self.hub.base,
            "CIVITAI_ENDPOINT": self.hub.base,
            "COMFY_REGISTRY_ENDPOINT": self.hub.base,
            "COMFYUI_MANAGER_CHANNEL": str(_channel(folder / "channel")),
            "COMFY_DOCTOR_HOME": str(self.home),
            "COMFY_DOCTOR_ALLOW_HOSTS": "127.0.0.1",
            "COMFY_DOCTOR_HEARTBEAT_SECONDS": "0.2",
            "COMFY_DOCTOR_BACKOFF_BASE_SECONDS": "0.1",
            "COMFY_DOCTOR_BACKOFF_CAP_SECONDS": "0.3",
            "COMFY_DOCTOR_CHECKPOINT_BYTES": "65536",
            "COMFY_DOCTOR_DISK_RESERVE_BYTES": "0",
            **canaries.TOKENS,
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            _end(process)
        self._stack.close()
        if error is not None:
            sys.stderr.writelines(f"--- {note.name}\n{note.read_text()}" for note in sorted(self.notes.glob("*.err")))

    # --- the model host ---

    def publish(self, path: str, size: int = 20_000, seed: int = 1, **worn: Any) -> tuple[str, bytes]:
        """A small valid model: its URL and its bytes."""
        data = safetensors_bytes(size, seed=seed)
        return self.hub.publish(path, data, **worn), data

    def publish_large(self, path: str, size: int, **worn: Any) -> tuple[str, Data]:
        data = SizedPattern(size, prefix=safetensors_prefix(size))
        return self.hub.publish(path, data, **worn), data

    def fetches(self, path: str) -> int:
        """How often this file was asked for as a whole: a look at its head is no fetch."""
        return sum(hit.method == "GET" and "range" not in hit.headers for hit in self.hub.hits_for(path))

    # --- the programs ---

    def cli(self, *words: object, program: str = "comfy_doctor", as_json: bool = True, env: Env = NO_ENV) -> Said:
        """One command from beginning to end, with nobody at the terminal."""
        spoken = list(map(str, words))
        if as_json:
            spoken.insert(spoken.index("--") if "--" in spoken else len(spoken), "--json")
        command = [sys.executable, "-m", program, *spoken]
        with self.process(command, env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            stdout, stderr = process.communicate(timeout=COMMAND_SECONDS)
            return Said(process.returncode, stdout.decode(), stderr.decode())

    def enqueue(self, url: str, *options: object, folder: str = "loras", env: Env = NO_ENV) -> JobId:
        said = self.cli("enqueue", url, "--type", folder, *options, env=env)
        assert said.exit_code == 0, said
        return said.job_id

    def submit(self, url: str, name: str | None = None, folder: str = "loras") -> JobId:
        """As `enqueue`, without a process of its own: for stories about many jobs."""
        settings = Settings(home=self.home, allow_hosts=("127.0.0.1",))
        info = ModelInfo(expected_filename=name or url.rpartition("/")[2], model_type=folder, download_url=url)
        with wiring.counter_of(settings) as counter:
            return counter.submit(info, self.models).job.job_id

    def drain(self, *options: str, env: Env = NO_ENV) -> Said:
        return self.cli("run", "--drain", *options, program="download_worker", env=env)

    def start_worker(self, *options: str, env: Env = NO_ENV) -> subprocess.Popen[bytes]:
        """A worker that is still starting. Whoever gets it need not end it."""
        name = f"worker-{len(self._processes)}"
        with (self.notes / f"{name}.out").open("wb") as out, (self.notes / f"{name}.err").open("wb") as err:
            command = [sys.executable, "-m", "download_worker", "run", *options]
            return self._open(command, env, stdout=out, stderr=err)

    @contextmanager
    def worker(self, *options: str, env: Env = NO_ENV) -> Iterator[subprocess.Popen[bytes]]:
        """A worker that is ready for jobs; killed at the end unless it has ended by itself."""
        process = self.start_worker(*options, env=env)
        try:
            self.wait_ready(process)
            yield process
        finally:
            _end(process)

    def wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        self.wait(lambda: self.is_enrolled(process), START_SECONDS)

    def is_enrolled(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, "the worker has ended while it started"
        return any(self.home.glob(f"state/workers/worker-{process.pid}-*.lock"))

    def _open(self, command: list[str], env: Env, **streams: Any) -> subprocess.Popen[bytes]:
        surroundings = {**self.env, **env}
        canaries.BOOK.bind_environment(surroundings)
        process: subprocess.Popen[bytes] = subprocess.Popen(
            command,
            env=surroundings,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            umask=0o022,
            **streams,
        )
        self._processes.append(process)
        return process

    @contextmanager
    def process(self, command: list[str], env: Env = NO_ENV, **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
        """Any program in the surroundings of this house; killed at the end unless it has ended by itself."""
        process = self._open(command, env, **streams)
        try:
            yield process
        finally:
            _end(process)

    # --- looking ---

    def wait(self, condition: Callable[[], object], timeout_seconds: float = 20.0) -> float:
        """Until the condition is true; the seconds that this took."""
        begun = time.monotonic()
        while not condition():
            assert time.monotonic() - begun < timeout_seconds, f"not within {timeout_seconds} s"
            time.sleep(POLL_SECONDS)
        return time.monotonic() - begun

    def job(self, job_id: str) -> Job:
        with wiring.ledger_of(Settings(home=self.home)) as ledger:
            return ledger.get(JobId(job_id))

    def wait_for_job(self, job_id: str, wanted: Status | Callable[[Job], object], timeout_seconds: float = 30.0) -> Job:
        """Until the ledger shows the job so."""
        fits = (lambda job: job.status is wanted) if isinstance(wanted, Status) else wanted
        with wiring.ledger_of(Settings(home=self.home)) as ledger:
            deadline = time.monotonic() + timeout_seconds
            while not fits(job := ledger.get(JobId(job_id))):
                assert time.monotonic() < deadline, f"{job.status} after {timeout_seconds} s: {job.history[-3:]}"
                time.sleep(POLL_SECONDS)
            return job

    def journal(self, job_id: str) -> Journal | None:
        """What is durable of the job's part file: the furthest of its rooms."""
        rooms = [Room(path).journal() for path in self.home.glob(f"staging/{job_id}/*/")]
        return max((note for note in rooms if note is not None), key=lambda note: note.durable_bytes, default=None)

    def wait_for_durable(self, job_id: str, count: int, timeout_seconds: float = 20.0) -> None:
        def enough() -> bool:
            note = self.journal(job_id)
            return note is not None and note.durable_bytes >= count

        self.wait(enough, timeout_seconds)

    def staged(self) -> list[Path]:
        return sorted(self.home.glob("staging/*"))

    def wait_until_staging_is_empty(self) -> None:
        """What has ended well is recorded first, and tidied up then."""
        self.wait(lambda: self.staged() == [], 20.0)

    def library(self) -> dict[str, bytes]:
        """Every file under the model folders, hidden ones included, by its path there."""
        files = (path for path in sorted(self.models.rglob("*")) if path.is_file())
        return {path.relative_to(self.models).as_posix(): path.read_bytes() for path in files}

    def written(self) -> dict[str, bytes]:
        """Every file that the programs have left behind, by its path."""
        folders = (self.home, self.notes, self.comfyui)
        files = (path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in files}


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill it and whatever it has started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def events(job: Job, beginning: str) -> list[str]:
    """What of the job's history begins so."""
    return [entry.event for entry in job.history if entry.event.startswith(beginning)]


def whole(data: Data) -> bytes:
    return data.read(0, data.size)
