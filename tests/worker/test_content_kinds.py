"""Show 7: kind and family from headers. A labelled set of published models, and files that nobody can name."""

from collections import Counter

import pytest

from download_worker.verifiers.content.families import BASES, SERVES, Family, Kind, Word, families_agree
from download_worker.verifiers.content.heads import Format, Head, Weight, below, telling
from download_worker.verifiers.content.kinds import NOTHING_TOLD, Told, tell
from download_worker.verifiers.content.signs import sign
from download_worker.verifiers.content.slots import SLOTS, fits
from tests.worker import content_adapters as parts
from tests.worker import content_shapes as shapes
from tests.worker import content_transformers as dit
from tests.worker.content_samples import SAMPLES, wan14
from tests.worker.content_shapes import Shapes

MIN_SAMPLES, MIN_SHARE_RIGHT = 60, 0.98

HOMES = {
    Kind.CHECKPOINT: "checkpoints",
    Kind.DIFFUSION_MODEL: "diffusion_models",
    Kind.LORA: "loras",
    Kind.VAE: "vae",
    Kind.TEXT_ENCODER: "text_encoders",
    Kind.CLIP: "clip_vision",
    Kind.CLIP_VISION: "clip_vision",
    Kind.CONTROLNET: "controlnet",
    Kind.UPSCALER: "upscale_models",
    Kind.EMBEDDING: "embeddings",
    Kind.IPADAPTER: "ipadapter",
    Kind.INSTANTID: "instantid",
    Kind.PULID: "pulid",
    Kind.STYLE_MODEL: "style_models",
    Kind.GLIGEN: "gligen",
    Kind.MOTION_MODULE: "animatediff_models",
    Kind.MOTION_LORA: "animatediff_motion_lora",
    Kind.MODEL_PATCH: "model_patches",
    Kind.AUDIO_ENCODER: "audio_encoders",
    Kind.LATENT_UPSCALER: "latent_upscale_models",
}


def head_of(named: Shapes, dtype: str = "F16", **metadata: str) -> Head:
    return Head(Format.SAFETENSORS, {name: Weight(dtype, shape) for name, shape in named.items()}, metadata)


@pytest.fixture(scope="module")
def answers() -> dict[str, Told]:
    return {sample.label: tell(sample.head()) for sample in SAMPLES}


def test_show_7_kind_and_family_of_published_models_are_told_from_their_headers(answers: dict[str, Told]) -> None:
    wrong = {each.label: answers[each.label] for each in SAMPLES if answers[each.label] != (each.kind, each.family)}
    assert len(SAMPLES) >= MIN_SAMPLES
    assert len(SAMPLES) - len(wrong) >= MIN_SHARE_RIGHT * len(SAMPLES), wrong


def test_the_labelled_set_is_broad() -> None:
    kinds = Counter(sample.kind for sample in SAMPLES)
    bases = {sample.family for sample in SAMPLES} & BASES
    assert len({sample.label for sample in SAMPLES}) == len(SAMPLES)
    assert set(HOMES) <= set(kinds)
    assert kinds[Kind.LORA] >= 20 and len(bases) >= 25


def test_no_published_model_is_refused_where_it_belongs(answers: dict[str, Told]) -> None:
    for label, told in answers.items():
        assert told.kind is not None and fits(*told, HOMES[told.kind]).word is Word.YES, label


def flux_lora() -> Shapes:
    return parts.kohya(parts.attention_of(dit.flux()))


def full_rank(lora: Shapes, every: int) -> Shapes:
    """Every so manieth layer as a whole matrix instead of two thin ones."""
    layers = parts.attention_of(dit.flux())
    whole = {f"diffusion_model.{name}.weight": layers[name] for name in list(layers)[::every]}
    return lora | whole


NOT_TO_BE_TOLD: dict[str, Shapes] = {
    "empty": {},
    "one tensor": {"weight": (4096, 4096)},
    "one vector": {"style": (1, 768)},
    "a renamed U-Net": shapes.under("backbone_of_mine.", shapes.unet(768, flat=False)),
    "LoRA and checkpoint in one file": flux_lora()
    | shapes.under("model.diffusion_model.", shapes.unet(768, flat=False)),
    "LoRA and VAE in one file": flux_lora() | shapes.kl_vae(16, quant=False),
    "VAE and upscaler in one file": shapes.kl_vae(4, quant=True) | parts.esrgan(),
    "VAE and text encoder in one file": shapes.kl_vae(4, quant=True) | shapes.clip_text(768, 12),
    "two diffusion models in one file": dit.flux() | wan14(),
    "a LoRA that is mostly whole matrices": full_rank(parts.peft(parts.attention_of(dit.flux())), every=1),
    "the layers of a classifier": {f"layer{n}.conv1.weight": (64, 64, 3, 3) for n in range(4)},
}


