"""`python -m tests.bench`: the ledger, the diagnosis, and downloads beside the peers.

Options are those of `tests.bench.download`; with `--scenarios` or `--quick` only the downloads.
"""

from __future__ import annotations

import sys

from tests.bench import diagnosis, ledger
from tests.bench.download import __main__ as download


def main() -> None:
    options = download.parsed(sys.argv[1:])
    if not options.scenarios and not options.quick:
        ledger.main()
        diagnosis.main()
    sys.exit(0 if download.run(options) else 1)


if __name__ == "__main__":
    main()
