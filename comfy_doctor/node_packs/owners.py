"""Which repository brings this node type, by the lists and by the workflow's own word. Pure.

The order of the rules: what the workflow says and the lists confirm, a pack's claim to the type for itself alone
(`preemptions`), the only pack that registers it, a pattern or a mark in the name, and of several packs the one that
these workflows need anyway, else the one that was listed first: copies come after their origin. What is a guess says
so and lists the others; what nobody registers stays without a repository.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from comfy_doctor.needs import PackClue
from comfy_doctor.node_packs.clues import CORE_ID, Claim, Word, claims_of, named_id
from comfy_doctor.node_packs.drawn import DRAWN_BY, MANAGER
from comfy_doctor.node_packs.index import PackIndex, likeness, mark_of, without_mark

CameFrom = Literal["workflow", "registry", "manager-map", "pattern"]
MIN_SIBLINGS = 3
"""So many known types with the same mark, all of one pack, make a rule: right in 502 of 504 cases of the 2026 map."""
_COMPONENT = re.compile(r"## .+ \[[0-9a-f]{4,40}\]")


@dataclass(frozen=True, slots=True)
class PackChoice:
    """The pack of one node type. `repository` is None where nobody can know it; `id` is the Comfy registry's.

    `version` is a release or a commit that the workflow names. `alternatives` are further repositories that register
    the type or resemble what the workflow says; `guess` means that one of them may be as right. `core` means that
    ComfyUI itself brings the type, in this or another version of it.
    """

    repository: str | None = None
    id: str | None = None
    version: str | None = None
    came_from: CameFrom | None = None
    alternatives: tuple[str, ...] = ()
    why: str = ""
    guess: bool = False
    looked: bool = True

    @property
    def core(self) -> bool:
        return self.id == CORE_ID

    @property
    def certain(self) -> bool:
        return self.repository is not None and not self.guess

    def public(self) -> dict[str, Any] | None:
        """The `pack` of INTERFACES; None where neither a repository nor an id is known."""
        if self.repository is None and self.id is None:
            return None
        return {"id": self.id, "repository": self.repository, "version": self.version, "from": self.came_from}


@dataclass(frozen=True, slots=True)
class Company:
    """What else the same workflows need: how many of them need a repository for certain, and who owns which mark."""

    needed: Mapping[str, int] = field(default_factory=dict)
    marks: Mapping[str, frozenset[str]] = field(default_factory=dict)


ALONE = Company()


def choose(node_type: str, clues: Sequence[PackClue], index: PackIndex, company: Company = ALONE) -> PackChoice:
    """Never raises, whatever the workflow or the lists say."""
    if _COMPONENT.fullmatch(node_type):
        return PackChoice(MANAGER, came_from="pattern", why="a component: ComfyUI-Manager loads those")
    owners = index.owners.get(node_type, ())
    claims = claims_of(clues, tuple(dict.fromkeys((*index.preempted.get(node_type, ()), *owners))), index)
    strong = [claim for claim in claims if claim.word >= Word.NAMED]
    if strong:
        return _claimed(strong, owners, claims)
    if node_type in index.core:
        return PackChoice(id=CORE_ID, came_from="manager-map", why="another version of ComfyUI itself brings it")
    choice = _listed(node_type, owners, index, company) or _marked(node_type, index, company)
    if choice is not None:
        named = named_id(clues) if choice.certain and not claims else None
        if named is not None:  # the list has no name like this id, and only one pack brings the type: it was renamed
            choice = replace(choice, id=named[0], version=named[1])
        return _with_others(choice, (claim.repository for claim in claims))
    return _with_others(_weakly_claimed(claims, clues), index.matching(node_type)[1])


def _claimed(strong: Sequence[Claim], owners: Sequence[str], claims: Sequence[Claim]) -> PackChoice:
    claim = strong[0]
    divided = len(strong) > 1 and strong[1].word is claim.word
    if divided:
        why = "a guess: the workflow's nodes name several packs, and this one most often"
    elif claim.word is Word.REGISTERS:
        why = "the workflow names this pack, and it registers this type"
    else:
        why = "the workflow names this pack; the lists do not know this type of it"
    choice = PackChoice(claim.repository, claim.id, claim.version, "workflow", why=why, guess=divided)
    return _with_others(choice, (*owners, *(other.repository for other in claims)))


def _listed(node_type: str, owners: Sequence[str], index: PackIndex, company: Company) -> PackChoice | None:
    """By what the lists say of this very type."""
    claiming = index.preempted.get(node_type, ())
    if len(claiming) == 1:
        choice = PackChoice(claiming[0], came_from="manager-map", why="it claims this type for itself")
        return _with_others(choice, owners)
    believed, doubted = index.matching(node_type)
    if len(owners) == 1 and not claiming:
        others = tuple(repository for repository in believed if repository not in owners)
        if others:  # a copy may register a type that bears another pack's mark
            return _best((*owners, *others), owners, company)
        return PackChoice(owners[0], came_from="manager-map", why="the only listed pack that registers it")
    if owners or claiming:
        return _best(claiming or owners, owners, company)
    if len(believed) == 1:
        fits = "the type fits the pack's own pattern"
        return PackChoice(believed[0], came_from="pattern", alternatives=doubted, why=fits)
    if believed:
        return replace(_best(believed, doubted, company), came_from="pattern")
    drawn = DRAWN_BY.get(node_type)
    return None if drawn is None else PackChoice(drawn, came_from="pattern", why="this pack's JavaScript draws it")


def _best(repositories: Sequence[str], owners: Sequence[str], company: Company) -> PackChoice:
    """Of several: what these workflows need anyway, else the one that was listed first."""
    if len(repositories) == 1:
        return PackChoice(repositories[0], came_from="manager-map")
    best = max(repositories, key=lambda repository: company.needed.get(repository, 0))
    if company.needed.get(best, 0):
        why = "a guess: several packs register it, and other nodes of the workflow need this one anyway"
    else:
        why = "a guess: several packs register it, and this one was listed first"
    return _with_others(PackChoice(best, came_from="manager-map", why=why, guess=True), (*repositories, *owners))


def _marked(node_type: str, index: PackIndex, company: Company) -> PackChoice | None:
    """By a mark at the end of the name, such as "(LoraManager)": whose are all others that bear it?"""
    mark = mark_of(node_type)
    if mark is None:
        return None
    siblings = index.marked.get(mark, ())
    near = company.marks.get(mark, frozenset())
    marked = [set(owners) for owners in (*siblings, *([near] if near else []))]
    shared = set.intersection(*marked) if marked else set()
    if len(shared) == 1 and (near or len(siblings) >= MIN_SIBLINGS):
        where = "other nodes of the workflows" if near else f"all {len(siblings)} listed types"
        return PackChoice(shared.pop(), came_from="pattern", why=f"{where} with the mark “{mark}” are of it")
    namesakes = () if siblings else index.likes.get(likeness(mark), ())
    if len(namesakes) == 1 and _knows_alike(node_type, namesakes[0], index):
        why = "the type bears the pack's name, and the list knows one of it that is spelled alike"
        return PackChoice(namesakes[0], came_from="pattern", why=why)
    return None


def _knows_alike(node_type: str, repository: str, index: PackIndex) -> bool:
    """The list has a class of this pack whose name is this one, but for the mark and a few letters."""
    bare = likeness(without_mark(node_type))
    if len(bare) < 4:
        return False
    owned = map(likeness, index.types_of.get(repository, ()))
    return any(other.startswith(bare) and len(other) <= len(bare) + 4 for other in owned)


def _weakly_claimed(claims: Sequence[Claim], clues: Sequence[PackClue]) -> PackChoice:
    """No list knows the type: what the workflow says is all there is."""
    others = tuple(claim.repository for claim in claims)
    if claims and claims[0].word >= Word.LISTED_ID:
        best = claims[0]
        listed = best.word is Word.LISTED_ID
        why = "by the list's own id of it, which is often not the registry's" if listed else "which is in no list"
        why = f"a guess: the workflow names this repository, {why}"
        return _with_others(PackChoice(best.repository, best.id, best.version, "workflow", why=why, guess=True), others)
    named = named_id(clues)
    if named is None:
        return PackChoice(why="no list and no workflow says which pack brings it")
    why = f"the workflow names the registry id {named[0]}; which repository that is, the lists do not say"
    return PackChoice(None, *named, came_from="workflow", alternatives=others, why=why)


def _with_others(choice: PackChoice, others: Iterable[str]) -> PackChoice:
    further = dict.fromkeys((*choice.alternatives, *others))
    return replace(choice, alternatives=tuple(other for other in further if other != choice.repository))


def company_of(choices: Mapping[str, PackChoice], workflows: Mapping[str, frozenset[str]]) -> Mapping[str, Company]:
    """The company that each uncertain type keeps. `workflows` are the workflows of each type."""
    needed: dict[str, set[str]] = defaultdict(set)
    marks: dict[str, set[str]] = defaultdict(set)
    for node_type, choice in choices.items():
        if choice.repository is None or choice.guess:
            continue
        needed[choice.repository].update(workflows.get(node_type, ()))
        mark = mark_of(node_type)
        if mark is not None:
            marks[mark].add(choice.repository)
    owned = {mark: frozenset(repositories) for mark, repositories in marks.items()}

    def near(node_type: str, choice: PackChoice) -> Company:
        own = workflows.get(node_type, frozenset())
        possible = (choice.repository or "", *choice.alternatives)
        return Company({one: len(needed[one] & own) for one in possible if one in needed}, owned)

    return {node_type: near(node_type, choice) for node_type, choice in choices.items() if not choice.certain}
