"""Size and SHA-256 against what the job asks for: the cheapest proof, and the strongest.

The digest was computed over the very bytes while they were written. It is trusted only while the file is still the one
that was written (same inode, size and modification time); else it is computed again from the disk.
"""

from __future__ import annotations

import hashlib

from loguru import logger

from download_worker.digests import feed
from download_worker.errors import Code
from download_worker.leash import Leash
from download_worker.room import Identity
from download_worker.verifiers.reading import examining, reading
from download_worker.verifiers.verifier import Evidence, Rejected, Specimen


class DigestVerifier:
    name = "digest"

    def examine(self, specimen: Specimen, leash: Leash) -> Evidence:
        """Raises Rejected (size_mismatch, hash_mismatch), LostClaim, GiveUp(storage) or Interrupted."""
        size, sha256 = _measured(specimen, leash)
        wanted = specimen.wanted
        facts = {
            "size": size,
            "sha256": sha256,
            "size_was_asked_for": wanted.size is not None,
            "sha256_was_asked_for": wanted.sha256 is not None,
        }
        if wanted.size is not None and wanted.size != size:
            reason = f"{wanted.expected_filename} has {size} bytes, but {wanted.size} were asked for"
            raise Rejected(Code.SIZE_MISMATCH, reason, evidence=facts)
        if wanted.sha256 is not None and wanted.sha256.lower() != sha256:
            reason = f"{wanted.expected_filename} has SHA-256 {sha256}, but {wanted.sha256.lower()} was asked for"
            raise Rejected(Code.HASH_MISMATCH, reason, evidence=facts)
        return Evidence(self.name, facts)


def _measured(specimen: Specimen, leash: Leash) -> tuple[int, str]:
    """Size in bytes and digest of what is on the disk now, without reading it again where nothing has touched it."""
    fetched = specimen.file
    with examining(specimen) as path:
        if Identity.of(path.stat()) == fetched.identity:
            return fetched.size, fetched.sha256
    logger.warning("{} was touched after it was fetched; reading it again", fetched.path)
    digest = hashlib.sha256()
    with reading(specimen) as file:
        size = feed(digest, file, check=leash.check)
    if digest.hexdigest() != fetched.sha256:
        raise Rejected(
            Code.HASH_MISMATCH,
            f"{fetched.path} changed on disk after it was fetched:"
            f" its SHA-256 was {fetched.sha256} and is now {digest.hexdigest()}",
        )
    return size, fetched.sha256
