"""ComfyUI-Manager's model-list.json as a source: 562 models with their file name, their folder and one URL (FACTS 2).

An entry's `save_path` is a folder below `models/`, a folder of a pack (`custom_nodes/…`), or "default": then its type
tells the folder. Twenty entries share the name diffusion_pytorch_model.safetensors and differ by their path only, so
the whole path is compared first. The list has no digests, and its sizes are words ("4.71MB").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from comfy_doctor.model_names import is_generic
from comfy_doctor.needs import Candidate, Key, Need
from comfy_doctor.resolvers.resolver import AUTOMATIC, Answer, Quest, Word
from comfy_doctor.sites import place_of
from download_worker.errors import Refused, Trouble
from download_worker.jobs.places import ALIASES, FOLDERS, canonical_folder
from download_worker.json_texts import bounded_json
from download_worker.leash import Leash
from download_worker.text import safe_text, without_credentials

MAX_LIST_BYTES = 32 * 1024 * 1024
MAX_ENTRIES = 50_000
MAX_TEXT_CHARS = 2_000
DEFAULT = "default"

SAME_PATH = AUTOMATIC
SAME_FOLDER = 0.8
SEVERAL = 0.6
GENERIC = 0.5
OTHER_FOLDER = 0.4

# Manager's types whose folder is none of ComfyUI's words for a model type.
_FOLDER_OF_TYPE = MappingProxyType({"ip-adapter": "ipadapter", "motion lora": "animatediff_motion_lora"})


@dataclass(frozen=True, slots=True)
class Entry:
    """`path` is where Manager would put the file, below `models/` and with `/` between its parts."""

    title: str
    path: str
    filename: str
    url: str
    size: str
    page: str | None


class _Match(NamedTuple):
    entry: Entry
    sure: float
    why: str


class ManagerList:
    """`read` brings the bytes of model-list.json and may raise Trouble: then we could not look."""

    name = "ComfyUI-Manager's list"
    search = False

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._by_filename: dict[str, list[Entry]] | None = None

    def look(self, quests: Sequence[Quest], leash: Leash) -> Mapping[Key, Answer]:
        """See `Resolver`. Raises Interrupted."""
        leash.check()
        try:
            entries = self._entries()
        except Trouble as trouble:
            return {quest.need.key: Answer(Word.COULD_NOT_LOOK, why=trouble.message) for quest in quests}
        except ValueError as error:
            why = f"ComfyUI-Manager's model list cannot be read: {safe_text(error, max_chars=200)}"
            return {quest.need.key: Answer(Word.COULD_NOT_LOOK, why=why) for quest in quests}
        return {quest.need.key: _answer(quest.need, entries.get(quest.need.filename, [])) for quest in quests}

    def _entries(self) -> Mapping[str, list[Entry]]:
        """By file name. Raises what `read` raises, ValueError when it is no list of models."""
        if self._by_filename is None:
            found: dict[str, list[Entry]] = {}
            for entry in entries_of(self._read()):
                found.setdefault(entry.filename, []).append(entry)
            self._by_filename = found
        return self._by_filename


def entries_of(text: bytes) -> Iterator[Entry]:
    """The entries that name one file. Raises ValueError when this is no list of models."""
    if len(text) > MAX_LIST_BYTES:
        raise ValueError(f"it is larger than {MAX_LIST_BYTES} bytes")
    body = bounded_json(text)
    models = body.get("models") if isinstance(body, dict) else None
    if not isinstance(models, list):
        raise ValueError("it has no list of models")
    for model in models[:MAX_ENTRIES]:
        entry = _entry(model) if isinstance(model, dict) else None
        if entry is not None:
            yield entry


def _entry(model: Mapping[str, Any]) -> Entry | None:
    """None for a whole repository (its file name is "<huggingface>"), and for what is no download."""
    told = {key: _text(model.get(key)) for key in ("name", "type", "save_path", "filename", "url", "size", "reference")}
    filename, url = told["filename"], _url(told["url"])
    if url is None or not filename or set(filename) & set("<>/\\"):
        return None
    folder = _directory(told["save_path"], told["type"])
    return Entry(told["name"], f"{folder}/{filename}", filename, url, told["size"], _url(told["reference"]))


def _directory(save_path: str, model_type: str) -> str:
    """The directory below `models/`; of a folder with several names always the same one."""
    path = save_path.replace("\\", "/").strip("/")
    if path in ("", DEFAULT):
        lowered = model_type.lower()
        return _directory_of(_FOLDER_OF_TYPE.get(lowered, lowered))
    first, slash, rest = path.partition("/")
    return f"{ALIASES.get(first, first)}{slash}{rest}"


def _directory_of(folder: str) -> str:
    try:
        return FOLDERS[canonical_folder(folder)]
    except Refused:
        return folder


def _answer(need: Need, same_name: Sequence[Entry]) -> Answer:
    matches = list(_matches(need, same_name))
    if not matches:
        return Answer(Word.NOT_FOUND, why="ComfyUI-Manager's model list does not name it")
    return Answer(Word.FOUND, tuple(_candidate(need, match) for match in matches))


def _matches(need: Need, same_name: Sequence[Entry]) -> Iterator[_Match]:
    """Entries of exactly this path; else of this name in this folder; else of this name where it says enough."""
    generic = is_generic(need.filename)
    directory = _directory_of(need.folder) if need.folder else None
    strict = [entry for entry in same_name if directory and entry.path == f"{directory}/{need.name}"]
    if strict:
        sure = GENERIC if generic and not need.subfolder else SAME_PATH
        yield from _weighed(strict, sure, "for exactly this place")
        return
    near = [entry for entry in same_name if directory and entry.path.startswith(f"{directory}/")]
    if near:
        yield from _weighed(near, GENERIC if generic else SAME_FOLDER, "for this folder")
        return
    if not generic:
        yield from _weighed(same_name, OTHER_FOLDER, "for another folder")


def _weighed(entries: Sequence[Entry], sure: float, why: str) -> Iterator[_Match]:
    """Each place once; of several none is sure."""
    places = {place_of(entry.url): entry for entry in reversed(entries)}
    for entry in reversed(places.values()):
        yield _Match(entry, min(sure, SEVERAL) if len(places) > 1 else sure, why)


def _candidate(need: Need, match: _Match) -> Candidate:
    entry = match.entry
    evidence = [f"ComfyUI-Manager's list names it {match.why}: {safe_text(entry.title, max_chars=120)}"]
    if match.sure == OTHER_FOLDER:
        evidence.append(f"Manager would put it at {safe_text(entry.path, max_chars=200)}")
    if entry.size:
        evidence.append(f"its size is said to be {safe_text(entry.size, max_chars=20)}")
    return Candidate(
        url=entry.url,
        filename=need.filename,
        folder=need.folder or entry.path.partition("/")[0],
        source="manager-list",
        confidence=match.sure,
        evidence=tuple(evidence),
        page=entry.page,
    )


def _url(text: str) -> str | None:
    try:
        parts = urlsplit(text)
        return without_credentials(text) if parts.scheme in ("http", "https") and parts.hostname else None
    except ValueError:
        return None


def _text(value: Any) -> str:
    return value.strip()[:MAX_TEXT_CHARS] if isinstance(value, str) else ""
