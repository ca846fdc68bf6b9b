"""What workflows need, as values: models by (folder, name), node types, and where a file could come from.

A model's `name` is its path below its folder with `/` between the parts, exactly as ComfyUI would list it on Linux;
`Use.written` keeps what the workflow really says. Nothing here has been looked for yet.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal

from download_worker.text import public_url

Source = Literal[
    "embedded", "note", "template", "manager-list", "civitai_hash", "civitai", "huggingface", "registry", "agent",
    "peer", "local",
]  # fmt: skip
Proof = Literal["A", "B", "C", "D"]


Key = tuple[str, str]
"""(folder, name): what makes two needs the same one."""


class Criticality(StrEnum):
    REQUIRED = "required"
    FLEXIBLE = "flexible"
    OPTIONAL = "optional"


class FolderFrom(StrEnum):
    """How we know a model's folder, the surest first."""

    TABLE = "the loader's own list"
    WORKFLOW = "the workflow's metadata"
    INPUT = "the name of the input"
    NODE = "the name of the node"
    NOWHERE = "nothing"


@dataclass(frozen=True, slots=True)
class Use:
    """One place that asks for something. `node_id` is an execution path ("11:3"); `input` is None where unknown."""

    workflow: str
    node_id: str
    node_type: str
    input: str | None
    active: bool
    written: str = ""

    def public(self) -> dict[str, Any]:
        return {
            "workflow": self.workflow,
            "node_id": self.node_id,
            "node_type": self.node_type,
            "input": self.input,
            "active": self.active,
        }


@dataclass(frozen=True, slots=True)
class Candidate:
    """One place where a file could be had. `size` in bytes, `sha256` lower-case hex, `confidence` from 0 to 1.

    The URLs are without our tokens; a signature may be in them, so only `public` shows them.
    `proof`: A a publisher's digest, B our registry's or fleet's digest, C exact size and structure, D none.
    """

    url: str
    filename: str
    folder: str
    source: Source
    mirrors: tuple[str, ...] = ()
    size: int | None = None
    sha256: str | None = None
    proof: Proof = "D"
    confidence: float = 0.0
    evidence: tuple[str, ...] = ()
    """Who said what, one short sentence each; shown to people, so it is safe text without secrets."""
    gated: bool = False
    token: str | None = None
    """The variable whose token its host wants, for example HF_TOKEN."""
    obstacle: str | None = None
    """Why it cannot be had now, with the next step; None where nothing is known to stand in the way."""
    page: str | None = None
    """Where a person reads about it and accepts its licence."""

    def public(self) -> dict[str, Any]:
        return asdict(self) | {
            "url": public_url(self.url),
            "mirrors": [public_url(mirror) for mirror in self.mirrors],
            "evidence": list(self.evidence),
        }


@dataclass(frozen=True, slots=True)
class Stated:
    """A SHA-256 (lower-case hex) that somebody names for a needed file, whatever its source; `by` is shown."""

    sha256: str
    by: str


@dataclass(frozen=True, slots=True)
class Need:
    """One model that workflows ask for. `folder` is ComfyUI's own word, or None where nothing tells."""

    folder: str | None
    name: str
    uses: tuple[Use, ...]
    folder_from: FolderFrom = FolderFrom.TABLE
    criticality: Criticality = Criticality.REQUIRED
    candidates: tuple[Candidate, ...] = ()
    stated: tuple[Stated, ...] = ()
    hints: tuple[str, ...] = ()
    """URLs of repositories and model pages that the same workflow's notes speak of."""

    @property
    def key(self) -> Key:
        return (self.folder or "", self.name)

    @property
    def filename(self) -> str:
        return self.name.rpartition("/")[2]

    @property
    def subfolder(self) -> str:
        return self.name.rpartition("/")[0]

    @property
    def active(self) -> bool:
        return any(use.active for use in self.uses)

    @property
    def best(self) -> Candidate | None:
        """The candidate of most confidence; of equals the first."""
        return max(self.candidates, key=lambda candidate: candidate.confidence, default=None)


@dataclass(frozen=True, slots=True)
class SelfFetched:
    """A model that its node fetches by itself on the first run: nothing to place."""

    filename: str
    use: Use


@dataclass(frozen=True, slots=True)
class Mention:
    """A model spoken of in a prompt (`<lora:NAME:1>`, `embedding:NAME`) or in a list without extensions: a hint."""

    kind: Literal["lora", "embedding"]
    name: str
    use: Use


@dataclass(frozen=True, slots=True)
class PackClue:
    """What a workflow says about the pack of a node: a strong hint, never a proof (FACTS 1.2)."""

    cnr_id: str | None = None
    aux_id: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class NodeUse:
    """One node of a workflow, whatever its type."""

    use: Use
    clue: PackClue
