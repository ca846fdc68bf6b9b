"""The worker's settings, read once in wiring and frozen. Order: option, environment, file, default.

Every name is a key of `comfy_doctor.toml`; sizes are bytes, times seconds, and say so in their names. Tokens come only
from the environment or from a file that nobody else can read, and never appear in a repr.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import stat
import tomllib
from base64 import b64encode
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

import platformdirs
from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from download_worker.endpoints import CIVITAI_HOME, HF_HOME
from download_worker.errors import BadRequest, Code, TryLater
from download_worker.limits import Limits, check_floor

CONFIG_NAME = "comfy_doctor.toml"
# Keys of the same file that belong to the doctor (`comfy_doctor/settings.py`); the worker only lets them pass.
DOCTOR_KEYS = frozenset(
    {"comfyui", "server", "extra_paths", "manager_channel", "registry_endpoint", "search_url", "offline"}
)
_TOKENS = frozenset({"hf_token", "civitai_api_token", "openai_api_key"})
MAX_CONFIG_BYTES = 256 * 1024
MAX_JOBS = 64
"""At once in one worker."""
MAX_TOKEN_CHARS = 4096
_TOKEN = re.compile(rf"[\x21-\x7e]{{1,{MAX_TOKEN_CHARS}}}\Z")
MAX_WAIT_SECONDS = 86_400
"""The ledger takes a job that waits for longer than a day for one that was written under a wrong clock."""

MIN_LONGEST_WAIT_SECONDS = 120.0
MAX_PATIENCE_SECONDS = 366 * 86_400
MAX_CHECKPOINT_BYTES = 1024**3
MAX_BYTES = 1024**5
"""More than any volume has: who says more has mistaken the unit."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_prefix="COMFY_DOCTOR_",
        env_ignore_empty=True,
        case_sensitive=False,
        populate_by_name=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # it may be a token
    )

    home: Path = Path()

    # work
    jobs: Annotated[int, Field(ge=1, le=MAX_JOBS, description="jobs at once")] = 3
    jobs_per_host: Annotated[int, Field(ge=1, le=MAX_JOBS, description="jobs at once from one host")] = 3
    max_tries: Annotated[
        int, Field(ge=1, description="tries before a job is FAILED; progress does not refill them")
    ] = 8
    lease_seconds: Annotated[
        float, Field(gt=0, le=MAX_WAIT_SECONDS, description="a claim without heartbeat is void after this")
    ] = 60.0
    heartbeat_seconds: Annotated[
        float, Field(gt=0, le=MAX_WAIT_SECONDS, description="progress is written and orders are heard this often")
    ] = 1.0
    sweep_seconds: Annotated[
        float, Field(gt=0, le=MAX_WAIT_SECONDS, description="how often a lost ring is looked for")
    ] = 30.0
    backoff_base_seconds: Annotated[
        float, Field(gt=0, le=MAX_WAIT_SECONDS, description="first wait after a failed try; it doubles")
    ] = 5.0
    backoff_cap_seconds: Annotated[
        float, Field(gt=0, le=MAX_WAIT_SECONDS, description="longest wait, Retry-After included")
    ] = 3600.0
    probe_cap_seconds: Annotated[
        float, Field(gt=0, le=30, description="a host that is away is asked again at least this often")
    ] = 20.0
    outage_patience_seconds: Annotated[
        float,
        Field(
            ge=0,
            le=MAX_PATIENCE_SECONDS,
            description="a host may be away so long, while others answer, before tries count",
        ),
    ] = 3600.0
    network_patience_seconds: Annotated[
        float, Field(ge=0, le=MAX_PATIENCE_SECONDS, description="all hosts may be away so long before tries count")
    ] = 86_400.0
    keep_days: Annotated[int, Field(ge=1, description="ended jobs and quarantined files are forgotten after this")] = 90
    database: str | None = Field(
        default=None, repr=False, description="SQLAlchemy URL; default: SQLite in state/doctor.db"
    )

    # fetching
    connect_timeout_seconds: Annotated[float, Field(gt=0, le=30)] = 15.0
    stall_timeout_seconds: Annotated[
        float, Field(gt=0, le=MAX_WAIT_SECONDS, description="no byte for this long: reconnect")
    ] = 60.0
    min_bytes_per_second: Annotated[
        float, Field(ge=0, description="a source that is slower for minutes is left; waits for a limit do not count")
    ] = 10_000.0
    min_speed_window_seconds: Annotated[
        float, Field(gt=0, le=MAX_WAIT_SECONDS, description="so long a source may be that slow")
    ] = 300.0
    connections_per_file: Annotated[
        int, Field(ge=1, le=32, description="at once, and only while more of them are faster")
    ] = 16
    connections_per_host: Annotated[int, Field(ge=1, le=64, description="at once, over all jobs of a worker")] = 32
    checkpoint_bytes: Annotated[
        int, Field(ge=4096, le=MAX_CHECKPOINT_BYTES, description="a crash costs at most this much")
    ] = 16 * 1024 * 1024
    max_file_bytes: Annotated[int, Field(gt=0, le=MAX_BYTES, description="larger files are refused")] = 200 * 1024**3
    disk_reserve_bytes: Annotated[int, Field(ge=0, le=MAX_BYTES, description="kept free on every volume")] = (
        256 * 1024**2
    )
    limits: Annotated[
        Limits, NoDecode, Field(description="bytes per second: total, per_job, [limits.hosts], schedules; or the total")
    ] = Limits()
    proxy: Annotated[
        SecretStr | None, Field(description="http://, https://, socks5:// or socks5h:// host:port for all hosts")
    ] = None
    no_proxy: Annotated[
        tuple[str, ...], NoDecode, Field(description="host, .domain, host:port, address, CIDR or * without `proxy`")
    ] = ("localhost", "127.0.0.0/8", "::1")
    use_environment_proxies: Annotated[
        bool, Field(description="obey HTTP_PROXY and its like where `proxy` is not set")
    ] = False
    ca_file: Annotated[Path | None, Field(description="PEM: certificates to trust beside the usual ones")] = None
    use_netrc: Annotated[bool, Field(description="take credentials from ~/.netrc")] = False
    allow_hosts: Annotated[
        tuple[str, ...], NoDecode, Field(description="host, host:port or CIDR that may be private")
    ] = ()
    hf_endpoint: str = Field(default=HF_HOME, validation_alias=AliasChoices("hf_endpoint", "HF_ENDPOINT"))
    civitai_endpoint: str = Field(
        default=CIVITAI_HOME, validation_alias=AliasChoices("civitai_endpoint", "CIVITAI_ENDPOINT")
    )

    # proving
    quarantine: Annotated[Literal["delete", "keep"], Field(description="what happens to rejected files")] = "delete"
    no_verdict: Annotated[Literal["hold", "fail"], Field(description="when the language model is silent")] = "hold"
    llm_timeout_seconds: Annotated[float, Field(gt=0, le=MAX_WAIT_SECONDS, description="total for one answer")] = 120.0
    openai_base_url: str | None = Field(
        default=None, validation_alias=AliasChoices("openai_base_url", "OPENAI_BASE_URL")
    )
    llm_model: str | None = Field(default=None, description="without one the deterministic rubric decides alone")

    # secrets: environment, or *_file naming a 0600 file
    hf_token: SecretStr | None = Field(default=None, validation_alias=AliasChoices("hf_token", "HF_TOKEN"))
    civitai_api_token: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("civitai_api_token", "CIVITAI_API_TOKEN")
    )
    openai_api_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("openai_api_key", "OPENAI_API_KEY")
    )
    hf_token_file: Path | None = None
    civitai_api_token_file: Path | None = None
    openai_api_key_file: Path | None = None

    @field_validator("allow_hosts", "no_proxy", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("limits", mode="before")
    @classmethod
    def _only_total(cls, value: object) -> object:
        return {"total": value} if isinstance(value, str | int | float) else value

    @field_validator("limits")
    @classmethod
    def _above_the_floor(cls, value: Limits, info: ValidationInfo) -> Limits:
        for name, rate in value.named().items():
            check_floor(name, rate, info.data.get("min_bytes_per_second", 0.0))
        return value

    @field_validator("ca_file", "hf_token_file", "civitai_api_token_file", "openai_api_key_file")
    @classmethod
    def _of_a_user(cls, value: Path | None) -> Path | None:
        try:
            return None if value is None else value.expanduser()
        except RuntimeError as error:
            raise ValueError("names the home of a user that this machine does not know") from error

    @field_validator("hf_endpoint", "civitai_endpoint")
    @classmethod
    def _endpoint(cls, value: str) -> str:
        if not re.match(r"https?://[^/@\s?#]+(/[^\s?#]*)?\Z", value):
            raise ValueError("must be an http or https URL without user, query or fragment")
        return value.rstrip("/")

    @field_validator("hf_token", "civitai_api_token", "openai_api_key")
    @classmethod
    def _one_line(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        if not _TOKEN.match(value.get_secret_value()):
            raise ValueError("has a space, newline or other sign that no token has")
        return value

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        if self.lease_seconds < 3 * self.heartbeat_seconds:
            raise ValueError("lease_seconds must be at least three times heartbeat_seconds")
        if self.backoff_cap_seconds < self.backoff_base_seconds:
            raise ValueError("backoff_cap_seconds must not be below backoff_base_seconds")
        if self.network_patience_seconds < self.outage_patience_seconds:
            raise ValueError("network_patience_seconds must not be below outage_patience_seconds")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        home = init_settings().get("home", Path())
        return init_settings, env_settings, _FileSource(settings_cls, Path(home) / CONFIG_NAME)

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def staging(self) -> Path:
        return self.home / "staging"

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.state / 'doctor.db'}"

    @property
    def longest_wait(self) -> timedelta:
        """No job waits for longer; those that wait for a host or a volume may do so for a minute in any case."""
        return timedelta(seconds=max(self.backoff_cap_seconds, MIN_LONGEST_WAIT_SECONDS))

    def secrets(self) -> tuple[str, ...]:
        """All secret values, for the redactor."""
        values = (self.hf_token, self.civitai_api_token, self.openai_api_key)
        tokens = tuple(value.get_secret_value() for value in values if value is not None)
        return tokens if self.proxy is None else (*tokens, *_secrets_of_proxy(self.proxy.get_secret_value()))


def _secrets_of_proxy(url: str) -> tuple[str, ...]:
    """The URL, its password by itself, and its login as the proxy is told it (RFC 7617, Basic)."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
    except ValueError:
        return (url,)
    if parts.password is None:
        return (url,)
    user, password = unquote(parts.username or ""), unquote(parts.password)
    return url, parts.password, password, b64encode(f"{user}:{password}".encode()).decode("ascii")


def find_home(option: Path | None = None) -> Path:
    """Option, `COMFY_DOCTOR_HOME`, the current folder if it holds a config file, else the user's data folder."""
    named = option or os.environ.get("COMFY_DOCTOR_HOME")
    if named:
        return Path(named).expanduser().absolute()
    here = Path.cwd()
    return here if (here / CONFIG_NAME).exists() else platformdirs.user_data_path("comfy-doctor", appauthor=False)


def load(home: Path, **options: Any) -> Settings:
    """Read everything once. Raises BadRequest(bad_setting) naming file, line and key, or the variable; TryLater, see
    `read_config`."""
    given = {key: value for key, value in options.items() if value is not None}
    try:
        settings = Settings(home=home, **given)
    except ValidationError as error:
        raise _explained(error, home / CONFIG_NAME) from error
    return settings.model_copy(update=_tokens_from_files(settings))


def read_config(path: Path) -> dict[str, Any]:
    """The config file as a table with known keys only; empty when there is no file.

    Raises BadRequest(bad_setting); TryLater(storage), when too many files are open.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
        if len(data) > MAX_CONFIG_BYTES:
            raise BadRequest(Code.BAD_SETTING, f"{path}: longer than {MAX_CONFIG_BYTES} bytes")
        text = data.decode("utf-8-sig")
        table = tomllib.loads(text.replace("\r\n", "\n"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            hint = "raise the limit of open files (ulimit -n), then try again"
            raise TryLater(Code.STORAGE, f"too many files are open to read {path}", hint=hint) from error
        raise BadRequest(Code.BAD_SETTING, f"{path}: {error}") from error
    except RecursionError as error:
        raise BadRequest(Code.BAD_SETTING, f"{path}: nested too deep") from error
    known = (set(Settings.model_fields) | DOCTOR_KEYS) - {"home"} - _TOKENS
    for key in table:
        if key in _TOKENS:
            hint = f"put it into a file with mode 0600 and name that file as {key}_file, or set {key.upper()}"
            raise BadRequest(
                Code.BAD_SETTING, f"{_where(path, text, key)}: a token has no place in this file", hint=hint
            )
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            raise BadRequest(
                Code.BAD_SETTING, f"{_where(path, text, key)}: unknown key “{key}”; the nearest is “{near[0]}”"
            )
    return table


class _FileSource(PydanticBaseSettingsSource):
    def __init__(self, settings_cls: type[BaseSettings], path: Path) -> None:
        super().__init__(settings_cls)
        self._path = path

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False  # the whole table comes at once, from __call__

    def __call__(self) -> dict[str, Any]:
        return {key: value for key, value in read_config(self._path).items() if key not in DOCTOR_KEYS}


def _where(path: Path, text: str, *keys: str) -> str:
    """The line of a key; of a key within tables, each is looked for from the line of the one before it."""
    lines = text.splitlines()
    found = 0
    for key in keys:
        pattern = re.compile(rf"""\s*\[*(?:[^.=\[\]]*\.)*\s*["']?{re.escape(key)}["']?\s*[=.\]]""", re.IGNORECASE)
        found = next((n for n in range(max(found, 1), len(lines) + 1) if pattern.match(lines[n - 1])), found)
    return f"{path}:{found}" if found else str(path)


def _explained(error: ValidationError, path: Path) -> BadRequest:
    first = error.errors(include_input=False, include_url=False)[0]  # without the input: it may be a token
    keys = [str(key) for key in first["loc"] if key != "[key]"] or ["settings"]
    key = ".".join(keys)
    text = ""
    with suppress(OSError):  # only for the number of the line
        text = path.read_text(encoding="utf-8-sig")
    place = _where(path, text, *(key.lower() for key in keys))
    where = f"{place}: {key}" if ":" in place.removeprefix(str(path)) else f"{key} (option or environment)"
    return BadRequest(Code.BAD_SETTING, f"{where}: {first['msg']}")


def _tokens_from_files(settings: Settings) -> dict[str, SecretStr]:
    found = {}
    for name in _TOKENS:
        named: Path | None = getattr(settings, f"{name}_file")
        if named is None or getattr(settings, name) is not None:
            continue
        path = settings.home / named.expanduser()
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                value = file.read(MAX_TOKEN_CHARS + 1).decode("ascii", "replace").strip()
        except OSError as error:
            raise BadRequest(Code.BAD_SETTING, f"{name}_file: cannot read {path}") from error
        if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise BadRequest(Code.BAD_SETTING, f"{name}_file: others can read {path}", hint=f"run: chmod 600 {path}")
        if not _TOKEN.match(value):
            raise BadRequest(Code.BAD_SETTING, f"{name}_file: what {path} holds is not one token")
        found[name] = SecretStr(value)
    return found
