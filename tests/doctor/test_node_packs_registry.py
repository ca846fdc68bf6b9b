"""The Comfy registry through the real HTTP client, against a stand-in on the loopback with the recorded shapes.

The bodies are those of `../shared/api_samples`; where that folder is absent, what needs them is skipped with a reason.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from comfy_doctor.needs import NodeUse, PackClue, Use
from comfy_doctor.node_packs.channel import MODEL_LIST, NODE_MAP, PACK_LIST, Channel
from comfy_doctor.node_packs.directory import MAX_QUESTIONS, PackDirectory
from comfy_doctor.node_packs.registry import Registry, RegistryPack, Sight, VersionState
from download_worker.errors import Code, TryLater
from download_worker.leash import Leash
from download_worker.settings import Settings
from download_worker.web.session import Question, Web

SAMPLES = Path(__file__).parents[3] / "shared" / "api_samples"
needs_samples = pytest.mark.skipif(not SAMPLES.exists(), reason=f"the recorded API bodies are not at {SAMPLES}")


@dataclass
class StandIn:
    """Answers by method and path; a path that it does not know is a 404 in the registry's own form."""

    url: str = ""
    answers: dict[tuple[str, str], tuple[int, Mapping[str, str], Any]] = field(default_factory=dict)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)

    def put(self, path: str, body: Any, *, status: int = 200, method: str = "GET", **headers: str) -> None:
        self.answers[method, path] = (status, {name.replace("_", "-"): text for name, text in headers.items()}, body)

    @property
    def paths(self) -> list[str]:
        return [urlsplit(target).path for _, target, _ in self.asked]

    def reply(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        told = json.loads(handler.rfile.read(length)) if length else None
        self.asked.append((handler.command, handler.path, told))
        unknown: tuple[int, dict[str, str], Any] = (404, {}, {"message": "Node not found"})
        status, headers, body = self.answers.get((handler.command, urlsplit(handler.path).path), unknown)
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        for name, text in {"Content-Type": "application/json", **headers, "Content-Length": str(len(sent))}.items():
            handler.send_header(name, text)
        handler.end_headers()
        handler.wfile.write(sent)


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    stand = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            stand.reply(self)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        stand.url = f"http://127.0.0.1:{server.server_port}"
        yield stand
        server.shutdown()
        thread.join()


class PlainAsker:
    """The real HTTP client, without a cache and one question after the other."""

    def __init__(self) -> None:
        self._web = Web(Settings(home=Path("/nowhere"), allow_hosts=("127.0.0.1",)))

    def json(self, url: str, *, body: Any = None, max_age_seconds: float = 0.0, leash: Leash | None = None) -> Any:
        return self._web.get_json(url, leash=leash, question=Question("POST", body) if body is not None else Question())

    def side_by_side(self, function: Callable[[Any], Any], things: Sequence[Any]) -> list[Any]:
        return [function(thing) for thing in things]


@pytest.fixture
def registry(stand_in: StandIn) -> Registry:
    return Registry(PlainAsker(), stand_in.url + "/")


def sample(name: str) -> tuple[str, str, Any]:
    """Method, path, and the body of the answer."""
    recorded = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    request = recorded["request"]
    return request["method"], urlsplit(request["url"]).path, recorded["response"]["body"]


def body_of(name: str, stand_in: StandIn) -> Any:
    """The recorded body, published where it was recorded."""
    method, path, body = sample(name)
    stand_in.put(path, body, method=method)
    return body


LOOPSTRIP = RegistryPack(
    "comfyui-loopstrip", "Loop Strip", "https://github.com/serhiiyashyn-sf/comfyui-loopstrip", "1.3.1"
)

# --- every row of the samples' README that concerns node packs --------------------------------------------------------


def ask_node(registry: Registry) -> None:
    assert registry.pack("comfyui-loopstrip") == Sight(LOOPSTRIP)
    assert registry.pack("nope") == Sight()


def ask_node_by_class(registry: Registry) -> None:
    assert registry.pack_of_class("VHS_VideoCombine") == Sight(LOOPSTRIP)
    assert registry.pack_of_class("NobodysNode") == Sight()


def ask_nodes_list(registry: Registry) -> None:
    assert registry.packs(["comfyui-loopstrip", "nope"]) == Sight({"comfyui-loopstrip": LOOPSTRIP})


def ask_search(registry: Registry) -> None:
    assert registry.search_class("VHS_VideoCombine") == Sight((LOOPSTRIP,))


def ask_versions(registry: Registry) -> None:
    (version,) = registry.versions("comfyui-impact-pack").found or ()
    assert (version.version, version.state, version.deprecated) == ("8.28.3", VersionState.ACTIVE, False)


def ask_bulk_versions(registry: Registry) -> None:
    there, gone = ("comfyui-impact-pack", "8.28.3"), ("nope", "1.0.0")
    assert registry.version_states([there, gone]) == {there: Sight(VersionState.ACTIVE), gone: Sight()}


def ask_version_classes(registry: Registry) -> None:
    assert registry.classes("comfyui-impact-pack", "8.28.3") == Sight(frozenset({"FaceDetailer"}))


ROWS: dict[str, Callable[[Registry], None]] = {
    "registry_node": ask_node,
    "registry_node_by_class": ask_node_by_class,
    "registry_nodes_list": ask_nodes_list,
    "registry_search": ask_search,
    "registry_versions": ask_versions,
    "registry_bulk_versions": ask_bulk_versions,
    "registry_version_classes": ask_version_classes,
}
LISTS = {
    "manager_extension_node_map": NODE_MAP,
    "manager_custom_node_list": PACK_LIST,
    "manager_model_list": MODEL_LIST,
}
ONLY_LOOKED_AT = "registry_install"


@needs_samples
@pytest.mark.parametrize("name", ROWS)
def test_a_recorded_answer_of_the_registry_is_understood(name: str, stand_in: StandIn, registry: Registry) -> None:
    body_of(name, stand_in)
    ROWS[name](registry)
    assert stand_in.asked and all("/install" not in path for path in stand_in.paths)


@needs_samples
def test_what_install_would_answer_is_looked_at_without_counting_an_install(
    stand_in: StandIn, registry: Registry
) -> None:
    """The same body comes from /versions/{version}; another release in its place is not the one that was asked for."""
    _, _, body = sample(ONLY_LOOKED_AT)
    stand_in.put("/nodes/comfyui-impact-pack/versions/8.28.3", body)
    stand_in.put("/nodes/comfyui-impact-pack/versions/8.0.0", body)
    found = registry.version("comfyui-impact-pack", "8.28.3").found
    assert found is not None and found.state is VersionState.ACTIVE
    assert registry.version("comfyui-impact-pack", "8.0.0") == Sight()
    assert all("/install" not in path for path in stand_in.paths)


@needs_samples
@pytest.mark.parametrize("name", LISTS)
def test_a_recorded_list_of_the_manager_is_understood(name: str, stand_in: StandIn, tmp_path: Path) -> None:
    body = body_of(name, stand_in)
    _, path, _ = sample(name)
    web = Web(Settings(home=Path("/nowhere"), allow_hosts=("127.0.0.1",)))
    channel = Channel(stand_in.url + path.rpartition("/")[0], web=web, cache=tmp_path)
    file = channel.file(LISTS[name])
    assert file.document == body and file.trouble is None
    if name == "manager_extension_node_map":
        index = PackDirectory(channel).index()
        assert all(owner in body or owner + "/" in body for owners in index.owners.values() for owner in owners)
        assert index.owners


@needs_samples
def test_no_row_of_the_samples_is_left_out() -> None:
    lines = (SAMPLES / "README.md").read_text(encoding="utf-8").splitlines()
    rows = {line.split("|")[1].removesuffix(".json") for line in lines if line.startswith(("|registry_", "|manager_"))}
    live_servers = {row for row in rows if row.startswith(("manager_v3", "manager_v4"))}
    assert rows - live_servers == {*ROWS, *LISTS, ONLY_LOOKED_AT}


# --- how questions are put --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node_type", "path"),
    [
        ("Power Lora Loader (rgthree)", "/comfy-nodes/Power%20Lora%20Loader%20%28rgthree%29/node"),
        ("a/b?c#d", "/comfy-nodes/a%2Fb%3Fc%23d/node"),
        ("图像|x", "/comfy-nodes/%E5%9B%BE%E5%83%8F%7Cx/node"),
        ("../nodes/x/install", "/comfy-nodes/..%2Fnodes%2Fx%2Finstall/node"),
    ],
)
def test_a_class_stays_one_segment_of_the_path(
    node_type: str, path: str, stand_in: StandIn, registry: Registry
) -> None:
    assert registry.pack_of_class(node_type) == Sight()
    assert stand_in.asked == [("GET", path, None)]


