"""The one question of diagnosis about node packs: which pack brings each of these types?

The Manager's lists are asked first, all at once and without the network where a copy is fresh; the Comfy registry only
about what the lists do not know. What could not be looked up is said in `messages`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from comfy_doctor.needs import NodeUse, PackClue
from comfy_doctor.node_packs.channel import NODE_MAP, PACK_LIST, Channel
from comfy_doctor.node_packs.index import PackIndex, index_of
from comfy_doctor.node_packs.owners import PackChoice, choose, company_of
from comfy_doctor.node_packs.registry import Registry, RegistryPack, Sight, VersionState
from download_worker.leash import Leash

MAX_QUESTIONS = 200
"""So many node types are looked up at the registry in one run."""

_AGAINST = MappingProxyType(
    {
        VersionState.BANNED: "is banned at the Comfy registry",
        VersionState.DELETED: "was deleted from the Comfy registry",
        VersionState.FLAGGED: "was flagged as suspicious at the Comfy registry",
        VersionState.PENDING: "waits for its review at the Comfy registry",
    }
)

Uses = Mapping[str, Sequence[NodeUse]]


class PackDirectory:
    """`registry` is None when nothing may be asked over the network. One thread at a time."""

    def __init__(self, channel: Channel, registry: Registry | None = None) -> None:
        self._channel = channel
        self._registry = registry
        self._messages: list[str] = []
        self._index: PackIndex | None = None
        self._lists_read = False

    @property
    def messages(self) -> tuple[str, ...]:
        """What stood in the way so far, and how old a copy is that had to serve."""
        return tuple(dict.fromkeys(self._messages))

    def owners(self, uses: Uses, leash: Leash | None = None) -> Mapping[str, PackChoice]:
        """A choice for each type. Raises Interrupted, and nothing for what a far side does."""
        if not uses:
            return {}
        leash = leash or Leash()
        index = self.index(leash)
        alone = {node_type: choose(node_type, _clues(own), index) for node_type, own in uses.items()}
        workflows = {node_type: frozenset(entry.use.workflow for entry in own) for node_type, own in uses.items()}
        companies = company_of(alone, workflows)
        better = {
            node_type: choose(node_type, _clues(uses[node_type]), index, company)
            for node_type, company in companies.items()
        }
        chosen = alone | better
        return chosen | self._registered(chosen, leash)

    def warnings(
        self, versions: Iterable[tuple[str, str]], leash: Leash | None = None
    ) -> Mapping[tuple[str, str], str]:
        """What the Comfy registry has against these (id, version) pairs, asked in bulk; nothing while offline."""
        if self._registry is None:
            return {}
        states = self._registry.version_states(sorted(versions), leash)
        troubles = [sight.trouble for sight in states.values() if sight.trouble is not None]
        if troubles:
            self._messages.append(
                f"could not ask the Comfy registry what it has against versions of packs: {troubles[0]}"
            )
        said = ((pair, _AGAINST.get(sight.found or VersionState.ACTIVE)) for pair, sight in states.items())
        return {pair: f"{pair[0]} {pair[1]} {word}" for pair, word in said if word is not None}

    def index(self, leash: Leash | None = None) -> PackIndex:
        """The lists, read once in the life of this object."""
        if self._index is None:
            files = [self._channel.file(name, leash) for name in (NODE_MAP, PACK_LIST)]
            self._messages += [file.message for file in files if file.message is not None]
            self._lists_read = files[0].document is not None
            self._index = index_of(*(file.document for file in files))
        return self._index

    def _registered(self, chosen: Mapping[str, PackChoice], leash: Leash) -> dict[str, PackChoice]:
        """What the registry says of the types whose repository the lists do not know."""
        unknown = {
            node_type: self._as_seen(choice) for node_type, choice in chosen.items() if _is_open(node_type, choice)
        }
        registry = self._registry
        if registry is None or not unknown:
            return unknown
        asked = list(unknown.items())[:MAX_QUESTIONS]
        answers = registry.side_by_side(lambda item: _answered(*item, registry, leash), asked)
        unasked = {node_type: replace(choice, looked=False) for node_type, choice in [*unknown.items()][MAX_QUESTIONS:]}
        if unasked:
            self._messages.append(
                f"{len(unasked)} node types were not looked up at the Comfy registry: too many at once"
            )
        troubles = [answer.trouble for answer in answers if answer.trouble is not None]
        if troubles:
            self._messages.append(f"could not look {len(troubles)} node types up at the Comfy registry: {troubles[0]}")
        told = {node_type: answer.choice for (node_type, _), answer in zip(asked, answers, strict=True)}
        return unasked | told

    def _as_seen(self, choice: PackChoice) -> PackChoice:
        if self._lists_read:
            return choice
        return replace(
            choice, looked=False, why="could not look: the Manager's list of node types was nowhere to be had"
        )


class _Answer(NamedTuple):
    choice: PackChoice
    trouble: str | None = None


def _is_open(node_type: str, choice: PackChoice) -> bool:
    """Nobody knows its repository; and it is not a thing of the workflow itself, such as a group node."""
    return choice.repository is None and not choice.core and not node_type.startswith(("workflow>", "workflow/"))


def _answered(node_type: str, choice: PackChoice, registry: Registry, leash: Leash) -> _Answer:
    """By the id that the workflow names, else by the class."""
    named: Sight[RegistryPack] = registry.pack(choice.id, leash) if choice.id is not None else Sight()
    sight = named if named.found is not None else registry.pack_of_class(node_type, leash)
    trouble = sight.trouble or named.trouble
    if sight.found is None:
        if trouble is not None:
            why = f"{choice.why}; could not look into the Comfy registry: {trouble}"
            return _Answer(replace(choice, why=why, looked=False), trouble)
        return _Answer(replace(choice, why=f"{choice.why}, and the Comfy registry does not know it"))
    return _Answer(_from_pack(sight.found, choice, by_id=sight is named))


def _from_pack(pack: RegistryPack, choice: PackChoice, *, by_id: bool) -> PackChoice:
    if pack.gone or pack.repository is None:
        state = "was taken out of the Comfy registry" if pack.gone else "has no repository in the Comfy registry"
        return replace(choice, id=pack.id, came_from="registry", why=f"the pack {pack.id} {state}")
    why = "the workflow names its id" if by_id else "its class is registered there"
    others = tuple(other for other in choice.alternatives if other.lower() != pack.repository.lower())
    version = choice.version if by_id else None
    return PackChoice(pack.repository, pack.id, version, "registry", others, f"by the Comfy registry: {why}")


def _clues(uses: Sequence[NodeUse]) -> list[PackClue]:
    return [entry.clue for entry in uses]
