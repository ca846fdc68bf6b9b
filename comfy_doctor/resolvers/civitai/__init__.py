"""Civitai as a source: `places` asks for digests and for versions that somebody names, `search` asks by name."""

from comfy_doctor.resolvers.civitai.places import CivitaiPlaces
from comfy_doctor.resolvers.civitai.search import CivitaiSearch

__all__ = ["CivitaiPlaces", "CivitaiSearch"]