@pytest.mark.parametrize("word", ["", ".", "..", "x" * 301, "a\nb"])
def test_what_cannot_be_a_segment_is_not_asked_for(word: str, stand_in: StandIn, registry: Registry) -> None:
    assert registry.pack_of_class(word) == Sight() and registry.pack(word) == Sight()
    assert registry.versions(word) == Sight() and registry.classes("x", word) == Sight()
    assert stand_in.asked == []


def test_an_id_in_another_spelling_is_followed(stand_in: StandIn, registry: Registry) -> None:
    stand_in.put("/nodes/ComfyUI_LoopStrip", {}, status=302, Location="/nodes/comfyui-loopstrip")
    stand_in.put("/nodes/comfyui-loopstrip", {"id": "comfyui-loopstrip", "repository": "https://github.com/a/b.git"})
    found = registry.pack("ComfyUI_LoopStrip").found
    assert found is not None and (found.id, found.repository) == ("comfyui-loopstrip", "https://github.com/a/b")


def test_a_pack_that_was_not_asked_for_is_left_out(stand_in: StandIn, registry: Registry) -> None:
    stand_in.put("/nodes", {"nodes": [{"id": "a"}, {"id": "sponsored"}, 7, {}]})
    assert registry.packs(["a", "b"]) == Sight({"a": RegistryPack("a", "a", None)})
    assert parse_qs(urlsplit(stand_in.asked[0][1]).query)["node_id"] == ["a", "b"]


