"""Write down the exact models and packs that workflows use here, to share them and to restore them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from comfy_doctor.comfyui.packs import InstalledPack
from comfy_doctor.diagnose import Diagnosis, ModelFinding, NodeFinding, State
from comfy_doctor.findings import ExitCode, Report
from comfy_doctor.library.links import is_foreign, size_here
from comfy_doctor.manifests.lock_file import LockedModel, LockedUse, lock_text
from comfy_doctor.manifests.manifest import MAX_SOURCES, LockedPack
from comfy_doctor.needs import Criticality, Need
from comfy_doctor.troubles import DoctorCode, DoctorTrouble
from download_worker.jobs.counter import Counter
from download_worker.jobs.job import Status
from download_worker.jobs.ledger import Question
from download_worker.text import without_credentials

DigestOf = Callable[[Path], str]
"""The SHA-256 of a file, in lower-case hex. Raises Trouble where it cannot be read."""

LOCK_SUFFIX = ".lock.json"
"""By it `import` and `diagnose` know a lock file."""

SourcesOf = Callable[[str, str], Sequence[str]]
"""URLs that the file of this name with this SHA-256 was fetched from before."""


def lock(
    diagnosis: Diagnosis, packs: Sequence[InstalledPack], output: Path, digest_of: DigestOf, sources_of: SourcesOf
) -> Report:
    """Raises DoctorTrouble(bad_lock) where the file cannot be written; Trouble where a model cannot be read."""
    if is_foreign(output, b'"comfy_doctor_lock"'):
        raise DoctorTrouble(DoctorCode.BAD_LOCK, f"{output} is there already and is no lock file: it was left as it is")
    if not output.name.endswith(LOCK_SUFFIX):
        raise DoctorTrouble(
            DoctorCode.BAD_LOCK, f"{output} does not end with {LOCK_SUFFIX}, as a lock file's name must"
        )
    wanted = [model for model in diagnosis.models if model.need.folder and (model.need.active or model.path)]
    models = [_model(model, digest_of, sources_of) for model in wanted]
    text = lock_text(models, _used_packs(diagnosis.nodes, packs), diagnosis.install.version)
    _write(output, text)
    absent = [model.name for model in models if model.sha256 is None]
    sourceless = [model.name for model in models if model.sha256 is not None and not model.sources]
    words = [f"{output}: {len(models)} models, {sum(model.size or 0 for model in models):,} bytes"]
    words += [f"{name}: not here, so it is locked without a digest" for name in absent]
    words += [f"{name}: no source is known, who imports this must have the file" for name in sourceless]
    looked = diagnosis.report()
    data = {
        "output": str(output),
        "models": [model.model_dump(mode="json") for model in models],
        "unavailable": sourceless,
        "missing": absent,
    }
    code = ExitCode.FINDINGS if absent else looked.exit_code if looked.errors else ExitCode.OK
    return Report("lock", code, data=data, messages=tuple(words), errors=looked.errors)


def _model(model: ModelFinding, digest_of: DigestOf, sources_of: SourcesOf) -> LockedModel:
    need, path = model.need, model.path if model.state in (State.PRESENT, State.ELSEWHERE) else None
    digest, size = None, None if path is None else size_here(path)
    if path is not None and size is not None:
        digest = digest_of(path)
    return LockedModel(
        folder=need.folder or "",
        name=need.name,
        sha256=digest,
        size=size,
        sources=_sources(model, digest, sources_of)[:MAX_SOURCES],
        criticality=need.criticality if need.active else Criticality.OPTIONAL,
        used_by=_uses(need),
    )


def _uses(need: Need) -> tuple[LockedUse, ...]:
    """Without the folders of this machine, which must not even tell the order."""
    used = {
        LockedUse(workflow=Path(u.workflow).name, node_id=u.node_id, node_type=u.node_type, input=u.input)
        for u in need.uses
    }
    return tuple(sorted(used, key=lambda use: (use.workflow, use.node_id, use.node_type, use.input or "")))


def _sources(model: ModelFinding, digest: str | None, sources_of: SourcesOf) -> tuple[str, ...]:
    """Where this very file came from first; then what the workflow says, unless that names another digest."""
    fetched = sources_of(model.need.filename, digest) if digest else ()
    named = [c.url for c in model.need.candidates if digest is None or c.sha256 in (None, digest)]
    urls = filter(None, map(_public, (*fetched, *named)))
    return tuple(url for url in dict.fromkeys(urls) if url.startswith(("https://", "http://")))


def _public(url: str | None) -> str | None:
    try:
        return without_credentials(url) if url else None
    except ValueError:  # a workflow may say anything
        return None


def _used_packs(nodes: Sequence[NodeFinding], packs: Sequence[InstalledPack]) -> list[LockedPack]:
    """The installed packs that the workflows' node types come from."""
    by_folder: Mapping[Path, InstalledPack] = {pack.folder: pack for pack in packs}
    used = {node.folder for node in nodes if node.folder is not None}
    return [
        LockedPack(pack.name, pack.id, _public(pack.repository), pack.version, pack.commit)
        for folder, pack in by_folder.items()
        if folder in used
    ]


def fetched_from(counter: Counter, filename: str, digest: str) -> tuple[str, ...]:
    """What the jobs of this home say of that; the latest first."""
    done = counter.jobs(Question(frozenset({Status.SUCCESS}), filename, MAX_SOURCES))
    return tuple(url for job in done if job.result.sha256 == digest for url in job.model_info.sources)


def _write(output: Path, text: str) -> None:
    try:
        new = output.with_name(f".{output.name}.{os.getpid()}.new")
        try:
            new.write_bytes(text.encode("utf-8", "backslashreplace"))  # half a character pair becomes its JSON escape
            new.replace(output)
        finally:
            new.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise DoctorTrouble(DoctorCode.BAD_LOCK, f"cannot write {output}: {error}"[:300]) from error
