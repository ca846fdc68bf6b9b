"""Words that options take, in one place: the command line reads them, and verbs decide by them."""

from __future__ import annotations

from typing import Literal

Which = Literal["all", "required", "skip"]
"""Which models a plan is about. `required`: what active nodes need. `all`: also what is optional, muted, bypassed."""

Form = Literal["plan", "urls", "aria2"]
"""How a plan is printed: for people, as one URL per line, or as an input file of aria2."""

YesNo = Literal["yes", "no"]
