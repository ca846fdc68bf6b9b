"""The searches that an agent may ask for: what is asked of each host, and what of an answer becomes a hit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_doctor.resolvers.agent import Hit, HostSearches
from download_worker.leash import Leash
from tests import canaries

SAMPLES = Path(__file__).parents[3] / "shared" / "api_samples"
DIGEST = "70b640f8f60b1cf0dcc72f30caf3da9495eb2fb6509da48c53374ad6806e6a9c"
KEYS = (
    *("items", "results", "modelVersions", "files", "siblings", "id", "rfilename", "path", "lfs", "oid", "size"),
    *("url", "downloadUrl", "name", "hashes", "SHA256", "sizeKB", "title", "content", "gated"),
)
VALUES = ("a/b", "x.safetensors", "https://h.example/x.safetensors", "../x.ckpt", "//x.pt")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(VALUES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=20,
)


class FakeAsker:
    """Answers every question with the same JSON, and keeps what was asked."""

    def __init__(self, body: Any) -> None:
        self.body = body
        self.urls: list[str] = []

    def json(self, url: str, *, body: Any = None, max_age_seconds: float = 0.0, leash: Leash | None = None) -> Any:
        assert leash is not None, "a search must be cut by a pulled leash"
        self.urls.append(url)
        return self.body

    @property
    def query(self) -> Mapping[str, list[str]]:
        return parse_qs(urlsplit(self.urls[-1]).query)


def sample(name: str) -> Any:
    path = SAMPLES / f"{name}.json"
    if not path.exists():
        pytest.skip("the shared samples are not beside this repository")
    return json.loads(path.read_bytes())["response"]["body"]


def test_hugging_face_is_searched_by_repository_with_its_files() -> None:
    asker = FakeAsker(sample("hf_search"))
    (hit,) = HostSearches(asker).search_hugging_face("face & yolo", Leash())
    assert asker.urls[0].startswith("https://huggingface.co/api/models?")
    assert (asker.query["search"], asker.query["full"]) == (["face & yolo"], ["true"])
    assert hit.url == "https://huggingface.co/Bingsu/adetailer/resolve/main/face_yolov8n.pt"
    assert (hit.filename, hit.size, hit.sha256, hit.gated) == ("face_yolov8n.pt", None, None, False)
    assert hit.page == "https://huggingface.co/Bingsu/adetailer"


def test_a_listing_tells_size_and_digest_of_model_files_only() -> None:
    asker = FakeAsker(sample("hf_tree"))
    (hit,) = HostSearches(asker).list_hugging_face_repo("Bingsu/adetailer", Leash())
    assert asker.urls == ["https://huggingface.co/api/models/Bingsu/adetailer/tree/main?recursive=true"]
    assert (hit.filename, hit.size, hit.sha256) == ("face_yolov8n.pt", 6230011, DIGEST)


def test_civitai_is_searched_with_everything_visible() -> None:
    asker = FakeAsker({"items": [sample("civitai_model_215485")]})
    hits = HostSearches(asker).search_civitai("sdxl turbo", "LORA", Leash())
    assert (asker.query["nsfw"], asker.query["types"], asker.query["query"]) == (["true"], ["LORA"], ["sdxl turbo"])
    first = hits[0]
    assert first.url == "https://civitai.com/api/download/models/242807"
    assert first.filename == "sd_xl_turbo_lora_v1.safetensors"
    assert first.size == 787342192
    assert first.sha256 == "a599c42a9f4f7494c7f410dbc0fd432cf0242720509e9d52fa41aac7a88d1b69"
    assert "SDXL Turbo" in first.text
    assert "https://" not in first.text, "a description is not even shown"
    assert first.page == "https://civitai.com/models/215485?modelVersionId=242807"
    HostSearches(asker).search_civitai("x", "", Leash())
    assert "types" not in asker.query


def version(**changes: Any) -> dict[str, Any]:
    file = {"name": "x.safetensors", "sizeKB": 1.5, "downloadUrl": "https://civitai.com/api/download/models/7"}
    made = {"id": 7, "availability": changes.pop("availability", "Public"), "files": [file | changes]}
    return {"items": [{"id": 1, "name": "m", "modelVersions": [made]}]}


def of_civitai(**changes: Any) -> tuple[Hit, ...]:
    return HostSearches(FakeAsker(version(**changes))).search_civitai("x", "", Leash())


def test_early_access_is_an_obstacle() -> None:
    assert of_civitai()[0].obstacle is None
    assert "early access" in str(of_civitai(availability="EarlyAccess")[0].obstacle)


@pytest.mark.parametrize(("kilobytes", "size"), [(1.5, 1536), (1.0001, None), ("1", None), (True, None), (-1, None)])
def test_a_size_is_only_told_when_it_is_exact(kilobytes: Any, size: int | None) -> None:
    assert of_civitai(sizeKB=kilobytes)[0].size == size


@pytest.mark.parametrize("digest", ["", "AB", "z" * 64, 7, None])
def test_what_is_no_sha256_is_no_digest(digest: Any) -> None:
    assert of_civitai(hashes={"SHA256": digest})[0].sha256 is None


@pytest.mark.parametrize(
    "changes",
    [
        *({"downloadUrl": url} for url in ("http://civitai.com/x", "file:///etc/x", "https://[", 7)),
        *({"name": name} for name in ("../x.safetensors", "a\\x.ckpt", "x.zip", 7)),
    ],
)
def test_a_file_without_a_sound_name_and_address_is_no_hit(changes: dict[str, Any]) -> None:
    assert of_civitai(**changes) == ()


@pytest.mark.parametrize("path", ["../../../evil/x/resolve/main/x.safetensors", "a//x.safetensors", "./x.ckpt", "R.md"])
def test_a_path_that_leaves_its_repository_is_no_hit(path: str) -> None:
    searched = HostSearches(FakeAsker([{"id": "a/b", "siblings": [{"rfilename": path}]}]))
    assert searched.search_hugging_face("x", Leash()) == ()
    assert HostSearches(FakeAsker([{"path": path, "size": 1}])).list_hugging_face_repo("a/b", Leash()) == ()


@pytest.mark.parametrize("name", ["a/b/c", "a", "../b", "a/b?c", "a/b#", "", None])
def test_a_repository_of_no_sound_name_is_no_hit(name: Any) -> None:
    searched = HostSearches(FakeAsker([{"id": name, "siblings": [{"rfilename": "x.ckpt"}]}]))
    assert searched.search_hugging_face("x", Leash()) == ()


def web(*results: Any, template: str = "https://search.example/?q={query}&format=json&key=canary") -> tuple[Hit, ...]:
    return HostSearches(FakeAsker({"results": list(results)}), template).web_search("real vis & more", Leash())


def test_a_web_search_asks_the_users_own_provider() -> None:
    asker = FakeAsker({"results": []})
    searches = HostSearches(asker, "https://search.example/?q={query}&format=json")
    assert searches.has_web
    assert searches.web_search("a&b=c", Leash()) == ()
    assert asker.urls == ["https://search.example/?q=a%26b%3Dc&format=json"]


@pytest.mark.parametrize("template", [None, "", "https://search.example/?q="])
def test_without_a_provider_there_is_no_web_search(template: str | None) -> None:
    asker = FakeAsker({})
    searches = HostSearches(asker, template)
    assert not searches.has_web
    assert searches.web_search("x", Leash()) == ()
    assert asker.urls == []


def test_a_web_result_is_a_file_only_by_its_own_address() -> None:
    blob = {"url": "https://huggingface.co/a/b/blob/main/x.safetensors", "title": "t"}
    plain = {
        "url": f"https://user:{canaries.PASSWORD}@host.example/dir/y.ckpt?token={canaries.IN_URL}",
        "title": "t",
        "content": "c",
    }
    page = {"url": "https://blog.example/post", "content": "see https://evil.example/z.safetensors"}
    file, other, text = web(blob, plain, page)
    assert (file.url, file.filename) == ("https://huggingface.co/a/b/resolve/main/x.safetensors", "x.safetensors")
    assert (other.url, other.filename) == ("https://host.example/dir/y.ckpt", "y.ckpt")
    assert (text.filename, "evil.example" in text.url) == ("", False)


@pytest.mark.parametrize(
    "url",
    ["http://h.example/x.ckpt", "javascript:x.ckpt", "https://h.example/\u202ex.ckpt", "https:///x.ckpt", 7, None],
)
def test_a_web_result_without_a_sound_address_is_no_hit(url: Any) -> None:
    assert web({"url": url, "title": "t"}) == ()


def test_a_quoted_slash_makes_no_file_name() -> None:
    (hit,) = web({"url": "https://h.example/..%2f..%2fx.safetensors"})
    assert hit.filename == ""


@given(JSON)
def test_whatever_a_host_answers_is_no_error(body: Any) -> None:
    searches = HostSearches(FakeAsker(body), "https://search.example/{query}")
    found = (
        *searches.search_hugging_face("x", Leash()),
        *searches.list_hugging_face_repo("a/b", Leash()),
        *searches.search_civitai("x", "", Leash()),
        *searches.web_search("x", Leash()),
    )
    assert all(hit.url.startswith("https://") and ".." not in hit.filename.split("/") for hit in found)
