"""The guarded way out of the house: whom we talk to, who gets a token, and what an answer means.

`session.py` is the door (`Web.open_stream`, `Web.get_json`); the rules it follows are pure and stand in `origins.py`
(URLs, endpoints, tokens), `addresses.py` (which addresses may be connected to) and `answers.py` (what a head says).
"""
