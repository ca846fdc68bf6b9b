"""A workflow at a URL: which text is one, which file stands behind a page, and what a host may answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_doctor.workflows import raw_url
from comfy_doctor.workflows.raw_url import fetch_workflow, is_raw_url, raw_form, read_url_document
from download_worker.errors import Code, GiveUp, Interrupted, Trouble
from download_worker.leash import Leash
from download_worker.settings import Settings
from download_worker.web.session import Web
from tests import canaries
from tests.container_images import png_text
from tests.hub import Hub
from tests.hub.behaviours import chunked, eof_mid, html_200, html_as_octet, redirect

from .drawing import node, ui

UI = ui(node(1, "CheckpointLoaderSimple", "a.safetensors"))
DATA = json.dumps(UI).encode()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as host:
        yield host


@pytest.fixture
def web() -> Web:
    return Web(Settings(home=Path("/nowhere"), allow_hosts=("127.0.0.1",), stall_timeout_seconds=5.0))


@pytest.mark.parametrize("text", ["https://a.example/w.json", "HTTPS://a.example/w", "http://127.0.0.1:8188/w.json"])
def test_a_url_is_told_from_a_path(text: str) -> None:
    assert is_raw_url(text)


@pytest.mark.parametrize("text", ["w.json", "./https/w.json", "C:\\w.json", "file:///w.json", "https://", "ftp://a/w"])
def test_a_path_is_no_url(text: str) -> None:
    assert not is_raw_url(text)


@pytest.mark.parametrize(
    ("page", "file"),
    [
        ("https://github.com/o/r/blob/main/a b/w.json", "https://raw.githubusercontent.com/o/r/main/a b/w.json"),
        ("https://github.com/o/r/blob/main/w.json?raw=true#L3", "https://raw.githubusercontent.com/o/r/main/w.json"),
        ("https://github.com/o/r/raw/main/w.json", "https://github.com/o/r/raw/main/w.json"),
        ("https://gist.github.com/o/0123abcd", "https://gist.github.com/o/0123abcd/raw/"),
        ("https://gist.github.com/o/0123abcd/raw/w.json", "https://gist.github.com/o/0123abcd/raw/w.json"),
        ("https://gitlab.com/o/g/r/-/blob/main/w.json", "https://gitlab.com/o/g/r/-/raw/main/w.json"),
        ("https://pastebin.com/Ab12", "https://pastebin.com/raw/Ab12"),
        ("https://pastebin.com/raw/Ab12", "https://pastebin.com/raw/Ab12"),
        ("https://a.example/blob/w.json?x=1", "https://a.example/blob/w.json?x=1"),
    ],
)
def test_the_file_behind_a_page_is_asked_for(page: str, file: str) -> None:
    assert raw_form(page) == file


def test_a_workflow_at_a_url_is_a_document_under_its_public_url(hub: Hub, web: Web) -> None:
    url = hub.publish("/w.png", png_text({"workflow": DATA.decode()}))
    document = read_url_document(canaries.of_its_host(f"{url}?token={canaries.IN_URL}"), web)
    assert (document.container, document.format, document.body) == ("png", "ui", UI)
    assert document.path.startswith(url) and canaries.WORD not in document.path


def test_chunks_and_redirects_are_followed(hub: Hub, web: Web) -> None:
    target = hub.publish("/elsewhere", DATA, behaviour=chunked)
    assert fetch_workflow(hub.publish("/w.json", b"", behaviour=redirect(to=target)), web) == DATA


@pytest.mark.parametrize("page", [html_200, html_as_octet])
def test_a_page_instead_of_a_file_is_said_with_a_next_step(hub: Hub, web: Web, page: object) -> None:
    trouble = trouble_of(hub.publish("/w.json", DATA, behaviour=page), web)  # type: ignore[arg-type]
    assert trouble.code is Code.HTML
    assert "Raw" in trouble.hint and "127.0.0.1" in trouble.message


def test_a_drawing_is_no_page(hub: Hub, web: Web) -> None:
    data = b"<svg><foreignObject><html></html></foreignObject></svg>"
    assert fetch_workflow(hub.publish("/w.svg", data, content_type="image/svg+xml"), web) == data


@pytest.mark.parametrize("behaviour", [None, chunked])
def test_a_file_beyond_the_bound_is_not_taken(
    hub: Hub, web: Web, monkeypatch: pytest.MonkeyPatch, behaviour: object
) -> None:
    monkeypatch.setattr(raw_url, "MAX_WORKFLOW_BYTES", len(DATA) - 1)
    trouble = trouble_of(hub.publish("/w.json", DATA, behaviour=behaviour), web)  # type: ignore[arg-type]
    assert trouble.code is Code.TOO_LARGE and isinstance(trouble, GiveUp)
    monkeypatch.setattr(raw_url, "MAX_WORKFLOW_BYTES", len(DATA))
    assert fetch_workflow(hub.url("/w.json"), web) == DATA


def test_a_cut_answer_is_not_taken_for_the_file(hub: Hub, web: Web) -> None:
    assert trouble_of(hub.publish("/w.json", DATA, behaviour=eof_mid), web).code in (Code.CUT_SHORT, Code.NO_CONNECTION)


def test_a_missing_file_is_what_the_host_says(hub: Hub, web: Web) -> None:
    assert trouble_of(hub.url("/gone.json"), web).code is Code.NOT_FOUND


def test_a_private_address_is_refused(hub: Hub) -> None:
    guarded = Web(Settings(home=Path("/nowhere"), allow_hosts=()))
    assert trouble_of(hub.publish("/w.json", DATA), guarded).code is Code.REFUSED_ADDRESS


def test_a_pulled_leash_ends_it(hub: Hub, web: Web) -> None:
    leash = Leash()
    leash.pull()
    with pytest.raises(Interrupted):
        fetch_workflow(hub.publish("/w.json", DATA), web, leash)


def trouble_of(url: str, web: Web) -> Trouble:
    with pytest.raises(Trouble) as caught:
        fetch_workflow(url, web)
    return caught.value
