"""Names that mean one model, names that only look so, and the families that names speak of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_doctor.resolvers.likeness import (
    _FAMILIES,
    OTHER_FORMAT,
    OTHER_PRECISION,
    OTHER_QUANT,
    OTHER_SPELLING,
    OTHER_VERSION,
    SAME_NAME,
    SIMILAR,
    families_in,
    nearest,
    parts_of,
)
from download_worker.verifiers.content.families import Family


def _names_a_variant(stem: str) -> bool:
    return bool(parts_of(stem).precision | parts_of(stem).quant)


STEMS = st.from_regex(r"[a-z]{3,8}([_-][a-z]{2,8}){0,2}([_-]?v?[1-9]\d?(\.[1-9])?)?", fullmatch=True).filter(
    lambda stem: not _names_a_variant(f"x_{stem}") and not stem.endswith(("ud", "no", "non"))
)
PRECISIONS = st.sampled_from(
    [
        *("fp32", "fp16", "bf16", "fp8_e4m3fn", "fp8_e4m3fn_scaled", "fp8_e4m3fn_fast", "fp8_e5m2", "fp8_scaled"),
        *("nf4", "int8", "mxfp8", "nvfp4", "pruned", "ema", "emaonly", "scaled", "ema-pruned"),
    ]
)
QUANTS = st.sampled_from(["Q2_K", "Q3_K_S", "Q4_0", "Q4_K_M", "Q5_1", "Q6_K", "Q8_0", "IQ4_XS", "IQ3_XXS", "IQ4_NL"])
ANY = st.text(max_size=80)


def same_model(one: str, other: str) -> bool:
    return parts_of(one).mean_the_model_of(parts_of(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("wan2.1_t2v_14B_fp8_e4m3fn.safetensors", "Wan2_1-T2V-14B_fp8_e4m3fn_scaled_fast.safetensors"),
        ("t5xxl_fp16.safetensors", "t5xxl_fp8_e4m3fn_scaled.safetensors"),
        ("flux1-dev.safetensors", "Flux/flux1-dev-Q4_K_S.gguf"),
        ("t5-v1_1-xxl-encoder-Q5_K_M.gguf", "t5-v1_1-xxl-encoder-Q8_0.gguf"),
        ("model-UD-Q4_K_XL.gguf", "model-TQ1_0.gguf"),
        ("v1-5-pruned.ckpt", "v1-5-pruned-emaonly.safetensors"),
        ("RealESRGAN_x4.pth", "Real-ESRGAN_x4.pth"),
        ("foo_v1.0.safetensors", "foo_v1.safetensors"),
        ("SDXL\\sd_xl_base_1.0.safetensors", "sd_xl_base_1.0.safetensors"),
        ("vae_float16.safetensors", "vae_fp32.safetensors"),
    ],
)
def test_precision_quant_format_and_spelling_make_no_other_model(one: str, other: str) -> None:
    assert same_model(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("wan2.1_t2v_14B.safetensors", "wan2.2_t2v_14B.safetensors"),
        ("wan2.1_t2v_14B.safetensors", "wan2.1_t2v_1.3B.safetensors"),
        ("wan2.1_t2v_14B.safetensors", "wan2.1_i2v_14B.safetensors"),
        ("sd_xl_base_1.0.safetensors", "sd_xl_base_0.9.safetensors"),
        ("detailer_v1.1.safetensors", "detailer_v1.safetensors"),
        ("foo.safetensors", "foo_v2.safetensors"),
        ("foo_1.1.safetensors", "foo_11.safetensors"),
        ("x-00001-of-00002.safetensors", "x-00002-of-00002.safetensors"),
        ("x-00001-of-00002.safetensors", "x.safetensors"),
        ("ltx_fast.safetensors", "ltx.safetensors"),
        ("4x-UltraSharp.pth", "8x-UltraSharp.pth"),
        ("fp16.safetensors", "fp8.safetensors"),
    ],
)
def test_another_version_size_task_or_shard_is_another_model(one: str, other: str) -> None:
    assert not same_model(one, other)


@given(STEMS, PRECISIONS, QUANTS)
def test_a_name_keeps_its_model_in_every_precision_and_quant(stem: str, precision: str, quant: str) -> None:
    plain, other, packed = f"{stem}.safetensors", f"sub/{stem.upper()}_{precision}.safetensors", f"{stem}-{quant}.gguf"
    assert same_model(plain, other)
    assert same_model(other, packed)
    assert parts_of(packed).quant == {quant.lower()}
    assert parts_of(other).precision
    near = {entry.name: entry.why for entry in nearest(plain, [other, packed], 2)}
    assert near == {other: OTHER_PRECISION, packed: OTHER_QUANT}


@given(STEMS, st.integers(1, 98))
def test_another_number_is_another_model(stem: str, number: int) -> None:
    assert not same_model(f"{stem}_v{number}.safetensors", f"{stem}_v{number + 1}.safetensors")


@given(ANY, ANY)
def test_to_be_the_same_model_goes_both_ways(one: str, other: str) -> None:
    assert same_model(one, one)
    assert same_model(one, other) == same_model(other, one)


@given(ANY, st.lists(ANY, max_size=200), st.integers(0, 5))
def test_a_ranking_has_only_listed_names_the_best_first(name: str, listed: list[str], limit: int) -> None:
    ranked = nearest(name, listed, limit)
    assert len(ranked) <= limit
    assert {near.name for near in ranked} <= set(listed)
    assert [near.score for near in ranked] == sorted((near.score for near in ranked), reverse=True)
    assert all(0 <= near.score <= 1 for near in ranked)


@given(ANY)
def test_any_text_may_be_asked_for_its_families(name: str) -> None:
    assert families_in(name) <= {family.value for family in Family}


def test_the_ranking_says_why() -> None:
    listed = [
        *("other/flux1-dev.safetensors", "FLUX1_Dev.safetensors", "flux1-dev-fp8.safetensors", "flux1-dev-Q8_0.gguf"),
        *("flux1-dev.sft", "flux2-dev.safetensors", "flux1-devil.safetensors", "sd_xl_base_1.0.safetensors"),
    ]
    told = [(near.name, near.why) for near in nearest("flux1-dev.safetensors", listed, 20)]
    assert told == [
        ("other/flux1-dev.safetensors", SAME_NAME),
        ("FLUX1_Dev.safetensors", OTHER_SPELLING),
        ("flux1-dev-fp8.safetensors", OTHER_PRECISION),
        ("flux1-dev.sft", OTHER_FORMAT),
        ("flux1-dev-Q8_0.gguf", OTHER_QUANT),
        ("flux1-devil.safetensors", SIMILAR),
        ("flux2-dev.safetensors", OTHER_VERSION),
    ]


def test_what_is_only_similar_never_outranks_the_same_model() -> None:
    listed = ["t5xxl_fp8_e4m3fn_scaled.safetensors", "t5xl.safetensors", "t5xxx.safetensors"]
    first, *others = nearest("t5xxl.safetensors", listed, 3)
    assert first.name == listed[0]
    assert all(near.score < 0.85 for near in others)


def test_a_long_list_is_searched_for_kin_and_not_only_for_like_spellings() -> None:
    """A quant may be most of a name: the short list must not lose it among thousands that are spelled more alike."""
    crowd = [f"loras/t5x_{number:04}.safetensors" for number in range(3000)]
    kin = ["text/t5xxl-UD-Q4_K_XL.gguf", "t5xxl_fp8_e4m3fn_scaled_fast.safetensors"]
    found = nearest("t5xxl.safetensors", [*crowd[:1500], *kin, *crowd[1500:]], 2)
    assert {near.name for near in found} == set(kin)


@pytest.mark.parametrize(
    ("name", "families"),
    [
        ("sd_xl_base_1.0.safetensors", {"sdxl"}),
        ("sd_xl_refiner_1.0.safetensors", {"sdxl", "sdxl_refiner"}),
        ("juggernautXL_v9.safetensors", {"sdxl"}),
        ("ponyDiffusionV6XL.safetensors", {"sdxl"}),
        ("SDXL/whatever.safetensors", {"sdxl"}),
        ("v1-5-pruned-emaonly.safetensors", {"sd15"}),
        ("control_v11p_sd15_canny.pth", {"sd15"}),
        ("SD1.5\\style.safetensors", {"sd15"}),
        ("v2-1_768-ema-pruned.ckpt", {"sd2"}),
        ("sd3.5_large.safetensors", {"sd3"}),
        ("flux1-dev.safetensors", {"flux"}),
        ("flux-2-klein-4b.safetensors", {"flux2"}),
        ("Wan2_1-T2V-14B_fp8.safetensors", {"wan"}),
        ("hunyuan_video_t2v_720p_bf16.safetensors", {"hunyuan_video"}),
        ("hunyuan3d-dit-v2.safetensors", {"hunyuan3d"}),
        ("ltx-video-2b-v0.9.5.safetensors", {"ltx"}),
        ("ltxv-13b-0.9.7-dev.safetensors", {"ltx"}),
        ("ltx-2-19b-dev-fp8.safetensors", {"ltx2"}),
        ("qwen_image_edit_2509_fp8.safetensors", {"qwen_image"}),
        ("z_image_turbo_bf16.safetensors", {"z_image"}),
        ("hidream_i1_full_fp8.safetensors", {"hidream"}),
        ("Chroma1-HD.safetensors", {"chroma"}),
        ("cosmos_predict2_2B.safetensors", {"cosmos"}),
        ("svd_xt_1_1.safetensors", {"svd"}),
        ("t5xxl_fp16.safetensors", set()),
        ("model-Q4_K_XL.gguf", set()),
        ("black_swan.safetensors", set()),
        ("512-inpainting-ema.ckpt", set()),
        ("4x-UltraSharp.pth", set()),
    ],
)
def test_a_name_speaks_of_families(name: str, families: set[str]) -> None:
    assert families_in(name) == families


def test_families_are_told_in_the_words_of_the_worker() -> None:
    assert {family for family, _ in _FAMILIES} <= {family.value for family in Family}
