"""What the commands answer: exit codes, registered error codes, envelopes, help, and the unit of the service."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from pathlib import Path

import pytest

from download_worker.jobs.job import Status

from .house import House

pytestmark = pytest.mark.slow  # real screens and processes

URL = "https://models.example/x.safetensors"
LORA = ("--type", "loras")

REFUSED = {
    "a name that climbs": ([URL, *LORA, "--filename", "../../evil.safetensors"], 5, "unsafe_name"),
    "a subfolder that climbs": ([URL, *LORA, "--subfolder", "../.."], 5, "unsafe_name"),
    "a folder that ComfyUI does not have": ([URL, "--type", "custom_nodes"], 5, "unknown_folder"),
    "an address of this machine": (["http://127.0.0.1:9/x.safetensors", *LORA], 5, "refused_address"),
    "the metadata of a cloud": (["http://169.254.169.254/x.safetensors", *LORA], 5, "refused_address"),
    "no URL": (["models.example/x.safetensors", *LORA], 2, "bad_url"),
    "a file URL": (["file:///etc/passwd", *LORA], 2, "bad_url"),
    "half a digest": ([URL, *LORA, "--sha256", "abc"], 2, "bad_digest"),
    "an option that does not exist": ([URL, *LORA, "--sha265", "abc"], 2, "usage"),
    "no folder": ([URL], 2, "usage"),
}
COMMANDS = {
    "comfy_doctor": [
        *("fix", "diagnose", "enqueue", "dashboard", "demo"),
        *(f"jobs {verb}" for verb in ("list", "show", "retry", "cancel", "pause", "resume", "priority", "prune")),
    ],
    "download_worker": ["run", "status", "install-service"],
}


@pytest.mark.slow
@pytest.mark.parametrize(("words", "exit_code", "code"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_asked_for_is_answered_with_its_code(
    house: House, words: list[str], exit_code: int, code: str
) -> None:
    said = house.cli("enqueue", *words, env={"COMFY_DOCTOR_ALLOW_HOSTS": ""})
    assert (said.exit_code, said.error_code, said.stderr) == (exit_code, code, "")
    assert house.library() == {}


def test_an_error_for_people_ends_with_the_next_step_and_leaves_stdout_alone(house: House) -> None:
    said = house.cli("jobs", "show", "deadbeef", as_json=False)
    assert (said.exit_code, said.stdout) == (2, "")
    assert "next: " in said.stderr and "[unknown_job]" in said.stderr


def test_a_dashboard_without_a_terminal_says_so_and_ends(house: House) -> None:
    said = house.cli("dashboard")
    assert (said.exit_code, said.error_code) == (3, "no_terminal")


def test_a_command_that_does_not_exist_is_answered_with_a_help_that_does(house: House) -> None:
    said = house.cli("jbos", "list")
    assert (said.exit_code, said.error_code) == (2, "usage")
    assert said.envelope["errors"][0]["hint"] == "see `comfy-doctor --help`"


def test_without_a_comfyui_the_surroundings_are_missing(house: House) -> None:
    said = house.cli("enqueue", URL, *LORA, env={"COMFYUI_PATH": str(house.folder / "nowhere")})
    assert (said.exit_code, said.error_code) == (3, "no_comfyui")


def test_an_unknown_key_is_named_with_file_line_and_the_nearest_one(house: House) -> None:
    house.home.mkdir(exist_ok=True)
    config = house.home / "comfy_doctor.toml"
    config.write_text("# mine\njobs = 2\nmax_trys = 3\n")
    said = house.cli("jobs")
    assert (said.exit_code, said.error_code) == (2, "bad_setting")
    message = said.envelope["errors"][0]["message"]
    assert f"{config}:3" in message and "max_trys" in message and "max_tries" in message


@pytest.mark.slow
def test_the_same_twice_is_one_job_and_a_file_that_is_there_needs_none(house: House) -> None:
    url, data = house.publish("/x.safetensors")
    first, second = house.cli("enqueue", url, *LORA), house.cli("enqueue", url, *LORA)
    assert [said.exit_code for said in (first, second)] == [0, 0]
    assert first.job_id == second.job_id
    assert [said.jobs[0]["deduplicated"] for said in (first, second)] == [False, True]

    (house.models / "vae").mkdir()
    (house.models / "vae" / "x.safetensors").write_bytes(data)
    there = house.cli("enqueue", url, "--type", "vae", "--sha256", hashlib.sha256(data).hexdigest().upper())
    assert (there.exit_code, there.jobs[0]["deduplicated"], there.jobs[0]["status"]) == (0, True, "SUCCESS")
    assert there.jobs[0]["result"]["path"] == str(house.models / "vae" / "x.safetensors")
    assert house.hub.hits == []


@pytest.mark.slow
def test_status_names_the_workers_and_counts_the_jobs(house: House) -> None:
    house.submit("http://127.0.0.1:9/x.safetensors")
    idle = house.cli("status", program="download_worker").envelope["data"]
    assert (idle["workers"], idle["jobs"]["PENDING"]) == ([], 1)
    house.hub.bytes_per_second = 50_000
    with house.worker() as worker:
        job_id = house.submit(house.publish("/slow.safetensors", 400_000)[0])
        house.wait_for_job(job_id, Status.DOWNLOADING)
        busy = house.cli("status", program="download_worker").envelope["data"]
    (told,) = busy["workers"]
    assert told["worker"].startswith(f"worker-{worker.pid}-")
    assert job_id in told["jobs"]


@pytest.mark.parametrize("home_name", ['my 100% "odd" $HOME home'])
def test_the_unit_names_a_home_with_odd_signs_so_that_systemd_reads_it_back(tmp_path: Path, home_name: str) -> None:
    with House(tmp_path, home_name) as house:
        said = house.cli("install-service", "--user", "--print", program="download_worker", as_json=False)
    assert (said.exit_code, said.stderr) == (0, "")
    lines = dict(line.split("=", 1) for line in said.stdout.splitlines() if "=" in line)
    command = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(lines["ExecStart"])]
    assert command[1:] == ["-m", "download_worker", "run", "--home", str(house.home)]
    assert os.access(command[0], os.X_OK)
    # One path to the end of the line, unquoted: systemd.exec(5) takes it so.
    assert lines["EnvironmentFile"].replace("%%", "%") == f"-{house.home}/worker.env"
    assert re.findall(r"^\[(\w+)\]$", said.stdout, re.M) == ["Unit", "Service", "Install"]


@pytest.mark.slow
@pytest.mark.parametrize("program", COMMANDS)
def test_every_command_has_help_with_an_example(house: House, program: str) -> None:
    whole = house.cli("--help", program=program, as_json=False)
    assert whole.exit_code == 0
    for command in COMMANDS[program]:
        said = house.cli(*command.split(), "--help", program=program, as_json=False)
        assert said.exit_code == 0, command
        assert f"Example: {program.replace('_', '-')} {command.removesuffix(' list')}" in said.stdout
        assert command.split()[0] in whole.stdout
