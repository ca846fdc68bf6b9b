"""Whether the ledger's file is still the one that was opened (FAULTS Q9).

SQLite goes on reading and writing a file that was unlinked or replaced, as if nothing had happened: what is written
then is gone with the last handle. And a file that was emptied, or that is gone at the next start, would be opened as a
fresh ledger without a job. So the inode is compared before and after every write, and a note beside the file says that
there was a ledger.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from download_worker.errors import Code, GiveUp, TryLater


class LedgerLost(GiveUp):
    """Its file was removed, replaced or emptied while it was open: nobody may go on working into nothing."""


class Anchor:
    """Holds on to a file by its identity. Without one (a database elsewhere) it always holds."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._identity = None if path is None else _identity(path)

    def check(self) -> None:
        """Raises LedgerLost; TryLater(storage) where the file cannot be looked at now, which says nothing of it."""
        if self._path is None:
            return
        now = _identity(self._path)
        if now is None or now != self._identity:
            what = "gone" if now is None else "another file"
            hint = "put it back (a backup, say), then start again; what was recorded since is in that file alone"
            raise LedgerLost(Code.DATABASE_UNUSABLE, f"the ledger {self._path} is {what} while it is open", hint=hint)


def refuse_lost(path: Path) -> None:
    """Before a ledger is made at this path: was there one? Raises LedgerLost; TryLater(storage)."""
    if _note(path).exists() and _identity(path) is None:
        hint = f"restore it from a backup; to begin a new one, remove {_note(path)} as well"
        message = f"the ledger {path} is missing or empty, but there was one"
        raise LedgerLost(Code.DATABASE_UNUSABLE, message, hint=hint)


def note_made(path: Path) -> None:
    """There is a ledger at this path now. Never raises: without a note less is noticed, that is all."""
    with suppress(OSError):
        _note(path).touch(mode=0o600)


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.was-here")


def _identity(path: Path) -> tuple[int, int] | None:
    """None where there is no file, or one without a byte. Raises TryLater(storage)."""
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        message = f"the ledger {path} cannot be looked at: {error.strerror or error}"
        raise TryLater(Code.STORAGE, message) from error
    return (stat.st_dev, stat.st_ino) if stat.st_size else None
