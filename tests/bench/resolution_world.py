"""A world to look for models in, where the right answer is known: hubs full of likely mistakes. Pure, from a seed.

The truth is what the official templates embed (and ComfyUI-Manager's list, as a second opinion): name, folder, URL.
Around every such file stand the ways in which a search by name goes wrong: other bytes under the very same name in a
repository that ranks higher, re-saved copies that several people share, forks with equal bytes, owners that look like
the real one, fine-tunes that kept the name of their base, other precisions, quants and versions, repositories that are
named like a file and do not have it. Digests are made up, and equal where the files are: a name of its own is one file
wherever publishers keep it, a name that libraries write is another file in every repository.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from comfy_doctor.resolvers.huggingface.names import PUBLISHERS
from comfy_doctor.resolvers.templates import installed_bundle, read_templates
from comfy_doctor.sites import HubFile, site_of
from download_worker.leash import Leash
from tests.bench.resolution_civitai import own_models, reuploads
from tests.hub.civitai import Json
from tests.hub.huggingface import RepoFile, Repository

Scene = Literal["as they are", "strangers", "gone"]
SCENES: Mapping[Scene, str] = {
    "as they are": "owners as they are",
    "strangers": "every owner has a name that nobody knows",
    "gone": "as strangers, and of every second model all true copies are gone: nothing right is left to choose",
}
BACKGROUND = 2600
OTHERS_ON_CIVITAI = 100
GIGABYTE = 1024**3
_LIBRARY_NAME = re.compile(
    r"(diffusion_)?(pytorch_)?(model|adapter_model|lora|open_clip\w*|ip[-_]adapter|weights?|vae|unet|text_encoder"
    r"|pytorch_lora_weights)([._-](fp16|bf16|ema|0000\d-of-0000\d))*\.\w+",
    re.IGNORECASE,
)
_NAMES, _TAILS, _TOPICS, _ENDINGS = (
    words.split()
    for words in (
        "mira tomas yuki lena arjun noor felix ines pavel kofi sora dana hugo wren otis juno",
        "labs ai dev lab art works 42 xyz hub ml gen studio",
        """
        llama mistral qwen-image qwen3 flux1-dev flux2 wan2.1 wan2.2-i2v wan2.2-t2v sdxl ltx-2 ltx-video hunyuan-video
        z-image hidream stable-audio ace-step gemma-3 t5xxl umt5-xxl clip-vision controlnet vae bert whisper anima
        real-esrgan sam3 depth-anything lotus chroma omnigen2 minimax music kandinsky-5.0 cosmos
        """,
        "lora finetune merged gguf fp8 experimental anime v2 v3 instruct test style turbo lightning comfyui",
    )
)
_GIGABYTES = {"loras": 0.6, "vae": 0.3, "text_encoders": 6.0, "clip_vision": 1.2, "upscale_models": 0.06}


@dataclass(frozen=True, slots=True)
class Wanted:
    """One model that is looked for; `right` holds the digests of the files that its author named."""

    folder: str
    name: str
    right: frozenset[str]
    workflows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Truth:
    """Somebody who knows says that this model is at this place."""

    folder: str
    name: str
    file: HubFile
    workflow: str


@dataclass(frozen=True, slots=True)
class World:
    wanted: tuple[Wanted, ...]
    repositories: tuple[Repository, ...]
    models: tuple[Json, ...]


def truths_of_templates() -> list[Truth]:
    """Every (folder, name, URL) that the metadata of the official templates embeds, as far as it is on the hub."""
    places = read_templates(installed_bundle().folder, Leash())
    declared = ((place, site_of(place.url)) for place in places if place.declared)
    found = [Truth(p.folder, p.name, site, p.template) for p, site in declared if isinstance(site, HubFile)]
    return sorted(found, key=lambda each: (each.folder, each.name, each.file.url))


def truths_of_manager(model_list: Path) -> list[Truth]:
    """The same from ComfyUI-Manager's list: models that the templates do not speak of."""
    found = []
    for entry in json.loads(model_list.read_text(encoding="utf-8"))["models"]:
        site = site_of(entry["url"])
        folder, _, under = entry["save_path"].partition("/")
        if isinstance(site, HubFile) and folder not in ("default", "custom_nodes"):
            name = f"{under}/{entry['filename']}" if under else entry["filename"]
            found.append(Truth(folder, name, site, f"list {entry['base']}"))
    return sorted(found, key=lambda each: (each.folder, each.name, each.file.url))


