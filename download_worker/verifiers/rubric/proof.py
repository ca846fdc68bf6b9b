"""How well a file is proven, and which formats need how much of it. Pure rules, and the words for them.

What a digest proves by itself stands in `jobs/proof.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from download_worker.jobs.job import ModelInfo
from download_worker.jobs.proof import CIVITAI_HASH, Proof, proof_by_digest
from download_worker.verifiers.verifier import Evidence

PICKLE_FREE_EXTENSIONS = frozenset({".safetensors", ".sft", ".gguf", ".onnx"})


def proof_of(wanted: ModelInfo, evidence: Sequence[Evidence], *, published: bool) -> Proof:
    """The level that is reached when every step before has found nothing wrong."""
    if published:
        return "A"
    by_digest = proof_by_digest(wanted)
    if by_digest != "D":
        return by_digest
    exact_size = wanted.size is not None or wanted.sha256 is not None
    return "C" if exact_size and _is_sound(evidence) else "D"


def best_proof(wanted: ModelInfo) -> Proof:
    """The best level that any bytes could reach for this request."""
    if wanted.source == CIVITAI_HASH:
        return "A"
    by_digest = proof_by_digest(wanted)
    return "C" if by_digest == "D" else by_digest


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
