"""What is claimed of a model before a source is asked: which bytes it should be, how sure that is, how large. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from comfy_doctor.resolvers.resolver import Quest

STATED = 1.0
DISPUTED = 0.5


def digests_claimed(quest: Quest) -> Mapping[str, float]:
    """SHA-256 → how sure it is that these are the bytes that are meant.

    What the workflow itself states is asked for; another source's digest is as sure as its candidate. Where several
    digests are stated none of them is sure.
    """
    need = quest.need
    stated = {entry.sha256 for entry in need.stated}
    stated |= {c.sha256 for c in need.candidates if c.source == "embedded" and c.sha256}
    claims = dict.fromkeys(stated, STATED if len(stated) == 1 else DISPUTED)
    for candidate in quest.known:
        if candidate.sha256 is not None and candidate.sha256 not in stated:
            claims[candidate.sha256] = max(candidate.confidence, claims.get(candidate.sha256, 0.0))
    return claims


def sizes_claimed(quest: Quest, sha256: str) -> frozenset[int]:
    """In bytes: of candidates with this digest; where none tells, of every candidate."""
    with_digest = {c.size for c in quest.known if c.sha256 == sha256 and c.size is not None}
    return frozenset(with_digest or {c.size for c in quest.known if c.size is not None})
