"""Journals of a room, said shortly: one source, and the file durable from its beginning on."""

from download_worker.room import Identity, Journal, Stretch, Version


def journal_of(
    source: str,
    *,
    etag: str | None = None,
    last_modified: str | None = None,
    total: int | None = None,
    durable_bytes: int = 0,
    sha256: str | None = None,
    identity: Identity | None = None,
    origin: str | None = None,
) -> Journal:
    durable = (Stretch(0, durable_bytes, 0),) if durable_bytes else ()
    version = Version(source, etag, last_modified, origin=origin)
    return Journal(total if sha256 is None else durable_bytes, (version,), durable, sha256, identity)
