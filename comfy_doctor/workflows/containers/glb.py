"""GLB: the JSON chunk of binary glTF 2.0, where ComfyUI's SaveGLB keeps `workflow` and `prompt` in `asset.extras`.

https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html#glb-file-format-specification: 12 bytes of header, then
chunks, the JSON one first. A plain .gltf is JSON and read as such; `documents` knows the wrapping of both.
"""

from __future__ import annotations

from collections.abc import Iterator

from comfy_doctor.workflows.containers.source import Source, Text


def glb_texts(source: Source) -> Iterator[Text]:
    header = source.read(12, 8)
    if header[4:] == b"JSON":
        yield Text("", source.body(20, int.from_bytes(header[:4], "little")))
