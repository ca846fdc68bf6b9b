"""What a node hands on unchanged: constants hold a text, switches choose among what comes in. For both formats.

Only what is certain is followed; whatever else stands at the origin of a link computes its value at run time.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple


class Kind(Enum):
    OWN = "own"
    """Nothing comes in: the widget's own value counts."""
    VALUE = "value"
    """This value replaces the widget's own."""
    LINK = "link"
    """Something computed at run time replaces it."""


class Incoming(NamedTuple):
    kind: Kind
    value: Any = None


OWN = Incoming(Kind.OWN)
LINK = Incoming(Kind.LINK)

Taken = Callable[[str], Incoming]
"""What comes into the input of this name, by link or by the node's own widget; OWN where nothing does."""

# Node type → the input whose text is the node's only output (ComfyUI's own, then KJNodes, Easy-Use, Crystools,
# Comfyroll, tinyterraNodes, Image Saver, Various).
CONSTANTS = MappingProxyType(
    {
        "PrimitiveString": "value",
        "PrimitiveStringMultiline": "value",
        "CustomCombo": "choice",
        "StringConstant": "string",
        "StringConstantMultiline": "string",
        "easy string": "value",
        "Primitive string [Crystools]": "string",
        "CR Text": "text",
        "ttN text": "text",
        "String Literal": "string",
        "JWString": "text",
    }
)
_FIRST_OF = frozenset({"Any Switch (rgthree)"})
"""They hand on the first of `any_01`, `any_02`, … that is not None (rgthree, `any_switch.py`)."""
_SWITCH = "ComfySwitchNode"
_MAX_BRANCHES = 50

MAX_HOPS = 200
"""Links that are followed for one value, whatever branches on the way."""
CHOICE_HOPS = 10
"""What a constant or a switch costs of them: it nests calls, and Python's stack is not endless."""


def hands_on(node_type: str) -> bool:
    """Nothing is loaded by such a node, whatever name stands in it."""
    return node_type in CONSTANTS or node_type in _FIRST_OF or node_type == _SWITCH


def handed_on(node_type: str, slot: int, taken: Taken) -> Incoming:
    """What leaves this node at this slot: VALUE where it is certain, else LINK."""
    constant = CONSTANTS.get(node_type)
    if constant is not None and slot == 0:
        return _or_computed(taken(constant))
    if node_type in _FIRST_OF:
        return _first(taken)
    if node_type == _SWITCH:
        chosen = taken("switch")
        if chosen.kind is Kind.VALUE and isinstance(chosen.value, bool):
            return _or_computed(taken("on_true" if chosen.value else "on_false"))
    return LINK


def _or_computed(found: Incoming) -> Incoming:
    return found if found.kind is Kind.VALUE else LINK


def _first(taken: Taken) -> Incoming:
    branches = (taken(f"any_{number:02}") for number in range(1, _MAX_BRANCHES))
    return next((found for found in branches if found.kind is not Kind.OWN), LINK)
