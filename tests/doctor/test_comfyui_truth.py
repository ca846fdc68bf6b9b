"""Server and disk compared, with the recordings of two real servers as the oracle (Show 4)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_doctor.comfyui.causes import Relation
from comfy_doctor.comfyui.extra_paths import ExtraRoot
from comfy_doctor.comfyui.install import Install
from comfy_doctor.comfyui.server import Listing, Server
from comfy_doctor.comfyui.shelves import Cause, Inventory, Lookup, State
from comfy_doctor.comfyui.truth import Truth
from comfy_doctor.needs import FolderFrom, Need, Use
from comfy_doctor.workflows.node_classes import NodeClass, Widget
from tests.doctor.comfyui_server import (
    CORE_SUFFIXES,
    RECORDED_BASE,
    VERSIONS,
    ComfyUI,
    needs_recordings,
    place,
    place_probes,
    read,
    recording,
)

posix = pytest.mark.skipif(os.sep != "/", reason="the slash of this system is the other one")


def need(folder: str | None, name: str, node_type: str, input_name: str | None, **more: object) -> Need:
    use = Use("w.json", "1", node_type, input_name, active=True, written=str(more.pop("written", name)))
    return Need(folder, name.replace("\\", "/"), (use,), **more)  # type: ignore[arg-type]


def both(install: Install, server: Server | None, wanted: Need) -> Lookup:
    disk = Inventory(install).look_up(wanted.folder, wanted.name, written=wanted.uses[0].written)
    return Truth(install, server).look_up(wanted, disk)


# Show 4: the recordings are the oracle


@pytest.fixture(scope="module", params=VERSIONS)
def probed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path, Server]]:
    if not recording(request.param, "models"):
        pytest.skip("no recorded servers")
    base = tmp_path_factory.mktemp("ComfyUI")
    place_probes(request.param, base)
    with ComfyUI(request.param, base=base) as comfyui:
        yield request.param, base, read(comfyui)


def measured(version: str) -> Iterator[tuple[str, str, str, str]]:
    """(node type, input, folder, listed name) of every probe that the real server offered in a combo."""
    for key, listed in recording(version, "input_to_folder").items():
        node_type, _, name = key.partition(".")
        folder = listed["folders"][0].replace("diffusersdir", "diffusers")
        for sample in listed["sample"]:
            if "zzprobe" in sample:
                yield node_type, name, folder, sample


@needs_recordings
@pytest.mark.parametrize("version", VERSIONS)
def test_show_4_the_disk_is_searched_where_the_real_server_searched(version: str) -> None:
    install = Install(Path(RECORDED_BASE))
    for entry in recording(version, "experiment_models"):
        if entry["name"] != "datasets":
            assert [str(root) for root in install.roots(entry["name"])] == entry["folders"], entry["name"]


def test_show_4_every_combo_is_known_to_list_the_folder_that_was_measured(probed: tuple[str, Path, Server]) -> None:
    version, _, server = probed
    told = {}
    for node_type, name, folder, _ in measured(version):
        widget = server.widget(node_type, name)
        told[node_type, name] = (folder, widget.folder if widget else None)
    assert len(told) > 30
    assert {key: folders for key, folders in told.items() if folders[0] != folders[1]} == {}


def test_show_4_what_was_listed_is_present_for_server_and_disk(probed: tuple[str, Path, Server]) -> None:
    version, base, server = probed
    install = Install(base)
    truth, inventory = Truth(install, server), Inventory(install)
    assert truth.relation is Relation.SAME and truth.messages() == ()
    for node_type, name, folder, sample in measured(version):
        wanted = need(folder, sample, node_type, name)
        disk = inventory.look_up(folder, sample)
        found = truth.look_up(wanted, disk)
        assert disk.state is State.PRESENT, (folder, sample, disk)
        assert (found.state, found.listed, found.path) == (State.PRESENT, True, disk.path), (node_type, found)
        assert found.path is not None and found.path.exists()


def test_show_4_the_shelves_list_what_the_server_lists(probed: tuple[str, Path, Server]) -> None:
    _, base, server = probed
    inventory = Inventory(Install(base))
    for folder, listing in server.folders.items():
        if folder != "diffusers":
            assert set(inventory.shelf(folder).files) == set(listing.names or ()), folder


def test_show_4_names_and_sizes_are_those_that_were_recorded(probed: tuple[str, Path, Server]) -> None:
    version, _, server = probed
    loras = server.folders["loras"]
    assert list(loras.names or ()) == recording(version, "with_files")["/models/loras"]
    recorded = recording(version, "experiment_models_loras_with_files")
    assert loras.sizes == {entry["name"]: entry["size"] for entry in recorded}


@needs_recordings
@pytest.mark.parametrize("version", VERSIONS)
def test_show_4_a_legacy_and_a_v3_combo_of_the_recording_both_work(version: str, tmp_path: Path) -> None:
    with_files = recording(version, "with_files")
    classes = {**recording(version, "object_info")}
    for route in ("/object_info/LoraLoader", "/object_info/UpscaleModelLoader"):
        classes |= with_files[route]
    said = {"/object_info": classes, "/models/loras": with_files["/models/loras"]}
    with ComfyUI(version, said=said) as comfyui:
        server = read(comfyui)
    install = Install(tmp_path)
    for folder, node_type, name in (
        ("loras", "LoraLoader", "lora_name"),
        ("upscale_models", "UpscaleModelLoader", "model_name"),
    ):
        listed = both(install, server, need(folder, f"zz sub/zzprobe__{folder}__subdir.safetensors", node_type, name))
        assert (listed.state, listed.path, listed.listed) == (State.PRESENT, None, True)
        gone = both(install, server, need(folder, "gone.safetensors", node_type, name))
        assert (gone.state, gone.listed) == (State.MISSING, False)
        assert f"{node_type}.{name}" in gone.reason
        assert ("does not check" in gone.reason) is (version == "0.3.64" and folder == "upscale_models")


@needs_recordings
def test_a_file_that_appears_is_listed_at_the_next_look(tmp_path: Path) -> None:
    wanted = need("loras", "sub/new.safetensors", "LoraLoader", "lora_name")
    with ComfyUI("0.3.64", base=tmp_path) as comfyui:
        assert both(Install(tmp_path), read(comfyui), wanted).state is State.MISSING
        path = place(tmp_path / "models/loras/sub/new.safetensors")
        found = both(Install(tmp_path), read(comfyui), wanted)
    assert (found.state, found.path) == (State.PRESENT, path)


# What the server does not list, and why


def serving(base: Path | str, folder: str, names: tuple[str, ...], node_type: str, name: str, **more: object) -> Server:
    """A server whose one loader offers what its one folder lists."""
    told = directories_below(base)
    folders = {key: Listing((), paths) for key, paths in told.items()}
    widget = Widget(name, names, folder)
    parts: dict[str, object] = {
        "version": "0.33.0",
        "classes": {node_type: NodeClass(node_type, "nodes", (widget,))},
        "folders": {**folders, folder: Listing(names, told[folder], frozenset(CORE_SUFFIXES))},
    }
    return Server("http://127.0.0.1:8188", **{**parts, **more})  # type: ignore[arg-type]


def directories_below(base: Path | str) -> dict[str, tuple[str, ...]]:
    names = ("checkpoints", "loras", "vae", "diffusion_models")
    return {name: tuple(map(str, Install(Path(base)).roots(name))) for name in names}


LORA = ("loras", "a.safetensors", "LoraLoader", "lora_name")


def test_a_file_in_a_folder_of_another_install_is_found_and_named_so(tmp_path: Path) -> None:
    path = place(tmp_path / "ours/models/loras/a.safetensors")
    (tmp_path / "theirs/models/loras").mkdir(parents=True)
    server = serving(
        tmp_path / "theirs", "loras", (), "LoraLoader", "lora_name", argv=("main.py", "--base-directory", "/x")
    )
    install = Install(tmp_path / "ours")
    found = both(install, server, need(*LORA))
    assert (found.state, found.cause, found.path, found.listed) == (State.ELSEWHERE, Cause.WRONG_ROOT, path, False)
    assert "another install" in found.reason and "--base-directory /x" in found.reason
    (message,) = Truth(install, server).messages()
    assert "--comfyui /x" in message


def test_extra_model_paths_that_the_server_has_not_read_are_the_cause(tmp_path: Path) -> None:
    (tmp_path / "models/loras").mkdir(parents=True)
    path = place(tmp_path / "more/a.safetensors")
    install = Install(tmp_path, extra=(ExtraRoot("loras", tmp_path / "more", False),))
    found = both(install, serving(tmp_path, "loras", (), "LoraLoader", "lora_name"), need(*LORA))
    assert (found.state, found.cause, found.path) == (State.ELSEWHERE, Cause.WRONG_ROOT, path)
    assert "extra_model_paths.yaml" in found.reason and "restart" in found.reason


def test_an_output_folder_that_was_moved_is_the_cause(tmp_path: Path) -> None:
    place(tmp_path / "output/loras/a.safetensors")
    (tmp_path / "models/loras").mkdir(parents=True)
    server = serving(tmp_path, "loras", (), "LoraLoader", "lora_name")
    loras = Listing((), (str(tmp_path / "models/loras"), str(tmp_path / "far/loras")))
    moved = {**server.folders, "loras": loras}
    found = both(Install(tmp_path), Server("http://x", classes=server.classes, folders=moved), need(*LORA))
    assert found.cause is Cause.WRONG_ROOT and "output folder" in found.reason


def test_a_file_type_that_the_folder_does_not_list_is_the_cause(tmp_path: Path) -> None:
    place(tmp_path / "models/diffusion_models/flux.gguf")
    wanted = need("diffusion_models", "flux.gguf", "UNETLoader", "unet_name")
    server = serving(tmp_path, "diffusion_models", (), "UNETLoader", "unet_name")
    found = both(Install(tmp_path), server, wanted)
    assert (found.state, found.cause) == (State.ELSEWHERE, Cause.EXTENSION)
    assert ".gguf" in found.reason
    alone = both(Install(tmp_path), None, wanted)
    assert (alone.state, alone.cause, alone.listed) == (State.ELSEWHERE, Cause.EXTENSION, None)
    by_pack = both(Install(tmp_path), None, need("diffusion_models", "flux.gguf", "UnetLoaderGGUF", "unet_name"))
    assert by_pack.state is State.PRESENT
    not_loaded = both(Install(tmp_path), server, need("diffusion_models", "flux.gguf", "UnetLoaderGGUF", "unet_name"))
    assert not_loaded.state is State.PRESENT, "its loader is missing, not the file"


def test_a_pack_that_registered_the_folder_anew_is_the_cause(tmp_path: Path) -> None:
    place(tmp_path / "models/loras/a.safetensors")
    (tmp_path / "models/vae").mkdir()
    server = serving(tmp_path, "loras", (), "LoraLoader", "lora_name")
    anew = {**server.folders, "loras": Listing((), (str(tmp_path / "models/pack_loras"),))}
    found = both(Install(tmp_path), Server("http://x", classes=server.classes, folders=anew), need(*LORA))
    assert (found.state, found.cause) == (State.ELSEWHERE, Cause.REGISTERED_ANEW)
    assert "pack_loras" in found.reason


def test_a_link_that_came_after_the_list_is_the_cause(tmp_path: Path) -> None:
    target = place(tmp_path / "disk/a.safetensors")
    link = tmp_path / "models/loras/a.safetensors"
    link.parent.mkdir(parents=True)
    link.symlink_to(target)
    found = both(Install(tmp_path), serving(tmp_path, "loras", (), "LoraLoader", "lora_name"), need(*LORA))
    assert (found.state, found.cause, found.path) == (State.ELSEWHERE, Cause.STALE_LIST, link)
    assert "restart" in found.reason


def test_a_linked_models_folder_is_the_folder_that_the_server_searches(tmp_path: Path) -> None:
    place(tmp_path / "disk/loras/a.safetensors")
    (tmp_path / "models").symlink_to(tmp_path / "disk")
    install = Install(tmp_path)
    server = serving(tmp_path, "loras", (), "LoraLoader", "lora_name")
    real = {**server.folders, "loras": Listing((), (str(tmp_path / "disk/loras"),))}
    found = both(install, Server("http://x", classes=server.classes, folders=real), need(*LORA))
    assert found.cause is Cause.STALE_LIST


def test_a_server_that_names_its_folders_by_a_link_searches_their_target(tmp_path: Path) -> None:
    place(tmp_path / "real/models/loras/a.safetensors")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    install, server = Install(tmp_path / "real"), serving(tmp_path / "link", "loras", (), "LoraLoader", "lora_name")
    assert Truth(install, server).relation is Relation.SAME
    assert both(install, server, need(*LORA)).cause is Cause.STALE_LIST


def test_a_loader_that_offers_less_than_its_folder_is_the_cause(tmp_path: Path) -> None:
    place(tmp_path / "models/loras/a.safetensors")
    server = serving(tmp_path, "loras", ("a.safetensors",), "LoraLoader", "lora_name")
    picky = {"LoraLoader": NodeClass("LoraLoader", "nodes", (Widget("lora_name", ("b.safetensors",), "loras"),))}
    found = both(Install(tmp_path), Server("http://x", classes=picky, folders=server.folders), need(*LORA))
    assert (found.state, found.cause) == (State.ELSEWHERE, Cause.LOADER)


# What the server lists and this disk does not have


def test_what_a_far_server_lists_is_present_without_a_path(tmp_path: Path) -> None:
    (tmp_path / "models/loras").mkdir(parents=True)
    server = serving("/mnt/far/ComfyUI", "loras", ("a.safetensors",), "LoraLoader", "lora_name")
    install = Install(tmp_path)
    found = both(install, server, need(*LORA))
    assert (found.state, found.path, found.listed) == (State.PRESENT, None, True)
    assert "not this one" in found.reason
    (message,) = Truth(install, server).messages()
    assert "another machine or in a container" in message and "/mnt/far/ComfyUI" in message


def test_a_far_server_without_the_file_that_is_here_is_named_as_the_cause(tmp_path: Path) -> None:
    path = place(tmp_path / "models/loras/a.safetensors")
    server = serving("/mnt/far/ComfyUI", "loras", (), "LoraLoader", "lora_name")
    found = both(Install(tmp_path), server, need(*LORA))
    assert (found.state, found.cause, found.path) == (State.ELSEWHERE, Cause.OTHER_SERVER, path)


def test_the_same_paths_at_both_ends_of_a_tunnel_are_not_the_same_disk(tmp_path: Path) -> None:
    (tmp_path / "models/loras").mkdir(parents=True)
    server = serving(tmp_path, "loras", ("theirs.safetensors",), "LoraLoader", "lora_name")
    assert Truth(Install(tmp_path), server).relation is Relation.ELSEWHERE
    place(tmp_path / "models/loras/theirs.safetensors")
    assert Truth(Install(tmp_path), server).relation is Relation.SAME


# Spelling


@pytest.mark.parametrize(
    ("listed", "written", "state"),
    [
        ("style\\a.safetensors", "style\\a.safetensors", State.PRESENT),
        ("style\\a.safetensors", "style/a.safetensors", State.ELSEWHERE),
        ("style/a.safetensors", "style\\a.safetensors", State.ELSEWHERE),
        ("Style/A.safetensors", "style/a.safetensors", State.ELSEWHERE),
        ("other/a.safetensors", "style/a.safetensors", State.ELSEWHERE),
        ("style/a .safetensors", "style/a.safetensors", State.MISSING),
    ],
)
def test_the_spelling_of_the_server_counts(listed: str, written: str, state: State, tmp_path: Path) -> None:
    server = serving("C:\\ComfyUI", "loras", (listed,), "LoraLoader", "lora_name", windows="\\" in listed)
    found = both(Install(tmp_path), server, need("loras", written, "LoraLoader", "lora_name"))
    assert found.state is state
    assert found.relink == (listed if state is State.ELSEWHERE else None)
    assert found.listed is (state is State.PRESENT)


@posix
def test_a_windows_server_may_list_this_very_file_with_its_own_slashes(tmp_path: Path) -> None:
    path = place(tmp_path / "models/loras/style/a.safetensors")
    server = serving("C:\\ComfyUI", "loras", ("style\\a.safetensors",), "LoraLoader", "lora_name", windows=True)
    found = both(Install(tmp_path), server, need("loras", "style\\a.safetensors", "LoraLoader", "lora_name"))
    assert (found.state, found.path) == (State.PRESENT, path)


def test_a_name_that_many_models_have_is_no_other_spelling(tmp_path: Path) -> None:
    server = serving(tmp_path, "loras", ("b/model.safetensors",), "LoraLoader", "lora_name")
    assert (
        both(Install(tmp_path), server, need("loras", "a/model.safetensors", "LoraLoader", "lora_name")).relink is None
    )


# Which list is asked


def test_an_input_that_nobody_named_asks_the_combos_of_its_folder(tmp_path: Path) -> None:
    stack = (Widget("on"), Widget("lora_01", ("None", "a.safetensors"), "loras"), Widget("mode", ("x",)))
    server = Server("http://x", classes={"Stack": NodeClass("Stack", "custom_nodes.s", stack)})
    assert both(Install(tmp_path), server, need("loras", "a.safetensors", "Stack", None)).listed is True
    assert both(Install(tmp_path), server, need("loras", "b.safetensors", "Stack", None)).listed is False
    assert both(Install(tmp_path), server, need(None, "x", "Stack", None)).listed is True


def test_a_guessed_folder_is_not_asked_and_an_unknown_one_stays_unknown(tmp_path: Path) -> None:
    server = serving(tmp_path, "loras", (), "LoraLoader", "lora_name")
    guessed = need("loras", "a.safetensors", "SomeLoraThing", "lora", folder_from=FolderFrom.INPUT)
    assert both(Install(tmp_path), server, guessed).listed is None
    nowhere = need(None, "a.safetensors", "Thing", "x", folder_from=FolderFrom.NOWHERE)
    assert both(Install(tmp_path), server, nowhere).state is State.UNKNOWN


def test_a_loader_without_a_list_asks_its_folder(tmp_path: Path) -> None:
    place(tmp_path / "models/loras/a.safetensors")
    told = serving(tmp_path, "loras", ("a.safetensors",), "X", "y").folders
    typed = {"TextLora": NodeClass("TextLora", "custom_nodes.t", (Widget("lora_name"),))}
    server = Server("http://x", classes=typed, folders=told)
    assert both(Install(tmp_path), server, need("loras", "a.safetensors", "TextLora", "lora_name")).listed is True
    assert both(Install(tmp_path), server, need("loras", "b.safetensors", "TextLora", "lora_name")).listed is False


def test_one_input_that_does_not_list_it_stops_a_need_of_two(tmp_path: Path) -> None:
    classes = {
        "A": NodeClass("A", "nodes", (Widget("x", ("a.safetensors",), "loras"),)),
        "B": NodeClass("B", "nodes", (Widget("x", (), "loras"),)),
    }
    uses = tuple(Use("w.json", kind, kind, "x", True, "a.safetensors") for kind in ("A", "B"))
    wanted = Need("loras", "a.safetensors", uses)
    assert both(Install(tmp_path), Server("http://x", classes=classes), wanted).state is State.MISSING


def test_what_only_bypassed_nodes_ask_for_is_looked_up_too(tmp_path: Path) -> None:
    server = serving(tmp_path, "loras", ("a.safetensors",), "LoraLoader", "lora_name")
    use = Use("w.json", "1", "LoraLoader", "lora_name", active=False, written="a.safetensors")
    assert both(Install(tmp_path), server, Need("loras", "a.safetensors", (use,))).listed is True


def test_without_a_server_the_disk_alone_decides(tmp_path: Path) -> None:
    place(tmp_path / "models/loras/a.safetensors")
    found = both(Install(tmp_path), None, need(*LORA))
    assert (found.state, found.listed, found.cause) == (State.PRESENT, None, None)
    assert Truth(Install(tmp_path)).messages() == ()
