"""A second name for a file that is here already, instead of a second download.

A hard link where both names lie on one volume: it costs no bytes and neither name depends on the other. Across volumes
a symbolic link. Nothing is ever replaced.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Literal

from download_worker.errors import Code, GiveUp

Made = Literal["hard link", "symbolic link", "already there"]
_NOT_HERE = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})


def link(source: Path, target: Path) -> Made:
    """Make `target` another name of the regular file `source`.

    Raises:
        GiveUp: `conflict` when another file has that name, `not_found` when the source is gone, `storage` when the
            file system takes neither kind of link.
    """
    if not source.is_file():
        raise GiveUp(Code.NOT_FOUND, f"{source} is not there", hint="diagnose again: its file has moved")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return _linked(source.resolve(), target)
    except FileExistsError as error:
        if target.exists() and target.samefile(source):
            return "already there"
        raise GiveUp(Code.CONFLICT, f"{target} is another file") from error
    except OSError as error:
        what = f"{target} cannot be linked to {source}: {error.strerror or error}"
        raise GiveUp(Code.STORAGE, what, hint="copy the file by hand, or choose its present name") from error


def _linked(source: Path, target: Path) -> Made:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        target.symlink_to(source)
        return "symbolic link"
    return "hard link"
