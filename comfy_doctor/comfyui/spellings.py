"""Names as one server lists them, and how a name that a workflow asks for stands among them. Pure.

ComfyUI compares letter by letter, and lists with the slashes of its own system (a backslash on Windows).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from enum import Enum

from comfy_doctor.model_names import is_generic
from comfy_doctor.workflows.names import normalised


class Standing(Enum):
    LISTED = "as it is written"
    OTHER_SLASHES = "with other slashes"
    OTHER_LETTERS = "in other letters"
    OTHER_SUBFOLDER = "in another subfolder"


class Spellings:
    """One list of a server, ready to be asked many times."""

    def __init__(self, names: Iterable[str]) -> None:
        self.exact = frozenset(names)
        self._by_plain: dict[str, str] = {}
        self._by_filename: defaultdict[str, list[str]] = defaultdict(list)
        for name in sorted(self.exact):
            plain = normalised(name).lower()
            self._by_plain.setdefault(plain, name)
            self._by_filename[plain.rpartition("/")[2]].append(name)

    def find(self, written: str) -> tuple[Standing, str] | None:
        """How this name is listed, the nearest spelling first; None where nothing of its file name is listed."""
        if written in self.exact:
            return Standing.LISTED, written
        plain = normalised(written)
        near = self._by_plain.get(plain.lower())
        if near is not None:
            return Standing.OTHER_SLASHES if normalised(near) == plain else Standing.OTHER_LETTERS, near
        filename = plain.rpartition("/")[2].lower()
        others = self._by_filename.get(filename, [])
        if not others or is_generic(filename):
            return None
        return Standing.OTHER_SUBFOLDER, min(others, key=lambda name: (normalised(name).count("/"), name))
