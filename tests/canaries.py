"""Five planted secrets, and the search for them: raw, quoted for a URL, or in base64, as a header would carry them.

A journey's house plants the tokens in the surroundings of every program, and searches what they have left when it
closes.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from urllib.parse import quote

HF = "hf_canary4f1d9cA1b2C3d4E5f6G7h8"
CIVITAI = "civitai-canary-8e2b7a55d1"
OPENAI = "sk-canary-17ac55e0b3f94d"
SIGNATURE = "canary+9d31/7bQ=e"
"""With signs that a URL quotes."""
PROXY_USER, PROXY_PASSWORD = "porter", "proxy-canary-5577e1"

ALL = (HF, CIVITAI, OPENAI, SIGNATURE, PROXY_PASSWORD)
TOKENS = {"HF_TOKEN": HF, "CIVITAI_API_TOKEN": CIVITAI, "OPENAI_API_KEY": OPENAI}
_PAIR = f"{PROXY_USER}:{PROXY_PASSWORD}"


def forms_of(canary: str) -> frozenset[bytes]:
    """All that it may look like; quoted in part, it still has its middle."""
    told = {canary, quote(canary, safe=""), quote(canary), canary.replace("+", " ")}
    encoded = {base64.b64encode(each.encode()).rstrip(b"=")[:-1] for each in told}
    if canary == PROXY_PASSWORD:
        encoded.add(base64.b64encode(_PAIR.encode()).rstrip(b"=")[:-1])
    return frozenset({each.encode() for each in told} | encoded)


def found_in(content: bytes, *, but: Iterable[str] = ()) -> list[str]:
    """The canaries that sing in there, those left out that may."""
    allowed = set(but)
    wanted = [canary for canary in ALL if canary not in allowed]
    return [canary for canary in wanted if any(form in content for form in forms_of(canary))]
