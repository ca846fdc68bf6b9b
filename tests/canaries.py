"""Planted secrets, where each of them may be seen, and the search for them everywhere else.

All hold one word that nothing else holds, so that one look finds any of them, also quoted for a URL, cut off, or in
base64 as a header carries them. `tests/canary_watch.py` plants the tokens in the surroundings of every test and looks
through what the test has left; what a host heard is judged here. A secret is bound to the host that it was set for,
and only its own header or the query may carry it there.
"""

from __future__ import annotations

import base64
import mmap
import os
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

WORD = "c4n4ry"
HF = f"hf_{WORD}4f1d9cA1b2C3d4E5f6G7h8"
CIVITAI = f"civitai-{WORD}-8e2b7a55d1"
OPENAI = f"sk-{WORD}-17ac55e0b3f94d"
SIGNATURE = f"{WORD}+9d31/7bQ=e"
"""With signs that a URL quotes."""
IN_URL = f"url-{WORD}-c0ffee5a"
"""A token in the query of a URL that a person gives us."""
PASSWORD = f"pw-{WORD}-77d1e0"
"""The password in such a URL."""
PROXY_USER, PROXY_PASSWORD = "porter", f"proxy-{WORD}-5577e1"

ALL = (HF, CIVITAI, OPENAI, SIGNATURE, IN_URL, PASSWORD, PROXY_PASSWORD)
TOKENS = {"HF_TOKEN": HF, "CIVITAI_API_TOKEN": CIVITAI, "OPENAI_API_KEY": OPENAI}
ENDPOINTS = {"HF_ENDPOINT": HF, "CIVITAI_ENDPOINT": CIVITAI, "OPENAI_BASE_URL": OPENAI}
"""The variable that says where a token goes."""
PART = "a part of one"
LARGE_BYTES = 1024 * 1024
MAX_SEARCHED_BYTES = 64 * 1024 * 1024
_CARRIERS = {
    "authorization": (HF, CIVITAI, OPENAI),
    "proxy-authorization": (PROXY_PASSWORD,),
    "the address": (SIGNATURE, IN_URL),
}
"""Which part of a request may hold which secret, at its own host."""


