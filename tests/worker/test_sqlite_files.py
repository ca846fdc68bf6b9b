"""A ledger that is opened twice in one process keeps the locks of its first opener."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from download_worker.database import open_engine, reading, writing
from download_worker.sqlite_files import make_private

ANOTHER_PROGRAM = (
    "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM t').fetchall(); c.close()"
)


def test_a_file_is_made_private_and_one_that_is_there_becomes_so(tmp_path: Path) -> None:
    path = tmp_path / "new/x.db"
    make_private(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    make_private(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(os.name != "posix", reason="locks of processes are a matter of POSIX")
def test_q9_a_second_opener_in_this_process_does_not_let_another_program_take_the_log_away(tmp_path: Path) -> None:
    """As when `fix` starts a worker beside its own counter, and `comfy-doctor jobs` comes and goes meanwhile."""
    path = tmp_path / "doctor.db"
    first = open_engine(f"sqlite:///{path}")
    with writing(first) as connection:
        connection.execute(text("CREATE TABLE t (x)"))
        connection.execute(text("INSERT INTO t VALUES (1)"))
    second = open_engine(f"sqlite:///{path}")
    second.dispose()
    subprocess.run([sys.executable, "-c", ANOTHER_PROGRAM, str(path)], check=True)
    assert path.with_name("doctor.db-wal").exists(), "the log that the first opener still writes to"
    with writing(first) as connection:
        connection.execute(text("INSERT INTO t VALUES (2)"))
    with reading(first) as connection:
        assert connection.execute(text("SELECT count(*) FROM t")).scalar() == 2
    first.dispose()
    with sqlite3.connect(path) as after:
        assert after.execute("SELECT count(*) FROM t").fetchone() == (2,)
