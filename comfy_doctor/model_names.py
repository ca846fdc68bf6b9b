"""What the file name of a model is worth by itself: some name one file in the world, some are on a thousand. Pure.

How a name is taken apart into precision, quant and version, to be compared with another, is in `resolvers/likeness.py`.
"""

from __future__ import annotations

import re

_NOBODYS = """
adapter model models lora vae unet checkpoint pytorch diffusion open clip ip text encoder image transformer weights
controlnet control diffusers upscaler embedding final last best main output test untitled new my file data
"""
# The libraries of Hugging Face write files under these, whatever stands behind them.
_WRITTEN_BY_LIBRARIES = re.compile(r"(learned_embeds|model_index|ema|fp16|optimizer|checkpoint-\d+)\b", re.IGNORECASE)
_ONE_WORD = re.compile(r"[a-z]{1,8}\d{0,2}\.\w+\Z", re.IGNORECASE)
_WEIGHTS_FORM = re.compile(r"(non|ema|only|emaonly|pruned|merged|full|fp\d+|bf16|f16|e\dm\d|v?\d+|of)\Z")
# About the form of a file, or about the family that it goes with, and not about whose it is.
_FORM_OR_FAMILY = """
lora locon lycoris lyco vae ckpt checkpoint model fp bf gguf nf int scaled pruned ema only emaonly no baked full
safetensors sd sdxl xl sdv flux dev schnell wan qwen pony illustrious il ilxl nai noobai hunyuan ltx ltxv step steps
epoch ver version rank dim high low noise final last test new
"""
# What thousands of loras are about: such a word tells nothing of which one it is.
_EVERYBODYS = """
add adds more better style styles anime manga girl girls woman women man men boy detail details detailed tweaker
realism realistic real photo photos character slider enhancer enhance concept concepts pose skin face faces hand hands
eye eyes body art render cartoon portrait flat color colors light lighting dark cinematic film movie game cute retro
vintage pixel lcm turbo hyper lightning dmd distill distilled quality beautiful sexy nsfw helper tool clothes clothing
outfit dress hair background scene painting illustration drawing sketch line lines
"""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
_NOBODYS_WORDS, _EVERYBODYS_WORDS = frozenset(_NOBODYS.split()), frozenset(_EVERYBODYS.split())
_PLAIN_WORDS = frozenset(_FORM_OR_FAMILY.split())
MIN_TELLING_WORDS = 2
MIN_TELLING_CHARS = 16


def is_generic(filename: str) -> bool:
    """Whether nothing of this name says whose file it is: `diffusion_pytorch_model.fp16.safetensors`.

    Two files of such a name are not the same model.
    """
    if _WRITTEN_BY_LIBRARIES.match(filename):
        return True
    words = re.findall(r"[^\W_]+", _stem(filename).lower())
    said = [word for word in words if not _WEIGHTS_FORM.match(word)]
    return not words or (bool(said) and _NOBODYS_WORDS.issuperset(said))


def is_one_word(filename: str) -> bool:
    """Whether the name is a single short word: `flux.safetensors`, `ae.safetensors`."""
    return _ONE_WORD.match(filename) is not None


def is_telling(filename: str) -> bool:
    """Whether a stranger would hardly give this name to another file: enough of it is its own.

    Its own is what is neither form, nor family, nor what everybody writes about.
    """
    words = [word for word in telling_words(filename) if word not in _NOBODYS_WORDS | _EVERYBODYS_WORDS]
    return len(words) >= MIN_TELLING_WORDS and sum(map(len, words)) >= MIN_TELLING_CHARS


def telling_words(filename: str) -> tuple[str, ...]:
    """Its words in lower case, CamelCase taken apart, each once, without those about precision, version and family."""
    words = (word.lower() for word in words_of(filename))
    telling = (word for word in words if len(word) > 1 and not word.isdigit() and word not in _PLAIN_WORDS)
    return tuple(dict.fromkeys(telling))


def words_of(filename: str) -> list[str]:
    """All words of a name without its extension, as they are written."""
    return _WORD.findall(_stem(filename))


def squashed(text: str) -> str:
    """Letters and digits only, in lower case: what is left when a host has rewritten a name."""
    return "".join(char for char in text.lower() if char.isalnum())


def _stem(filename: str) -> str:
    stem, dot, extension = filename.rpartition(".")
    return stem if dot and len(extension) <= len("safetensors") else filename
