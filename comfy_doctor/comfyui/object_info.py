"""From `/object_info` to node classes: which inputs are widgets, in which order, and which model folder a combo lists.

Shapes were measured on ComfyUI 0.3.64 and 0.33.0 (FACTS 3.2). An input is `[type, config]`; a combo is a list of its
options, or "COMBO" with `options`, or "COMBO" with a `remote` route and no options. The order is that of `input_order`,
or else of the inputs, required before optional; hidden inputs are never drawn. What the frontend draws and adds on its
own (a seed's "randomize", an upload button) follows ComfyUI_frontend and was checked against the official templates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from comfy_doctor.workflows.loaders import slots_of
from comfy_doctor.workflows.node_classes import NodeClass, NodeClasses, Widget

MAX_CLASSES = 100_000
MAX_INPUTS_PER_CLASS = 2_000
MAX_OPTIONS = 500_000
MAX_TYPE_CHARS = 300

_WIDGET_TYPES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOR", "MARKDOWN"})
_GROWING = frozenset({"COMFY_DYNAMICCOMBO_V3"})
"""A combo whose choice decides which widgets come next: nothing after it has a place of its own."""
_SEEDS = frozenset({"seed", "noise_seed"})
_BUTTONS = MappingProxyType(
    {"image_upload": ("upload",), "video_upload": ("upload",), "audio_upload": ("audioUI", "upload")}
)
"""What the frontend draws after the required inputs of a class that has such a combo; their values are saved, too."""


class _Input(NamedTuple):
    name: str
    type: str
    options: tuple[str, ...] | None
    config: Mapping[str, Any]
    required: bool
    bare: bool = False
    """A combo in the old form: the list of its options stands in the place of a type."""


def node_classes(object_info: Any, listed: Mapping[str, Iterable[str]] | None = None) -> NodeClasses:
    """Every class that can be understood; `listed` is folder → the names that the same server lists for it.

    Total over any JSON: what has another shape is left out.
    """
    if not isinstance(object_info, dict):
        return {}
    folders = _Folders(listed or {})
    return {
        node_type: _class(node_type, raw, folders)
        for node_type, raw in list(object_info.items())[:MAX_CLASSES]
        if isinstance(raw, dict) and len(node_type) <= MAX_TYPE_CHARS
    }


def v3_combos(object_info: Any) -> frozenset[tuple[str, str]]:
    """(node type, input) of every combo in the newer form, "COMBO" with a config. Total over any JSON."""
    classes = _table(object_info).items()
    return frozenset(
        (node_type, entry.name)
        for node_type, raw in list(classes)[:MAX_CLASSES]
        for entry in _inputs(_table(raw))
        if entry.type == "COMBO" and not entry.bare
    )


class _Folders:
    """Which folder lists exactly these options; two folders with the same content tell nothing."""

    def __init__(self, listed: Mapping[str, Iterable[str]]) -> None:
        self._by_names: dict[frozenset[str], set[str]] = {}
        for folder, names in listed.items():
            content = frozenset(names)
            if content:
                self._by_names.setdefault(content, set()).add(folder)

    def of(self, node_type: str, entry: _Input) -> str | None:
        """By the measured table where it knows the loader; else by what the options are."""
        slot = next((slot for slot in slots_of(node_type) if slot.input == entry.name), None)
        if slot is not None:
            return slot.folder
        found = self._by_names.get(frozenset(entry.options or ()), set())
        return next(iter(found)) if len(found) == 1 else None


def _class(node_type: str, raw: Mapping[str, Any], folders: _Folders) -> NodeClass:
    module = raw.get("python_module")
    return NodeClass(node_type, module if isinstance(module, str) else "", tuple(_widgets(node_type, raw, folders)))


def _widgets(node_type: str, raw: Mapping[str, Any], folders: _Folders) -> Iterator[Widget]:
    buttons: list[Widget] = []
    for entry in _inputs(raw):
        if not entry.required:
            yield from buttons
            buttons.clear()
        if entry.type in _GROWING:
            yield Widget(entry.name)
            return
        if not _is_widget(entry):
            continue
        combo = entry.type == "COMBO"
        yield Widget(
            entry.name,
            entry.options if combo else None,
            folders.of(node_type, entry) if combo else None,
            int(_has_control(entry)),
        )
        if combo and not buttons:
            buttons += [Widget(name) for key, names in _BUTTONS.items() if entry.config.get(key) for name in names]
    yield from buttons


def _is_widget(entry: _Input) -> bool:
    if entry.config.get("forceInput") is True:
        return False
    drawn_as = entry.config.get("widgetType")
    return entry.type in _WIDGET_TYPES or (isinstance(drawn_as, str) and drawn_as in _WIDGET_TYPES)


def _has_control(entry: _Input) -> bool:
    """A "randomize" follows; the frontend adds it to every whole-number input of these names, asked or not."""
    asked = entry.config.get("control_after_generate")
    if asked is None:
        return entry.type == "INT" and entry.name in _SEEDS
    return entry.type in ("INT", "COMBO", "FLOAT") and bool(asked)


def _inputs(raw: Mapping[str, Any]) -> Iterator[_Input]:
    """Required inputs, then optional ones, each group in its stated order."""
    inputs, order = _table(raw.get("input")), _table(raw.get("input_order"))
    count = 0
    for group in ("required", "optional"):
        entries = _table(inputs.get(group))
        stated = order.get(group)
        names = [name for name in stated if isinstance(name, str)] if isinstance(stated, list) else []
        for name in dict.fromkeys([*names, *entries]):
            count += 1
            if count > MAX_INPUTS_PER_CLASS:
                return
            if name in entries:
                yield _input(name, entries[name], required=group == "required")


def _input(name: str, spec: Any, *, required: bool) -> _Input:
    parts = spec if isinstance(spec, list) and spec else [spec]
    config = _table(parts[1]) if len(parts) > 1 else {}
    kind = parts[0]
    if isinstance(kind, list):
        return _Input(name, "COMBO", _options(kind), config, required, bare=True)
    options = _options(config.get("options")) if kind == "COMBO" else None
    return _Input(name, kind if isinstance(kind, str) else "", options, config, required)


def _options(values: Any) -> tuple[str, ...] | None:
    """The texts among the options; None where they are not told (a remote combo)."""
    if not isinstance(values, list):
        return None
    return tuple(value for value in values[:MAX_OPTIONS] if isinstance(value, str))


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
