"""The guarded way out of the house: whom we talk to, who gets a token, and what an answer means.

`session.py` is the door (`Web.route`, `Web.open_stream`, `Web.get_json`). Behind it, from the URL to the bytes:
`route.py` follows redirects and keeps secrets at home, `wire.py` asks one question after the other, `link.py` is the
connection that carries them, `idle.py` keeps it for the next stream, `dialing.py` makes it out of what `names.py`
looked up, or `socks.py` through a proxy, `tls.py` decrypts it, `line.py` cuts it, `body.py` reads it,
`translation.py` says what went wrong. The rules are pure: `origins.py` (URLs, endpoints, tokens), `addresses.py` (which
addresses may be connected to), `proxies.py`, `answers.py` (what a head says). `trust.py` names whose certificates are
believed.
"""
