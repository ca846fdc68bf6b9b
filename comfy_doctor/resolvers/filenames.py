"""What a file name is worth by itself: some name one file in the world, some are on a thousand. Pure."""

from __future__ import annotations

import re

_NOBODYS = re.compile(
    r"(adapter|model|models|lora|vae|unet|checkpoint|pytorch|diffusion|open|clip|ip|text|encoder|image|transformer"
    r"|weights|controlnet|control|diffusers|upscaler|embedding|final|last|best|main|output|test|untitled|new|my|file"
    r"|data)\Z"
)
_OF_FORM = re.compile(r"(non|ema|only|emaonly|pruned|merged|full|fp\d+|bf16|f16|e\dm\d|v?\d+|of)\Z")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
# Words that are about the form of a file, or about what it goes with, and not about whose it is.
_FORM = re.compile(
    r"(lora|locon|lycoris|lyco|vae|ckpt|checkpoint|model|fp\d*|bf\d*|f|e|m|q|k|s|l|v|gguf|nf|int|scaled|pruned|ema"
    r"|only|emaonly|no|baked|full|safetensors|sd|sdxl|xl|sdv|flux|dev|schnell|wan|qwen|pony|illustrious|il|ilxl|nai"
    r"|noobai|hunyuan|ltx|ltxv|step|steps|epoch|ver|version|rank|dim|high|low|noise|final|last|test|new|\d+)\Z"
)
MIN_TELLING_WORDS = 3
MIN_TELLING_CHARS = 14


def is_generic(filename: str) -> bool:
    """Whether nothing of this name says whose file it is: `diffusion_pytorch_model.fp16.safetensors`."""
    words = re.findall(r"[^\W_]+", _stem(filename).lower())
    nobodys = [word for word in words if _NOBODYS.match(word)]
    return not words or (bool(nobodys) and all(word in nobodys or _OF_FORM.match(word) for word in words))


def is_telling(filename: str) -> bool:
    """Whether a stranger would hardly give this name to another file: enough of it is neither form nor family."""
    words = telling_words(filename)
    return len(words) >= MIN_TELLING_WORDS or sum(map(len, words)) >= MIN_TELLING_CHARS


def telling_words(filename: str) -> tuple[str, ...]:
    """Its words in lower case, CamelCase taken apart, each once, without those about precision, version and family."""
    words = (word.lower() for word in words_of(filename))
    return tuple(dict.fromkeys(word for word in words if len(word) > 1 and not _FORM.match(word)))


def words_of(filename: str) -> list[str]:
    """All words of a name without its extension, as they are written."""
    return _WORD.findall(_stem(filename))


def squashed(text: str) -> str:
    """Letters and digits only, in lower case: what is left when a host has rewritten a name."""
    return "".join(char for char in text.lower() if char.isalnum())


def _stem(filename: str) -> str:
    stem, dot, extension = filename.rpartition(".")
    return stem if dot and len(extension) <= len("safetensors") else filename