@pytest.mark.parametrize("name", NOT_TO_BE_TOLD)
def test_what_nobody_can_name_is_not_told_and_never_refused(name: str) -> None:
    told = tell(head_of(NOT_TO_BE_TOLD[name]))
    assert told == NOTHING_TOLD
    assert {fits(*told, folder).word for folder in (*SLOTS, "a folder of a pack")} == {Word.UNKNOWN}


def test_a_lora_with_some_whole_matrices_is_still_a_lora() -> None:
    assert tell(head_of(full_rank(flux_lora(), every=8))).kind is Kind.LORA


def test_an_ip_adapter_with_loras_for_faces_is_no_lora() -> None:
    ends = [f"to_{part}_lora.{side}.weight" for part in "qkv" for side in ("up", "down")]
    faces = {f"ip_adapter.{number}.{end}": (128, 320) for number in range(32) for end in ends}
    assert tell(head_of(parts.ip_adapter(768, parts.SD15_WIDTHS) | faces)) == (Kind.IPADAPTER, Family.SD15)


def test_a_diffusion_model_without_its_prefix_is_no_checkpoint_whatever_lies_beside_it() -> None:
    beside = dit.flux() | shapes.under("vae.", shapes.kl_vae(16, quant=False))
    assert tell(head_of(beside)) == (Kind.DIFFUSION_MODEL, Family.FLUX)


def test_a_lora_of_two_bases_keeps_its_kind_and_loses_its_family() -> None:
    both = flux_lora() | parts.kohya(parts.attention_of(wan14()))
    assert tell(head_of(both)) == (Kind.LORA, None)


def test_a_lora_that_only_its_trainer_can_name_goes_by_the_metadata_and_tensors_beat_it() -> None:
    text_only = parts.kohya(parts.layers_of(shapes.clip_text(768, 12), "self_attn"), "lora_te_")
    assert tell(head_of(text_only)) == (Kind.LORA, None)
    assert tell(head_of(text_only, ss_base_model_version="sd_v1")) == (Kind.LORA, Family.SD15)
    assert tell(head_of(flux_lora(), ss_base_model_version="sdxl_base_v1-0")) == (Kind.LORA, Family.FLUX)


def test_packed_weights_lose_only_what_packing_hides() -> None:
    """NVFP4 and INT4 halve the last dimension; the rest of a shape still counts."""
    packed = {
        name: (*shape[:-1], shape[-1] // 2) if len(shape) > 1 else shape for name, shape in dit.qwen_image().items()
    }
    assert tell(head_of(packed, "U8")) == (Kind.DIFFUSION_MODEL, Family.QWEN_IMAGE)
    moved = packed | {"img_in.weight": (1536, 64)}
    assert tell(head_of(moved, "U8")) == NOTHING_TOLD


def test_an_unfinished_gguf_goes_by_its_architecture_and_a_finished_one_by_its_tensors() -> None:
    claim = {"general.architecture": "wan"}
    assert tell(Head(Format.GGUF, {}, claim, complete=False)) == (Kind.DIFFUSION_MODEL, Family.WAN)
    foreign = {"blocks.0.something_new.weight": Weight("Q4_K", (4096, 4096))}
    assert tell(Head(Format.GGUF, foreign, claim)) == NOTHING_TOLD
    vocabulary_cut = Head(Format.GGUF, {}, {"general.architecture": "llama"}, complete=False)
    assert tell(vocabulary_cut) == (Kind.TEXT_ENCODER, None)


# --- slots ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "folder", "word"),
    [
        (Kind.LORA, "checkpoints", Word.NO),
        (Kind.CHECKPOINT, "loras", Word.NO),
        (Kind.DIFFUSION_MODEL, "loras", Word.NO),
        (Kind.TEXT_ENCODER, "vae", Word.NO),
        (Kind.VAE, "text_encoders", Word.NO),
        (Kind.UPSCALER, "controlnet", Word.NO),
        (Kind.LORA, "diffusion_models", Word.NO),
        (Kind.CHECKPOINT, "diffusion_models", Word.YES),
        (Kind.CHECKPOINT, "unet_gguf", Word.YES),
        (Kind.DIFFUSION_MODEL, "checkpoints", Word.UNKNOWN),
        (Kind.LORA, "controlnet", Word.UNKNOWN),
        (Kind.LORA, "reactor/faces", Word.UNKNOWN),
        (None, "checkpoints", Word.UNKNOWN),
    ],
)
def test_a_slot_says_no_only_when_it_is_certain(kind: Kind | None, folder: str, word: Word) -> None:
    fit = fits(kind, None, folder)
    assert fit.word is word
    assert fit.why or word is not Word.NO


