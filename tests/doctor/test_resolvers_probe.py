"""The probe against a hub on the loopback: some kilobytes tell size, kind and family; trouble is an answer."""

import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_doctor.needs import Candidate
from comfy_doctor.resolvers.probe import MAX_QUESTIONS, Probe, probe
from download_worker.errors import Code, Interrupted
from download_worker.leash import Leash
from download_worker.settings import Settings
from download_worker.verifiers.content.families import Family, Kind, Word
from download_worker.verifiers.content.formats import FIRST_BYTES, MAX_HEAD_BYTES
from download_worker.verifiers.content.heads import Format
from download_worker.verifiers.safetensors_header import DTYPE_BITS
from download_worker.web.session import Web
from tests import canaries
from tests.hub import BEHAVIOURS, Hub, SizedPattern
from tests.hub.behaviours import Behaviour, Turn, always_416, no_length_cut, range_total_changed, redirect
from tests.makers import html_page, safetensors_bytes
from tests.worker import content_transformers as dit
from tests.worker.content_adapters import attention_of, kohya
from tests.worker.content_samples import SAMPLES, Sample, sdxl_checkpoint
from tests.worker.content_shapes import Shapes, linear
from tests.worker.test_content_formats import gguf, pair

TWO_MIB = 2 * 1024 * 1024
SAFETENSORS = [sample for sample in SAMPLES if sample.format is Format.SAFETENSORS]
Look = Callable[..., Probe]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as host:
        yield host


@pytest.fixture
def look() -> Look:
    settings = Settings(home=Path("/nowhere"), allow_hosts=("127.0.0.1",), stall_timeout_seconds=5.0)
    return lambda url, folder=None: probe(url, Web(settings), Leash(), folder=folder)


def prefix_of(shapes: Shapes, dtype: str = "F16", **metadata: str) -> tuple[bytes, int]:
    """The head of a safetensors file with these tensors, and the size of the whole file in bytes."""
    entries: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    reached = 0
    for name, shape in shapes.items():
        elements = 1
        for size in shape:
            elements *= size
        begin, reached = reached, reached + elements * DTYPE_BITS[dtype] // 8
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, reached]}
    raw = json.dumps(entries, separators=(",", ":")).encode()
    return struct.pack("<Q", len(raw)) + raw, 8 + len(raw) + reached


def publish(hub: Hub, shapes: Shapes, path: str = "/model.safetensors", *, missing: int = 0, dtype: str = "F16") -> str:
    prefix, size = prefix_of(shapes, dtype)
    return hub.publish(path, SizedPattern(size - missing, prefix=prefix))


def flux_lora() -> Shapes:
    return kohya(attention_of(dit.flux()))


def test_show_7_a_wrong_slot_is_refused_before_download(hub: Hub, look: Look) -> None:
    url = publish(hub, sdxl_checkpoint())
    found = look(url, "loras")
    assert found.fit.word is Word.NO and "checkpoint (sdxl)" in found.why
    assert hub.bytes_sent("/model.safetensors") <= TWO_MIB < (found.size_bytes or 0)


def told_through_the_web(hub: Hub, look: Look, samples: Iterable[Sample]) -> None:
    for number, sample in enumerate(samples):
        path = f"/{number}.safetensors"
        prefix, size = prefix_of(sample.make(), **sample.metadata)
        found = look(hub.publish(path, SizedPattern(size, prefix=prefix)))
        assert (found.kind, found.family, found.size_bytes) == (sample.kind, sample.family, size), sample.label
        assert hub.bytes_sent(path) <= TWO_MIB


def test_show_7_every_kind_is_told_through_the_web_from_2_mib_at_most(hub: Hub, look: Look) -> None:
    told_through_the_web(hub, look, {sample.kind: sample for sample in SAFETENSORS}.values())


@pytest.mark.slow
def test_show_7_every_sample_is_told_through_the_web_from_2_mib_at_most(hub: Hub, look: Look) -> None:
    told_through_the_web(hub, look, SAFETENSORS)


def test_the_exact_size_comes_with_the_head_and_a_small_head_takes_one_question(hub: Hub, look: Look) -> None:
    url = publish(hub, linear("redux_down", 4096, 12288) | linear("redux_up", 12288, 1152))
    found = look(url, "style_models")
    _, size = prefix_of(linear("redux_down", 4096, 12288) | linear("redux_up", 12288, 1152))
    assert (found.kind, found.size_bytes, found.fit.word) == (Kind.STYLE_MODEL, size, Word.YES)
    assert [hit.headers["range"] for hit in hub.hits] == [f"bytes=0-{FIRST_BYTES - 1}"]


