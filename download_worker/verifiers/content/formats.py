"""From first bytes to a head, whatever the format: how many bytes it takes, and what they say. Pure."""

from __future__ import annotations

import re

from download_worker.verifiers.content.gguf_header import MAGIC, missing_byte, read_gguf
from download_worker.verifiers.content.heads import Format, Head, Weight, telling
from download_worker.verifiers.safetensors_header import LENGTH_BYTES, MAX_HEADER_BYTES, parse_header

FIRST_BYTES = 64 * 1024
"""Enough for the whole head of most LoRAs and all small models."""
MAX_HEAD_BYTES = 2 * 1024 * 1024
"""What is read of one file at most. A diffusion model's header takes some 0.1 to 0.4 MB."""
_END_OF_TENSOR = re.compile(rb'"data_offsets"\s*:\s*\[\s*\d{1,19}\s*,\s*(\d{1,19})\s*\]')


def format_of(start: bytes) -> Format:
    """What these first bytes begin; `verifiers.filetype` knows more names for what is no model."""
    if start.startswith(b"PK\x03\x04"):
        return Format.TORCH_ZIP
    if start.startswith(MAGIC):
        return Format.GGUF
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    is_header = 2 <= length <= MAX_HEADER_BYTES and start[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{"
    return Format.SAFETENSORS if is_header else Format.OTHER


def wanted_bytes(start: bytes) -> int:
    """How many first bytes of the file the head needs, as far as these tell; no more than there are when it is here.

    May be over MAX_HEAD_BYTES for safetensors, whose header says its length and is of no use in pieces. Raises Broken.
    """
    form = format_of(start)
    if form is Format.SAFETENSORS:
        return LENGTH_BYTES + int.from_bytes(start[:LENGTH_BYTES], "little")
    if form is not Format.GGUF:
        return 0
    missing = missing_byte(start)
    return 0 if missing is None else min(max(missing, 4 * len(start)), MAX_HEAD_BYTES)


def read_head(start: bytes) -> Head:
    """The head in these first bytes, of which there are as many as `wanted_bytes` says. Raises Broken.

    The strict rules for safetensors hold, only the size of the file is not asked for: it is what the header promises.
    """
    form = format_of(start)
    if form is Format.GGUF:
        return read_gguf(start)
    if form is not Format.SAFETENSORS:
        return Head(form, complete=False)
    raw = start[LENGTH_BYTES : LENGTH_BYTES + int.from_bytes(start[:LENGTH_BYTES], "little")]
    promised = LENGTH_BYTES + len(raw) + max((int(end) for end in _END_OF_TENSOR.findall(raw)), default=0)
    header = parse_header(raw, promised)
    tensors = {tensor.name: Weight(tensor.dtype, tensor.shape) for tensor in header.tensors}
    return Head(form, tensors, telling(header.metadata), promised, exact=True)
