"""What the first bytes are decides, and it must fit the name."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

import pylibmagic  # noqa: F401  # isort: skip - before magic: it says where the shared library is
import magic

from download_worker.errors import Code, GiveUp, TryLater
from download_worker.jobs.places import MODEL_EXTENSIONS
from download_worker.leash import Leash
from download_worker.verifiers import filetype
from download_worker.verifiers.filetype import FiletypeVerifier, content_of, inspect_head, libmagic_says
from download_worker.verifiers.verifier import Rejected
from tests import descriptors, makers
from tests.worker.specimens import specimen

TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
ONNX = b"\x08\x07\x12\x07pytorch\x1a\x051.9.0:" + bytes(50)
TFLITE = b"\x1c\0\0\0TFL3" + bytes(40)


def safetensors_of_header(length: int) -> bytes:
    return struct.pack("<Q", length) + b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'.ljust(length)[:400]


GOOD = {
    "a.safetensors": makers.safetensors_bytes(4096),
    "b.SFT": makers.safetensors_bytes(4096),
    "c.gguf": makers.gguf_bytes(),
    "d.ckpt": makers.zip_bytes("archive/data.pkl"),
    "e.pt": TORCH_LEGACY,
    "f.pth": makers.zip_bytes("archive/data.pkl"),
    "g.bin": TORCH_LEGACY,
    "h.pkl": b"\x80\x04\x95\x10\0\0\0\0\0\0\0}" + b"\x94" * 16,
    "i.onnx": ONNX,
    "j.task": makers.zip_bytes(),
    "k.task": TFLITE,
    "l.pt2": makers.zip_bytes(),
}

HTML = {
    "doctype": makers.html_page(),
    "old doctype": b'<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">\n<html><body>403</body></html>'
    + bytes([32] * 20),
    "after white space and a byte order mark": b"\xef\xbb\xbf\r\n\t <html lang='en'><head></head></html>",
    "after a comment": b"<!-- hello -->\n<html><body>denied</body></html>",
    "as XHTML": b'<?xml version="1.0"?>\n<!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml">',
    "in UTF-16": "\ufeff<!doctype html><html><title>Sign in</title></html>".encode("utf-16-le"),
    "in Latin-1": b"<html><title>Zugriff verweigert \xfc\xe4\xf6\xdf\xe9\xe8\xe0</title></html>",
}

UNWANTED = {
    "JSON error": b'{"error": "Model not found", "code": 404}',
    "JSON list": b'[{"error": "no"}, {"error": "no"}]',
    "XML of a storage host": b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code></Error>',
    "plain text": b"Access to this file is restricted.\n",
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab\nsize 123\n",
    "zip": makers.zip_bytes(),
    "zip whose first bytes could be a header length": b"PK\x03\x04" + bytes(4) + b"{" + bytes(50),
    "empty zip": b"PK\x05\x06" + bytes(18),
    "Linux executable": makers.elf_bytes(),
    "Windows executable": makers.pe_bytes(),
    "macOS executable": b"\xcf\xfa\xed\xfe\x07\0\0\1" + bytes(60),
    "universal macOS executable": b"\xca\xfe\xba\xbe\0\0\0\2" + bytes(60),
    "shell script": b"#!/bin/sh\nrm -rf ~\n",
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "JPEG": b"\xff\xd8\xff\xe0" + bytes(40),
    "WebP": b"RIFF\x10\0\0\0WEBPVP8 " + bytes(30),
    "gzip": b"\x1f\x8b\x08" + bytes(40),
    "xz": b"\xfd7zXZ\0" + bytes(40),
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(40),
    "7-Zip": b"7z\xbc\xaf\x27\x1c" + bytes(40),
    "RAR": b"Rar!\x1a\x07\x01\0" + bytes(40),
    "PDF": b"%PDF-1.7\n" + bytes(40),
    "tar": b"model.safetensors".ljust(257, b"\0") + b"ustar\x0000" + bytes(255),
    "zeros": bytes(4096),
    "noise": bytes((i * 73 + 41) % 251 for i in range(500)),
    "pickle of protocol 0": b"(dp0\nS'a'\np1\nI1\ns." + bytes(10),
    "GGUF of an unknown version": b"GGUF" + struct.pack("<IQQ", 2**31, 1, 1) + bytes(16),
    "safetensors with a header beyond the limit": struct.pack("<Q", 100_000_001) + b"{" + bytes(40),
    "safetensors without a brace": struct.pack("<Q", 64) + b"[" + bytes(63),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_format_is_welcome_under_its_own_names(name: str) -> None:
    inspect = inspect_head(name)
    inspect(GOOD[name])
    with pytest.raises(GiveUp):
        inspect(b"<!DOCTYPE html><html>" + bytes(4096))


def test_every_model_extension_has_its_contents() -> None:
    assert set(filetype._CONTENTS) == MODEL_EXTENSIONS


@pytest.mark.parametrize("extension", sorted(MODEL_EXTENSIONS))
@pytest.mark.parametrize("page", HTML)
def test_h13_an_html_page_is_refused_under_every_model_name(page: str, extension: str) -> None:
    with pytest.raises(GiveUp) as caught:
        inspect_head(f"model{extension}")(HTML[page])
    assert caught.value.code is Code.HTML
    assert caught.value.elsewhere


@pytest.mark.parametrize("what", UNWANTED)
def test_t2_what_is_no_model_is_refused_under_a_safetensors_name(what: str) -> None:
    with pytest.raises(GiveUp) as caught:
        inspect_head("model.safetensors")(UNWANTED[what])
    assert caught.value.code is Code.WRONG_TYPE
    assert caught.value.elsewhere


@pytest.mark.parametrize("extension", sorted(MODEL_EXTENSIONS))
@pytest.mark.parametrize("what", [what for what in UNWANTED if "zip" not in what])
def test_t2_what_is_no_model_is_refused_under_every_model_name(what: str, extension: str) -> None:
    with pytest.raises(GiveUp) as caught:
        inspect_head(f"model{extension}")(UNWANTED[what])
    assert caught.value.code is Code.WRONG_TYPE


@pytest.mark.parametrize("name", [name for name in GOOD if not name.endswith(("safetensors", "SFT"))])
def test_t2_another_model_format_is_refused_under_a_safetensors_name(name: str) -> None:
    with pytest.raises(GiveUp, match="should be a safetensors file"):
        inspect_head("model.safetensors")(GOOD[name])


@pytest.mark.parametrize("extension", [".ckpt", ".pt", ".pth", ".bin", ".pkl", ".gguf", ".onnx"])
def test_t2_a_safetensors_file_under_another_name_is_refused_and_named(extension: str) -> None:
    with pytest.raises(GiveUp, match="it is a safetensors file"):
        inspect_head(f"model{extension}")(makers.safetensors_bytes(4096))


@pytest.mark.parametrize("length", [0x5A4D, 0x2123, 0x088B1F, 0x685A42, 0x0280, 2**24])
def test_a_header_length_that_looks_like_another_format_is_still_safetensors(length: int) -> None:
    """0x5A4D little-endian is “MZ”, 0x2123 is “#!”, 0x0280 begins a pickle; libmagic calls the first an executable."""
    head = safetensors_of_header(length)
    if length == 0x5A4D:
        assert libmagic_says(head) == "application/x-dosexec"
    assert content_of(head) == "safetensors"


