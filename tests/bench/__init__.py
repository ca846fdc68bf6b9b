"""Figures, side by side in one run: what the ledger costs as it grows, and a download against the peers found here."""
