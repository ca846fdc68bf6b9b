"""Files that list what workflows need, digests and sources included: comfygit's manifest, and our own lock file."""
