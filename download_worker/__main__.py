"""`python -m download_worker`"""

from download_worker.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