def test_a_refusal_says_what_it_is_and_what_was_wanted() -> None:
    assert fits(Kind.LORA, Family.FLUX, "vae").why == "it is a LoRA (flux); the folder vae takes a VAE"


# --- families ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "others", "word"),
    [
        (Family.SDXL, ["sdxl"], Word.YES),
        (Family.SD15, ["sdxl"], Word.NO),
        (Family.FLUX, ["chroma"], Word.YES),
        (Family.SD15, ["sdxl", "sd15"], Word.YES),
        (Family.WAN21_VAE, ["qwen_image"], Word.YES),
        (Family.FLUX_VAE, ["sdxl"], Word.NO),
        (Family.T5XXL, ["sdxl"], Word.UNKNOWN),
        (Family.ESRGAN, ["sdxl"], Word.UNKNOWN),
        (None, ["sdxl"], Word.UNKNOWN),
        (Family.SDXL, [], Word.UNKNOWN),
        (Family.SDXL, ["a word of nobody", "t5xxl"], Word.UNKNOWN),
    ],
)
def test_families_are_compared_with_the_base_models_of_a_graph(
    family: Family | None, others: list[str], word: Word
) -> None:
    agreement = families_agree(family, others)
    assert agreement.word is word
    assert bool(agreement.why) is (word is Word.NO)


def test_every_vae_serves_base_models_only() -> None:
    assert not set(SERVES) & BASES
    assert set().union(*SERVES.values()) <= BASES


# --- the language of signs --------------------------------------------------------------------------------------------


def test_a_sign_is_a_name_a_shape_an_absence_or_a_choice() -> None:
    tensors = {"a.weight": Weight("F16", (320, 768)), "b.weight": Weight("U8", (320, 384))}
    true = ("a.weight", "a.weight[320,768]", "a.weight[*,768]", "x|a.weight", "!x", "b.weight[320,768]")
    false = ("x", "a.weight[320]", "a.weight[320,1024]", "!a.weight", "b.weight[640,768]")
    assert [text for text in true if not sign(text).holds(tensors)] == []
    assert [text for text in false if sign(text).holds(tensors)] == []


@pytest.mark.parametrize("text", ["", "!", "a[", "a[x]", "a b"])
def test_what_is_no_sign_is_refused_when_the_tables_are_read(text: str) -> None:
    with pytest.raises(ValueError, match="not a sign"):
        sign(text)


# --- heads ------------------------------------------------------------------------------------------------------------


def test_a_head_counts_its_numbers_and_knows_its_main_dtype() -> None:
    head = Head(
        Format.SAFETENSORS, {"a": Weight("F8_E4M3", (1000, 100)), "b": Weight("F32", (9,)), "c": Weight("F32", ())}
    )
    assert (head.parameters, head.dtype) == (100_010, "F8_E4M3")
    assert (Head(Format.OTHER).parameters, Head(Format.OTHER).dtype) == (None, None)


def test_of_foreign_metadata_only_the_telling_keys_are_kept_short_and_safe() -> None:
    kept = telling(
        {"ss_tag_frequency": "x" * 10**6, "modelspec.architecture": "flux\x1b[31m" + "y" * 1000, "format": "pt"}
    )
    assert kept.keys() == {"format", "modelspec.architecture"}
    assert len(kept["modelspec.architecture"]) <= 300 and "\x1b" not in kept["modelspec.architecture"]


def test_below_a_prefix_are_only_its_own() -> None:
    one = Weight("F16", (1,))
    assert below({"vae.a": one, "vaeb": one}, "vae.") == {"a": one}
