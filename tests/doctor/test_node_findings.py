"""Which node types are here: every path to a verdict, with a server, with packs on a disk, and with neither."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from comfy_doctor.comfyui.packs import Packs, installed_packs
from comfy_doctor.comfyui.server import ManagedPack, Server
from comfy_doctor.needs import NodeUse, PackClue, Use
from comfy_doctor.node_findings import NodeFinding, node_findings
from comfy_doctor.node_packs.owners import PackChoice
from comfy_doctor.workflows.node_classes import NodeClass

FIRST, SECOND = "https://github.com/one/First-Pack", "https://github.com/two/second-pack"
NOBODY = PackChoice(why="nobody knows it")
SURE = PackChoice(FIRST, "first-pack", "2.0.0", "workflow", why="the workflow names it")
GUESS = PackChoice(FIRST, came_from="manager-map", alternatives=(SECOND,), why="a guess", guess=True)


class Lists:
    """Owners by a table; what was asked is kept."""

    def __init__(self, *, against: Mapping[tuple[str, str], str] | None = None, **choices: PackChoice) -> None:
        self.choices, self.against = choices, dict(against or {})
        self.asked: list[str] = []
        self.versions: list[list[tuple[str, str]]] = []
        self.messages: tuple[str, ...] = ()

    def owners(self, uses: Mapping[str, Sequence[NodeUse]]) -> Mapping[str, PackChoice]:
        self.asked += uses
        return {node_type: self.choices.get(node_type, NOBODY) for node_type in uses}

    def warnings(self, versions: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], str]:
        self.versions.append(sorted(versions))
        return self.against


def use(node_type: str, *, active: bool = True, workflow: str = "a.json", **clue: str | None) -> NodeUse:
    return NodeUse(Use(workflow, "1", node_type, None, active), PackClue(**clue))


def pack(root: Path, folder: str, *, types: Sequence[str] = (), drawn: Sequence[str] = (), **project: str) -> Path:
    """A pack in custom_nodes; `types` stand in its Python, `drawn` in its JavaScript."""
    place = root / folder
    place.mkdir(parents=True)
    place.joinpath("__init__.py").write_text(
        f"NODE_CLASS_MAPPINGS = {{{', '.join(f'{name!r}: None' for name in types)}}}", encoding="utf-8"
    )
    for name in drawn:
        place.joinpath(f"{name}.js").write_text(f'LiteGraph.registerNodeType("{name}", X)', encoding="utf-8")
    rows = "".join(f'{key} = "{value}"\n' for key, value in project.items() if key != "url")
    urls = f'[project.urls]\nRepository = "{project["url"]}"\n' if "url" in project else ""
    place.joinpath("pyproject.toml").write_text(f"[project]\n{rows}{urls}", encoding="utf-8")
    return place


def serving(types: Mapping[str, str] | None = None, **more: Any) -> Server:
    """A server that has KSampler and these types, each from a module."""
    modules = {"KSampler": "nodes", **(types or {})}
    classes = {name: NodeClass(name, module) for name, module in modules.items()}
    return Server("http://h", "0.33.0", classes=classes, **more)


def one(
    entry: NodeUse | list[NodeUse],
    packs: Packs | Path | None = None,
    server: Server | None = None,
    lists: Lists | None = None,
) -> NodeFinding:
    found = installed_packs([packs]) if isinstance(packs, Path) else packs or Packs()
    entries = entry if isinstance(entry, list) else [entry]
    (finding,) = node_findings(entries, found, server, lists)
    return finding


# --- ComfyUI's own ---


@pytest.mark.parametrize("node_type", ["Note", "MarkdownNote", "Reroute", "PrimitiveNode"])
def test_what_only_the_frontend_draws_is_never_asked_for(node_type: str) -> None:
    lists = Lists()
    assert [one(use(node_type), server=server, lists=lists).state for server in (None, serving())] == ["frontend"] * 2
    assert lists.asked == []


def test_a_core_type_is_core_without_a_server_and_no_list_is_asked() -> None:
    lists = Lists(KSampler=SURE)
    assert one(use("KSampler"), lists=lists).state == "core"
    assert (lists.asked, lists.versions) == ([], [])


def test_what_the_workflow_calls_core_is_core_until_a_server_says_otherwise() -> None:
    new = use("BrandNew", cnr_id="comfy-core")
    assert one(new).state == one(new, lists=Lists()).state == "core"
    finding = one(new, server=serving())
    assert (finding.state, finding.pack.id, finding.blocks) == ("missing", "comfy-core", True)
    assert "update ComfyUI" in finding.reason and "0.33.0" in finding.reason
    assert one(new, server=serving({"BrandNew": "comfy_extras.nodes_new"})).state == "core"


def test_a_core_type_that_the_server_lacks_is_of_another_version() -> None:
    finding = one(use("VAELoader"), server=serving())
    assert (finding.state, finding.pack.id) == ("missing", "comfy-core")


def test_a_core_type_that_the_server_replaces_says_by_what() -> None:
    finding = one(use("VAELoader"), server=serving(replacements={"VAELoader": "NewLoader"}))
    assert finding.state == "missing"
    assert finding.reason.startswith("ComfyUI 0.33.0 has NewLoader in its place") and "update" not in finding.reason


def test_a_type_that_the_lists_call_core_is_of_another_version_of_comfyui() -> None:
    lists = Lists(Old=PackChoice(id="comfy-core", why="another version brings it"))
    assert (one(use("Old"), lists=lists).state, one(use("Old"), lists=lists).reason) == (
        "core",
        "another version brings it",
    )
    assert one(use("Old"), server=serving(), lists=lists).state == "missing"


def test_a_core_name_that_a_pack_has_taken_over_is_that_packs(tmp_path: Path) -> None:
    finding = one(use("VAELoader"), server=serving({"VAELoader": "custom_nodes.Taker"}))
    assert (finding.state, finding.reason) == ("installed", "the server has it from Taker")


def test_a_server_that_does_not_tell_its_classes_decides_nothing() -> None:
    mute = Server("http://h", "0.33.0")
    assert one(use("KSampler"), server=mute).state == "core"
    assert one(use("New", cnr_id="comfy-core"), server=mute).state == "core"
    assert one(use("Mystery"), server=mute, lists=Lists()).state == "unknown"


# --- a server's packs ---


def test_what_the_server_has_from_a_pack_is_installed_with_the_pack_that_it_is_from(tmp_path: Path) -> None:
    server = serving({"T": "custom_nodes.second-pack"})
    finding = one(use("T"), server=server, lists=Lists(T=GUESS))
    assert (finding.state, finding.pack.repository, finding.pack.guess) == ("installed", SECOND, False)
    assert finding.pack.alternatives == (FIRST,) and finding.folder is None
    here = pack(tmp_path, "second-pack")
    assert one(use("T"), tmp_path, server, Lists(T=GUESS)).folder == here


def test_the_servers_manager_tells_the_pack_of_a_folder_with_another_name() -> None:
    server = serving({"T": "custom_nodes.odd"}, packs=(ManagedPack("odd", "second-pack", None, "1.0", True),))
    finding = one(use("T"), server=server, lists=Lists(T=GUESS))
    assert (finding.state, finding.pack.repository) == ("installed", SECOND)


def test_a_servers_pack_whose_name_says_nothing_leaves_the_lists_word() -> None:
    finding = one(use("T"), server=serving({"T": "custom_nodes.odd"}), lists=Lists(T=GUESS))
    assert (finding.state, finding.pack) == ("installed", GUESS)


def test_what_no_server_and_no_list_knows_is_missing_because_the_server_knows() -> None:
    finding = one(use("T"), server=serving(), lists=Lists())
    assert (finding.state, finding.pack.public(), finding.blocks) == ("missing", None, True)
    assert "nobody knows" in finding.reason


def test_a_pack_that_lies_there_and_is_not_loaded_needs_a_restart(tmp_path: Path) -> None:
    here = pack(tmp_path, "First-Pack")
    finding = one(use("T"), tmp_path, serving(), Lists(T=SURE))
    assert (finding.state, finding.folder) == ("missing", here)
    assert "not loaded" in finding.reason and "restart" in finding.reason


def test_a_loaded_pack_that_lacks_the_type_is_updated_and_not_installed_again(tmp_path: Path) -> None:
    server = serving({"Other": "custom_nodes.First-Pack"})
    finding = one(use("T"), server=server, lists=Lists(T=SURE))
    assert finding.state == "missing" and finding.reason.endswith("lacks this type: update it")
    here = pack(tmp_path, "First-Pack", types=["T"])
    broken = one(use("T"), tmp_path, server, Lists(T=SURE))
    assert (broken.state, broken.folder) == ("missing", here)
    assert "read its log" in broken.reason, "its code has the type: it failed when it was loaded"


def test_a_type_that_a_loaded_packs_scripts_register_is_installed(tmp_path: Path) -> None:
    pack(tmp_path, "First-Pack", drawn=["Drawn"])
    server = serving(scripts={"First-Pack": ("Drawn.js",)})
    finding = one(use("Drawn"), tmp_path, server, Lists(Drawn=SURE))
    assert (finding.state, finding.folder) == ("installed", tmp_path / "First-Pack")
    assert "scripts" in finding.reason


@pytest.mark.parametrize(
    ("node_type", "folder"), [("SetNode", "comfyui-kjnodes"), ("easy getNode", "ComfyUI-Easy-Use")]
)
def test_a_type_that_is_known_to_be_drawn_needs_no_pack_on_this_disk(node_type: str, folder: str) -> None:
    assert one(use(node_type), server=serving(scripts={folder: ("js/x.js",)}), lists=Lists()).state == "installed"
    assert one(use(node_type), server=serving(), lists=Lists()).state == "missing"


def test_a_loaded_pack_with_scripts_leaves_open_a_type_that_no_list_calls_a_class() -> None:
    server = serving(scripts={"First-Pack": ("js/x.js",)})
    finding = one(use("T"), server=server, lists=Lists(T=SURE))
    assert (finding.state, finding.blocks) == ("unknown", False)
    listed = PackChoice(FIRST, came_from="manager-map")
    assert one(use("T"), server=server, lists=Lists(T=listed)).state == "missing", "the map knows its Python class"


def test_what_the_servers_manager_has_switched_off_is_said_to_be() -> None:
    server = serving(packs=(ManagedPack("First-Pack", "first-pack", FIRST, "1", False),))
    finding = one(use("T"), server=server, lists=Lists(T=SURE))
    assert (finding.state, finding.reason) == (
        "missing",
        "its pack First-Pack is switched off: switch it on in ComfyUI-Manager",
    )


# --- the disk alone ---


def test_a_pack_under_another_folder_name_is_known_by_its_project_or_its_code(tmp_path: Path) -> None:
    by_name = pack(tmp_path / "a", "mine", name="first-pack", url=FIRST)
    by_code = pack(tmp_path / "b", "First-Pack-main", types=["T"])
    for root, folder in ((tmp_path / "a", by_name), (tmp_path / "b", by_code)):
        finding = one(use("T"), root, lists=Lists(T=SURE))
        assert (finding.state, finding.folder) == ("installed", folder)


def test_the_installed_one_of_several_packs_wins_over_the_guess(tmp_path: Path) -> None:
    here = pack(tmp_path, "second-pack")
    finding = one(use("T"), tmp_path, lists=Lists(T=GUESS))
    assert (finding.state, finding.folder) == ("installed", here)
    assert (finding.pack.repository, finding.pack.guess, finding.pack.alternatives) == (SECOND, False, (FIRST,))


def test_a_guess_that_is_installed_is_a_guess_no_more(tmp_path: Path) -> None:
    pack(tmp_path, "First-Pack", name="first-pack")
    finding = one(use("T"), tmp_path, lists=Lists(T=GUESS))
    assert (finding.state, finding.pack.repository, finding.pack.id) == ("installed", FIRST, "first-pack")
    assert not finding.pack.guess


def test_a_certain_choice_is_not_outdone_by_a_pack_that_only_resembles_it(tmp_path: Path) -> None:
    pack(tmp_path, "second-pack")
    sure = PackChoice(FIRST, came_from="manager-map", alternatives=(SECOND,))
    assert one(use("T"), tmp_path, lists=Lists(T=sure)).state == "missing"


def test_a_fork_whose_code_registers_the_type_is_enough_and_is_shown(tmp_path: Path) -> None:
    here = pack(tmp_path, "fork", types=["T"], name="a-fork", url="https://github.com/me/fork")
    finding = one(use("T"), tmp_path, lists=Lists(T=PackChoice(FIRST, came_from="manager-map")))
    assert (finding.state, finding.folder, finding.pack.repository) == ("installed", here, "https://github.com/me/fork")
    assert finding.pack.alternatives == (FIRST,)


@pytest.mark.parametrize("place", [".disabled/first-pack@1_0", "First-Pack.disabled"])
def test_a_pack_that_is_switched_off_is_missing_and_the_next_step_is_the_switch(tmp_path: Path, place: str) -> None:
    here = pack(tmp_path, place)
    finding = one(use("T"), tmp_path, lists=Lists(T=SURE))
    assert (finding.state, finding.folder) == ("missing", here) and "switch it on" in finding.reason


def test_an_enabled_pack_that_brings_the_type_outdoes_a_switched_off_one_of_the_right_name(tmp_path: Path) -> None:
    pack(tmp_path, "First-Pack.disabled", types=["T"])
    here = pack(tmp_path, "fork", types=["T"])
    finding = one(use("T"), tmp_path, lists=Lists(T=SURE))
    assert (finding.state, finding.folder) == ("installed", here)


def test_an_older_release_whose_code_does_not_show_the_type_leaves_it_open(tmp_path: Path) -> None:
    here = pack(tmp_path / "old", "First-Pack", name="first-pack", version="1.9.9")
    finding = one(use("T"), tmp_path / "old", lists=Lists(T=SURE))
    assert (finding.state, finding.folder) == ("unknown", here)
    assert "1.9.9 here and 2.0.0 in the workflow" in finding.reason and "update" in finding.reason
    pack(tmp_path / "shows", "First-Pack", name="first-pack", version="1.9.9", types=["T"])
    pack(tmp_path / "new", "First-Pack", name="first-pack", version="2.0.0")
    pack(tmp_path / "untold", "First-Pack", name="first-pack", version="nightly")
    pack(tmp_path / "namesake", "First-Pack", name="quite-another", version="1.0.0")
    for place in ("shows", "new", "untold", "namesake"):
        assert one(use("T"), tmp_path / place, lists=Lists(T=SURE)).state == "installed", place


def test_code_is_read_only_where_names_do_not_decide_it(tmp_path: Path) -> None:
    pack(tmp_path, "First-Pack")

    class Watched(Packs):
        def find_types(self, types: Any) -> Any:
            raise AssertionError(types)

    found = installed_packs([tmp_path])
    watched = Watched(True, found.packs)
    assert one(use("T"), watched, lists=Lists(T=SURE)).state == "installed"
    assert one(use("T"), watched, serving({"T": "custom_nodes.elsewhere"})).state == "installed"


def test_a_pack_that_is_nowhere_is_missing_with_its_repository(tmp_path: Path) -> None:
    tmp_path.joinpath("custom_nodes").mkdir()
    finding = one(use("T"), tmp_path / "custom_nodes", lists=Lists(T=GUESS))
    assert (finding.state, finding.pack, finding.folder) == ("missing", GUESS, None)


def test_what_nobody_knows_is_unknown_and_stops_nothing() -> None:
    finding = one(use("T"), lists=Lists())
    assert (finding.state, finding.reason, finding.blocks) == ("unknown", "nobody knows it", False)


def test_custom_nodes_that_cannot_be_read_leave_everything_open() -> None:
    shut = Packs(read=False)
    assert one(use("T"), shut, lists=Lists(T=SURE)).state == "unknown"
    assert one(use("T"), shut, serving(), Lists(T=SURE)).state == "missing", "the server knows"


# --- no lists, several uses ---


def test_without_lists_the_workflows_own_word_is_all_there_is() -> None:
    finding = one(use("T", cnr_id="first-pack", aux_id="one/First-Pack", version="1.0"))
    assert (finding.state, finding.pack.public()) == (
        "missing",
        {"id": "first-pack", "repository": FIRST, "version": "1.0", "from": "workflow"},
    )
    assert (one(use("T")).state, one(use("T")).reason) == ("unknown", "no list and no server was asked")


def test_one_type_is_one_finding_whoever_names_its_pack(tmp_path: Path) -> None:
    pack(tmp_path, "First-Pack")
    entries = [use("T", workflow="a"), use("T", workflow="b", aux_id="one/First-Pack"), use("T", workflow="c")]
    finding = one(entries, tmp_path)
    assert (finding.state, [entry.use.workflow for entry in finding.uses]) == ("installed", ["a", "b", "c"])


def test_the_pack_that_the_workflow_names_is_enough_where_it_is_here(tmp_path: Path) -> None:
    here = pack(tmp_path, "second-pack")
    finding = one(use("T", cnr_id="second-pack"), tmp_path, lists=Lists(T=SURE))
    assert (finding.state, finding.folder) == ("installed", here)


def test_a_type_that_only_muted_nodes_use_is_missing_and_stops_nothing() -> None:
    muted = one(use("T", active=False), lists=Lists(T=SURE))
    assert (muted.state, muted.active, muted.blocks) == ("missing", False, False)
    both = one([use("T", active=False), use("T")], lists=Lists(T=SURE))
    assert (both.active, both.blocks) == (True, True)


def test_findings_come_in_the_order_of_the_nodes() -> None:
    found = node_findings([use("T"), use("KSampler"), use("Note"), use("T")], Packs())
    assert [finding.type for finding in found] == ["T", "KSampler", "Note"]


# --- the registry's word on a version ---


def test_a_version_that_would_be_installed_is_asked_about_once_and_its_ban_is_shown() -> None:
    lists = Lists(T=SURE, U=SURE, against={("first-pack", "2.0.0"): "it is banned"})
    found = node_findings([use("T"), use("U"), use("KSampler")], Packs(), None, lists)
    assert lists.versions == [[("first-pack", "2.0.0")]]
    assert [finding.public()["warnings"] for finding in found] == [["it is banned"], ["it is banned"], []]


def test_no_registry_is_asked_about_a_pack_that_is_here_or_about_a_commit(tmp_path: Path) -> None:
    pack(tmp_path, "First-Pack")
    commit = PackChoice(SECOND, "second-pack", "0123456789abcdef0123456789abcdef01234567", "workflow")
    lists = Lists(T=SURE, U=commit)
    node_findings([use("T"), use("U")], installed_packs([tmp_path]), None, lists)
    assert lists.versions == []


def test_every_finding_has_its_next_step(tmp_path: Path) -> None:
    pack(tmp_path / "off", "First-Pack.disabled")
    pack(tmp_path / "old", "First-Pack", name="first-pack", version="1.0.0")
    pack(tmp_path / "here", "First-Pack")
    lists = Lists(T=SURE)
    loaded = serving({"Other": "custom_nodes.First-Pack"})
    steps = {
        "install": one(use("T"), lists=lists),
        "enable": one(use("T"), tmp_path / "off", lists=lists),
        "update": one(use("T"), tmp_path / "old", lists=lists),
        "restart": one(use("T"), tmp_path / "here", serving(), lists),
        "update_comfyui": one(use("VAELoader"), server=serving()),
        "replace": one(use("VAELoader"), server=serving(replacements={"VAELoader": "KSampler"})),
        None: one(use("T"), server=serving(), lists=Lists()),
    }
    assert {finding.remedy for finding in steps.values()} == steps.keys()
    assert [finding.remedy for finding in steps.values()] == list(steps)
    assert one(use("T"), server=loaded, lists=lists).remedy == "update"
    assert one(use("T"), tmp_path / "off", serving(), lists).remedy == "enable"
    assert one(use("T"), server=serving(), lists=lists).remedy == "install"
    assert one(use("T"), tmp_path / "here", lists=lists).remedy is None
