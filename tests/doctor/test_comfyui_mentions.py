"""Models that prompts speak of, and names in Lora Manager lists: without extension, often without their subfolder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from comfy_doctor.comfyui.install import Install
from comfy_doctor.comfyui.mentions import look_up_mention
from comfy_doctor.comfyui.server import Listing, Server
from comfy_doctor.comfyui.shelves import Inventory, Lookup, State
from comfy_doctor.needs import Mention, Use
from tests.doctor.comfyui_server import place


def look(root: Path, kind: Literal["lora", "embedding"], name: str, server: Server | None = None) -> Lookup:
    mention = Mention(kind, name, Use("w.json", "1", "CLIPTextEncode", None, active=True))
    return look_up_mention(Inventory(Install(root)), mention, server)


@pytest.mark.parametrize(
    ("kind", "here", "name", "state"),
    [
        ("lora", "loras/a.safetensors", "a", State.PRESENT),
        ("lora", "loras/style/a.v1.safetensors", "a.v1", State.PRESENT),
        ("lora", "loras/style/a.safetensors", "style\\a", State.PRESENT),
        ("lora", "loras/a.safetensors", "a.safetensors", State.PRESENT),
        ("lora", "loras/a.safetensors", "A", State.ELSEWHERE),
        ("lora", "loras/ab.safetensors", "a", State.MISSING),
        ("lora", "embeddings/a.safetensors", "a", State.MISSING),
        ("embedding", "embeddings/a.pt", "a", State.PRESENT),
        ("embedding", "embeddings/sub/a.pt", "sub/a", State.PRESENT),
        ("embedding", "embeddings/sub/a.pt", "a", State.ELSEWHERE),
    ],
)
def test_a_mention_is_looked_up_as_it_is_read(
    tmp_path: Path, kind: Literal["lora", "embedding"], here: str, name: str, state: State
) -> None:
    path = place(tmp_path / "models" / here)
    found = look(tmp_path, kind, name)
    assert found.state is state
    assert found.path == (None if state is State.MISSING else path)
    assert found.relink == (
        str(path.relative_to(tmp_path / "models" / f"{kind}s")) if state is State.ELSEWHERE else None
    )


def test_what_a_server_lists_of_mentions_counts(tmp_path: Path) -> None:
    folders = {"loras": Listing(("style\\a.safetensors",))}
    server = Server("http://x", folders=folders, embeddings=frozenset({"neg"}))
    assert look(tmp_path, "lora", "a", server).listed is True
    assert look(tmp_path, "embedding", "neg", server).state is State.PRESENT
    path = place(tmp_path / "models/embeddings/mine.pt")
    here = look(tmp_path, "embedding", "mine", server)
    assert (here.state, here.listed, here.path) == (State.ELSEWHERE, False, path)


def test_a_server_that_was_not_heard_decides_nothing(tmp_path: Path) -> None:
    place(tmp_path / "models/embeddings/mine.pt")
    deaf = Server("http://x", unanswered=("/embeddings",))
    assert look(tmp_path, "embedding", "mine", deaf).state is State.PRESENT
    assert look(tmp_path, "lora", "a", deaf).listed is None
