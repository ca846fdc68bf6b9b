"""Civitai's records and the rules on names: pure, total, and no surer than they may be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_doctor.model_names import is_generic, is_telling
from comfy_doctor.needs import Candidate, Need
from comfy_doctor.resolvers.civitai.named import namings_of, offers_at
from comfy_doctor.resolvers.civitai.records import version_of, versions_of_model
from comfy_doctor.resolvers.civitai.search import judged, queries_for
from comfy_doctor.resolvers.resolver import AUTOMATIC, Quest

NOW = datetime(2026, 8, 1, tzinfo=UTC)
DIGEST = "ab" * 32
NAMES = st.sampled_from(["a.safetensors", "Moonlit-Harbor-Watercolor-v2.safetensors", "\ud800.ckpt", "", "x" * 400])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 10**14), st.floats(), st.text(max_size=8), NAMES, st.just(DIGEST)
)
JUNK = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))


def some(**fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    """An object of these fields, any of which may be missing or something else."""
    return st.fixed_dictionaries({}, optional={key: value | JUNK for key, value in fields.items()})


FILES = some(
    id=st.integers(0, 9),
    name=NAMES,
    type=st.sampled_from(["Model", "VAE", "Training Data"]),
    sizeKB=st.floats(0, 1e9),
    hashes=some(SHA256=st.just(DIGEST.upper())),
    metadata=some(format=st.just("SafeTensor"), fp=st.just("fp16"), size=NAMES),
    primary=st.booleans(),
    downloadUrl=st.sampled_from(["https://civitai.com/api/download/models/5", "https://[", "https://evil.example/x"]),
)
VERSIONS = some(
    id=st.integers(0, 9),
    modelId=st.integers(0, 9),
    name=NAMES,
    model=some(name=NAMES, type=st.just("LORA")),
    files=st.lists(FILES, max_size=3),
    earlyAccessEndsAt=st.sampled_from(
        ["2026-09-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"]
    ),
    publishedAt=st.sampled_from(["2026-07-31T00:00:00", "9999-12-31"]),
    earlyAccessTimeFrame=st.integers(-5, 10**9),
)
KNOWN = Candidate("https://civitai.com/models/7?modelVersionId=5", "a.safetensors", "loras", "embedded", confidence=0.9)


@given(VERSIONS, st.lists(VERSIONS, max_size=3) | JUNK, NAMES.filter(bool))
@settings(max_examples=10, deadline=None)
def test_any_answer_is_read_without_a_fault_and_leads_to_civitai_only(alone: Any, inside: Any, name: str) -> None:
    body = {"id": 7, "type": "LORA", "name": name, "modelVersions": inside}
    version = version_of(alone)
    versions = (*versions_of_model(body), *([] if version is None else [version]))
    quest = Quest(Need("loras", name, (), hints=("https://civitai.com/models/7",)), (KNOWN,))
    offers = [offer for naming in namings_of(quest) for offer in offers_at(quest, naming, versions, NOW)]
    for offer in (*offers, *judged(quest, versions, NOW)):
        assert offer.url.startswith("https://civitai.com/")
        assert 0 <= offer.confidence <= 1
        assert offer.proof == "D" or offer.sha256 == DIGEST
        offer.public()


def test_half_a_character_breaks_no_address() -> None:
    version = version_of({"id": 5, "files": [{"name": "\ud800.safetensors", "type": "\ud800"}]})
    assert version is not None
    assert version.files[0].url == "https://civitai.com/api/download/models/5?type=%3F"
    assert version.files[0].name.encode()


@pytest.mark.parametrize("body", [None, [], 7, "x", {}, {"id": "7"}, {"modelVersions": {}}, {"modelVersions": [None]}])
def test_what_is_no_version_is_none(body: Any) -> None:
    assert version_of(body) is None
    assert versions_of_model(body) == ()


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors", "lora.safetensors", "add_detail.safetensors", "flux_lora_v2.safetensors",
        "sd_xl_turbo_lora_v1.safetensors", "pytorch_lora_weights.safetensors", "v1-5-pruned-emaonly.safetensors",
        "anime_style_girl_detailed_photo.safetensors", "controlnet_image_text_encoder.safetensors",
        "anime_v3.safetensors", "epoch_000012.safetensors", "1234567890123456.safetensors", "最终.safetensors",
        "pneumonoultramicroscopic.safetensors",
    ],
)  # fmt: skip
def test_names_that_a_stranger_may_use_too_are_not_telling(name: str) -> None:
    assert not is_telling(name)


@pytest.mark.parametrize(
    "name",
    [
        "Moonlit-Harbor-Watercolor-v2.safetensors",
        "ClassipeintXL_oilpainting_style.safetensors",
        "add-detail-xl-Fantastic-Lighthouses.safetensors",
    ],
)
def test_names_of_several_own_words_are_telling(name: str) -> None:
    assert is_telling(name)


@pytest.mark.parametrize(
    ("name", "generic"),
    [
        ("diffusion_pytorch_model.fp16.safetensors", True),
        ("model.safetensors", True),
        ("pytorch_lora_weights.safetensors", True),
        ("ip-adapter.bin", True),
        ("open_clip_pytorch_model.bin", True),
        ("v1-5-pruned-emaonly.ckpt", False),
        ("ae.safetensors", False),
        ("4x-UltraSharp.pth", False),
        ("最终.safetensors", False),
    ],
)
def test_generic_names_are_those_that_say_nothing_of_their_model(name: str, generic: bool) -> None:
    assert is_generic(name) is generic


@pytest.mark.parametrize(
    ("name", "queries"),
    [
        (
            "juggernautXL_v9Rundiffusionphoto2.safetensors",
            ("juggernaut rundiffusionphoto", "juggernaut XL v 9 Rundiffusionphoto 2"),
        ),
        ("add_detail.safetensors", ("add detail",)),
        ("最终.safetensors", ("最终",)),
        ("12.safetensors", ("12",)),
        ("---.safetensors", ("---.safetensors",)),
    ],
)
def test_what_is_searched_for_is_what_a_model_may_be_called(name: str, queries: tuple[str, ...]) -> None:
    assert queries_for(name) == queries


@given(st.text(max_size=300))
@settings(max_examples=25, deadline=None)
def test_every_name_has_a_query_within_its_bounds(name: str) -> None:
    queries = queries_for(name or "x")
    assert 1 <= len(queries) <= 3
    assert all(0 < len(query) <= 100 for query in queries)


def test_nothing_by_name_alone_reaches_the_threshold() -> None:
    """This is the most that a name alone can say: a person chooses."""
    name = "Moonlit-Harbor-Watercolor-v2.safetensors"
    body = {"id": 1, "name": "x", "type": "LORA", "modelVersions": [{"id": 2, "files": [
        {"name": name, "type": "Model", "primary": True, "hashes": {"SHA256": DIGEST}}]}]}  # fmt: skip
    (found,) = judged(Quest(Need("loras", name, ())), versions_of_model(body), NOW)
    assert 0.8 < found.confidence < AUTOMATIC
