"""Hugging Face as a source: `files` confirms what somebody names, `search` looks for a file by its name."""

from comfy_doctor.resolvers.huggingface.files import HuggingFaceFiles
from comfy_doctor.resolvers.huggingface.search import HuggingFaceSearch

__all__ = ["HuggingFaceFiles", "HuggingFaceSearch"]
