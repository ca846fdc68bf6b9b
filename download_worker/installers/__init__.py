"""How a proven thing is put in place. `installer.py` asks, the others answer."""
