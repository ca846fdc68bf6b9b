"""A hub that is a model host on the loopback: it serves files as well or as badly as it is told.

>>> with Hub() as hub:
...     url = hub.publish("/lora.safetensors", SizedPattern(1_000_000), behaviour=BEHAVIOURS["rst_mid"].times(2))
"""

from . import lanes
from .behaviours import RETRY_AFTER
from .data import Blob, Data, FileData, SizedPattern, sha256_of
from .hub import Hit, Hub
from .wearing import BEHAVIOURS, Behaviour, in_turn

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
    "lanes",
    "sha256_of",
]
