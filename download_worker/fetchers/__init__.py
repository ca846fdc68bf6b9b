"""How bytes come into the room: one file per kind of source. `fetcher.py` asks, the others answer."""
