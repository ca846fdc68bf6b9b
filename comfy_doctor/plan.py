"""What would be done for each missing model and node, with what, at which cost, and why: pure, nothing is written.

One plan over all workflows: equal bytes are fetched once, sizes are summed per volume, tokens and licences are named
beforehand, and what cannot be had says why.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from comfy_doctor.choices import Which
from comfy_doctor.diagnose import Diagnosis, ModelFinding, NodeFinding, State
from comfy_doctor.findings import ExitCode, Report
from comfy_doctor.needs import Candidate, Criticality, Key, Need
from comfy_doctor.resolve import Look, Resolution, Tell, resolve
from comfy_doctor.resolvers.resolver import AUTOMATIC, Resolver
from comfy_doctor.sites import place_of
from download_worker.errors import Refused
from download_worker.jobs.job import ModelInfo
from download_worker.jobs.places import target_path
from download_worker.leash import Leash
from download_worker.text import without_credentials
from download_worker.verifiers.rubric.proof import best_proof, may_run_code

Action = Literal["download", "relink", "link", "skip", "ask"]

FOUND_BY_NAME = frozenset({"huggingface", "civitai"})
"""Whoever sends a workflow can upload a file of the name it asks for: such a host's digest vouches for no pickle."""
_ALL_HERE, _NOT_WANTED = "every model is in its place", "what is missing is not asked for"
NOTHING_KNOWN: Mapping[Key, Resolution] = {}


@dataclass(frozen=True, slots=True)
class Item:
    """One missing model: what is to be done about it, with what, and why.

    `target` is where its file belongs. `link_from` is a file with the same bytes, here or to come; `relink` of the
    finding is the name that the workflow would have to say instead.
    """

    model: ModelFinding
    action: Action
    why: str
    choice: Candidate | None = None
    candidates: tuple[Candidate, ...] = ()
    target: Path | None = None
    link_from: Path | None = None
    resolution: Resolution | None = None

    @property
    def size(self) -> int | None:
        """Bytes that this item brings, None where no source told."""
        return self.choice.size if self.choice is not None else None

    def document(self) -> dict[str, Any]:
        """As in a plan's file: with the URL itself, which a signature may be part of, and without our tokens."""
        shown = self.public()
        if self.choice is not None:
            urls = {"url": without_credentials(self.choice.url)}
            shown["choice"] |= urls | {"mirrors": [without_credentials(url) for url in self.choice.mirrors]}
        return shown

    def public(self) -> dict[str, Any]:
        """`target`, `link_from`, `asked` and `notes` are additions to what INTERFACES promises."""
        known = self.resolution
        return {
            "kind": "model",
            "need": self.model.public(),
            "choice": self.choice.public() if self.choice else None,
            "candidates": [candidate.public() for candidate in self.candidates],
            "action": self.action,
            "why": self.why,
            "target": str(self.target) if self.target else None,
            "link_from": str(self.link_from) if self.link_from else None,
            "asked": [
                {"source": entry.source, "answer": entry.word.value, "why": entry.why}
                for entry in (known.asked if known else ())
            ],
            "notes": list(known.notes) if known else [],
        }


@dataclass(frozen=True, slots=True)
class NodeItem:
    """One node type that no installed pack brings."""

    node: NodeFinding
    why: str

    def public(self) -> dict[str, Any]:
        return {
            "kind": "node",
            "need": self.node.public(),
            "choice": None,
            "candidates": [],
            "action": "ask",
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class Volume:
    """What the downloads need of one volume, in bytes. `unsized` files have a size that no source told.

    `staging` is what staging needs there beyond the files themselves: nothing, because staging lies on the same volume
    and promotion moves no byte.
    """

    path: Path
    free: int
    reserve: int
    needed: int
    unsized: int = 0
    staging: int = 0

    @property
    def fits(self) -> bool:
        return self.needed + self.staging + self.reserve <= self.free

    def public(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "free": self.free,
            "needed": self.needed,
            "staging": self.staging,
            "fits": self.fits,
            "unsized": self.unsized,
        }


class Token(NamedTuple):
    """A token that hosts ask for, the files it is for, and whether it is set."""

    variable: str
    files: tuple[str, ...]
    set: bool


@dataclass(frozen=True, slots=True)
class Plan:
    items: tuple[Item, ...]
    nodes: tuple[NodeItem, ...] = ()
    volumes: tuple[Volume, ...] = ()
    tokens: tuple[Token, ...] = ()

    @property
    def downloads(self) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.action == "download")

    @property
    def bytes(self) -> int:
        """What would be fetched, as far as sizes are known."""
        return sum(item.size or 0 for item in self.downloads)

    @property
    def licences(self) -> Mapping[str, list[str]]:
        """Page → names of the files whose licence has to be accepted there."""
        pages: dict[str, list[str]] = defaultdict(list)
        for item in self.items:
            best = item.choice or next(iter(item.candidates), None)
            if best is not None and best.gated and best.page:
                pages[best.page].append(item.model.need.name)
        return pages

    def data(self) -> dict[str, Any]:
        return {
            "items": [item.public() for item in self.items] + [node.public() for node in self.nodes],
            "volumes": [volume.public() for volume in self.volumes],
            "tokens": [{"variable": t.variable, "for": list(t.files), "set": t.set} for t in self.tokens],
            "licences": [{"page": page, "for": names} for page, names in self.licences.items()],
            "bytes": self.bytes,
        }


