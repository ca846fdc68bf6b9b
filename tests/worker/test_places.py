"""Names and folders from outside: what may become a file name here, and what must not."""

from __future__ import annotations

import json
import time
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from download_worker.errors import Code, Refused
from download_worker.jobs.places import (
    ALIASES,
    FOLDERS,
    MAX_NAME_BYTES,
    canonical_folder,
    safe_filename,
    safe_subfolder,
    target_path,
)

ORACLE = Path(__file__).parents[3] / "shared/corpus/ORACLE.json"
ROOT = Path("/srv/ComfyUI/models")
BAD_ENDS = {"space": "x ", "dot": "x.", "dots": "..", "only a dot": ".", "slash": "x/", "backslash": "x\\"}
BAD_ANYWHERE = {
    "traversal": "../x",
    "absolute": "/etc/x",
    "backslash": "a\\b",
    "drive": "C:x",
    "stream": "x:ads",
    "nul": "x\0",
    "newline": "x\n",
    "escape": "x\x1b[2J",
    "leading dot": ".git",
    "leading dash": "-rf",
    "leading space": " x",
    "leading tilde": "~x",
    "right to left": "x\u202etp",
    "zero width": "x\u200b",
    "line separator": "x\u2028",
    "decomposed": "e\u0301",
    "another letter in normal form": "\u2126",
    "compatibility slash": "a\u2215b",
    "full-width dots": "\uff0e\uff0e",
    "wildcard": "x*",
    "quote": 'x"',
    "pipe": "x|y",
    "redirect": "x>y",
    "dollar": "$(x)",
    "backtick": "`x`",
    "percent": "%2e%2e",
    "surrogate": "x\udcff",
    "reserved": "CON",
    "reserved with a dot": "nul.tar",
    "reserved with a space": "aux .x",
    "reserved port": "Lpt9",
    "reserved superscript": "COM¹",
    "300 bytes": "é" * 150,
}


@pytest.mark.parametrize("part", BAD_ANYWHERE.values(), ids=BAD_ANYWHERE.keys())
def test_t14_a_hostile_name_is_refused_as_a_file_and_as_a_folder(part: str) -> None:
    _refused(safe_filename, f"{part}.safetensors")
    if part != "a\\b":  # in a subfolder that is how Windows writes a slash
        _refused(safe_subfolder, part)
        _refused(safe_subfolder, f"fine/{part}")


@pytest.mark.parametrize("part", BAD_ENDS.values(), ids=BAD_ENDS.keys())
def test_t14_a_bad_end_is_refused_though_it_hides_behind_the_extension(part: str) -> None:
    _refused(safe_filename, f"model.safetensors{part.removeprefix('x')}")
    _refused(safe_subfolder, f"{part}/fine")
    _refused(safe_subfolder, f"fine/{part}")


@pytest.mark.parametrize(
    "name",
    ["x.py", "x.safetensors.py", "x.safetensors.exe", "x", "safetensors", "x.zip", "x.ckpt/", "x.json", "x.pth~"],
)
def test_t17_only_the_extension_of_a_model_makes_a_file(name: str) -> None:
    _refused(safe_filename, name)