def world(truths: Iterable[Truth], seed: int, scene: Scene = "as they are", background: int = BACKGROUND) -> World:
    """The same seed makes the same world."""
    rng = random.Random(seed)
    known = [truth if scene == "as they are" else _renamed(truth, seed) for truth in truths]
    hub = _Hub(rng)
    for truth in known:
        hub.put(truth.file.repo, truth.file.path, _content(truth.file), truth.folder, rng.uniform(3, 6))
    by_name: dict[tuple[str, str], list[Truth]] = defaultdict(list)
    for truth in known:
        by_name[truth.folder, truth.name].append(truth)
    for each in by_name.values():
        _surround(hub, each[0], publishers=scene == "as they are")
    _fill(hub, background, publishers=scene == "as they are")
    wanted = [_wanted(each) for each in by_name.values()]
    lost = {digest for each in wanted[::2] for digest in each.right} if scene == "gone" else set()
    wanted = [Wanted(w.folder, w.name, w.right - lost, w.workflows) for w in wanted]
    homes = sorted({truth.file.repo for truth in known})
    locked = {repo for repo in homes if rng.random() < GATED}
    again = reuploads(((each.folder, each.name, each.right) for each in wanted), rng)
    return World(tuple(wanted), tuple(hub.repositories(lost, locked)), (*again, *own_models(OTHERS_ON_CIVITAI, rng)[1]))


def civitai_world(seed: int, count: int = 150, background: int = BACKGROUND) -> World:
    """Models that stand on Civitai, some of them again on the hub: by somebody else, half of them other bytes."""
    rng = random.Random(seed)
    published, models = own_models(count, rng)
    hub = _Hub(rng)
    for each in published:
        if rng.random() < 0.2:
            content = "" if rng.random() < 0.5 else f"{each.name} {rng.random()}"
            repo = f"{_stranger(rng)}/{rng.choice((each.name.rpartition('.')[0], 'my-loras', 'sdxl-models'))}"
            hub.put(repo, each.name, content, each.folder, rng.uniform(1, 5), sha256="" if content else each.sha256)
    _fill(hub, background, publishers=True)
    wanted = [
        Wanted(each.folder, each.name, frozenset({each.sha256}), (f"workflow {n // 3}",))
        for n, each in enumerate(published)
    ]
    return World(tuple(wanted), tuple(hub.repositories(set())), tuple(models))


def _wanted(truths: list[Truth]) -> Wanted:
    right = frozenset(_digest(_content(truth.file)) for truth in truths)
    return Wanted(truths[0].folder, truths[0].name, right, tuple(sorted({truth.workflow for truth in truths})))


def _content(file: HubFile) -> str:
    """What decides about the bytes: the name if it is one of its own, else also whose it is."""
    return f"{file.repo}/{file.path}" if _LIBRARY_NAME.fullmatch(file.filename) else file.filename


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def _renamed(truth: Truth, seed: int) -> Truth:
    """The same owner always gets the same name."""
    owner, _, name = truth.file.repo.partition("/")
    nobody = f"{_stranger(random.Random(f'{seed} {owner}'))}00"
    return replace(truth, file=replace(truth.file, repo=f"{nobody}/{name}"))


def _stranger(rng: random.Random) -> str:
    return f"{rng.choice(_NAMES)}{rng.choice(('', '-', '_'))}{rng.choice(_TAILS)}{rng.randrange(1000)}"


