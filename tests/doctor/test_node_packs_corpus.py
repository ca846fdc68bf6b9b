"""Repositories of the real workflows against their oracle, with the recorded lists of the Manager as the channel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from comfy_doctor.comfyui.install import Install
from comfy_doctor.diagnose import diagnose
from comfy_doctor.needs import NodeUse, PackClue
from comfy_doctor.node_packs.channel import Channel
from comfy_doctor.node_packs.directory import PackDirectory
from comfy_doctor.node_packs.owners import PackChoice
from tests.corpus.grading import CORPUS, SHARED, needs_corpus

MANAGER = SHARED / "manager"
WANTED_SHARE = 0.98


@cache
def asked() -> tuple[tuple[dict[str, Any], dict[str, list[NodeUse]]], ...]:
    """The oracle's entry of each file, and the uses of its types that are not ComfyUI's own."""
    oracle = json.loads((CORPUS / "ORACLE.json").read_text(encoding="utf-8"))
    install = Install(Path("/nowhere"))
    cases = ((entry, diagnose([CORPUS / entry["file"]], install).nodes) for entry in oracle)
    return tuple((entry, {node.type: list(node.uses) for node in nodes}) for entry, nodes in cases)


@cache
def lists() -> PackDirectory:
    return PackDirectory(Channel(str(MANAGER), web=None, cache=Path("/nowhere")))


def chosen(*, heard: bool) -> Iterator[tuple[dict[str, Any], PackChoice]]:
    """Every custom node of the oracle with our choice; not `heard`, what the workflows say themselves is left out."""
    directory = lists()
    for entry, uses in asked():
        kept = uses if heard else {kind: [replace(use, clue=PackClue()) for use in own] for kind, own in uses.items()}
        choices = directory.owners(
            {kind: kept[kind] for node in entry["custom_nodes"] if (kind := node["type"]) in kept}
        )
        yield from ((node, choices[node["type"]]) for node in entry["custom_nodes"] if node["type"] in choices)
    assert directory.messages == ()


def plain(url: str | None) -> str:
    return (url or "").lower().removesuffix("/").removesuffix(".git")


@needs_corpus
@pytest.mark.parametrize("heard", [True, False], ids=["with the file's own word", "without it"])
def test_show_1_repositories_are_right_and_nothing_is_picked_where_nobody_can_know(heard: bool) -> None:
    right, wrong, picked = 0, [], []
    for node, choice in chosen(heard=heard):
        acceptable = set(map(plain, node["repo_acceptable"]))
        if not acceptable:
            picked += [node["type"]] if choice.repository else []
        elif plain(choice.repository) in acceptable:
            right += 1
        else:
            wrong.append((node["type"], choice))
    assert right + len(wrong) > 400
    assert right >= WANTED_SHARE * (right + len(wrong)), wrong
    assert picked == []


@needs_corpus
def test_show_1_of_several_packs_none_is_picked_silently() -> None:
    """A choice among several that neither the workflow nor a claim decides says that it is a guess, and lists all."""
    silent = []
    for node, choice in chosen(heard=True):
        several = len(node["repo_candidates"]) > 1
        listed = {plain(repository) for repository in (choice.repository, *choice.alternatives)}
        if several and not set(map(plain, node["repo_candidates"])) <= listed:
            silent.append(node["type"])
        if several and choice.came_from == "manager-map" and not node.get("preempted_by") and not choice.guess:
            silent.append(node["type"])
    assert silent == []
