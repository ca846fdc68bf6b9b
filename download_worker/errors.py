"""What can go wrong, in the only answers that matter: try later, give up and say why, refuse, or drop it.

Every code is registered here together with the next step for the person who reads it, so that no message ends without
one. A boundary translates what it catches into one of these, `raise … from` the original.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum, StrEnum
from types import MappingProxyType


class ExitCode(IntEnum):
    """How both programs end. Public, as in INTERFACES section 3."""

    OK = 0
    FINDINGS = 1
    USAGE = 2
    SURROUNDINGS = 3
    PARTLY = 4
    REFUSED = 5
    INTERRUPTED = 130


class Code(StrEnum):
    """The registered error codes. They are public: they appear in JSON, logs and job results."""

    # policy refuses to make or run the job (exit 5)
    UNSAFE_NAME = "unsafe_name"
    UNKNOWN_FOLDER = "unknown_folder"
    REFUSED_ADDRESS = "refused_address"
    # the request is malformed (exit 2)
    BAD_URL = "bad_url"
    BAD_DIGEST = "bad_digest"
    BAD_SETTING = "bad_setting"
    UNKNOWN_JOB = "unknown_job"
    WRONG_MOMENT = "wrong_moment"
    # the far side
    NO_CONNECTION = "no_connection"
    STALLED = "stalled"
    TOO_SLOW = "too_slow"
    CUT_SHORT = "cut_short"
    BUSY_HOST = "busy_host"
    SERVER_ERROR = "server_error"
    LYING_SERVER = "lying_server"
    AUTH = "auth"
    NOT_FOUND = "not_found"
    TLS = "tls"
    REDIRECTS = "redirects"
    TOO_LARGE = "too_large"
    # the bytes
    HTML = "html"
    WRONG_TYPE = "wrong_type"
    SIZE_MISMATCH = "size_mismatch"
    HASH_MISMATCH = "hash_mismatch"
    BROKEN_STRUCTURE = "broken_structure"
    REJECTED_BY_RUBRIC = "rejected_by_rubric"
    NO_VERDICT = "no_verdict"
    # this machine
    DISK_FULL = "disk_full"
    UNMOUNTED = "unmounted"
    PERMISSION = "permission"
    STORAGE = "storage"
    CONFLICT = "conflict"
    DATABASE_BUSY = "database_busy"
    DATABASE_UNUSABLE = "database_unusable"
    QUEUE_BUSY = "queue_busy"
    # the job itself
    CANCELLED = "cancelled"
    CRASH_LOOP = "crash_loop"
    INTERNAL = "internal"


NEXT_STEP = MappingProxyType(
    {
        Code.UNSAFE_NAME: "choose a plain file name with --filename",
        Code.UNKNOWN_FOLDER: "use one of ComfyUI's model folders, for example checkpoints, loras or vae",
        Code.REFUSED_ADDRESS: "if you trust this address, name it in COMFY_DOCTOR_ALLOW_HOSTS",
        Code.BAD_URL: "give a full http or https URL of one file",
        Code.BAD_DIGEST: "give a SHA-256 as 64 hexadecimal digits",
        Code.BAD_SETTING: "correct the option, the variable or the line of comfy_doctor.toml that is named above",
        Code.UNKNOWN_JOB: "give at least 4 letters of an id that only one job has; list them with `comfy-doctor jobs`",
        Code.WRONG_MOMENT: "look at its state with `comfy-doctor jobs show ID`",
        Code.NO_CONNECTION: "check the network; the worker tries again by itself",
        Code.STALLED: "nothing to do: the worker goes on from the last durable byte",
        Code.TOO_SLOW: "nothing to do: the worker tries another source, or this one later; a --mirror may help",
        Code.CUT_SHORT: "nothing to do: the worker goes on from the last durable byte",
        Code.BUSY_HOST: "nothing to do: the worker comes back when the host allows it",
        Code.SERVER_ERROR: "nothing to do: the worker tries again by itself",
        Code.LYING_SERVER: "try another source with --mirror",
        Code.AUTH: "set the token variable named above, accept the model's licence on its page, then retry the job",
        Code.NOT_FOUND: "look for the file at another source and enqueue that URL",
        Code.TLS: "check the clock and the certificate of the host; it is never ignored",
        Code.REDIRECTS: "use the final address of the file",
        Code.TOO_LARGE: "raise max_file_bytes if a file of this size is meant",
        Code.HTML: "open the URL in a browser: it probably wants a login or shows an error page",
        Code.WRONG_TYPE: "check that the URL points to the model file itself",
        Code.SIZE_MISMATCH: "check the expected size, or use another source",
        Code.HASH_MISMATCH: "check the expected digest, or use another source",
        Code.BROKEN_STRUCTURE: "the file is damaged at its source; use another one",
        Code.REJECTED_BY_RUBRIC: "read the reason and the evidence with `comfy-doctor jobs show ID`",
        Code.NO_VERDICT: "check the language model endpoint (OPENAI_BASE_URL); the file waits in staging",
        Code.DISK_FULL: "free some space on that volume; the worker goes on by itself",
        Code.UNMOUNTED: "mount it; the worker goes on by itself",
        Code.PERMISSION: "give the worker's user write access to that folder, then retry the job",
        Code.STORAGE: "check the disk named above, then retry the job",
        Code.CONFLICT: "move or rename the file that is there, then retry the job",
        Code.DATABASE_BUSY: "another process holds the ledger; try again",
        Code.DATABASE_UNUSABLE: "restore the ledger from a backup, or move the file away to begin a new one",
        Code.QUEUE_BUSY: "nothing to do: the next sweep finds the job",
        Code.CANCELLED: "retry the job if you want it after all",
        Code.CRASH_LOOP: "this job killed its worker again and again; read the log, then retry or cancel it",
        Code.INTERNAL: "this is a fault of ours: please report it with the log lines of this job",
    }
)


_SURROUNDINGS = frozenset(
    {
        *(Code.DATABASE_BUSY, Code.DATABASE_UNUSABLE, Code.QUEUE_BUSY),
        *(Code.DISK_FULL, Code.UNMOUNTED, Code.PERMISSION, Code.STORAGE),
    }
)


class Trouble(Exception):
    """Anything that a person may read: a registered code, what happened to which file, and the next step.

    `message` must already be free of secrets. `hint` replaces the registered next step where a better one is known.
    """

    code: StrEnum
    host: str | None = None
    """Whose source it was met at, where several were asked."""
    beyond: bool = False
    """A redirect had led to another host, and it was met there."""

    def __init__(self, code: StrEnum, message: str, *, hint: str | None = None) -> None:
        self.code = code
        self.message = message
        self.hint = hint or NEXT_STEP[Code(code)]
        super().__init__(f"{message}; {self.hint}")

    @property
    def exit_code(self) -> ExitCode:
        """How a command ends that meets this and can do nothing about it."""
        return ExitCode.SURROUNDINGS if self.code in _SURROUNDINGS else ExitCode.FINDINGS


class TryLater(Trouble):
    """It did not work now and may work later. `retry_after_seconds` is what the far side asked for, if it did."""

    def __init__(
        self, code: Code, message: str, *, hint: str | None = None, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(code, message, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class GiveUp(Trouble):
    """It will not work however often it is tried. `elsewhere` says that another source may still have it."""

    def __init__(self, code: Code, message: str, *, hint: str | None = None, elsewhere: bool = False) -> None:
        super().__init__(code, message, hint=hint)
        self.elsewhere = elsewhere


class Refused(Trouble):
    """Policy says no, before anything was done."""

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.REFUSED


class BadRequest(Trouble):
    """What was asked for is malformed or does not exist."""

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.USAGE


class IllegalMove(Exception):
    """The table of legal moves has no such move: a fault of ours, never of the user."""


class LostClaim(Exception):
    """Another worker owns this job by now, or nobody does: drop it and write nothing more."""


class Interrupted(Exception):
    """The leash was pulled: stop at once, keep what is durable. The engine knows why and records it."""


@contextmanager
def told_without_secrets(redact: Callable[[str], str]) -> Iterator[None]:
    """A far side may repeat what it was sent: where its words are in a Trouble, they leave this block without it."""
    try:
        yield
    except Trouble as trouble:
        trouble.message, trouble.hint = redact(trouble.message), redact(trouble.hint)
        trouble.args = (f"{trouble.message}; {trouble.hint}",)
        raise
