"""Videos and sounds as ffmpeg really writes them: what ComfyUI and VideoHelperSuite call, with our reader behind it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from comfy_doctor.workflows.documents import read_document

from .drawing import node, ui

FFMPEG = shutil.which("ffmpeg")
UI = ui(node(1, "CheckpointLoaderSimple", "a ; # = é 中.safetensors"))
API = {"3": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}}}
PICTURE = ("-f", "lavfi", "-i", "color=size=16x16:duration=0.2:rate=5")
SOUND = ("-f", "lavfi", "-i", "sine=duration=0.2")
KEPT = ("-movflags", "use_metadata_tags")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed here")]


def written(path: Path, *options: str, **texts: str) -> Path:
    told = [part for key, text in texts.items() for part in ("-metadata", f"{key}={text}")]
    assert FFMPEG is not None
    command = [FFMPEG, "-v", "error", "-y", *options, *told, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode and "nknown encoder" in done.stderr:
        pytest.skip("this ffmpeg lacks the encoder")
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.parametrize(
    ("name", "container", "options"),
    [
        ("w.mp4", "mp4", (*PICTURE, *KEPT)),
        ("w.mov", "mov", (*PICTURE, *KEPT)),
        ("fast.mp4", "mp4", (*PICTURE, "-movflags", "use_metadata_tags+faststart")),
        ("w.webm", "webm", (*PICTURE, "-c:v", "libvpx")),
        ("w.mkv", "mkv", (*PICTURE, "-c:v", "mpeg4")),
        ("w.flac", "flac", SOUND),
        ("w.ogg", "ogg", (*SOUND, "-c:a", "libvorbis")),
        ("w.opus", "ogg", (*SOUND, "-c:a", "libopus")),
        ("w.mp3", "mp3", SOUND),
        ("old.mp3", "mp3", (*SOUND, "-id3v2_version", "3")),
    ],
)
def test_workflow_and_prompt_are_read_as_comfyui_has_ffmpeg_write_them(
    tmp_path: Path, name: str, container: str, options: tuple[str, ...]
) -> None:
    texts = {"prompt": json.dumps(API), "workflow": json.dumps(UI, ensure_ascii=False)}
    document = read_document(written(tmp_path / name, *options, **texts))
    assert (document.container, document.format, document.body) == (container, "ui", UI)
    alone = read_document(written(tmp_path / f"prompt_{name}", *options, prompt=json.dumps(API)))
    assert (alone.container, alone.format, alone.body) == (container, "api", API)


@pytest.mark.parametrize(
    ("name", "container", "options"),
    [
        ("w.mp4", "mp4", PICTURE),
        ("w.mov", "mov", PICTURE),
        ("w.webm", "webm", (*PICTURE, "-c:v", "libvpx")),
        ("w.mkv", "mkv", (*PICTURE, "-c:v", "mpeg4")),
        ("w.mp3", "mp3", SOUND),
    ],
)
def test_a_comment_of_videohelpersuite_is_read(
    tmp_path: Path, name: str, container: str, options: tuple[str, ...]
) -> None:
    comment = json.dumps({"prompt": json.dumps(API), "workflow": UI})
    document = read_document(written(tmp_path / name, *options, comment=comment))
    assert (document.container, document.format, document.body) == (container, "ui", UI)


@pytest.mark.parametrize("name", ["w.mp4", "w.mov", "w.mkv", "w.flac"])
def test_a_large_workflow_is_read_whole(tmp_path: Path, name: str) -> None:
    large = ui(*(node(number, "CLIPTextEncode", "word " * 10) for number in range(700)))
    options = SOUND if name.endswith("flac") else (*PICTURE, "-c:v", "mpeg4", *(() if name.endswith("mkv") else KEPT))
    text = json.dumps(large)
    assert len(text) > 65536  # beyond the short sizes of QuickTime and of one Ogg page; below an argument's limit
    assert read_document(written(tmp_path / name, *options, workflow=text)).body == large


def test_a_video_without_a_workflow_is_none(tmp_path: Path) -> None:
    document = read_document(written(tmp_path / "w.mp4", *PICTURE, title="a cat {x}"))
    assert (document.format, document.error, document.failed) == ("not_a_workflow", None, False)
