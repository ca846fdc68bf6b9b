"""The watch over the suite finds planted secrets in every form and place, and lets each go to its own host alone."""

from __future__ import annotations

import base64
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from tests import canaries
from tests.canaries import BOOK, CIVITAI, HF, PROXY_PASSWORD, SIGNATURE, Book
from tests.hub import Hub

ROOT = Path(__file__).parents[1]


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.mark.parametrize("canary", canaries.ALL)
def test_t22_a_canary_is_found_raw_and_quoted_and_in_base64(canary: str) -> None:
    encoded = (base64.b64encode(b"x" * before + canary.encode()).decode() for before in range(4))
    for form in (canary, quote(canary, safe=""), *encoded):
        assert canaries.found_in(b"before " + form.encode() + b" after") == [canary]
    assert canaries.found_in(canary.encode(), but=[canary]) == []
    half = canary[: canary.index(canaries.WORD) + len(canaries.WORD)]
    assert canaries.found_in(half.encode()) == [canaries.PART], "cut off, it is not forgotten"


def test_t22_a_proxys_password_is_found_in_the_header_that_carries_it() -> None:
    for user in (canaries.PROXY_USER, "me", "nobody"):
        header = base64.b64encode(f"{user}:{PROXY_PASSWORD}".encode())
        assert canaries.found_in(b"Proxy-Authorization: Basic " + header) == [PROXY_PASSWORD]


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder that is gone before this test itself is searched."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def test_t22_a_leak_is_found_in_a_log_a_part_of_a_file_and_a_name(elsewhere: Path) -> None:
    (elsewhere / "a/b").mkdir(parents=True)
    (elsewhere / "a/b/download_worker.log").write_text(f'{{"message": "it is {HF}"}}\n')
    (elsewhere / "large").write_bytes(b"." * (canaries.LARGE_BYTES + 1) + CIVITAI.encode())
    (elsewhere / quote(f"x-{PROXY_PASSWORD}")).touch()
    (elsewhere / "clean").write_bytes(os.urandom(100_000))
    found = {(leak.split(" in ")[0], Path(leak.split(" in ")[1]).name) for leak in canaries.found_below(elsewhere)}
    assert found == {(HF, "download_worker.log"), (CIVITAI, "large"), (PROXY_PASSWORD, f"x-{PROXY_PASSWORD}")}


def test_t22_a_leak_is_found_in_a_row_and_in_the_journal_of_a_ledger(elsewhere: Path) -> None:
    path = elsewhere / "doctor.db"
    with closing(sqlite3.connect(path)) as ledger:
        ledger.execute("PRAGMA journal_mode = WAL")
        ledger.execute("CREATE TABLE jobs (reason TEXT)")
        ledger.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert canaries.found_below(elsewhere) == []
        ledger.execute("INSERT INTO jobs VALUES (?)", (f"who is {HF}?",))
        ledger.commit()
        assert canaries.found_below(elsewhere) == [f"{HF} in {path}-wal"]
    assert canaries.found_below(elsewhere) == [f"{HF} in {path}"]


def test_t22_what_a_user_wrote_may_hold_what_a_user_wrote(elsewhere: Path, book: Book) -> None:
    for name in ("hf-token", "copy-of-it"):
        (elsewhere / name).write_text(HF)
    book.hold(elsewhere / "hf-token")
    book.folder(elsewhere)
    assert book.close() == [f"{HF} in {elsewhere / 'copy-of-it'}"]


def test_t22_links_pipes_and_what_is_gone_are_no_files(elsewhere: Path) -> None:
    (elsewhere / "loop").symlink_to(elsewhere)
    (elsewhere / "full").symlink_to("/dev/zero")
    os.mkfifo(elsewhere / "pipe")
    assert canaries.found_below(elsewhere) == canaries.found_below(elsewhere / "gone") == []
    assert canaries.found_in_file(str(elsewhere / "pipe")) == []


# --- requests ---------------------------------------------------------------------------------------------------------


def asked(
    book: Book, header: str, told: str, *, port: int = 80, host: str = "hub.example:80", target: str = "/"
) -> int:
    book.request(port, "GET", target, {"host": host, header: told})
    return len(book.close())


def test_t22_a_token_is_for_its_own_host_in_its_own_header(book: Book) -> None:
    def ask(header: str, told: str, **where: object) -> int:
        book.bind(HF, "http://hub.example:80/api")
        return asked(book, header, told, **where)  # type: ignore[arg-type]

    assert ask("authorization", f"Bearer {HF}") == 0
    assert ask("authorization", f"Bearer {CIVITAI}") == 1, "another's token"
    assert ask("referer", f"http://x/{HF}") == 1, "another header"
    assert ask("authorization", f"Bearer {HF}", host="other.example:80") == 1, "another host"
    assert ask("authorization", f"Bearer {HF}", port=81) == 1, "another who is taken for it"
    assert ask("authorization", f"Bearer {HF[:-1]}") == 1, "a part of it is no token"
    assert asked(book, "authorization", f"Bearer {HF}") == 1, "of the test before"
    assert ask("x", "y", target=f"/?token={HF}") == 1, "in the address"
    book.request(80, "POST", "/", {"host": "hub.example:80"}, f'{{"key": "{HF}"}}'.encode())
    assert len(book.close()) == 1, "in the body"


