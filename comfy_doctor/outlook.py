"""What one run of the doctor looks out of: the guarded web, whom it asks there, and what it sees beside the disk.

START HERE for the policy of resolution: `sources_of` lists whom a plan asks, in the order of proof.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from comfy_doctor.asking import AnswerCache, Asker
from comfy_doctor.comfyui.install import Install
from comfy_doctor.comfyui.server import Server, read_server
from comfy_doctor.comfyui.shelves import Inventory
from comfy_doctor.diagnose import Diagnosis, Sight, diagnose
from comfy_doctor.library.digests import Digests
from comfy_doctor.needs import Candidate
from comfy_doctor.node_packs.channel import MODEL_LIST, Channel, installed_lists
from comfy_doctor.node_packs.directory import PackDirectory
from comfy_doctor.node_packs.registry import Registry
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
from comfy_doctor.settings import MANAGER_CHANNEL, REGISTRY_HOME, DoctorSettings
from comfy_doctor.workflows.raw_url import read_url_document
from download_worker.errors import Code, TryLater
from download_worker.leash import Leash
from download_worker.settings import Settings
from download_worker.web.session import Web

STALL_SECONDS = 20.0
"""A person waits for these answers: a silent host costs no more than this, whatever a download may be granted."""


@dataclass(frozen=True)
class Outlook:
    worker: Settings
    doctor: DoctorSettings
    install: Install
    web: Web
    asker: Asker
    channel: Channel
    sight: Sight

    def diagnosis(self, paths: Sequence[str | Path]) -> Diagnosis:
        return diagnose(paths, self.install, self.sight)


def look_out(worker: Settings, doctor: DoctorSettings, install: Install) -> Outlook:
    """A named server is asked here; one that does not answer is a message of the diagnosis, and nothing more."""
    web = web_of(worker, doctor)
    asker = Asker(web, AnswerCache(worker.state / "answers.db"), offline=doctor.offline)
    answer = read_server(doctor.server, web) if doctor.server else None
    server = answer if isinstance(answer, Server) else None
    silence = (answer.why,) if answer is not None and not isinstance(answer, Server) else ()
    channel = Channel(
        doctor.manager_channel,
        web=None if doctor.offline else web,
        cache=worker.state / "cache" / "manager",
        installed=installed_lists(install.root, install.node_roots),
    )
    owners = PackDirectory(channel, None if doctor.offline else Registry(asker, doctor.registry_endpoint))
    fetch = None if doctor.offline else partial(read_url_document, web=web)
    return Outlook(worker, doctor, install, web, asker, channel, Sight(server, owners, fetch, silence))


def web_of(worker: Settings, doctor: DoctorSettings) -> Web:
    """The door to the web; what the settings name by themselves (a server, moved endpoints) may be asked."""
    named = (*worker.allow_hosts, *_named_hosts(doctor))
    stall = min(worker.stall_timeout_seconds, STALL_SECONDS)
    return Web(worker.model_copy(update={"allow_hosts": named, "stall_timeout_seconds": stall}))


def _named_hosts(doctor: DoctorSettings) -> Iterator[str]:
    moved = ((doctor.manager_channel, MANAGER_CHANNEL), (doctor.registry_endpoint, REGISTRY_HOME))
    for url in (doctor.server, doctor.search_url, *(url for url, usual in moved if url != usual)):
        parts = urlsplit(url or "")
        if parts.scheme in ("http", "https") and parts.hostname:
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            yield f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def sources_of(seen: Outlook, tell: Tell) -> Sources:
    """Whom a plan asks, in the order of proof: this list is the policy."""
    state, asker = seen.worker.state, seen.asker
    agent = agent_of(seen.worker, HostSearches(asker, seen.doctor.search_url), offline=seen.doctor.offline)
    resolvers: tuple[Resolver, ...] = (
        Templates(state / "cache" / "templates.json"),
        ManagerList(lambda: _model_list(seen.channel)),
        HuggingFaceFiles(asker),
        CivitaiPlaces(asker),
        LocalFiles(lambda: shelves_of(Inventory(seen.install)), Digests(state / "digests.db")),
        HuggingFaceSearch(asker),
        CivitaiSearch(asker),
        *([agent] if agent is not None else []),
    )

    def look(candidates: Sequence[Candidate], leash: Leash) -> Sequence[Probe]:
        return asker.side_by_side(lambda candidate: probe(candidate, seen.web, leash), candidates)

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
