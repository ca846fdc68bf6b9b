"""What a head is: the part of a model file that says what the rest will be. Values only."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from download_worker.text import safe_text

MAX_METADATA_KEYS = 64
MAX_METADATA_CHARS = 300
_TELLING = ("modelspec.", "ss_base_model_version", "ss_network_module", "ss_v2", "base_model", "general.", "format")


class Format(StrEnum):
    SAFETENSORS = "safetensors"
    GGUF = "gguf"
    TORCH_ZIP = "torch_zip"
    OTHER = "other"


class Weight(NamedTuple):
    """One tensor: `dtype` in the words of its format (F16, Q4_K …), `shape` with the outermost dimension first."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


Tensors = Mapping[str, Weight]


@dataclass(frozen=True, slots=True)
class Head:
    """`total_bytes` is what the head promises for the whole file, None where it does not say.

    `exact`: a file of any other size is broken; otherwise only a shorter one is. `complete` is False where the head is
    longer than what was read of it, so that a missing tensor means nothing.
    """

    format: Format
    tensors: Tensors = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    total_bytes: int | None = None
    exact: bool = False
    complete: bool = True

    @property
    def parameters(self) -> int | None:
        """How many numbers it holds; None where the head does not list its tensors."""
        if not self.tensors or not self.complete:
            return None
        return sum(weight.elements for weight in self.tensors.values())

    @property
    def dtype(self) -> str | None:
        """The dtype that most of its numbers have, or the quantization."""
        counts: Counter[str] = Counter()
        for weight in self.tensors.values():
            counts[weight.dtype] += weight.elements
        return max(counts, key=counts.__getitem__) if counts else None


def telling(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """The few entries that say what a model is; a trainer's metadata may be megabytes of captions."""
    kept = sorted(key for key in metadata if key.startswith(_TELLING))[:MAX_METADATA_KEYS]
    return {
        key: safe_text(metadata[key], max_chars=MAX_METADATA_CHARS) for key in kept if len(key) < MAX_METADATA_CHARS
    }


def below(tensors: Tensors, prefix: str) -> Tensors:
    """The tensors under this prefix, by their names without it."""
    if not prefix:
        return tensors
    return {name[len(prefix) :]: weight for name, weight in tensors.items() if name.startswith(prefix)}
