"""What one run of the doctor looks out of: the guarded web, whom it asks there, and what it sees beside the disk.

Only what a diagnosis needs is loaded here; whom a plan asks for sources stands in `sources.py`.
"""

from __future__ import annotations

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
from comfy_doctor.node_packs.channel import Channel, installed_lists
from comfy_doctor.node_packs.directory import PackDirectory
from comfy_doctor.node_packs.registry import Registry
from comfy_doctor.settings import MANAGER_CHANNEL, REGISTRY_HOME, DoctorSettings
from comfy_doctor.workflows.raw_url import read_url_document
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

    def diagnosis(self, paths: Sequence[str | Path], inventory: Inventory | None = None) -> Diagnosis:
        return diagnose(paths, self.install, self.sight, inventory)


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