def test_t22_a_signature_is_for_the_host_of_its_address(book: Book) -> None:
    book.bind(SIGNATURE, "http://storage.example:80/x")
    target = f"/x?X-Amz-Signature={quote(SIGNATURE, safe='')}"
    book.request(80, "GET", target, {"host": "storage.example:80"})
    book.request(80, "GET", target, {"host": "hub.example:80"})
    assert len(book.close()) == 1


def test_t22_a_proxy_hears_its_password_and_what_is_for_others_and_nobody_else_does(book: Book) -> None:
    login = base64.b64encode(f"porter:{PROXY_PASSWORD}".encode()).decode()
    told = {"host": "hub.example", "authorization": f"Bearer {HF}", "proxy-authorization": f"Basic {login}"}
    for port, leaks in ((3128, 0), (3129, 2)):
        book.bind(HF, "http://hub.example")
        book.bind_proxy(f"http://porter:{PROXY_PASSWORD}@127.0.0.1:3128")
        book.request(port, "GET", "http://hub.example/x", told)
        assert len(book.close()) == leaks


# --- the watch itself -------------------------------------------------------------------------------------------------


def test_t22_tokens_are_planted_and_every_host_is_overheard() -> None:
    assert {name: os.environ[name] for name in canaries.TOKENS} == canaries.TOKENS
    from urllib.request import Request, urlopen

    with Hub() as hub:
        url = hub.publish("/x", b"x")
        urlopen(Request(url, headers={"Authorization": f"Bearer {HF}"})).close()
        BOOK.bind(HF, hub.base)
        urlopen(Request(url, headers={"Authorization": f"Bearer {HF}"})).close()
    (leak,) = BOOK.close()
    assert leak.startswith(f"{HF} in authorization of GET /x")


LEAKS = """
import subprocess, sys, tempfile
from pathlib import Path
from loguru import logger
from download_worker.clock import FakeClock
from download_worker.jobs.memory_ledger import MemoryLedger
from tests import canaries
from tests.jobs import make_info, make_job

def test_leaks_in_a_file(tmp_path):
    (tmp_path / "log").write_text(canaries.HF)

def test_leaks_in_a_folder_of_its_own():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "log").write_text(canaries.HF)

def test_leaks_in_a_shared_folder(tmp_path_factory):
    (tmp_path_factory.mktemp("shared") / "log").write_text(canaries.HF)

def test_leaks_on_stdout():
    print(canaries.CIVITAI)

def test_leaks_where_somebody_reads(capsys):
    print(canaries.CIVITAI, file=sys.stderr)
    capsys.readouterr()

def test_leaks_from_a_program():
    subprocess.run([sys.executable, "-c", "import os; print(os.environ['HF_TOKEN'])"], capture_output=True)

def test_leaks_in_a_log():
    logger.remove()
    logger.add(sys.stderr)
    logger.info(canaries.OPENAI)

def test_leaks_in_the_next_log():
    logger.info(canaries.OPENAI)

def test_leaks_in_a_row():
    MemoryLedger().add(make_job(info=make_info(download_url="http://h.example/?token=" + canaries.IN_URL)))

def test_leaks_nothing(tmp_path):
    (tmp_path / "mine").write_text(canaries.HF)
    canaries.BOOK.hold(tmp_path / "mine")
"""


@pytest.mark.slow
def test_t22_every_kind_of_leak_fails_the_test_that_made_it(elsewhere: Path) -> None:
    (elsewhere / "conftest.py").write_text("from tests.conftest import *\n")
    (elsewhere / "test_leaks.py").write_text(LEAKS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rA",
        "-p",
        "no:cacheprovider",
        f"--basetemp={elsewhere}/tmp",
        ".",
    ]
    with (elsewhere / "told").open("w") as told:
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        ended = subprocess.run(command, cwd=elsewhere, stdout=told, stderr=told, env=env, timeout=60, check=False)
    text = (elsewhere / "told").read_text()
    names = [line[4:].partition("(")[0] for line in LEAKS.splitlines() if line.startswith("def test_leaks")]
    failed = {line.rpartition("::")[2].split(" ")[0] for line in text.splitlines() if line.startswith("ERROR ")}
    assert ended.returncode == 1 and failed == set(names) - {"test_leaks_nothing"}, failed
