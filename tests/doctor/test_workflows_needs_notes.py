"""Links that people write beside a graph: files become candidates, pages become hints, and texts stay texts."""

from __future__ import annotations

import time
from typing import Any

import pytest

from comfy_doctor.needs import Need
from comfy_doctor.workflows import note_links
from comfy_doctor.workflows.note_links import NOTE_CONFIDENCE, NOTE_IN_FOLDER_CONFIDENCE, links_in
from comfy_doctor.workflows.ui_graph import graph_of_ui
from comfy_doctor.workflows.wanted import merged, needs_of

from .drawing import link, model, node, subgraph, ui

HUB = "https://huggingface.co"
FILE = f"{HUB}/o/r/resolve/main/vae/a.safetensors"


def needs(text: Any, *nodes: Any, kind: str = "MarkdownNote", **more: Any) -> tuple[Need, ...]:
    drawn = nodes or (node(1, "VAELoader", "a.safetensors"),)
    return needs_of(graph_of_ui(ui(node(99, kind, text), *drawn, **more)), "w").models


def need(text: Any, *nodes: Any, **more: Any) -> Need:
    (found,) = needs(text, *nodes, **more)
    return found


def urls(text: Any, *nodes: Any, **more: Any) -> list[str]:
    return [candidate.url for candidate in need(text, *nodes, **more).candidates]


@pytest.mark.parametrize(
    "written",
    [
        FILE,
        f"{HUB}/o/r/blob/main/vae/a.safetensors",
        f"{FILE}?download=true",
        f"[a.safetensors]({FILE})",
        f"[the VAE]({FILE}).",
        f"({FILE})",
        f"<{FILE}>",
        f"**{FILE}**",
        f'[a]({FILE} "title")',
        f"get it here: {FILE}, then restart!",
        f"[{FILE}]({FILE})",
        f"下载：{FILE}。",
        f"https://hf-mirror.com/o/r/resolve/main/vae/a.safetensors?token=secret",  # noqa: F541 - in line with the others
    ],
)
def test_a_link_to_the_needed_file_is_a_candidate_however_it_is_written(written: str) -> None:
    found = need(f"# Models\n\n{written}\n")
    (candidate,) = found.candidates
    assert (candidate.url, candidate.source, candidate.filename, candidate.folder) == (
        FILE,
        "note",
        "a.safetensors",
        "vae",
    )
    assert found.hints == ()


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("https://github.com/o/r/releases/download/v1/a.safetensors", None),
        ("https://github.com/o/r/blob/main/a.safetensors", "https://github.com/o/r/raw/main/a.safetensors"),
        ("https://modelscope.cn/models/o/r/resolve/master/a.safetensors", None),
        ("https://www.modelscope.cn/models/o/r/file/view/master/sub%2Fa.safetensors?status=2",
         "https://modelscope.cn/models/o/r/resolve/master/sub/a.safetensors"),
        ("https://user:pass@host.example/a.safetensors?token=abc&x=1", "https://host.example/a.safetensors?x=1"),
        ("https://host.example/with%20space/a.safetensors", None),
    ],
)  # fmt: skip
def test_other_hosts_are_candidates_too_without_anybodys_token(written: str, url: str | None) -> None:
    assert urls(written) == [url or written]


def test_a_name_with_brackets_and_spaces_is_one_name() -> None:
    loader = node(1, "VAELoader", "my vae (1).safetensors")
    assert urls(f"[x]({HUB}/o/r/resolve/main/my%20vae%20(1).safetensors)", loader) == [
        f"{HUB}/o/r/resolve/main/my%20vae%20%281%29.safetensors"
    ]


def test_a_file_in_a_subfolder_goes_by_its_last_part() -> None:
    found = need(FILE, node(1, "VAELoader", "wan\\a.safetensors"))
    assert (found.name, found.candidates[0].filename) == ("wan/a.safetensors", "a.safetensors")


def test_a_link_to_another_file_is_no_candidate() -> None:
    assert urls(f"{HUB}/o/r/resolve/main/b.safetensors {HUB}/o/r/resolve/main/A.safetensors") == []


def test_the_folder_named_beside_a_link_makes_it_surer() -> None:
    for text in (f"**VAE**\n- [a]({FILE})", f"put into ComfyUI/models/vae/: {FILE}", f"vae\n\n{FILE}"):
        assert need(text).best.confidence == NOTE_IN_FOLDER_CONFIDENCE  # type: ignore[union-attr]
    assert need(f"**LoRA**\n{FILE}").best.confidence == NOTE_CONFIDENCE  # type: ignore[union-attr]
    assert need(FILE).best.confidence == NOTE_CONFIDENCE  # type: ignore[union-attr]


def test_the_folder_named_beside_a_link_tells_two_files_of_one_name_apart() -> None:
    whole, part = f"{HUB}/o/whole/resolve/main/x.safetensors", f"{HUB}/o/part/resolve/main/x.safetensors"
    text = f"**Checkpoints**\n{whole}\n\n**Diffusion models**\n{part}"
    loaders = node(1, "CheckpointLoaderSimple", "x.safetensors"), node(2, "UNETLoader", "x.safetensors")
    found = {entry.folder: [c.url for c in entry.candidates] for entry in needs(text, *loaders)}
    assert found == {"checkpoints": [whole], "diffusion_models": [part]}


