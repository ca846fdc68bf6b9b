"""The engine of the ledger: SQLite by default, PostgreSQL for a fleet; durable, private, and at the right version.

Every commit is on disk when it returns (WAL, synchronous=FULL). Writers begin with BEGIN IMMEDIATE, so that a lock is
waited for before anything was read; readers never wait.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError

from download_worker.anchor import note_made, refuse_lost
from download_worker.errors import BadRequest, Code, GiveUp, TryLater
from download_worker.sqlite_files import make_private

HEAD = "0002"
"""The newest migration; a test compares it with the scripts. Alembic is loaded only when the ledger is older."""

BUSY_TIMEOUT_SECONDS = 30.0
READING = "download_worker_reading"
"""Our own execution option, see `_begin_immediate`."""
RETRY_SECONDS = 0.02
SHM_BYTES = 32 * 1024
MIGRATIONS = Path(__file__).parent / "migrations"
_NOT_OPEN_HINT = "raise the limit of open files (ulimit -n) if it is reached, else check its folder"
_ONE_MIGRATION = threading.Lock()
"""Alembic's `context` and `op` belong to the whole process: two threads would migrate on each other's connection."""


def open_engine(url: str, *, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS) -> Engine:
    """A ready engine at the newest version.

    Raises:
        GiveUp: database_unusable (no database, made by a newer version, or gone), permission.
        TryLater: database_busy, disk_full.
        BadRequest: bad_setting (no URL of a database, or of one whose driver is not installed).
    """
    engine = _engine(url, busy_timeout_seconds)
    file = file_of(engine)
    if file is not None:
        refuse_lost(file)
        _make_ledger(file)
        event.listen(engine, "connect", partial(_prepare_sqlite, patience_seconds=busy_timeout_seconds))
        event.listen(engine, "begin", _begin_immediate)
    try:
        _bring_to_head(engine)
    except BaseException:
        engine.dispose()
        raise
    if file is not None:
        note_made(file)
    return engine


def file_of(engine: Engine) -> Path | None:
    """The file of an SQLite ledger; None where the database lives elsewhere."""
    return Path(engine.url.database or "") if _is_sqlite(engine) else None


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction, committed at the end of the block. Raises TryLater(database_busy), GiveUp(database_unusable)."""
    with database_errors(engine), engine.begin() as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection on which every statement sees the newest commit and no writer waits for us."""
    with database_errors(engine), engine.connect().execution_options(**_reading_options(engine)) as connection:
        yield connection


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """As `reading`, but all statements of the block see the same moment."""
    with reading(engine) as connection:
        connection.exec_driver_sql(
            "BEGIN" if _is_sqlite(engine) else "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
        )
        try:
            yield connection
        finally:
            connection.exec_driver_sql("ROLLBACK")


@contextmanager
def database_errors(engine: Engine) -> Iterator[None]:
    """Raises TryLater: database_busy, disk_full; storage, when too many files are open. GiveUp: database_unusable."""
    try:
        yield
    except OperationalError as error:
        name = engine.url.render_as_string(hide_password=True)
        if "locked" in str(error.orig) or "busy" in str(error.orig):
            raise TryLater(Code.DATABASE_BUSY, f"the ledger {name} stayed locked") from error
        if "full" in str(error.orig) or _has_no_space(engine):
            raise TryLater(Code.DISK_FULL, f"no space left for the ledger {name}") from error
        if "unable to open" in str(error.orig):  # for want of a descriptor, mostly; SQLite does not say why
            raise TryLater(Code.STORAGE, f"the ledger {name} cannot be opened now", hint=_NOT_OPEN_HINT) from error
        raise GiveUp(Code.DATABASE_UNUSABLE, f"the ledger {name} cannot be used: {error.orig}") from error
    except IntegrityError:
        raise  # two wanted the same thing: the ledger knows what that means
    except DBAPIError as error:
        name = engine.url.render_as_string(hide_password=True)
        raise GiveUp(Code.DATABASE_UNUSABLE, f"the ledger {name} cannot be used: {error.orig}") from error


def _has_no_space(engine: Engine) -> bool:
    """On a full volume SQLite cannot even open: where its index (-shm) does not fit it says `disk I/O error`."""
    file = file_of(engine)
    with suppress(OSError):
        return file is not None and shutil.disk_usage(file.parent).free < SHM_BYTES
    return False


def _engine(url: str, busy_timeout_seconds: float) -> Engine:
    try:
        if make_url(url).get_backend_name() == "sqlite":
            return create_engine(url, max_overflow=-1, connect_args={"timeout": busy_timeout_seconds})
        return create_engine(url, max_overflow=-1, pool_pre_ping=True)
    except (ArgumentError, ModuleNotFoundError) as error:  # neither repeats the URL, which may hold a password
        raise BadRequest(Code.BAD_SETTING, f"database: {error}") from error


def _is_sqlite(engine: Engine) -> bool:
    return engine.dialect.name == "sqlite"


def _make_ledger(path: Path) -> None:
    try:
        make_private(path)
    except OSError as error:
        raise GiveUp(Code.PERMISSION, f"cannot open the ledger {path}: {error.strerror}") from error


def _prepare_sqlite(connection: Any, _record: object, *, patience_seconds: float) -> None:
    connection.isolation_level = None  # transactions are ours to begin, see _begin_immediate
    cursor = connection.cursor()
    _switch_to_wal(cursor, patience_seconds)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA journal_size_limit=67108864")
    cursor.close()


def _switch_to_wal(cursor: sqlite3.Cursor, patience_seconds: float) -> None:
    """SQLite's own patience does not reach here: when two open a fresh ledger at once, one is told at once `locked`."""
    deadline = monotonic() + patience_seconds
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or monotonic() >= deadline:
                raise
            sleep(RETRY_SECONDS)


def _begin_immediate(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get(READING) and options.get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _reading_options(engine: Engine) -> dict[str, Any]:
    """SQLite's connections are left in autocommit, where it is enough not to begin; to switch there and back, as the
    isolation level does it, costs more than most questions."""
    return {READING: True} if _is_sqlite(engine) else {"isolation_level": "AUTOCOMMIT"}


def _bring_to_head(engine: Engine) -> None:
    with reading(engine) as connection:
        version = _version(connection)
    if version == HEAD:
        return
    with writing(engine) as connection:
        version = _version(connection)  # another process may have been quicker
        if version == HEAD:
            return
        if version is not None and version > HEAD:
            raise GiveUp(
                Code.DATABASE_UNUSABLE,
                f"the ledger {engine.url.render_as_string(hide_password=True)} is at version {version}, we know {HEAD}",
                hint="update comfy-doctor: this ledger was made by a newer one",
            )
        _migrate(connection)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - half a second to import, needed once per version
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    with _ONE_MIGRATION:
        command.upgrade(config, "head")
