"""WebP: the EXIF and XMP chunks of its RIFF file (https://developers.google.com/speed/webp/docs/riff_container).

ComfyUI's SaveAnimatedWEBP writes EXIF: "prompt:{…}" as Model, "workflow:{…}" as Make, further entries in lower tags.
"""

from __future__ import annotations

from collections.abc import Iterator

from comfy_doctor.workflows.containers.exif import exif_texts
from comfy_doctor.workflows.containers.markup import xmp_texts
from comfy_doctor.workflows.containers.source import Source, Text


def webp_texts(source: Source) -> Iterator[Text]:
    offset = 12
    while len(header := source.read(offset, 8)) == 8:
        size = int.from_bytes(header[4:], "little")
        if header[:4] == b"EXIF":
            yield from exif_texts(source.body(offset + 8, size), source)
        elif header[:4] == b"XMP ":
            yield from xmp_texts(source.body(offset + 8, size), source)
        offset += 8 + size + size % 2
