"""The counter: the only door between the doctor and the worker. Jobs, the ledger that decides, the bell that rings."""
