"""The install of a server on this machine, from the directories that it tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_doctor.comfyui.extra_paths import ExtraRoot
from comfy_doctor.comfyui.install import Install
from comfy_doctor.comfyui.served import install_of
from comfy_doctor.comfyui.server import Listing, Server
from tests.doctor.comfyui_server import VERSIONS, directories, needs_recordings, place


def told(version: str, base: Path, **more: object) -> Server:
    paths = {name: tuple(found) for name, found in directories(version, base).items()}
    nodes = paths.pop("custom_nodes")
    folders = {name: Listing((), found) for name, found in paths.items() if name != "datasets"}
    parts: dict[str, object] = {"folders": folders, "node_directories": nodes, "version": version}
    return Server("http://x", **{**parts, **more})  # type: ignore[arg-type]


@needs_recordings
@pytest.mark.parametrize("version", VERSIONS)
def test_a_plain_server_is_a_plain_install(version: str, tmp_path: Path) -> None:
    (tmp_path / "models/loras").mkdir(parents=True)
    assert install_of(told(version, tmp_path)) == Install(tmp_path, version)


@needs_recordings
def test_more_directories_are_extra_roots_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "models/loras").mkdir(parents=True)
    plain = told("0.33.0", tmp_path)
    own = plain.folders["loras"].directories
    loras = Listing((), (str(tmp_path / "first"), *own, str(tmp_path / "last")))
    server = told(
        "0.33.0", tmp_path, folders={**plain.folders, "loras": loras, "sams": Listing((), (str(tmp_path / "s"),))}
    )
    found = install_of(server)
    assert found is not None
    assert found.extra == (
        ExtraRoot("loras", tmp_path / "first", True),
        ExtraRoot("loras", tmp_path / "last", False),
        ExtraRoot("sams", tmp_path / "s", True),
    )
    assert [str(root) for root in found.roots("loras")] == list(loras.directories)


@needs_recordings
def test_an_output_folder_elsewhere_is_searched_as_the_server_searches_it(tmp_path: Path) -> None:
    (tmp_path / "base/models/loras").mkdir(parents=True)
    argv = ("main.py", "--base-directory", str(tmp_path / "base"), f"--output-directory={tmp_path / 'out'}")
    paths = {name: tuple(found) for name, found in directories("0.33.0", tmp_path / "base").items()}
    moved = {
        name: Listing((), tuple(path.replace(str(tmp_path / "base/output"), str(tmp_path / "out")) for path in found))
        for name, found in paths.items()
        if name not in ("custom_nodes", "datasets")
    }
    found = install_of(told("0.33.0", tmp_path / "base", folders=moved, argv=argv))
    assert found is not None
    assert (found.root, found.output, found.extra) == (tmp_path / "base", tmp_path / "out", ())
    assert found.roots("loras") == (tmp_path / "base/models/loras", tmp_path / "out/loras")
    assert found.node_roots == (tmp_path / "base/custom_nodes",)


@needs_recordings
def test_a_server_of_another_machine_gives_no_install(tmp_path: Path) -> None:
    assert install_of(told("0.33.0", tmp_path / "nowhere")) is None
    assert install_of(Server("http://x")) is None
    place(tmp_path / "models/vae/ours.safetensors")
    theirs = told("0.33.0", tmp_path)
    folders = {**theirs.folders, "vae": Listing(("theirs.safetensors",), theirs.folders["vae"].directories)}
    assert install_of(told("0.33.0", tmp_path, folders=folders)) is None
