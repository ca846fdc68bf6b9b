"""Where the two model hosts are when nobody has moved them. Data, and light to import."""

from __future__ import annotations

HF_HOME = "https://huggingface.co"
CIVITAI_HOME = "https://civitai.com"