def test_versions_are_asked_for_in_every_state(stand_in: StandIn, registry: Registry) -> None:
    states = ["Active", "Pending", "Flagged", "Banned", "Deleted"]
    rows = [{"version": f"{n}.0", "status": f"NodeVersionStatus{state}"} for n, state in enumerate(states)]
    stand_in.put("/nodes/p/versions", [*rows, {"version": "9", "status": "New"}, {"no": 1}, 7])
    found = registry.versions("p").found or ()
    assert [version.state.value for version in found] == [*map(str.lower, states), "unknown"]
    assert [version.state.refused for version in found] == [False, False, False, True, True, False]
    query = parse_qs(urlsplit(stand_in.asked[0][1]).query)
    assert query["statuses"] == [f"NodeVersionStatus{state}" for state in states]


def test_many_versions_go_in_slices_of_a_thousand(stand_in: StandIn, registry: Registry) -> None:
    stand_in.put("/bulk/nodes/versions", {"node_versions": []}, method="POST")
    sights = registry.version_states([*(("p", str(n)) for n in range(1001)), ("too", "x" * 201), ("p", "0")])
    assert [len(body["node_versions"]) for _, _, body in stand_in.asked] == [1000, 1]
    assert len(sights) == 1002 and sights["too", "x" * 201] == Sight()
    assert sights["p", "0"].trouble is not None, "an answer that leaves it out is no answer"


def test_the_classes_of_all_pages_are_gathered(stand_in: StandIn, registry: Registry) -> None:
    stand_in.put(
        "/nodes/p/versions/1/comfy-nodes", {"comfy_nodes": [{"comfy_node_name": "A"}], "totalNumberOfPages": 3}
    )
    assert registry.classes("p", "1") == Sight(frozenset({"A"}))
    assert [parse_qs(urlsplit(target).query)["page"] for _, target, _ in stand_in.asked] == [["1"], ["2"], ["3"]]


