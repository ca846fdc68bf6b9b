"""How alike two model names are: the same model in another precision or quant, another spelling, or only similar.

A name is taken apart into what says which model it is (letters and numbers, versions among them) and what only says
how its weights are written (`fp8_e4m3fn`, `Q4_K_M`, `pruned`). Another number is another model: 2.1 is not 2.2, 14B is
not 1.3B. Pure, and a ranking only: nobody applies a near name without a person.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple, overload

from rapidfuzz import fuzz, process, utils

MAX_NAME_CHARS = 512
_SHORT_LIST = 400
"""So many of a long list are looked at closely, for each way to be alike."""
_LEAST_RATIO = 60.0
_SAME, _OTHER_SPELLING, _SAME_MODEL = 1.0, 0.98, 0.85
_SIMILAR, _SIMILAR_OTHER_NUMBERS, _OTHER_VERSION = 0.8, 0.65, 0.6
"""What these are worth at most: nothing that is only similar comes near to the same model."""

SAME_NAME = "same name"
OTHER_SPELLING = "same name, other separator/case"
OTHER_PRECISION = "same model, other precision"
OTHER_QUANT = "same model, other quant"
OTHER_FORMAT = "same model, other format"
OTHER_VERSION = "similar name, other version"
SIMILAR = "similar name"


class Near(NamedTuple):
    """`score` from 0 to 1, 1 for the very same file name (in another folder, perhaps)."""

    name: str
    score: float
    why: str


@dataclass(frozen=True, slots=True)
class Parts:
    """A file name taken apart: `words` and `numbers` in their order say which model it is, the others how it is kept.

    `spelled` is the name as one word: what is left of it when separators and case do not count. `core` is the name
    without precision and quant.
    """

    words: tuple[str, ...]
    shard: str
    precision: frozenset[str]
    quant: frozenset[str]
    extension: str
    spelled: str
    core: str

    @property
    def numbers(self) -> tuple[str, ...]:
        return tuple(word for word in self.words if word.isdigit())

    @property
    def letters(self) -> str:
        return "".join(word for word in self.words if not word.isdigit())

    def mean_the_model_of(self, other: Parts) -> bool:
        """In whatever precision, quant, format or spelling."""
        return (self.words, self.shard) == (other.words, other.shard)


_SLASHES = re.compile(r"[/\\]")
_EXTENSION = re.compile(r"\.(safetensors|sft|ckpt|pt2?|pth|bin|onnx|gguf|pkl|task)\Z")
_SHARD = re.compile(r"-(\d{5}-of-\d{5})\Z")
# What GGUF calls its types (ggml's names: Q4_K_M, IQ3_XXS, TQ1_0), with the "UD" of dynamic ones.
_QUANT = re.compile(
    r"(?<![a-z0-9])(?:ud[-_.])?(?:i?q[1-8]|tq[12])"
    r"(?:[-_.]?(?:k(?:[-_.]?(?:xxs|xs|xl|s|m|l))?|xxs|xs|s|m|nl|[01])(?![a-z0-9]))?(?![a-z0-9])"
)
_PRECISION = re.compile(
    r"(?<![a-z0-9])(?:"
    r"(?:mx|nv)?fp(?:4|8|16|32)(?:[-_.]?(?:e4m3(?:fn)?(?:uz)?|e5m2|scaled|mixed))*(?:[-_.]fast)?"
    r"|e4m3(?:fn)?(?:uz)?(?:[-_.](?:scaled|mixed))*(?:[-_.]fast)?|e5m2(?:[-_.]scaled)?"
    r"|bf16|f16|f32|float(?:8|16|32)|nf4|int[48]|[48][-_]?bit"
    r"|scaled|pruned|(?:non?[-_]?)?ema(?:[-_]?only)?"
    r")(?![a-z0-9])"
)
_VERSION_MARK = re.compile(r"(?<![a-z0-9])v(?=\d)")
_POINT_ZERO = re.compile(r"(?<=\d)\.0(?![\d.])")
_RUN = re.compile(r"[^\W\d_]+|\d+")


def parts_of(name: str) -> Parts:
    """The last part of a path, taken apart. Total: any text has parts."""
    return _parts(_file(name).lower())


@lru_cache(maxsize=4096)
def _parts(name: str) -> Parts:
    found = _EXTENSION.search(name)
    stem = name[: found.start()] if found else name
    part = _SHARD.search(stem)
    stem = stem[: part.start()] if part else stem
    rest, quant = _without(_QUANT, stem)
    rest, precision = _without(_PRECISION, rest)
    if not _RUN.search(rest):
        rest, quant, precision = stem, frozenset(), frozenset()  # a name of nothing but such words is a name
    return Parts(
        words=tuple(_words(_POINT_ZERO.sub("", _VERSION_MARK.sub("", rest)))),
        shard=part[1] if part else "",
        precision=precision,
        quant=quant,
        extension=found[1] if found else "",
        spelled="".join(_RUN.findall(stem)),
        core=rest,
    )


def _without(pattern: re.Pattern[str], text: str) -> tuple[str, frozenset[str]]:
    found = {re.sub(r"[-_.]", "_", match[0]) for match in pattern.finditer(text)}
    return pattern.sub(" ", text), frozenset(found)


def _words(text: str) -> Iterator[str]:
    """Numbers one by one, letters between two of them as one word: `Real-ESRGAN_x4` and `RealESRGAN x4` are equal."""
    letters = ""
    for run in _RUN.findall(text):
        if not run[0].isdigit():
            letters += run
            continue
        if letters:
            yield letters
        letters = ""
        yield run.lstrip("0") or "0"
    if letters:
        yield letters


class Names(Sequence[str]):
    """A long list that is asked more than once: its names are taken apart once, when that is first needed.

    So `nearest` takes half of the time: 0.06 s of one core among 100,000 names.
    """

    def __init__(self, listed: Iterable[str]) -> None:
        self._listed = tuple(listed)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        return self._listed[index]

    def __len__(self) -> int:
        return len(self._listed)

    @cached_property
    def plain(self) -> tuple[str, ...]:
        """Each name as words."""
        return tuple(_spread(name[-MAX_NAME_CHARS:]) for name in self._listed)

    @cached_property
    def _places(self) -> Mapping[str, Sequence[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        for place, name in enumerate(self.plain):
            for word in set(name.split()):
                found[word].append(place)
        return found

    def with_word_of(self, text: str) -> list[int]:
        """The places of the names that have a word with this text in common."""
        return sorted(set[int]().union(*(self._places.get(word, ()) for word in text.split())))


def nearest(name: str, listed: Sequence[str], limit: int) -> tuple[Near, ...]:
    """The names most like `name`, the likest first, at most `limit`; what is not alike at all is left out."""
    wanted = parts_of(name)
    ranked = sorted(
        (near for other in _short_list(name, wanted, listed) if (near := _near(name, wanted, other)) is not None),
        key=lambda near: (-near.score, near.name),
    )
    return tuple(ranked[:limit])


def _short_list(name: str, wanted: Parts, listed: Sequence[str]) -> set[str]:
    """By the whole name, and by the words that say which model it is: a quant may be most of a short name."""
    if len(listed) <= 2 * _SHORT_LIST:
        return set(listed)
    whole, core = _spread(_file(name)), _spread(wanted.core)
    if isinstance(listed, Names):
        plain: Sequence[str] = listed.plain
        kin: Sequence[int] = listed.with_word_of(core)  # sets of words tell no more than letters where none is common
    else:
        plain = [_spread(other[-MAX_NAME_CHARS:]) for other in listed]
        kin = range(len(plain))
    found: set[str] = set()
    for text in (whole, core):
        found.update(listed[place] for place in _alike(text, plain, fuzz.ratio))
    found.update(listed[kin[place]] for place in _alike(core, [plain[place] for place in kin], fuzz.token_set_ratio))
    return found


def _alike(text: str, plain: Sequence[str], scorer: Callable[..., float]) -> Iterator[int]:
    """The places of the names that are most like this text, as this scorer sees it."""
    found = process.extract(text, plain, scorer=scorer, processor=None, limit=_SHORT_LIST, score_cutoff=40.0)
    return (place for _, _, place in found)


def _spread(name: str) -> str:
    return utils.default_process(name.replace("_", " "))


def _near(name: str, wanted: Parts, other: str) -> Near | None:
    if _file(name) == _file(other):
        return Near(other, _SAME, SAME_NAME)
    parts = parts_of(other)
    ratio = fuzz.ratio(wanted.spelled, parts.spelled)
    if wanted.mean_the_model_of(parts):
        return _kin(wanted, parts, other, ratio)
    if ratio < _LEAST_RATIO:
        return None
    if wanted.letters == parts.letters:
        return Near(other, _rounded(_OTHER_VERSION * ratio / 100), OTHER_VERSION)
    weight = _SIMILAR if wanted.numbers == parts.numbers else _SIMILAR_OTHER_NUMBERS
    return Near(other, _rounded(weight * ratio / 100), SIMILAR)


def _kin(wanted: Parts, parts: Parts, other: str, ratio: float) -> Near:
    same_kind = wanted.extension == parts.extension
    if same_kind and wanted.spelled == parts.spelled:
        return Near(other, _OTHER_SPELLING, OTHER_SPELLING)
    score = _rounded(_SAME_MODEL + ratio / 100 * (0.1 if same_kind else 0.05))
    if wanted.quant != parts.quant:
        return Near(other, score, OTHER_QUANT)
    if wanted.precision != parts.precision:
        return Near(other, score, OTHER_PRECISION)
    return Near(other, score, OTHER_SPELLING if same_kind else OTHER_FORMAT)


def _file(name: str) -> str:
    return _SLASHES.split(name[-MAX_NAME_CHARS:])[-1]


def _rounded(score: float) -> float:
    return round(score, 4)


# In names, words are split where letters meet digits, so "sd_1.5", "SD15" and "sd-v1-5" all read "sd 15" or "sd 1 5".
_FAMILIES: tuple[tuple[str, str], ...] = (
    ("sd15", r"\b(?:sd|stable diffusion|sd v|stable diffusion v)(?: 1 [45]| 1[45])\b|\bv 1 5 pruned\b"),
    ("sd2", r"\b(?:sd|stable diffusion|sd v|stable diffusion v)(?: 2 [01]| 2[01]| 2)\b|\bv 2 1 \d* ?(?:ema|non ?ema)"),
    ("sd3", r"\b(?:sd|stable diffusion)(?: v)? 3(?:5|\b)"),
    ("sdxl", r"\b(?:sd ?xl|pony|ponyxl|illustrious|noob ?ai(?: xl)?|animagine|stable diffusion xl)\b"),
    ("sdxl_refiner", r"\bsd ?xl.* refiner\b"),
    ("cascade", r"\b(?:stable ?cascade|wuerstchen)\b"),
    ("flux2", r"\bflux ?2(?!\d)"),
    ("flux", r"\bflux(?! ?2(?!\d))"),
    ("chroma", r"\bchroma\b(?! ?key)"),
    ("wan", r"\bwan(?: ?(?:video|vace|ai|fun|animate))?\b"),
    ("hunyuan_video", r"\bhunyuan ?video"),
    ("hunyuan_image", r"\bhunyuan ?image"),
    ("hunyuan3d", r"\b(?:hunyuan|hy) ?3 ?d\b"),
    ("hunyuan_dit", r"\bhunyuan ?dit\b"),
    ("ltx2", r"\bltx 2\b(?! b\b)"),
    ("ltx", r"\bltx(?:v|video)?\b(?! 2\b(?! b\b))|\bltx ?v(?:ideo)?\b"),
    ("qwen_image", r"\bqwen ?image"),
    ("z_image", r"\bz ?image"),
    ("hidream", r"\bhi ?dream"),
    ("cosmos", r"\bcosmos\b"),
    ("svd", r"\b(?:svd|stable video diffusion)\b"),
    ("mochi", r"\bmochi\b"),
    ("pixart", r"\bpix ?art"),
    ("aura_flow", r"\baura ?flow"),
    ("lumina2", r"\blumina(?: image)? 2\b"),
    ("omnigen2", r"\bomnigen ?2\b"),
    ("ace_step", r"\bace ?step\b"),
    ("stable_audio", r"\bstable ?audio\b"),
)
_FAMILY_PATTERNS = tuple((family, re.compile(pattern)) for family, pattern in _FAMILIES)
# Many SDXL checkpoints say no more than this: juggernautXL_v9, dreamshaperXL.
_BARE_XL = re.compile(r"(?<!x)xl\b")


@lru_cache(maxsize=4096)
def families_in(name: str) -> frozenset[str]:
    """The families of models that a file name or path speaks of, in the words of `verifiers/content/families.py`."""
    text = _spaced(name[-MAX_NAME_CHARS:].lower())
    found = {family for family, pattern in _FAMILY_PATTERNS if pattern.search(text)}
    if not found and _BARE_XL.search(text):
        found = {"sdxl"}
    return frozenset(found)


def _spaced(name: str) -> str:
    return " ".join(_RUN.findall(_QUANT.sub(" ", name)))
