"""What drives the walks: `engine.py` asks, `local.py` answers with threads on this machine."""