class Disk(NamedTuple):
    """One volume as the file system tells it: an id that is equal for paths on the same one, and its free bytes."""

    volume: int
    free: int


@dataclass(frozen=True)
class Sources:
    """Whom a plan asks: the resolvers in their order, heads of files, this disk, and which tokens are set."""

    resolvers: Sequence[Resolver]
    look: Look | None
    disk: Callable[[Path], Disk]
    is_set: Callable[[str], bool]
    reserve: int = 0
    tell: Tell = lambda text: None
    leash: Leash | None = None


def plan_for(diagnosis: Diagnosis, sources: Sources, which: Which = "required", *, with_nodes: bool = True) -> Plan:
    """One plan for everything that a diagnosis found missing. Raises Interrupted."""
    lacking = [m for m in diagnosis.models if m.state is State.MISSING and m.need.folder and is_wanted(m, which)]
    resolutions = resolve(
        [model.need for model in lacking], sources.resolvers, sources.look, leash=sources.leash, tell=sources.tell
    )
    items = make_plan(diagnosis.models, resolutions, models_root=diagnosis.install.models_root, which=which)
    return Plan(
        items,
        node_items(diagnosis.nodes) if with_nodes else (),
        volumes_of(items, sources.disk, sources.reserve),
        tokens_of(items, sources.is_set),
    )


def plan_report(diagnosis: Diagnosis, plan: Plan, *messages: str) -> Report:
    """A plan by itself: findings are what is not in its place, as in a diagnosis."""
    looked = diagnosis.report()
    code = ExitCode.FINDINGS if plan.items or plan.nodes else looked.exit_code
    data = {"comfyui": looked.data["comfyui"], "workflows": looked.data["workflows"], **plan.data()}
    there = all(model.state is State.PRESENT for model in diagnosis.models if model.need.active)
    word = () if plan.items else (f"nothing to fetch: {_ALL_HERE if there else _NOT_WANTED}",)
    return Report("plan", code, data=data, messages=(*looked.messages, *word, *messages), errors=looked.errors)


def disk_at(path: Path) -> Disk:
    """The volume of the nearest folder that exists; nothing free where it cannot be looked at."""
    for folder in (path, *path.parents):
        try:
            return Disk(folder.stat().st_dev, shutil.disk_usage(folder).free)
        except FileNotFoundError:
            continue
        except OSError:
            break
    return Disk(0, 0)


def make_plan(
    models: Sequence[ModelFinding],
    resolutions: Mapping[Key, Resolution] = NOTHING_KNOWN,
    *,
    models_root: Path = Path(),
    which: Which = "required",
) -> tuple[Item, ...]:
    """One item for every model that is wanted and not in its place."""
    wanted = [model for model in models if model.state is not State.PRESENT and is_wanted(model, which)]
    return _each_content_once([_item(model, resolutions.get(model.need.key), models_root) for model in wanted])


def is_wanted(model: ModelFinding, which: Which) -> bool:
    """`required`: what active nodes need. `all`: also what is optional, muted or bypassed."""
    required = model.need.active and model.need.criticality is not Criticality.OPTIONAL
    return which == "all" or (which == "required" and required)


def node_items(nodes: Sequence[NodeFinding]) -> tuple[NodeItem, ...]:
    """What is known to be missing; a type that could not be looked for is no item of a plan."""
    return tuple(
        NodeItem(node, _how_to_install(node))
        for node in nodes
        if node.state == "missing" and any(entry.use.active for entry in node.uses)
    )


def volumes_of(items: Sequence[Item], disk: Callable[[Path], Disk], reserve: int) -> tuple[Volume, ...]:
    """What the downloads need, summed per volume; `disk` looks at the nearest folder that exists."""
    found: dict[int, Volume] = {}
    for item in items:
        if item.action != "download" or item.target is None:
            continue
        here = disk(item.target.parent)
        known = found.get(here.volume, Volume(item.target.parent, here.free, reserve, 0))
        unsized = known.unsized + (item.size is None)
        found[here.volume] = replace(known, needed=known.needed + (item.size or 0), unsized=unsized)
    return tuple(found.values())


def tokens_of(items: Sequence[Item], is_set: Callable[[str], bool]) -> tuple[Token, ...]:
    found: dict[str, list[str]] = defaultdict(list)
    for item in items:
        best = item.choice or next(iter(item.candidates), None)
        if best is not None and best.token is not None:
            found[best.token].append(item.model.need.name)
    return tuple(Token(variable, tuple(names), is_set(variable)) for variable, names in sorted(found.items()))


