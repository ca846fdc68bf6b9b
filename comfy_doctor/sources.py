"""START HERE for the policy of resolution: whom a plan asks for the sources of a file, in the order of proof.

Apart from `outlook.py`, so that a diagnosis does not wait until every resolver is loaded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from comfy_doctor.comfyui.shelves import Inventory
from comfy_doctor.library.digests import Digests
from comfy_doctor.needs import Candidate
from comfy_doctor.node_packs.channel import MODEL_LIST, Channel
from comfy_doctor.outlook import Outlook
from comfy_doctor.plan import Sources, disk_at
from comfy_doctor.resolve import Tell
from comfy_doctor.resolvers.agent import HostSearches, agent_of
from comfy_doctor.resolvers.civitai import CivitaiPlaces, CivitaiSearch
from comfy_doctor.resolvers.huggingface import HuggingFaceFiles, HuggingFaceSearch
from comfy_doctor.resolvers.local import LocalFiles, shelves_of
from comfy_doctor.resolvers.manager_list import ManagerList
from comfy_doctor.resolvers.probe import Probe, probe
from comfy_doctor.resolvers.resolver import Resolver
from comfy_doctor.resolvers.templates import Templates
from download_worker.errors import Code, TryLater
from download_worker.leash import Leash


def sources_of(seen: Outlook, tell: Tell) -> Sources:
    """Whom a plan asks, in the order of proof: this list is the policy."""
    state, asker = seen.worker.state, seen.asker
    agent = agent_of(seen.worker, HostSearches(asker, seen.doctor.search_url), offline=seen.doctor.offline)
    here = LocalFiles(lambda: shelves_of(Inventory(seen.install)), Digests(state / "digests.db"))
    resolvers: tuple[Resolver, ...] = (
        Templates(state / "cache" / "templates.json"),
        ManagerList(lambda: _model_list(seen.channel)),
        HuggingFaceFiles(asker),
        CivitaiPlaces(asker),
        here,
        HuggingFaceSearch(asker),
        CivitaiSearch(asker),
        here,  # again: what a search found may be here under another name
        *([agent] if agent is not None else []),
    )

    def look(candidates: Sequence[Candidate], leash: Leash) -> Sequence[Probe]:
        return asker.side_by_side(lambda candidate: probe(candidate, seen.web, leash), candidates, leash)

    return Sources(
        resolvers,
        None if seen.doctor.offline else look,
        disk_at,
        is_set=lambda variable: (
            bool(os.environ.get(variable)) or getattr(seen.worker, variable.lower(), None) is not None
        ),
        reserve=seen.worker.disk_reserve_bytes,
        tell=tell,
    )


def _model_list(channel: Channel) -> bytes:
    """Raises TryLater where the list is nowhere to be had."""
    file = channel.file(MODEL_LIST)
    if file.document is None:
        raise TryLater(Code.NO_CONNECTION, file.message or "the Manager's list is nowhere to be had")
    return json.dumps(file.document).encode()
