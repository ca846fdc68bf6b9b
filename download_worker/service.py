"""The worker as a systemd service: the unit's text, and putting it where systemd looks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from download_worker.errors import BadRequest, Code, GiveUp

UNIT_NAME = "comfy-doctor-worker.service"
SYSTEMCTL_TIMEOUT_SECONDS = 30


def unit_text(home: Path, *, user: bool) -> str:
    """The unit. Tokens come from `worker.env` in home (0600), so that they stand in no process list and no unit."""
    return f"""\
[Unit]
Description=comfy-doctor download worker
Documentation=man:systemd.service(5)
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={_quoted(sys.executable)} -m download_worker run --home {_quoted(str(home))}
EnvironmentFile=-{_specified(home)}/worker.env
Restart=always
RestartSec=2
TimeoutStopSec=10
KillMode=mixed
NoNewPrivileges=yes
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
LockPersonality=yes
Nice=5
IOSchedulingClass=best-effort
IOSchedulingPriority=6

[Install]
WantedBy={"default.target" if user else "multi-user.target"}
"""


def unit_path(*, user: bool) -> Path:
    folder = Path.home() / ".config/systemd/user" if user else Path("/etc/systemd/system")
    return folder / UNIT_NAME


def install(home: Path, *, user: bool) -> tuple[Path, tuple[str, ...]]:
    """Write the unit and start it. Returns its path and the commands that were run.

    Raises:
        GiveUp: permission; storage when systemd is not here or does not take it, with what to do by hand.
    """
    path = unit_path(user=user)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(unit_text(home, user=user), encoding="utf-8")
        path.chmod(0o644)
    except OSError as error:
        hint = "run it with --user, or as root"
        raise GiveUp(Code.PERMISSION, f"cannot write {path}: {error.strerror}", hint=hint) from error
    systemctl = ["systemctl", *(["--user"] if user else [])]
    commands = ([*systemctl, "daemon-reload"], [*systemctl, "enable", "--now", UNIT_NAME])
    by_hand = "; ".join(" ".join(command) for command in commands)
    if shutil.which("systemctl") is None:
        raise GiveUp(Code.STORAGE, f"wrote {path}, but there is no systemctl here", hint=f"where there is: {by_hand}")
    for command in commands:
        said = _complaint_of(command)
        if said is not None:
            message = f"wrote {path}, but `{' '.join(command)}` said: {said}"
            raise GiveUp(Code.STORAGE, message, hint=f"mend that, then run: {by_hand}")
    return path, tuple(" ".join(command) for command in commands)


def _complaint_of(command: list[str]) -> str | None:
    """Run it. None when it went well, else what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SYSTEMCTL_TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stderr.strip()[:300] if done.returncode else None


def _specified(path: object) -> str:
    """As systemd.unit(5) reads a path: `%` is a specifier unless doubled. Raises BadRequest(bad_setting)."""
    if not str(path).isprintable():
        raise BadRequest(Code.BAD_SETTING, f"no unit can name {str(path)!a}", hint="choose a home with a plain name")
    return str(path).replace("%", "%%")


def _quoted(word: str) -> str:
    """As systemd.syntax(7) reads it: also `$` is a variable unless doubled."""
    escaped = _specified(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"'