@dataclass
class _Hub:
    """Repositories while they are filled; a file that is there stays as it is."""

    rng: random.Random
    _files: dict[str, dict[str, RepoFile]] = field(default_factory=dict)
    _downloads: dict[str, int] = field(default_factory=dict)
    _spelled: dict[str, str] = field(default_factory=dict)

    def put(self, repo: str, path: str, content: str, folder: str, magnitude: float, *, sha256: str = "") -> None:
        """`magnitude` is the decimal logarithm of the repository's downloads, when it is new."""
        repo = self._spelled.setdefault(repo.lower(), repo)  # no two ids differ in case only
        files = self._files.setdefault(repo, {"README.md": RepoFile("README.md", 900)})
        self._downloads.setdefault(repo, int(10**magnitude))
        size = int(_GIGABYTES.get(folder, 12.0) * GIGABYTE) + int(_digest(content)[:6], 16)
        files.setdefault(path, RepoFile(path, size, sha256 or _digest(content)))

    def repositories(self, lost: set[str], locked: Set[str] = frozenset()) -> Iterator[Repository]:
        for repo, files in self._files.items():
            left = [file for file in files.values() if file.sha256 not in lost]
            gated: Literal[False, "auto"] = "auto" if repo in locked else False
            yield Repository(repo, left, gated=gated, downloads=self._downloads[repo], tags=("safetensors",))


Mistake = Callable[[_Hub, Truth], None]


def _surround(hub: _Hub, truth: Truth, *, publishers: bool) -> None:
    for mistake, chance in _MISTAKES.items():
        if hub.rng.random() < chance:
            mistake(hub, truth)
    if publishers and hub.rng.random() < OTHER_PUBLISHER:
        _at_another_publisher(hub, truth)


def _other_bytes(hub: _Hub, truth: Truth) -> str:
    return f"other {truth.file.filename} {hub.rng.random()}"


def _path(hub: _Hub, truth: Truth) -> str:
    """Where a copy is put, true or not: a path that speaks of the folder proves nothing."""
    return hub.rng.choice((truth.file.path, truth.file.filename, f"{truth.folder}/{truth.file.filename}"))


def _stem(truth: Truth) -> str:
    return truth.file.filename.rpartition(".")[0]


def _title(truth: Truth) -> str:
    return truth.file.repo.partition("/")[2]


def _fork(hub: _Hub, truth: Truth) -> None:
    for _ in range(hub.rng.choice((1, 1, 2, 4))):
        name = hub.rng.choice((_title(truth), _stem(truth), f"{_title(truth)}-backup", "comfyui-models"))
        magnitude = hub.rng.choice((1, 2, 3, 4, 6.5))
        hub.put(f"{_stranger(hub.rng)}/{name}", _path(hub, truth), _content(truth.file), truth.folder, magnitude)


def _impostor_above(hub: _Hub, truth: Truth) -> None:
    """The same name, other bytes, a repository that the search finds with the first words, far up."""
    name = hub.rng.choice((_stem(truth), f"{_stem(truth)}-fixed", f"{_title(truth)}-{hub.rng.choice(_ENDINGS)}"))
    magnitude = hub.rng.choice((2, 4, 6.5, 7))
    hub.put(f"{_stranger(hub.rng)}/{name}", _path(hub, truth), _other_bytes(hub, truth), truth.folder, magnitude)


def _fine_tune(hub: _Hub, truth: Truth) -> None:
    name = f"{_title(truth)}-{hub.rng.choice(_NAMES)}-finetune"
    hub.put(f"{_stranger(hub.rng)}/{name}", truth.file.path, _other_bytes(hub, truth), truth.folder, 2.5)


def _shared_copy(hub: _Hub, truth: Truth) -> None:
    """One re-saved copy that several people took from each other."""
    content, path = _other_bytes(hub, truth), _path(hub, truth)
    for _ in range(hub.rng.choice((2, 3, 5))):
        name = hub.rng.choice((_stem(truth), _title(truth), f"{_title(truth)}-fp8"))
        hub.put(f"{_stranger(hub.rng)}/{name}", path, content, truth.folder, hub.rng.uniform(1, 5))


def _lookalike_owner(hub: _Hub, truth: Truth) -> None:
    owner, _, name = truth.file.repo.partition("/")
    alike = hub.rng.choice((f"{owner}-official", f"{owner}s", owner.replace("o", "0") + "_", f"the-{owner}"))
    hub.put(f"{alike}/{name}", truth.file.path, _other_bytes(hub, truth), truth.folder, hub.rng.uniform(2, 6))


def _named_without_it(hub: _Hub, truth: Truth) -> None:
    hub.put(f"{_stranger(hub.rng)}/{_stem(truth)}", "adapter_model.bin", str(hub.rng.random()), "loras", 3)