def test_a_name_may_be_as_long_as_every_file_system_takes_in_bytes() -> None:
    suffix = ".safetensors"
    assert safe_filename("é" * ((MAX_NAME_BYTES - len(suffix)) // 2) + suffix)
    _refused(safe_filename, "é" * ((MAX_NAME_BYTES - len(suffix)) // 2 + 1) + suffix)


@pytest.mark.parametrize(
    ("asked", "found"),
    [("", ""), ("SDXL", "SDXL"), ("a/b", "a/b"), ("SDXL\\styles", "SDXL/styles"), ("a/b/c/d", "a/b/c/d")],
)
def test_a_plain_subfolder_is_taken(asked: str, found: str) -> None:
    assert safe_subfolder(asked) == found


@pytest.mark.parametrize(
    "path", ["/a", "a/", "a//b", "a/./b", "a/../b", "..\\..\\x", "C:\\x", "\\\\host\\x", "a/b/c/d/e"]
)
def test_t14_a_subfolder_cannot_leave_its_folder(path: str) -> None:
    _refused(safe_subfolder, path)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_model_folder_means_itself_in_any_case(folder: str) -> None:
    assert canonical_folder(folder) == folder
    assert canonical_folder(folder.upper()) == folder


def test_aliases_lead_to_real_folders_and_hide_none() -> None:
    assert set(ALIASES.values()) <= set(FOLDERS)
    assert not set(ALIASES) & {name.lower() for name in FOLDERS}
    assert all(alias == alias.lower() for alias in ALIASES)
    for word, folder in (("LORA", "loras"), ("VAE", "vae"), ("Controlnet", "controlnet"), ("unet", "diffusion_models")):
        assert canonical_folder(word) == folder, "Civitai's and ComfyUI's own words"


@pytest.mark.parametrize(
    "kind", ["../../custom_nodes", "custom_nodes", "", "loras/../..", "loras/", "/loras", "loras\0", "input", "configs"]
)
def test_t15_a_model_type_that_is_not_in_the_map_has_no_folder(kind: str) -> None:
    with pytest.raises(Refused) as refused:
        target_path(ROOT, kind, "", "x.safetensors")
    assert refused.value.code is Code.UNKNOWN_FOLDER


@given(
    st.sampled_from(sorted(FOLDERS)) | st.text(max_size=20),
    st.text("./\\ab-~ ", max_size=12) | st.text(max_size=12),
    st.builds("{}{}".format, st.text(max_size=12), st.sampled_from([".safetensors", ".pt", ".py", ""])),
)
def test_t14_t15_no_words_lead_out_of_the_models_root(kind: str, subfolder: str, name: str) -> None:
    try:
        target = target_path(ROOT, kind, subfolder, name)
    except Refused:
        return
    below = PurePosixPath(target).relative_to(ROOT)
    assert ".." not in below.parts
    assert below.parts[0] in {folder.split("/")[0] for folder in FOLDERS.values()}
    assert below.name == name
    assert target == target_path(ROOT, kind, subfolder, name), "asked again before promotion, it says the same"


def test_t30_the_longest_name_is_refused_in_a_blink() -> None:
    began = time.process_time()
    for text in ("a" * 1_000_000, "e\u0301" * 300_000, "." * 1_000_000, "/" * 1_000_000):
        _refused(safe_filename, text)
        _refused(safe_subfolder, text)
    assert time.process_time() - began < 1.0


@pytest.mark.skipif(not ORACLE.exists(), reason="the corpus of real workflows is not on this machine")
def test_the_names_in_real_workflows_are_taken() -> None:
    entries = json.loads(ORACLE.read_text(encoding="utf-8"))
    wanted = [
        model for entry in entries for kind in ("models_required", "models_inactive") for model in entry.get(kind, ())
    ]
    refused = set()
    for model in wanted:
        name = PurePosixPath(model["path"].replace("\\", "/"))
        parent = "" if str(name.parent) == "." else str(name.parent)
        try:
            target_path(ROOT, model["directory"] or "checkpoints", parent, name.name)
        except Refused as refusal:
            refused.add((name.name, refusal.code))
    assert len(wanted) > 100
    # Fooocus calls a pickled state dict a patch; ComfyUI itself lists no such file.
    assert refused == {("inpaint_v26.fooocus.patch", Code.UNSAFE_NAME)}


def _refused(rule: object, text: str) -> None:
    with pytest.raises(Refused) as refused:
        rule(text)  # type: ignore[operator]
    assert refused.value.code is Code.UNSAFE_NAME
    assert refused.value.message.isprintable(), "the message shows what is invisible"


def test_a_path_is_put_together_once_and_a_refusal_is_found_each_time(tmp_path: Path) -> None:
    asked = (tmp_path, "loras", "sub", "a.safetensors")
    assert target_path(*asked) is target_path(*asked) == tmp_path / "loras" / "sub" / "a.safetensors"
    for _ in range(2):
        with pytest.raises(Refused):
            target_path(tmp_path, "loras", "..", "a.safetensors")
    assert target_path(tmp_path / "other", *asked[1:]) == tmp_path / "other" / "loras" / "sub" / "a.safetensors"