def _in_base64(word: bytes) -> Iterator[bytes]:
    """What base64 makes of it, wherever in a text it stands: what its neighbours have a part in is left out."""
    for before, cut in ((0, 0), (1, 2), (2, 3)):
        bits = 8 * (before + len(word))
        yield base64.b64encode(bytes(before) + word)[cut : bits // 6]


_SIGNS = (WORD.encode(), *_in_base64(WORD.encode()))


def forms_of(canary: str) -> frozenset[bytes]:
    """All that it may look like; quoted in part, it still has its middle."""
    told = {canary, quote(canary, safe=""), quote(canary), canary.replace("+", " ")}
    raw = {each.encode() for each in told}
    return frozenset(raw.union(*map(_in_base64, raw)))


def found_in(content: bytes | mmap.mmap, *, but: Iterable[str] = ()) -> list[str]:
    """The canaries that sing in there, those left out that may; `PART` where it is none of them as a whole.

    What is as large as only a model is looks like none in base64: once is enough to look through it.
    """
    if all(content.find(sign) < 0 for sign in _SIGNS[: 1 if len(content) > LARGE_BYTES else None]):
        return []
    allowed = set(but)
    found = [canary for canary in ALL if any(content.find(form) >= 0 for form in forms_of(canary))]
    return [canary for canary in found if canary not in allowed] if found else [PART]


# --- files ------------------------------------------------------------------------------------------------------------


def found_below(folder: Path, *, but: Iterable[Path] = ()) -> list[str]:
    """Every file below it that a canary sings in, its own name included; the given ones may."""
    allowed = set(map(os.fspath, but))
    found = []
    for path in _files_below(os.fspath(folder)):
        name = os.fsencode(path[len(os.fspath(folder)) :])
        canaries = found_in(name) or (found_in_file(path) if path not in allowed else [])
        found += [f"{canary} in {path}" for canary in canaries]
    return found


def found_in_file(path: str) -> list[str]:
    """Nothing in what is no file, has gone, may not be read, or is too large to be anything but a model."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        try:
            known = os.fstat(descriptor)
            if not stat.S_ISREG(known.st_mode) or not len(WORD) <= known.st_size <= MAX_SEARCHED_BYTES:
                return []
            with mmap.mmap(descriptor, known.st_size, access=mmap.ACCESS_READ) as content:
                return found_in(content)
        finally:
            os.close(descriptor)
    return []


def _files_below(folder: str) -> Iterator[str]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files_below(entry.path)
            elif entry.is_file(follow_symlinks=False):
                yield entry.path


# --- requests ---------------------------------------------------------------------------------------------------------


class Book:
    """Which secret belongs to whom, and what was said, heard or written in spite of it. Hosts write from threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owners: dict[str, set[str]] = {}
        self._proxies: set[int] = set()
        self._leaks: list[str] = []
        self._places: set[Path] = set()

    def bind(self, secret: str, url: str) -> None:
        """From now on this host and port may get to see it."""
        with self._lock:
            self._owners.setdefault(secret, set()).add(_host_of(url))

    def bind_proxy(self, url: str) -> None:
        """It may hear its own password, and requests that are for others."""
        with suppress(ValueError):
            port = urlsplit(url if "://" in url else f"http://{url}").port
            if port is not None:
                self._proxies.add(port)

    def bind_environment(self, env: Mapping[str, str]) -> None:
        """The tokens of these surroundings belong to the endpoints of these surroundings."""
        for variable, secret in ENDPOINTS.items():
            if variable in env:
                self.bind(secret, env[variable])
        if "COMFY_DOCTOR_PROXY" in env:
            self.bind_proxy(env["COMFY_DOCTOR_PROXY"])

    def hold(self, *places: Path) -> None:
        """A user has written a secret into these files, and there it may stay."""
        self._places.update(places)

    def request(self, port: int, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Judges what the host at this port was asked."""
        through = "://" in target
        host = _host_of(target) if through else headers.get("host", "").lower()
        texts = {"the address": target, **headers, "the body": body.decode("utf-8", "surrogateescape")}
        for part, text in texts.items():
            for secret in found_in(text.encode("utf-8", "surrogateescape")):
                if secret not in _CARRIERS.get(part, ()) or not self._may_hear(secret, port, host, through):
                    self.leak(f"{secret} in {part} of {method} {target}, heard by {host} at port {port}")

    def _may_hear(self, secret: str, port: int, host: str, through: bool) -> bool:
        with self._lock:
            if secret == PROXY_PASSWORD:
                return port in self._proxies
            there = port in self._proxies if through else host.endswith(f":{port}")
            return there and host in self._owners.get(secret, ())

    def text(self, where: str, content: str | bytes | None) -> None:
        """Judges what was shown or told."""
        if content:
            raw = content.encode("utf-8", "replace") if isinstance(content, str) else content
            for secret in found_in(raw):
                self.leak(f"{secret} in {where}: {_around(raw)!r}")

    def folder(self, folder: Path) -> None:
        """Judges what was written."""
        for leak in found_below(folder, but=self._places):
            self.leak(leak)

    def leak(self, words: str) -> None:
        with self._lock:
            self._leaks.append(words)

    def close(self) -> list[str]:
        """What was found since it was opened; it begins anew, for a port soon belongs to another."""
        with self._lock:
            leaks, self._leaks = list(dict.fromkeys(self._leaks)), []
            for forgotten in (self._owners, self._proxies, self._places):
                forgotten.clear()
            return leaks


BOOK = Book()
"""Of the test that runs now."""


def of_its_host(url: str) -> str:
    """The URL itself, whose secrets its host may hear."""
    for secret in found_in(unquote(url).encode()):
        BOOK.bind(secret, url)
    return url


def signed(url: str) -> str:
    """The URL with a signature, which only its host may hear."""
    return of_its_host(f"{url}{'&' if '?' in url else '?'}X-Amz-Signature={quote(SIGNATURE, safe='')}")


def _host_of(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def _around(content: bytes) -> bytes:
    """The place in a long text, for a person who looks for it."""
    at = max(0, *(content.find(sign) for sign in _SIGNS))
    return content[max(0, at - 80) : at + 80]
