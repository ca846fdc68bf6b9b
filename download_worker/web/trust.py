"""Whose certificates are believed: the operating system's, those that requests brings, and the user's `ca_file`.

The first are what Python's own default context loads, and OpenSSL lets SSL_CERT_FILE and SSL_CERT_DIR move that place:
so these variables are obeyed, and only add here, because the other two are always loaded beside it.
"""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from download_worker.errors import BadRequest, Code
from download_worker.web.tls import TlsContext, client_context


@cache
def trusting_the_usual() -> TlsContext:
    context = client_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    return context


def trusting(ca_file: Path | None) -> TlsContext:
    """The usual, and the certificates of this file in PEM. Raises BadRequest(bad_setting)."""
    if ca_file is None:
        return trusting_the_usual()
    context = client_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError as error:
        raise BadRequest(Code.BAD_SETTING, f"ca_file: {ca_file} holds no certificate in PEM") from error
    except OSError as error:
        raise BadRequest(Code.BAD_SETTING, f"ca_file: cannot read {ca_file}: {error.strerror}") from error
    return context