def test_a_long_head_is_read_exactly_to_its_end(hub: Hub, look: Look) -> None:
    shapes = dit.flux()
    prefix, _ = prefix_of(shapes)
    found = look(publish(hub, shapes), "diffusion_models")
    assert found.family is Family.FLUX and len(prefix) > FIRST_BYTES
    assert hub.bytes_sent("/model.safetensors") == len(prefix)


def test_a_candidate_brings_its_own_name_and_folder(hub: Hub, look: Look) -> None:
    url = publish(hub, flux_lora(), "/download/4711")
    found = look(Candidate(url, "style.safetensors", "checkpoints", "civitai"))
    assert (found.kind, found.family, found.fit.word) == (Kind.LORA, Family.FLUX, Word.NO)


def test_a_host_that_ignores_ranges_is_hung_up_on(hub: Hub, look: Look) -> None:
    url = publish(hub, dit.flux())
    hub.behave("/model.safetensors", BEHAVIOURS["range_ignored"])
    found = look(url, "diffusion_models")
    assert found.family is Family.FLUX and found.size_bytes == prefix_of(dit.flux())[1]
    assert len(hub.hits) == 1 and hub.bytes_sent("/model.safetensors") < 100_000_000


def test_a_whole_answer_in_chunks_has_its_size_from_the_head(hub: Hub, look: Look) -> None:
    url = hub.publish(
        "/m.safetensors", safetensors_bytes(300_000), behaviour=(BEHAVIOURS["range_ignored"], BEHAVIOURS["chunked"])
    )
    assert look(url).size_bytes == 300_000


def test_a_redirect_is_followed(hub: Hub, look: Look) -> None:
    publish(hub, flux_lora(), "/cdn/lora.safetensors")
    hub.publish("/lora.safetensors", b"moved", behaviour=redirect(to="/cdn/lora.safetensors"))
    assert look(hub.url("/lora.safetensors")).family is Family.FLUX


# --- what the worker would refuse is refused now ----------------------------------------------------------------------


def test_h8_a_file_cut_at_its_source_is_refused(hub: Hub, look: Look) -> None:
    found = look(publish(hub, flux_lora(), missing=1), "loras")
    assert found.fit.word is Word.NO and "truncated at its source" in found.why


def test_a_file_with_more_bytes_than_its_header_describes_is_refused(hub: Hub, look: Look) -> None:
    found = look(publish(hub, flux_lora(), missing=-7), "loras")
    assert found.fit.word is Word.NO and "7 bytes more" in found.why


def test_a_file_that_ends_within_its_header_is_refused(hub: Hub, look: Look) -> None:
    prefix, _ = prefix_of(dit.flux())
    found = look(hub.publish("/m.safetensors", prefix[:-100]), "loras")
    assert found.fit.word is Word.NO and "ends before its own header" in found.why


@pytest.mark.parametrize("path", ["/model.safetensors", "/api/download/4711"])
def test_h13_a_web_page_instead_of_a_model_is_refused_with_the_next_step(hub: Hub, look: Look, path: str) -> None:
    found = look(hub.publish(path, html_page(), content_type="text/html"), "loras")
    assert found.fit.word is Word.NO and "browser" in found.why


