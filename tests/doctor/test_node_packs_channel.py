"""The Manager's channel: a folder or a URL, a copy for a day, and what serves when it cannot be asked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfy_doctor.node_packs.channel import (
    FRESH_SECONDS,
    MAX_LIST_BYTES,
    MODEL_LIST,
    NODE_MAP,
    PACK_LIST,
    Channel,
    installed_lists,
)
from download_worker.clock import FakeClock
from download_worker.errors import Code, TryLater
from download_worker.settings import Settings
from download_worker.web.session import Web
from tests.hub import Hub
from tests.hub.behaviours import chunked_endless, html_200, s429, s503

MAP = {"https://github.com/a/b": [["T"], {"title_aux": "b"}]}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as host:
        yield host


def web() -> Web:
    return Web(Settings(home=Path("/nowhere"), allow_hosts=("127.0.0.1",)))


def published(hub: Hub, document: Any = MAP, name: str = NODE_MAP, **how: Any) -> str:
    return hub.publish(f"/main/{name}", json.dumps(document).encode(), **how).rpartition("/")[0]


def lay(folder: Path, document: Any = MAP, *, clock: FakeClock, age_seconds: float = 0.0, name: str = NODE_MAP) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    moment = clock.now().timestamp() - age_seconds
    os.utime(path, (moment, moment))
    return folder


def test_a_folder_is_read_as_it_is(tmp_path: Path) -> None:
    clock = FakeClock()
    found = Channel(
        str(lay(tmp_path / "lists", clock=clock, age_seconds=60)), web=None, cache=tmp_path / "c", clock=clock
    )
    file = found.file(NODE_MAP)
    assert (file.document, file.trouble, file.message) == (MAP, None, None)
    assert file.age_seconds == pytest.approx(60, abs=1)
    assert not (tmp_path / "c").exists()


def test_a_url_is_asked_once_a_day(tmp_path: Path, hub: Hub) -> None:
    where, clock = published(hub), FakeClock()

    def look() -> Any:
        file = Channel(where + "/", web=web(), cache=tmp_path, clock=clock).file(NODE_MAP)
        assert file.trouble is None
        return file.document

    assert look() == look() == MAP
    assert len(hub.hits) == 1
    clock.advance(FRESH_SECONDS + 1)
    assert look() == MAP and len(hub.hits) == 2
    clock.advance(-10 * FRESH_SECONDS)
    assert look() == MAP and len(hub.hits) == 3, "a copy from the future has no age"


def test_two_channels_do_not_share_a_copy(tmp_path: Path, hub: Hub) -> None:
    one, clock = published(hub), FakeClock()
    two = hub.publish("/fork/" + NODE_MAP, b'{"other": 1}').rpartition("/")[0]
    assert Channel(one, web=web(), cache=tmp_path, clock=clock).file(NODE_MAP).document == MAP
    assert Channel(two, web=web(), cache=tmp_path, clock=clock).file(NODE_MAP).document == {"other": 1}


def test_an_outage_is_bridged_with_the_copy_of_any_age_and_says_so(tmp_path: Path, hub: Hub) -> None:
    where, clock = published(hub), FakeClock()
    Channel(where, web=web(), cache=tmp_path, clock=clock).file(NODE_MAP)
    clock.advance(9 * 86400)
    hub.close()
    file = Channel(where, web=web(), cache=tmp_path, clock=clock).file(NODE_MAP)
    assert file.document == MAP and file.trouble is not None
    assert file.message is not None and "9 days old" in file.message


@pytest.mark.parametrize("behaviour", [s429(retry_after="60"), s503, html_200])
def test_a_channel_that_refuses_or_lies_leaves_the_installed_managers_copy(
    tmp_path: Path, hub: Hub, behaviour: Any
) -> None:
    clock = FakeClock()
    installed = lay(tmp_path / "manager", clock=clock, age_seconds=3 * 86400)
    where = published(hub, behaviour=behaviour)
    channel = Channel(where, web=web(), cache=tmp_path / "c", installed=[tmp_path / "no", installed], clock=clock)
    file = channel.file(NODE_MAP)
    assert file.document == MAP and file.came_from == str(installed / NODE_MAP)
    assert file.message is not None and "3 days old" in file.message and "127.0.0.1" in file.message
    assert not list((tmp_path / "c").rglob("*.json")), "what it sends instead is not kept"


@pytest.mark.parametrize("document", [[1], {}, "text", None])
def test_json_of_another_shape_is_not_kept(tmp_path: Path, hub: Hub, document: Any) -> None:
    file = Channel(published(hub, document), web=web(), cache=tmp_path, clock=FakeClock()).file(NODE_MAP)
    assert file.document is None and file.trouble is not None
    assert not list(tmp_path.rglob("*.json"))


def test_nothing_anywhere_is_could_not_look_and_never_an_empty_list(tmp_path: Path) -> None:
    file = Channel("https://channel.invalid/main", web=None, cache=tmp_path).file(MODEL_LIST)
    assert file.document is None
    assert file.message is not None and "could not look" in file.message and "network" in file.message


def test_after_one_silence_the_other_lists_are_not_waited_for(tmp_path: Path) -> None:
    asked = []

    class Dead:
        def get_json(self, url: str, **_: Any) -> Any:
            asked.append(url)
            raise TryLater(Code.NO_CONNECTION, "cannot connect to channel.invalid")

    channel = Channel("https://channel.invalid/main", web=Dead(), cache=tmp_path)
    files = [channel.file(name) for name in (NODE_MAP, PACK_LIST, MODEL_LIST, NODE_MAP)]
    assert len(asked) == 1 and all(file.trouble == "cannot connect to channel.invalid" for file in files)


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "[1]", "{}", '"x"', "\x00"])
def test_a_broken_file_in_the_folder_is_could_not_look(tmp_path: Path, content: str) -> None:
    clock = FakeClock()
    where = lay(tmp_path / "lists", content, clock=clock)
    file = Channel(str(where), web=None, cache=tmp_path / "c", clock=clock).file(NODE_MAP)
    assert file.document is None and file.trouble is not None and NODE_MAP in file.trouble


def test_a_list_without_end_is_cut(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfy_doctor.node_packs.channel.MAX_LIST_BYTES", 50_000)
    where = published(hub, behaviour=chunked_endless)
    file = Channel(where, web=web(), cache=tmp_path, clock=FakeClock()).file(NODE_MAP)
    assert file.document is None and "50000 bytes" in (file.trouble or "")
    big = lay(tmp_path / "big", {"x": "y" * 60_000}, clock=FakeClock())
    cut = Channel(str(big), web=None, cache=tmp_path).file(NODE_MAP)
    assert cut.document is None and "more than 50000 bytes" in (cut.trouble or "")
    assert MAX_LIST_BYTES == 32 * 1024 * 1024


def test_a_cache_that_cannot_be_written_costs_nothing_but_the_copy(tmp_path: Path, hub: Hub) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    file = Channel(published(hub), web=web(), cache=blocked, clock=FakeClock()).file(NODE_MAP)
    assert (file.document, file.trouble) == (MAP, None)


def test_the_lists_of_an_installed_manager_are_found_as_pack_and_as_package(tmp_path: Path) -> None:
    root = tmp_path / "ComfyUI"
    pack = root / "custom_nodes" / "ComfyUI-Manager"
    package = root / ".venv" / "lib" / "python3.12" / "site-packages" / "comfyui_manager"
    for folder in (pack, package):
        folder.mkdir(parents=True)
    assert installed_lists(root) == (pack, package)
    assert installed_lists(tmp_path / "nowhere") == ()
