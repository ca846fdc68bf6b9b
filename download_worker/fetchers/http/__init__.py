"""Files over HTTP: `ranges.py` decides (pure), `part.py` writes, `fetcher.py` walks between the two."""

from download_worker.fetchers.http.fetcher import HttpFetcher

__all__ = ["HttpFetcher"]