def test_another_format_than_its_name_says_is_refused(hub: Hub, look: Look) -> None:
    found = look(hub.publish("/m.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "loras")
    assert found.fit.word is Word.NO and "Git LFS pointer" in found.why


def test_an_empty_file_is_refused(hub: Hub, look: Look) -> None:
    found = look(hub.publish("/m.safetensors", b""), "loras")
    assert found.fit.word is Word.NO and "empty" in found.why


def test_a_damaged_header_is_refused_with_the_rule(hub: Hub, look: Look) -> None:
    raw = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}'
    found = look(hub.publish("/m.safetensors", struct.pack("<Q", len(raw)) + raw + bytes(8)), "loras")
    assert found.fit.word is Word.NO and "hole" in found.why


# --- what nobody can tell ---------------------------------------------------------------------------------------------


def test_t6_a_header_over_2_mib_cannot_be_told_and_is_not_read(hub: Hub, look: Look) -> None:
    url = hub.publish("/m.safetensors", SizedPattern(200_000_000, prefix=struct.pack("<Q", 90_000_000) + b'{"a"'))
    found = look(url, "loras")
    assert (found.kind, found.fit.word, found.size_bytes, found.looked) == (None, Word.UNKNOWN, 200_000_000, True)
    assert hub.bytes_sent("/m.safetensors") == FIRST_BYTES


def test_an_unknown_architecture_is_never_refused(hub: Hub, look: Look) -> None:
    found = look(publish(hub, {"a_new_idea.0.weight": (64, 64)}), "loras")
    assert (found.kind, found.fit.word, found.looked) == (None, Word.UNKNOWN, True)


# --- GGUF and archives ------------------------------------------------------------------------------------------------


def test_a_gguf_tells_kind_and_family_and_a_cut_one_is_refused(hub: Hub, look: Look) -> None:
    tensors = {name: (tuple(reversed(shape)), 8) for name, shape in dit.flux().items()}
    raw = gguf(tensors, [pair("general.architecture", "flux")])
    hub.publish("/flux.gguf", SizedPattern(13_000_000_000, prefix=raw))
    found = look(hub.url("/flux.gguf"), "unet_gguf")
    assert (found.kind, found.family, found.fit.word) == (Kind.DIFFUSION_MODEL, Family.FLUX, Word.YES)
    assert found.head is not None and found.head.dtype == "Q8_0" and hub.bytes_sent("/flux.gguf") <= TWO_MIB
    hub.publish("/flux.gguf", SizedPattern(1_000_000_000, prefix=raw))
    assert "truncated" in look(hub.url("/flux.gguf"), "unet_gguf").why


def test_a_gguf_with_a_vocabulary_of_megabytes_is_told_from_its_first_2(hub: Hub, look: Look) -> None:
    words = pair("tokenizer.ggml.tokens", [f"word number {n}" for n in range(200_000)])
    raw = gguf({"token_embd.weight": ((3584, 152_064), 12)}, [pair("general.architecture", "qwen2vl"), words])
    url = hub.publish("/qwen.gguf", SizedPattern(5_000_000_000, prefix=raw))
    found = look(url, "text_encoders")
    assert (found.kind, found.family) == (Kind.TEXT_ENCODER, Family.QWEN25_VL)
    assert found.fit.word is Word.YES and hub.bytes_sent("/qwen.gguf") == MAX_HEAD_BYTES


def archive(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        for name in names:
            opened.writestr(zipfile.ZipInfo(name), b"x" * 200_000)
    return file.getvalue()


def test_of_an_archive_only_both_ends_are_read(hub: Hub, look: Look) -> None:
    whole = archive("archive/data.pkl", *(f"archive/data/{n}" for n in range(20)))
    found = look(hub.publish("/4x.pth", whole), "upscale_models")
    assert found.head is not None and found.head.format is Format.TORCH_ZIP
    assert (found.kind, found.fit.word, found.size_bytes) == (None, Word.UNKNOWN, len(whole))
    assert hub.bytes_sent("/4x.pth") < 140_000 < len(whole)


def test_an_archive_without_its_end_is_refused(hub: Hub, look: Look) -> None:
    found = look(hub.publish("/4x.pth", archive("archive/data.pkl", "archive/data/0")[:-100]), "upscale_models")
    assert found.fit.word is Word.NO and "no directory" in found.why


def test_an_archive_whose_end_cannot_be_asked_for_is_not_told(hub: Hub, look: Look) -> None:
    whole = archive("archive/data.pkl", *(f"archive/data/{n}" for n in range(20)))
    found = look(hub.publish("/4x.pth", whole, behaviour=BEHAVIOURS["range_ignored"]), "upscale_models")
    assert (found.looked, found.kind, found.fit.word, found.size_bytes) == (True, None, Word.UNKNOWN, len(whole))
    assert len(hub.hits) == 1


# --- could not look ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        ("s401", Code.AUTH),
        ("s404", Code.NOT_FOUND),
        ("s429", Code.BUSY_HOST),
        ("s500", Code.SERVER_ERROR),
        ("rst_now", Code.NO_CONNECTION),
        ("rst_mid", Code.CUT_SHORT),
        ("eof_mid", Code.CUT_SHORT),
        ("range_wrong_start", Code.LYING_SERVER),
        ("range_no_content_range", Code.LYING_SERVER),
        ("always_416", Code.LYING_SERVER),
        ("gzip_encoded", Code.LYING_SERVER),
    ],
)
def test_trouble_on_the_way_is_could_not_look_and_never_a_refusal(
    hub: Hub, look: Look, behaviour: str, code: Code
) -> None:
    url = publish(hub, dit.flux())
    hub.behave("/model.safetensors", BEHAVIOURS[behaviour])
    found = look(url, "loras")
    assert found.trouble is not None and found.trouble.code is code
    assert (found.looked, found.fit.word, found.kind) == (False, Word.UNKNOWN, None)
    assert found.why.startswith("could not look: ")


