"""A hub that is a model host on the loopback: it serves files as well or as badly as it is told.

>>> with Hub() as hub:
...     url = hub.publish("/lora.safetensors", SizedPattern(1_000_000), behaviour=BEHAVIOURS["rst_mid"].times(2))
"""

from .behaviours import BEHAVIOURS, RETRY_AFTER, Behaviour, in_turn
from .data import Blob, Data, FileData, SizedPattern, sha256_of
from .hub import Hit, Hub

__all__ = [
    "BEHAVIOURS",
    "RETRY_AFTER",
    "Behaviour",
    "Blob",
    "Data",
    "FileData",
    "Hit",
    "Hub",
    "SizedPattern",
    "in_turn",
    "sha256_of",
]