# --- the third answer -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, {"message": "x"}), (401, {}), (200, b"<html>login</html>"), (200, [1]), (200, {"id": 7}), (200, None)],
)
def test_what_is_no_answer_is_could_not_look(status: int, body: Any, stand_in: StandIn, registry: Registry) -> None:
    stand_in.put("/comfy-nodes/T/node", body, status=status)
    sight = registry.pack_of_class("T")
    assert sight.found is None and sight.trouble is not None


def test_429_is_could_not_look_and_nothing_more_is_asked(stand_in: StandIn, registry: Registry) -> None:
    stand_in.put("/comfy-nodes/T/node", {"message": "slow down"}, status=429, Retry_After="120")
    assert registry.pack_of_class("T").trouble is not None
    assert registry.pack("p").trouble is not None and registry.pack_of_class("U").trouble is not None
    assert len(stand_in.asked) == 1


def test_a_server_error_stands_for_one_question_only(stand_in: StandIn, registry: Registry) -> None:
    stand_in.put("/comfy-nodes/T/node", {}, status=502)
    assert registry.pack_of_class("T").trouble is not None
    assert registry.pack_of_class("U") == Sight()


@pytest.mark.parametrize(
    "repository",
    [
        "git@github.com:a/b.git",
        "http://github.com/a/b",
        "https://x y/z",
        "javascript:1",
        "",
        None,
        7,
        "--upload-pack=x",
    ],
)
def test_a_repository_that_cannot_be_cloned_safely_is_none(
    repository: Any, stand_in: StandIn, registry: Registry
) -> None:
    stand_in.put("/nodes/p", {"id": "p", "repository": repository})
    found = registry.pack("p").found
    assert found is not None and found.repository is None


# --- the façade -------------------------------------------------------------------------------------------------------


def uses(*types: str, **clues: PackClue) -> dict[str, list[NodeUse]]:
    def entry(node_type: str) -> NodeUse:
        return NodeUse(Use("w.json", "1", node_type, None, True), clues.get(node_type, PackClue()))

    return {node_type: [entry(node_type)] for node_type in (*types, *clues)}


@pytest.fixture
def channel(tmp_path: Path) -> Channel:
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / NODE_MAP).write_text(json.dumps({"https://github.com/a/known": [["Known"], {}]}))
    (folder / PACK_LIST).write_text(json.dumps({"custom_nodes": [{"reference": "https://github.com/a/known"}]}))
    return Channel(str(folder), web=None, cache=tmp_path / "cache")


def test_the_registry_is_only_asked_about_what_the_lists_do_not_know(
    channel: Channel, stand_in: StandIn, registry: Registry
) -> None:
    stand_in.put("/comfy-nodes/New/node", {"id": "new-pack", "repository": "https://github.com/n/new"})
    directory = PackDirectory(channel, registry)
    found = directory.owners(uses("Known", "New", "Nobodys", "workflow>Group"))
    assert found["Known"].repository == "https://github.com/a/known"
    assert found["New"].public() == {
        "id": "new-pack", "repository": "https://github.com/n/new", "version": None, "from": "registry",
    }  # fmt: skip
    nobodys = found["Nobodys"]
    assert nobodys.repository is None and nobodys.looked and "registry does not know" in nobodys.why
    assert sorted(stand_in.paths) == ["/comfy-nodes/New/node", "/comfy-nodes/Nobodys/node"]
    assert directory.messages == ()


def test_an_id_that_the_workflow_names_is_asked_for_first(
    channel: Channel, stand_in: StandIn, registry: Registry
) -> None:
    stand_in.put("/nodes/Listhelper", {"id": "listhelper", "repository": "https://github.com/d/ListHelper"})
    found = PackDirectory(channel, registry).owners(uses(Merge=PackClue("Listhelper", None, "1.2.0")))["Merge"]
    assert (found.repository, found.id, found.version) == ("https://github.com/d/ListHelper", "listhelper", "1.2.0")
    assert stand_in.paths == ["/nodes/Listhelper"]