def test_a_message_says_what_was_found_and_hides_what_a_terminal_would_obey() -> None:
    page = b"<html><title>\x1b]0;owned\x07Sign in to continue</title></html>"
    with pytest.raises(GiveUp) as caught:
        inspect_head("model.safetensors")(page)
    assert "Sign in to continue" in caught.value.message
    assert "\x1b" not in caught.value.message


def test_too_few_bytes_are_no_reason_yet() -> None:
    inspect = inspect_head("model.safetensors")
    inspect(b"<html>")
    with pytest.raises(GiveUp) as caught:
        inspect(b"<html>" + bytes(100))
    assert caught.value.code is Code.HTML


def test_the_file_on_the_disk_is_looked_at_again(tmp_path: Path) -> None:
    evidence = FiletypeVerifier().examine(specimen(tmp_path, makers.safetensors_bytes(4096)), Leash())
    assert evidence.facts["content"] == "safetensors"
    assert evidence.facts["libmagic"] == "application/octet-stream"
    with pytest.raises(Rejected) as caught:
        FiletypeVerifier().examine(specimen(tmp_path, makers.html_page(12)), Leash())
    assert caught.value.code is Code.WRONG_TYPE or caught.value.code is Code.HTML
    with pytest.raises(Rejected, match="an empty file"):
        FiletypeVerifier().examine(specimen(tmp_path, b""), Leash())


