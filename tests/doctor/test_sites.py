"""What a URL names, when whoever wrote it means no good."""

from __future__ import annotations

import pytest

from comfy_doctor.sites import CivitaiPlace, HubFile, place_of, site_of

HUB = "https://huggingface.co"


@pytest.mark.parametrize(
    "path",
    [
        "/known/repo/resolve/main/../../../../evil/repo/resolve/main/x.safetensors",
        "/known/repo/resolve/main/%2e%2e/%2E%2E/%2e%2e/%2e%2e/evil/repo/resolve/main/x.safetensors",
        "/known/repo/resolve/..%2F..%2F..%2Fevil%2Frepo/x.safetensors",
        "/../repo/resolve/main/x.safetensors",
        "/known/repo/tree/main/../../../api",
    ],
)
def test_a_path_that_climbs_out_of_the_repository_that_it_shows_names_none(path: str) -> None:
    assert site_of(HUB + path) is None


def test_two_dots_in_a_name_climb_nowhere() -> None:
    assert site_of(f"{HUB}/o/n/resolve/main/a..b/x...safetensors") == HubFile("o/n", "main", "a..b/x...safetensors")


@pytest.mark.parametrize("host", [HUB, "https://civitai.com", "https://x.example"])
def test_half_a_character_is_in_no_url(host: str) -> None:
    url = f"{host}/o/n/resolve/main/\ud800.safetensors"
    assert site_of(url) is None
    assert place_of(url) == ("url", url)


def test_a_host_may_tell_names_with_half_characters() -> None:
    assert HubFile("o/n", "\ud800", "\ud800.safetensors").url == f"{HUB}/o/n/resolve/%3F/%3F.safetensors"


def test_a_version_of_five_thousand_digits_is_none() -> None:
    assert site_of(f"https://civitai.com/models/7?modelVersionId={'9' * 5000}") == CivitaiPlace(7, None)