def _item(model: ModelFinding, known: Resolution | None, models_root: Path) -> Item:
    need = model.need
    candidates = known.candidates if known else need.candidates
    asking = Item(model, "ask", model.reason, candidates=candidates, resolution=known)
    if need.folder is None:
        return replace(asking, why="nothing tells which model folder it belongs to")
    if model.state is State.UNKNOWN:
        return asking
    try:
        target = target_path(models_root, need.folder, need.subfolder, need.filename)
    except Refused as refusal:
        if model.state is State.ELSEWHERE:
            return replace(asking, action="relink", why=_relink_words(model))
        return replace(asking, why=refusal.message)
    if model.state is State.ELSEWHERE and model.cause is None:
        return _elsewhere(asking, target)
    if model.state is State.ELSEWHERE:
        return asking  # ComfyUI does not list it where it lies, and its reason says what to do
    return _from_a_source(asking, target, known)


def _elsewhere(item: Item, target: Path) -> Item:
    """Only another slash cannot be mended by a link: there is no file of that name to make."""
    model = item.model
    if model.path is None or model.relink == model.need.name:
        return replace(item, action="relink", why=_relink_words(model))
    return replace(item, action="link", why=f"the file is here as {model.relink}", target=target, link_from=model.path)


def _relink_words(model: ModelFinding) -> str:
    told = model.reason if model.relink == model.need.name else f"the file is here as {model.relink}"
    return f"{told}: choose that in the workflow, or let `comfy-doctor fix --rewrite` do it"


def _from_a_source(item: Item, target: Path, known: Resolution | None) -> Item:
    choice = known.choice if known else _sure(item.model.need.best)
    if choice is None:
        return replace(item, why=(known.why if known else "") or "no source knows it", target=target)
    if choice.source == "local":
        here = Path(url2pathname(urlsplit(choice.url).path))
        why = f"the same bytes are here as {here.name}"
        return replace(item, action="link", why=why, choice=choice, target=target, link_from=here)
    info = job_of(item.model.need, choice)
    if may_run_code(info) and (choice.source in FOUND_BY_NAME or best_proof(info) not in ("A", "B")):
        return replace(item, why=_PICKLE.format(source=choice.source), target=target)
    why = "; ".join(choice.evidence[-2:]) or f"{choice.source} names this source"
    return replace(item, action="download", why=why, choice=choice, target=target)


_PICKLE = (
    "such a file can run code when it is loaded, and nobody but the {source} vouches for this one: "
    "if you trust it, enqueue it with its --sha256"
)


def job_of(need: Need, choice: Candidate) -> ModelInfo:
    """What the worker is asked for. The proposer stays the source: what a digest is worth depends on it."""
    return ModelInfo(
        expected_filename=need.filename,
        subfolder=need.subfolder,
        model_type=need.folder or "",
        download_url=choice.url,
        mirrors=choice.mirrors,
        source=choice.source,
        sha256=choice.sha256,
        size=choice.size,
    )


def _sure(best: Candidate | None) -> Candidate | None:
    return best if best is not None and best.confidence >= AUTOMATIC and best.obstacle is None else None


def _each_content_once(items: Sequence[Item]) -> tuple[Item, ...]:
    """Equal bytes that two folders ask for are fetched for the first and linked for the second; one target has one."""
    first: dict[tuple[str, ...], Item] = {}
    at: dict[Path | None, Item] = {}
    kept = []
    for item in items:
        if item.action in ("download", "link") and item.target in at:
            item = _second_for(item, at[item.target])
        elif item.action == "download":
            item = _linked(item, first.setdefault(_content(item), item))
        if item.action in ("download", "link"):
            at[item.target] = item
        kept.append(item)
    return tuple(kept)


def _content(item: Item) -> tuple[str, ...]:
    """Equal where the bytes are: by their digest, or where none is known by the place they come from."""
    if item.choice is None:
        return ("here", str(item.link_from))
    return ("sha256", item.choice.sha256) if item.choice.sha256 else ("place", *place_of(item.choice.url))


def _linked(item: Item, first: Item) -> Item:
    why = f"the same bytes as {first.model.need.name}, which is fetched"
    return item if item is first else replace(item, action="link", why=why, link_from=first.target)


def _second_for(item: Item, first: Item) -> Item:
    """Two words for one folder ask for one file; where they mean different bytes, only a person can say which."""
    folder, name = first.model.need.key
    if _content(item) == _content(first):
        return replace(item, action="skip", why=f"it is the same file as {folder}/{name}")
    return replace(item, action="ask", why=f"another file is to lie at {first.target}, for {folder}/{name}")


def _how_to_install(node: NodeFinding) -> str:
    if node.repository is None or node.remedy != "install":
        return node.reason
    return f"install its pack with ComfyUI-Manager, or clone {node.repository} into custom_nodes and restart ComfyUI"