def test_a_banned_pack_is_named_and_not_proposed(channel: Channel, stand_in: StandIn, registry: Registry) -> None:
    bad = {"id": "bad", "repository": "https://github.com/b/bad", "status": "NodeStatusBanned"}
    stand_in.put("/comfy-nodes/New/node", bad)
    found = PackDirectory(channel, registry).owners(uses("New"))["New"]
    assert (found.repository, found.id) == (None, "bad") and "taken out" in found.why


def test_an_outage_of_the_registry_is_said_and_is_not_not_found(channel: Channel) -> None:
    class Dead(PlainAsker):
        def json(self, url: str, **_: Any) -> Any:
            raise TryLater(Code.NO_CONNECTION, "cannot connect to registry.invalid")

    directory = PackDirectory(channel, Registry(Dead(), "https://registry.invalid"))
    found = directory.owners(uses("Known", "New", "Other"))
    assert found["Known"].certain and not found["New"].looked and found["New"].repository is None
    assert directory.messages == (
        "could not look 2 node types up at the Comfy registry: cannot connect to registry.invalid",
    )


def test_without_lists_nothing_is_said_to_be_unknown(tmp_path: Path) -> None:
    directory = PackDirectory(Channel(str(tmp_path / "no"), web=None, cache=tmp_path))
    found = directory.owners(uses("T", Named=PackClue(None, "a/b")))
    assert not found["T"].looked and "could not look" in found["T"].why
    assert found["Named"].repository == "https://github.com/a/b" and found["Named"].guess
    assert len(directory.messages) == 2 and all("could not look" in message for message in directory.messages)


def test_a_flood_of_unknown_types_is_bounded_and_said(channel: Channel, stand_in: StandIn, registry: Registry) -> None:
    class Silent(PlainAsker):
        def json(self, url: str, **_: Any) -> Any:
            return {"id": "p", "repository": "https://github.com/p/p"}

    directory = PackDirectory(channel, Registry(Silent(), "https://registry.invalid"))
    found = directory.owners(uses(*(f"T{n}" for n in range(MAX_QUESTIONS + 5))))
    assert sum(choice.came_from == "registry" for choice in found.values()) == MAX_QUESTIONS
    assert sum(not choice.looked for choice in found.values()) == 5
    assert "5 node types were not looked up" in directory.messages[0]


# --- what is said against a version -----------------------------------------------------------------------------------


def bulk_row(pack_id: str, version: str, status: str) -> dict[str, Any]:
    told = {"version": version, "status": f"NodeVersionStatus{status}"}
    return {"identifier": {"node_id": pack_id, "version": version}, "status": "success", "node_version": told}


def test_what_the_registry_has_against_versions_is_asked_in_one_question(
    channel: Channel, stand_in: StandIn, registry: Registry
) -> None:
    states = ["Active", "Banned", "Deleted", "Flagged", "Pending"]
    rows = [bulk_row(state.lower(), "1.0.0", state) for state in states]
    stand_in.put("/bulk/nodes/versions", {"node_versions": rows}, method="POST")
    directory = PackDirectory(channel, registry)
    said = directory.warnings({(state.lower(), "1.0.0") for state in states})
    assert {pair[0] for pair in said} == {"banned", "deleted", "flagged", "pending"}
    assert said["banned", "1.0.0"] == "banned 1.0.0 is banned at the Comfy registry"
    assert (stand_in.paths, directory.messages) == (["/bulk/nodes/versions"], ())


def test_a_version_that_could_not_be_asked_about_is_said_once_and_is_no_warning(
    channel: Channel, stand_in: StandIn, registry: Registry
) -> None:
    stand_in.put("/bulk/nodes/versions", {}, status=500, method="POST")
    directory = PackDirectory(channel, registry)
    assert directory.warnings([("a", "1.0"), ("b", "1.0")]) == {}
    (message,) = directory.messages
    assert message.startswith("could not ask the Comfy registry what it has against versions of packs: ")


def test_offline_no_version_is_asked_about(channel: Channel) -> None:
    directory = PackDirectory(channel, None)
    assert (directory.warnings([("a", "1.0")]), directory.messages) == ({}, ())
