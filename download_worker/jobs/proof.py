"""What a digest proves by itself, once the bytes have it. It depends on who named it.

A workflow, a note or a search agent can name a digest as easily as a URL, so theirs only settles size and content.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal

from download_worker.jobs.job import ModelInfo

Proof = Literal["A", "B", "C", "D"]
"""A: a publisher's digest. B: a digest of ours. C: exact size and structure. D: none of these."""

CIVITAI_HASH = "civitai_hash"
# Who named the job → what its digest is worth. A: read from the publisher's own API. B: vouched for by us, our fleet,
# the lists we ship with, or the person who typed it. `civitai_hash` becomes A only when Civitai itself says so about
# these bytes (see `verifiers/published.py`), never because this field says so.
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


def proof_by_digest(wanted: ModelInfo) -> Proof:
    """A or B when a digest was asked for by somebody whose word counts, else D; only a look at the file gives a C."""
    return "D" if wanted.sha256 is None else _DIGEST_WORTH.get(wanted.source, "D")