def _quants(hub: _Hub, truth: Truth) -> None:
    repo = f"{_stranger(hub.rng)}/{_title(truth)}-GGUF"
    for quant in ("Q4_K_M", "Q5_K_S", "Q8_0"):
        hub.put(repo, f"{_stem(truth)}-{quant}.gguf", f"{_stem(truth)} {quant}", truth.folder, hub.rng.uniform(2, 5))


def _other_precisions(hub: _Hub, truth: Truth) -> None:
    base = re.sub(r"[_-](fp8\w*|fp16|bf16|int8\w*|fp32)\Z", "", _stem(truth))
    parent = truth.file.path.rpartition("/")[0]
    for precision in ("bf16", "fp8_e4m3fn", "fp16"):
        path = f"{parent}/{base}_{precision}.safetensors".lstrip("/")
        if path.rpartition("/")[2] != truth.file.filename:
            hub.put(truth.file.repo, path, path.rpartition("/")[2], truth.folder, 3)


def _for_another_folder(hub: _Hub, truth: Truth) -> None:
    folder = "loras" if truth.folder != "loras" else "checkpoints"
    path = f"{folder}/{truth.file.filename}"
    hub.put(f"{_stranger(hub.rng)}/{_title(truth)}", path, _other_bytes(hub, truth), folder, hub.rng.uniform(2, 5))


def _other_version(hub: _Hub, truth: Truth) -> None:
    """The repository of another version; in half of the cases it kept the name of the file."""
    owner, _, name = truth.file.repo.partition("/")
    newer = re.sub(r"\d(?!.*\d)", lambda digit: str((int(digit[0]) + 1) % 10), name)
    if newer == name:
        return
    mine = hub.rng.random() < 0.3
    kept = not mine and hub.rng.random() < 0.5
    filename = truth.file.filename if kept else re.sub(r"\d", lambda d: str((int(d[0]) + 1) % 10), truth.file.filename)
    if filename != truth.file.filename or kept:
        holder = owner if mine else _stranger(hub.rng)
        hub.put(f"{holder}/{newer}", filename, f"{newer} {filename}", truth.folder, hub.rng.uniform(2, 6))


def _at_another_publisher(hub: _Hub, truth: Truth) -> None:
    """Somebody known has other bytes under this name: converted again, or an older upload."""
    owners = [owner for owner in PUBLISHERS if owner != truth.file.repo.partition("/")[0]]
    repo = f"{hub.rng.choice(owners)}/{_title(truth)}-{hub.rng.choice(_ENDINGS)}"
    hub.put(repo, _path(hub, truth), _other_bytes(hub, truth), truth.folder, hub.rng.uniform(3, 6))


OTHER_PUBLISHER = 0.04
GATED = 0.05
_MISTAKES: Mapping[Mistake, float] = {
    _fork: 0.5,
    _impostor_above: 0.22,
    _fine_tune: 0.12,
    _shared_copy: 0.06,
    _lookalike_owner: 0.08,
    _named_without_it: 0.2,
    _quants: 0.25,
    _other_precisions: 0.4,
    _for_another_folder: 0.06,
    _other_version: 0.2,
}


def _fill(hub: _Hub, count: int, *, publishers: bool) -> None:
    """Everybody else: most of what a search for few words brings is none of what is looked for."""
    owners = [*PUBLISHERS] if publishers else []
    for number in range(count):
        topic, ending = hub.rng.choice(_TOPICS), hub.rng.choice(_ENDINGS)
        owner = hub.rng.choice(owners) if owners and hub.rng.random() < 0.4 else _stranger(hub.rng)
        repo = f"{owner}/{topic}-{ending}-{number}"
        for path in hub.rng.sample(_USUAL, k=3):
            hub.put(repo, path.format(topic), f"{repo}/{path}", "loras", hub.rng.uniform(0, 7))


_USUAL = (
    *(
        "model.safetensors",
        "pytorch_lora_weights.safetensors",
        "{0}.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
    ),
    *(
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "{0}-Q4_K_M.gguf",
        "adapter_model.bin",
    ),
    *("{0}_lora_v1.safetensors", "transformer/diffusion_pytorch_model.safetensors"),
)

__all__ = [
    "BACKGROUND",
    "SCENES",
    "Scene",
    "Truth",
    "Wanted",
    "World",
    "civitai_world",
    "truths_of_manager",
    "truths_of_templates",
    "world",
]