@pytest.mark.parametrize(("after_bytes", "size_bytes"), [(0, None), (5, None), (4096, 65536)])
def test_h9_a_body_without_framing_that_is_cut_is_no_truncated_file(
    hub: Hub, look: Look, after_bytes: int, size_bytes: int | None
) -> None:
    cut = (BEHAVIOURS["range_ignored"], no_length_cut(after_bytes=after_bytes))
    found = look(hub.publish("/m.safetensors", safetensors_bytes(), behaviour=cut), "loras")
    assert (found.fit.word, found.size_bytes) == (Word.UNKNOWN, size_bytes)


def sparing(most_bytes: int) -> Behaviour:
    """A host that answers a range with the first so many bytes of it, and says so."""

    def shortened(turn: Turn) -> Turn:
        start, stop = turn.asked or (0, 0)
        return replace(turn, request=turn.request.asking("range", f"bytes={start}-{min(stop, start + most_bytes) - 1}"))

    return Behaviour("sparing", before=shortened)


def test_a_host_that_gives_less_than_was_asked_for_is_asked_on(hub: Hub, look: Look) -> None:
    url = hub.publish("/m.safetensors", SizedPattern(prefix_of(flux_lora())[1], prefix=prefix_of(flux_lora())[0]))
    hub.behave("/m.safetensors", sparing(50_000))
    assert look(url).family is Family.FLUX


def test_a_host_that_gives_byte_by_byte_is_left_soon_and_its_file_not_refused(hub: Hub, look: Look) -> None:
    found = look(hub.publish("/m.safetensors", safetensors_bytes(), behaviour=sparing(9)), "loras")
    assert (found.kind, found.fit.word) == (None, Word.UNKNOWN)
    assert len(hub.hits) <= MAX_QUESTIONS


def test_the_end_of_an_archive_that_comes_in_part_is_no_broken_archive(hub: Hub, look: Look) -> None:
    whole = archive("archive/data.pkl", *(f"archive/data/{n}" for n in range(20)))
    found = look(hub.publish("/4x.pth", whole, behaviour=sparing(FIRST_BYTES)), "upscale_models")
    assert found.trouble is not None and found.trouble.code is Code.LYING_SERVER


def test_h7_a_host_that_calls_a_full_file_empty_is_not_believed(hub: Hub, look: Look) -> None:
    url = hub.publish("/m.safetensors", safetensors_bytes(), behaviour=always_416(content_range=True))
    assert look(url, "loras").trouble is not None


def test_h4_a_file_that_changes_between_two_reads_cannot_be_looked_at(hub: Hub, look: Look) -> None:
    url = publish(hub, dit.flux())
    hub.behave("/model.safetensors", range_total_changed.after_request(1))
    assert look(url).trouble is not None


def test_t18_an_address_that_is_not_allowed_is_not_looked_at(hub: Hub) -> None:
    url = publish(hub, flux_lora())
    found = probe(url, Web(Settings(home=Path("/nowhere"))), Leash())
    assert found.trouble is not None and found.trouble.code is Code.REFUSED_ADDRESS and not hub.hits
    assert found.fit.word is Word.NO, "the worker would refuse it as well: another candidate may take its place"


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "http://[::1", "http://0x7f000001/m.safetensors", "http://2130706433/"]
)
def test_t18_what_is_no_plain_url_is_refused_and_never_raised(look: Look, url: str) -> None:
    assert look(url, "loras").fit.word is Word.NO


def test_a_pulled_leash_ends_it(hub: Hub) -> None:
    leash = Leash()
    leash.pull()
    with pytest.raises(Interrupted):
        probe(publish(hub, flux_lora()), Web(Settings(home=Path("/nowhere"), allow_hosts=("127.0.0.1",))), leash)


def test_t4_no_secret_of_an_address_is_shown(hub: Hub, look: Look) -> None:
    url = hub.publish("/m.bin2", html_page())
    assert canaries.WORD not in look(canaries.of_its_host(f"{url}?token={canaries.IN_URL}"), "loras").why


@pytest.mark.parametrize(("folder", "word"), [("loras", Word.YES), ("vae", Word.NO)])
def test_a_file_of_this_disk_is_told_by_its_head_too(tmp_path: Path, folder: str, word: Word) -> None:
    """Before it is linked into another folder: no question leaves this machine."""
    here = tmp_path / "ein Modell.safetensors"
    here.write_bytes(prefix_of(flux_lora())[0])
    candidate = Candidate(here.as_uri(), "x.safetensors", folder, "local")
    assert probe(candidate, Web(Settings()), Leash()).fit.word is word