def test_libmagic_is_never_entered_by_two_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, worst = 0, 0
    gate = threading.Barrier(4, timeout=5)

    class Watching:
        def from_buffer(self, _head: bytes) -> str:
            nonlocal inside, worst
            inside += 1
            worst = max(worst, inside)
            threading.Event().wait(0.002)
            inside -= 1
            return "application/octet-stream"

    def ask() -> None:
        gate.wait()
        libmagic_says(b"x" * 100)

    monkeypatch.setattr(filetype, "_magic", lambda mime: Watching())
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(ask) for _ in range(4)]:
            done.result()
    assert worst == 1


def test_many_threads_get_right_answers_from_libmagic() -> None:
    samples = {"image/png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(30), "text/html": makers.html_page()}
    with ThreadPoolExecutor(8) as pool:
        asked = [(mime, pool.submit(libmagic_says, head)) for mime, head in samples.items() for _ in range(100)]
        assert all(answer.result() == mime for mime, answer in asked)


@pytest.fixture
def unopened() -> Iterator[None]:
    """libmagic has opened nothing yet, as in a fresh process; nor has it for whoever comes afterwards."""
    filetype._magic.cache_clear()
    yield
    filetype._magic.cache_clear()


# For the evidence it is asked of every file; ONNX, and what nobody knows, are asked about while they arrive.
ASKED_ABOUT = {"m.onnx": ONNX, "m.safetensors": UNWANTED["noise"]}


@pytest.mark.usefixtures("unopened")
@pytest.mark.parametrize("name", ASKED_ABOUT)
def test_d8_without_a_descriptor_for_libmagics_database_the_file_waits(name: str) -> None:
    with descriptors.none_left(), pytest.raises(TryLater, match="Too many open files") as caught:
        inspect_head(name)(ASKED_ABOUT[name])
    assert caught.value.code is Code.STORAGE
    assert "ulimit -n" in caught.value.hint
    with pytest.raises(TryLater), descriptors.none_left():
        libmagic_says(GOOD["a.safetensors"])
    assert libmagic_says(GOOD["a.safetensors"]) == "application/octet-stream"  # as soon as there is one


@pytest.mark.usefixtures("unopened")
def test_without_its_database_libmagic_lets_the_file_wait_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pylibmagic.data", tmp_path)
    with pytest.raises(TryLater, match="libmagic cannot open its database") as caught:
        FiletypeVerifier().examine(specimen(tmp_path, makers.safetensors_bytes(4096)), Leash())
    assert caught.value.code is Code.STORAGE and "pylibmagic" in caught.value.hint


@pytest.mark.parametrize("head", [ONNX, UNWANTED["noise"]], ids=["onnx", "noise"])
def test_one_look_at_what_arrives_asks_libmagic_once(monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    asked: list[bytes] = []

    class Counting:
        def from_buffer(self, head: bytes) -> str:
            asked.append(head)
            return "application/octet-stream"

    monkeypatch.setattr(filetype, "_magic", lambda mime: Counting())
    with suppress(Rejected):
        inspect_head("m.onnx")(head)
    assert len(asked) == 1


def test_bytes_that_libmagic_fails_at_are_nothing_that_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def from_buffer(self, _head: bytes) -> str:
            raise magic.MagicException(b"indirect recursion nesting (51) exceeded\x1b[2J")

    monkeypatch.setattr(filetype, "_magic", lambda mime: Failing())
    with pytest.raises(Rejected, match="recursion nesting") as caught:
        inspect_head("m.onnx")(ONNX)
    assert caught.value.code is Code.WRONG_TYPE and "\x1b" not in caught.value.message


def test_d8_without_a_descriptor_for_the_file_it_is_looked_at_later(tmp_path: Path) -> None:
    there = specimen(tmp_path, makers.safetensors_bytes(4096))
    with descriptors.none_left(), pytest.raises(TryLater) as caught:
        FiletypeVerifier().examine(there, Leash())
    assert caught.value.code is Code.STORAGE
