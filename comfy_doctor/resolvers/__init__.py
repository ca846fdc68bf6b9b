"""Where a missing model can be had: one protocol, and one file or folder per source that can be asked."""
