"""Settings: read once, strictly; a mistake names its file, line and key; a token never shows."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from download_worker.errors import BadRequest, Code
from download_worker.settings import (
    CONFIG_NAME,
    DOCTOR_KEYS,
    MAX_CONFIG_BYTES,
    Settings,
    find_home,
    load,
    read_config,
)
from download_worker.text import Redactor
from tests import canaries

TOKEN = canaries.HF
OURS = ("COMFY_DOCTOR_", "HF_", "CIVITAI_", "OPENAI_", "COMFYUI_")

Write = Callable[[str | bytes], Path]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith(OURS)]:
        monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path: Path) -> Write:
    def write(text: str | bytes) -> Path:
        (tmp_path / CONFIG_NAME).write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path

    return write


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "hf-token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    canaries.BOOK.hold(path)
    return path


def refused(home: Path, **options: object) -> BadRequest:
    with pytest.raises(BadRequest) as error:
        load(home, **options)
    assert error.value.code is Code.BAD_SETTING
    assert TOKEN not in f"{error.value} {error.value.__cause__} {error.value.__cause__!r}"
    return error.value


def test_without_a_file_there_are_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert (settings.jobs, settings.lease_seconds, settings.no_verdict) == (3, 60.0, "hold")
    assert settings.database_url == f"sqlite:///{tmp_path}/state/doctor.db"
    assert (settings.state, settings.staging) == (tmp_path / "state", tmp_path / "staging")


@pytest.mark.parametrize(
    ("text", "line", "key", "nearest"),
    [
        ("jobs = 2\njbos = 3\n", 2, "jbos", "jobs"),
        ("\n\n  maxtries=1", 3, "maxtries", "max_tries"),
        ('"alow_hosts" = []', 1, "alow_hosts", "allow_hosts"),
        ("# x\n[fetching]\nstall_timeout_seconds = 1", 2, "fetching", None),
        ("quarantin.e = 1", 1, "quarantin", "quarantine"),
        ("HF_TOKEN = 'x'", 1, "HF_TOKEN", None),
        ("home = '/'", 1, "home", None),
    ],
)
def test_g1_an_unknown_key_is_an_error_with_its_line_and_the_nearest_key(
    config: Write, text: str, line: int, key: str, nearest: str | None
) -> None:
    home = config(text)
    message = refused(home).message
    assert f"{home / CONFIG_NAME}:{line}: " in message
    assert f"“{key}”" in message
    assert nearest is None or f"“{nearest}”" in message


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('jobs = "many"', "jobs"),
        ("jobs = 0", "jobs"),
        ("jobs = 65", "jobs"),
        ("jobs = 1.5", "jobs"),
        ("jobs = [1]", "jobs"),
        ("jobs.a = 1", "jobs"),
        ("allow_hosts = [1]", "allow_hosts"),
        ("allow_hosts = {}", "allow_hosts"),
        ("quarantine = 'burn'", "quarantine"),
        ("lease_seconds = inf", "lease_seconds"),
        ("lease_seconds = nan", "lease_seconds"),
        ("sweep_seconds = -1", "sweep_seconds"),
        ("connect_timeout_seconds = 31", "connect_timeout_seconds"),
        ("use_netrc = 'perhaps'", "use_netrc"),
        ("hf_endpoint = 'ftp://x'", "hf_endpoint"),
        ("hf_endpoint = 'https://u:p@x'", "hf_endpoint"),
        ("hf_endpoint = 'https://x?a=1'", "hf_endpoint"),
        ("hf_endpoint = 'https://x/#f'", "hf_endpoint"),
        ("hf_token_file = 3", "hf_token_file"),
        *(
            (f"{key}_seconds = 1e12", f"{key}_seconds")
            for key in ("sweep", "lease", "stall_timeout", "outage_patience")
        ),
        ("checkpoint_bytes = 1000000000000", "checkpoint_bytes"),
        ("disk_reserve_bytes = 10000000000000000", "disk_reserve_bytes"),
        ("ca_file = '~nobody-of-this-name/x.pem'", "ca_file"),
    ],
)
def test_g1_a_wrong_value_names_its_line_and_key(config: Write, text: str, key: str) -> None:
    home = config(f"# first line\n{text}\n")
    assert f"{home / CONFIG_NAME}:2: {key}" in refused(home).message


@pytest.mark.parametrize(
    "broken",
    [
        b"\xff\xfej\x00o\x00",
        b"jobs = ",
        b"jobs = 3\njobs = 4",
        b"jobs = 3 # half a comm\x00",
        b"\x00",
        b"[[[",
        b"jobs = " + b"[" * 5_000,
        b"a" * 1_000,
        b"# " + b"x" * MAX_CONFIG_BYTES + b"\njobs = 4",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_g1_a_broken_file_is_refused_by_name(config: Write, broken: bytes) -> None:
    home = config(broken)
    assert str(home / CONFIG_NAME) in refused(home).message


def test_g1_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / CONFIG_NAME).mkdir()
    assert str(tmp_path / CONFIG_NAME) in refused(tmp_path).message


def test_g1_a_byte_order_mark_and_crlf_are_no_mistakes(config: Write) -> None:
    settings = load(config(b"\xef\xbb\xbfjobs = 4\r\n\r\nmax_tries = 2\r\n"))
    assert (settings.jobs, settings.max_tries) == (4, 2)


def test_the_order_is_option_environment_file_default(config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    home = config("jobs = 5\nhf_endpoint = 'https://file'")
    assert (load(home).jobs, load(home).hf_endpoint) == (5, "https://file")
    monkeypatch.setenv("COMFY_DOCTOR_JOBS", "7")
    monkeypatch.setenv("HF_ENDPOINT", "https://environment/")
    assert (load(home).jobs, load(home).hf_endpoint) == (7, "https://environment")
    assert load(home, jobs=9, hf_endpoint="https://option").jobs == 9
    assert load(home, jobs=9, hf_endpoint="https://option").hf_endpoint == "https://option"
    assert load(home, jobs=None).jobs == 7, "an option that was not given is none"


def test_an_empty_variable_is_none(config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    home = config("openai_base_url = 'https://file'\njobs = 5")
    for name in ("OPENAI_BASE_URL", "COMFY_DOCTOR_JOBS", "HF_ENDPOINT", "HF_TOKEN", "COMFY_DOCTOR_LLM_MODEL"):
        monkeypatch.setenv(name, "")
    settings = load(home)
    assert (settings.openai_base_url, settings.jobs, settings.hf_token, settings.llm_model) == (
        *("https://file", 5, None, None),
    )


def test_g1_a_wrong_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFY_DOCTOR_JOBS", "many")
    message = refused(tmp_path).message
    assert message.startswith("jobs (option or environment)")


def test_hosts_are_split_at_commas_in_the_environment_and_listed_in_the_file(
    config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = config('allow_hosts = ["nas.lan", "10.0.0.0/8"]')
    assert load(home).allow_hosts == ("nas.lan", "10.0.0.0/8")
    monkeypatch.setenv("COMFY_DOCTOR_ALLOW_HOSTS", " a.lan, b.lan:8080 ,,[::1]:80,192.168.0.0/16,")
    assert load(home).allow_hosts == ("a.lan", "b.lan:8080", "[::1]:80", "192.168.0.0/16")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lease_seconds = 1\nheartbeat_seconds = 1", ("lease_seconds", "heartbeat_seconds")),
        ("backoff_base_seconds = 9\nbackoff_cap_seconds = 8", ("backoff_cap_seconds", "backoff_base_seconds")),
        ("backoff_cap_seconds = 172800", ("backoff_cap_seconds",)),
        ("outage_patience_seconds = 90000", ("network_patience_seconds", "outage_patience_seconds")),
    ],
)
def test_g5_limits_that_contradict_each_other_are_refused_together(
    config: Write, text: str, words: tuple[str, ...]
) -> None:
    message = refused(config(text)).message
    assert all(word in message for word in words)


@pytest.mark.parametrize("name", ["hf_token", "civitai_api_token", "openai_api_key"])
def test_g4_a_token_has_no_place_in_the_file(config: Write, name: str) -> None:
    home = config(f"{name} = '{TOKEN}'")
    canaries.BOOK.hold(home / CONFIG_NAME)
    error = refused(home)
    assert ":1: " in error.message
    assert name.upper() in error.hint
    assert f"{name}_file" in error.hint


@pytest.mark.parametrize("bad", [f"{TOKEN}\nEvil: 1", f"{TOKEN} x", f"{TOKEN}\r", f"{TOKEN}é", f"\t{TOKEN}"])
def test_g4_a_token_with_a_newline_or_space_is_refused_unshown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", bad)
    assert "hf_token" in refused(tmp_path).message.lower()


def test_g4_a_token_comes_from_the_environment_or_else_from_a_private_file(
    config: Write, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = config(f"hf_token_file = '{token_file}'")
    assert _token(load(home)) == TOKEN
    monkeypatch.setenv("HF_TOKEN", "hf_fromTheEnvironment")
    assert _token(load(home)) == "hf_fromTheEnvironment"


def test_a_token_file_is_looked_for_in_home_whatever_the_current_folder_is(config: Write, token_file: Path) -> None:
    assert _token(load(config(f"hf_token_file = '{token_file.name}'"))) == TOKEN


@pytest.mark.skipif(os.name != "posix", reason="modes are a POSIX idea")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601])
def test_g4_a_token_file_that_others_may_touch_is_refused(config: Write, token_file: Path, mode: int) -> None:
    token_file.chmod(mode)
    error = refused(config(f"hf_token_file = '{token_file}'"))
    assert str(token_file) in error.message
    assert error.hint == f"run: chmod 600 {token_file}"


@pytest.mark.parametrize("held", [f"{TOKEN}\nEvil: 1", "", "\n", f"{TOKEN} x", f"{TOKEN}\0", "é", TOKEN * 1000])
def test_g4_a_token_file_holds_one_token(config: Write, token_file: Path, held: str) -> None:
    token_file.write_text(held)
    assert str(token_file) in refused(config(f"hf_token_file = '{token_file}'")).message


def test_g4_a_token_file_that_is_missing_is_named(config: Write, tmp_path: Path) -> None:
    assert "gone" in refused(config(f"civitai_api_token_file = '{tmp_path}/gone'")).message
    assert str(tmp_path) in refused(config(f"civitai_api_token_file = '{tmp_path}'")).message


def test_t22_no_form_of_the_settings_shows_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = {name: f"{TOKEN}{name}" for name in ("HF_TOKEN", "CIVITAI_API_TOKEN", "OPENAI_API_KEY")}
    for name, token in tokens.items():
        monkeypatch.setenv(name, token)
    settings = load(tmp_path, database=f"postgresql+psycopg://user:{TOKEN}@host/db")
    shown = f"{settings!r} {settings} {settings.model_dump(exclude={'database'})} {settings.hf_token}"
    assert TOKEN not in shown
    assert set(settings.secrets()) == set(tokens.values())


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_t22_of_a_proxy_its_password_is_a_secret_in_all_its_forms(tmp_path: Path, scheme: str) -> None:
    settings = load(tmp_path, proxy=f"{scheme}me:p%40ss-word@proxy.example:3128")
    redact = Redactor(settings.secrets())
    basic = b64encode(b"me:p@ss-word").decode()
    for leak in ("p@ss-word is wrong", "p%40ss-word", f"header {basic}", f"{scheme}me:p%40ss-word@proxy.example:3128"):
        shown = redact(leak)
        assert "ss-word" not in shown and basic not in shown
    assert load(tmp_path, proxy="http://proxy.example:3128").secrets() == ("http://proxy.example:3128",)
    assert "me" not in settings.secrets()


def test_settings_are_frozen(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(tmp_path).jobs = 4  # type: ignore[misc]


def test_the_doctors_keys_pass_and_are_not_the_workers(config: Write) -> None:
    home = config("\n".join([*(f"{key} = 'x'" for key in sorted(DOCTOR_KEYS)), "jobs = 4"]))
    assert load(home).jobs == 4
    assert read_config(home / CONFIG_NAME).keys() == DOCTOR_KEYS | {"jobs"}


def test_home_is_the_option_the_variable_the_current_folder_or_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_home().name == "comfy-doctor"
    (tmp_path / CONFIG_NAME).touch()
    assert find_home() == tmp_path
    monkeypatch.setenv("COMFY_DOCTOR_HOME", "relative")
    assert find_home() == tmp_path / "relative"
    assert find_home(Path("~/there")) == Path.home() / "there"


def _token(settings: Settings) -> str | None:
    return None if settings.hf_token is None else settings.hf_token.get_secret_value()