def test_a_link_that_the_metadata_has_already_is_no_second_candidate() -> None:
    stated = {"models": [model("a.safetensors", "vae", FILE)]}
    assert urls(f"{FILE}?download=true", node(1, "VAELoader", "a.safetensors", properties=stated)) == [FILE]


def test_pages_are_hints_in_their_order_and_once() -> None:
    text = (
        f"Model: [here](https://civitai.com/models/12/x?modelVersionId=34) or urn:air:sdxl:lora:civitai:12@34, "
        f"repo {HUB}/o/r, {HUB}/o/r and docs https://example.org/page, code https://github.com/o/r"
    )
    assert need(text).hints == (
        "https://civitai.com/models/12/x?modelVersionId=34",
        "urn:air:sdxl:lora:civitai:12@34",
        f"{HUB}/o/r",
    )


def test_a_file_that_nothing_needs_is_a_hint_of_its_repository() -> None:
    other = f"{HUB}/o/r/resolve/main/other.safetensors"
    assert need(other.replace("resolve", "blob")).hints == (other,)


def test_hints_are_bounded() -> None:
    assert len(need(" ".join(f"{HUB}/o/r{number}" for number in range(80))).hints) == note_links.MAX_HINTS


@pytest.mark.parametrize(("kind", "mode"), [("Note", 0), ("Note", 4), ("Note Plus (mtb)", 0), ("Label (rgthree)", 0)])
def test_every_kind_of_note_counts_even_a_muted_one(kind: str, mode: int) -> None:
    assert urls("", node(1, "VAELoader", "a.safetensors"), node(2, kind, FILE, mode=mode)) == [FILE]


def test_the_parameters_of_a_downloader_are_hints_and_candidates() -> None:
    text = f"vae\n{FILE}\nloras\n{HUB}/o/r/resolve/main/l.safetensors"
    found = need(text, kind="ModelDownloader")
    assert [candidate.url for candidate in found.candidates] == [FILE]
    assert found.hints == (f"{HUB}/o/r/resolve/main/l.safetensors",)


def test_descriptions_beside_the_graph_count() -> None:
    assert urls("", extra={"info": {"description": FILE}}) == [FILE]
    assert urls("", description=FILE) == [FILE]


def test_prompts_and_other_texts_do_not_count() -> None:
    assert urls("", node(1, "VAELoader", "a.safetensors"), node(2, "CLIPTextEncode", FILE)) == []


def test_a_note_inside_a_subgraph_counts() -> None:
    inside = subgraph("inside", node(5, "MarkdownNote", FILE), links=[link(1, -10, 5)])
    assert urls("", node(1, "VAELoader", "a.safetensors"), node(2, "inside"), subgraphs=[inside]) == [FILE]


def test_hints_and_candidates_of_two_workflows_are_merged_once() -> None:
    one, two = (need(f"{FILE} {HUB}/o/{repo}") for repo in ("x", "y"))
    (both,) = merged([one, two, one])
    assert both.hints == (f"{HUB}/o/x", f"{HUB}/o/y")
    assert [candidate.url for candidate in both.candidates] == [FILE]


def test_a_stated_digest_is_kept_for_the_consensus_and_merged_once() -> None:
    stated = {"models": [model("a.safetensors", "vae", FILE, hash="AB" * 32, hash_type="SHA256")]}
    found = need("", node(1, "VAELoader", "a.safetensors", properties=stated))
    assert [(entry.sha256, entry.by) for entry in found.stated] == [("ab" * 32, "the node's metadata")]
    (both,) = merged([found, found])
    assert both.stated == found.stated


def test_metadata_whose_url_leads_to_another_name_is_less_sure_than_a_note_that_names_the_file() -> None:
    """Seen in the official template image_moss_image_t2i_bboxes: the metadata links to the sister of its file."""
    stated = {"models": [model("a.safetensors", "vae", f"{HUB}/o/r/resolve/main/sister.safetensors")]}
    found = need(FILE, node(1, "VAELoader", "a.safetensors", properties=stated))
    assert found.best is not None
    assert found.best.url == FILE


@pytest.mark.parametrize(
    "text",
    ["https://", "https://[::1", "http://[", "https://huggingface.co/", "urn:air:", "https://a b", "(((https://x.y/z",
     "https://huggingface.co/o/r/resolve/main/"],
)  # fmt: skip
def test_broken_links_break_nothing(text: str) -> None:
    assert urls(text) == []


def test_a_hostile_note_costs_little() -> None:
    start = time.process_time()
    list(links_in("https://a." + "(" * 400_000))
    list(links_in("https://a.b/x " * 30_000))
    list(links_in("models/" * 60_000))
    list(links_in("*" * 70 + "a" * 400_000))
    assert time.process_time() - start < 3
