"""How a file is proven: a chain, cheapest first, the first refusal stands. `verifier.py` asks, the others answer."""
