"""How well a file is proven, and which formats need how much of it. Pure rules, and the words for them.

A digest proves that these are the bytes which somebody meant; what that is worth depends on who said it. A workflow, a
note or a search agent can name a digest as easily as a URL, so theirs only settles size and content.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Literal

from download_worker.jobs.job import ModelInfo
from download_worker.verifiers.verifier import Evidence

Proof = Literal["A", "B", "C", "D"]

CIVITAI_HASH = "civitai_hash"
# Who named the job → what its digest is worth once the bytes have it. A: read from the publisher's own API. B: vouched
# for by us, our fleet, the lists we ship with, or the person who typed it. `civitai_hash` becomes A only when Civitai
# itself says so about these bytes (see `published.py`), never because this field says so.
_DIGEST_WORTH: MappingProxyType[str, Proof] = MappingProxyType(
    {
        "huggingface": "A",
        "civitai": "A",
        CIVITAI_HASH: "B",
        "registry": "B",
        "peer": "B",
        "local": "B",
        "manual": "B",
        "template": "B",
        "manager-list": "B",
    }
)

PICKLE_FREE_EXTENSIONS = frozenset({".safetensors", ".sft", ".gguf", ".onnx"})


def proof_of(wanted: ModelInfo, evidence: Sequence[Evidence], *, published: bool) -> Proof:
    """The level that is reached when every step before has found nothing wrong.

    A: a publisher's digest. B: a digest of ours. C: exact size and structure. D: none of these.
    """
    if published:
        return "A"
    worth = _DIGEST_WORTH.get(wanted.source, "C") if wanted.sha256 is not None else "D"
    if worth in ("A", "B"):
        return worth
    exact_size = wanted.size is not None or wanted.sha256 is not None
    return "C" if exact_size and _is_sound(evidence) else "D"


def best_proof(wanted: ModelInfo) -> Proof:
    """The best level that any bytes could reach for this request."""
    if wanted.source == CIVITAI_HASH:
        return "A"
    return _DIGEST_WORTH.get(wanted.source, "C") if wanted.sha256 is not None else "C"


def may_run_code(wanted: ModelInfo) -> bool:
    """Whether loading a file of this name can run code: pickles, and archives that may hold one."""
    return PurePosixPath(wanted.expected_filename).suffix.lower() not in PICKLE_FREE_EXTENSIONS


def _is_sound(evidence: Sequence[Evidence]) -> bool:
    """Whether every byte of the structure was accounted for; a broken one never comes as far as here."""
    return any(step.step == "structure" and step.facts.get("examined") == "whole" for step in evidence)


def in_words(wanted: ModelInfo, evidence: Sequence[Evidence], *, published: bool) -> str:
    """What has been proven, as one clause."""
    sound = _is_sound(evidence)
    told = (
        (published, "its SHA-256 is the one that Civitai publishes"),
        (wanted.sha256 is not None, "its SHA-256 is the one asked for"),
        (wanted.size is not None, "its size is the one asked for"),
        (sound, "its structure is sound"),
        (not sound, "its structure was not examined"),
    )
    return ", ".join(words for holds, words in told if holds)
