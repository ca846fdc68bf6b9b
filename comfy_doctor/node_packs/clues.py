"""What a workflow says about the pack of a node, held against the lists: how far its word carries. Pure.

The frontend writes `cnr_id` and `aux_id` from the pack that the author had installed, so they are a strong hint; but
ids were renamed, forks carry the name of their origin, and anybody may write anything (FACTS 1.2).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from comfy_doctor.needs import PackClue
from comfy_doctor.node_packs.index import PackIndex, likeness, plain, repository_name

CORE_ID = "comfy-core"
_PLACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}", re.ASCII)
_ID = re.compile(r"[\w.\- ]{1,100}")
_NO_VERSION = frozenset({"", "unknown", "nightly", "latest"})


class Word(IntEnum):
    """How sure it is that this repository is the one that is meant."""

    RESEMBLES = 1
    LISTED_ID = 2
    UNLISTED = 3
    NAMED = 4
    REGISTERS = 5


@dataclass(frozen=True, slots=True)
class Claim:
    """One repository that the workflow's word leads to. `id` is the registry id as it is written there."""

    repository: str
    word: Word
    id: str | None
    version: str | None


def claims_of(clues: Sequence[PackClue], owners: Sequence[str], index: PackIndex) -> tuple[Claim, ...]:
    """The surest first; of equals the one that more nodes name. `owners` register the type as far as the lists know."""
    counted = Counter(clue for clue in clues if _speaks(clue))
    found: dict[str, Claim] = {}
    for clue, _ in counted.most_common():
        for claim in _claims(clue, owners, index):
            known = found.get(claim.repository)
            if known is None or known.word < claim.word:
                found[claim.repository] = claim
    return tuple(sorted(found.values(), key=lambda claim: -claim.word))


def named_id(clues: Sequence[PackClue]) -> tuple[str, str | None] | None:
    """The registry id that most nodes of this type name, with its version; None where none does."""
    named = (clue for clue in clues if clue.cnr_id and _speaks(clue) and _ID.fullmatch(clue.cnr_id))
    counted = Counter((clue.cnr_id or "", version_of(clue)) for clue in named)
    return counted.most_common(1)[0][0] if counted else None


def version_of(clue: PackClue) -> str | None:
    """A release or a commit; words like "nightly" name none."""
    written = (clue.version or "").strip()
    return None if written.lower() in _NO_VERSION or len(written) > 60 else written


def _speaks(clue: PackClue) -> bool:
    return bool(clue.cnr_id or clue.aux_id) and clue.cnr_id != CORE_ID


def _claims(clue: PackClue, owners: Sequence[str], index: PackIndex) -> list[Claim]:
    pack_id = clue.cnr_id if clue.cnr_id and _ID.fullmatch(clue.cnr_id) else None

    places = []
    if clue.aux_id and _PLACE.fullmatch(clue.aux_id):
        places.append(_place_of_aux(clue.aux_id, owners, index))
    if pack_id is not None:
        places += _places_of_id(pack_id, owners, index)
    return [
        Claim(repository, Word.REGISTERS if repository in owners else word, pack_id, version_of(clue))
        for repository, word in places
    ]


def _place_of_aux(aux_id: str, owners: Sequence[str], index: PackIndex) -> tuple[str, Word]:
    """The listed repository; of one that nobody lists, the namesake that registers the type: it was copied or moved."""
    listed = index.places.get(aux_id.lower())
    if listed is not None:
        return listed, Word.NAMED
    name = plain(repository_name(aux_id))
    namesake = next((owner for owner in owners if plain(repository_name(owner)) == name), None)
    return (namesake, Word.REGISTERS) if namesake else (f"https://github.com/{aux_id}", Word.UNLISTED)


def _places_of_id(pack_id: str, owners: Sequence[str], index: PackIndex) -> list[tuple[str, Word]]:
    """The usual registry id is the repository's own name; where it is not, an owner that only resembles it is meant."""
    name, like = plain(pack_id), likeness(pack_id)
    named = index.names.get(name, ())
    registering = [owner for owner in owners if plain(repository_name(owner)) == name]
    if registering or len(named) == 1:
        return [(repository, Word.NAMED) for repository in registering or named]
    by_id = index.ids.get(pack_id.lower(), ())
    resembling = [*named, *index.likes.get(like, ())] if like else []
    word = Word.LISTED_ID if len(by_id) == 1 and set(resembling) <= set(by_id) else Word.RESEMBLES
    return [(repository, word) for repository in dict.fromkeys((*by_id, *resembling))]
