"""`python -m tests.bench [--megabytes 1024] [--rounds 5]`: ledger and diagnosis, then one large file."""

from __future__ import annotations

import argparse

from tests.bench import diagnosis, download, ledger


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    ledger.main()
    diagnosis.main()
    download.main(options.megabytes * 1024 * 1024, options.rounds)


if __name__ == "__main__":
    main()
