"""What stands on the Civitai of a measured world: re-uploads under names that others use, and models of its own. Pure.

Its own models are made up: a title, versions, files with the names that Civitai gives them. A checkpoint is called
after its title and version, whatever its author called it; loras keep their names, in every version the same one, or
one that a second author uses too.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.hub.civitai import Json, file, model, version

_FIRST, _SECOND, _THIRD = (
    words.split()
    for words in (
        "moonlit velvet copper misty crystal hollow amber silent neon paper gilded frosted",
        "harbor meadow knight orchid lantern raven temple garden citadel river phoenix willow",
        "watercolor realism mix style xl anime painting photo detailer v",
    )
)
_BASES = ("SDXL 1.0", "SD 1.5", "Pony", "Flux.1 D", "Illustrious", "Wan Video 2.2 I2V-A14B")
_TYPES = {"loras": "LORA", "checkpoints": "Checkpoint", "vae": "VAE", "upscale_models": "Upscaler"}
FIRST_NUMBER = 1000


@dataclass(frozen=True, slots=True)
class Published:
    """A model that somebody got from Civitai: in this folder, under this name, and these are its bytes."""

    folder: str
    name: str
    sha256: str


def reuploads(wanted: Iterable[tuple[str, str, Iterable[str]]], rng: random.Random) -> Iterator[Json]:
    """Some of these models (folder, name, right digests) again, half of them with other bytes."""
    for number, (folder, name, right) in enumerate(wanted, FIRST_NUMBER):
        filename = name.rpartition("/")[2]
        if rng.random() > (0.3 if folder in _TYPES else 0.05):
            continue
        title = re.sub(r"[_-]+", " ", filename.rpartition(".")[0])
        equal = next(iter(sorted(right)), "")
        sha256 = equal if equal and rng.random() < 0.5 else _sha256(f"again {filename} {rng.random()}")
        kind, base = _TYPES.get(folder, "Other"), rng.choice(_BASES)
        called = filename if kind != "Checkpoint" else f"{title.title().replace(' ', '')}_v1.safetensors"
        yield model(number, title, kind, version(number * 10, file(called, sha256, 10**8), baseModel=base))


@dataclass
class _Shelf:
    rng: random.Random
    models: list[Json] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    titles: set[str] = field(default_factory=set)

    def put(self, title: str, kind: str, *versions: Json) -> None:
        self.models.append(model(50_000 + len(self.models), title, kind, *versions))

    def number(self) -> int:
        return 900_000 + 10 * len(self.models)

    def title(self) -> str:
        while True:
            words = (self.rng.choice(_FIRST), self.rng.choice(_SECOND), self.rng.choice(_THIRD))
            found = " ".join(words[: self.rng.choice((2, 3, 3))]).title()
            if found not in self.titles:
                self.titles.add(found)
                return found


def own_models(count: int, rng: random.Random) -> tuple[list[Published], list[Json]]:
    """So many loras and as many checkpoints, of which every name is looked for, and their like among them."""
    shelf = _Shelf(rng)
    for _ in range(count):
        _lora(shelf)
        _checkpoint(shelf)
    rng.shuffle(shelf.models)
    return shelf.published, shelf.models


def _lora(shelf: _Shelf) -> None:
    rng, title, number = shelf.rng, shelf.title(), shelf.number()
    spelled = rng.choice(("_", "-", "")).join(title.split())
    name = rng.choice(
        (f"{spelled}.safetensors", f"{spelled}_v1.safetensors", f"{title.split()[0].lower()}.safetensors")
    )
    base = rng.choice(_BASES)
    kept = rng.random() < 0.25
    versions = [version(number, file(name, _sha256(f"{title} 1")), name="v1.0", baseModel=base)]
    if rng.random() < 0.5:
        newer = name if kept else f"{spelled}_v2.safetensors"
        versions.insert(0, version(number + 1, file(newer, _sha256(f"{title} 2")), name="v2.0", baseModel=base))
    shelf.put(title, "LORA", *versions)
    shelf.published.append(Published("loras", name, _sha256(f"{title} 1")))
    if rng.random() < 0.12:
        again = file(name, _sha256(f"{title} by another"))
        shelf.put(f"{title} {rng.choice(('remake', 'Redux', 'by me'))}", "LORA", version(shelf.number(), again))
    if rng.random() < 0.1:
        other = f"{rng.choice(_FIRST)} {rng.choice(_SECOND)} collection".title()
        shelf.put(other, "LORA", version(shelf.number(), file(name, _sha256(f"{title} elsewhere"))))


def _checkpoint(shelf: _Shelf) -> None:
    """As Civitai names it: title without blanks in camel case, version, both squeezed."""
    rng, title, number = shelf.rng, shelf.title(), shelf.number()
    squeezed = title[0].lower() + title.replace(" ", "")[1:]
    base = rng.choice(_BASES[:4])
    versions = []
    for count, word in enumerate(("v20", "v10")[rng.randrange(2) :]):
        called = f"{squeezed}_{word}.safetensors"
        full, pruned = _sha256(f"{title} {word}"), _sha256(f"{title} {word} pruned")
        files = [file(called, full, 6.9e9)]
        if rng.random() < 0.3:
            metadata = {"fp": "fp16", "size": "pruned", "format": "SafeTensor"}
            files.append(file(called, pruned, 2e9, primary=False, kind="Pruned Model", metadata=metadata))
        versions.append(version(number + count, *files, name=word, baseModel=base))
        if word == "v10":
            own = rng.random() < 0.3
            name = f"{title.replace(' ', '')}.safetensors" if own else called
            shelf.published.append(Published("checkpoints", name, full))
    shelf.put(title, "Checkpoint", *versions)
    if rng.random() < 0.15:
        merged = f"{squeezed}_v10.safetensors"
        shelf.put(
            f"{title} Merge", "Checkpoint", version(shelf.number(), file(merged, _sha256(f"{title} merge")), name="v10")
        )


def _sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()
