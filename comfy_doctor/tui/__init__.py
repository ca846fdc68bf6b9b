"""The dashboard: the worker's jobs, live, on a terminal. A skin: it shows, asks the counter, and decides nothing.

`app.py` is the application; `desk.py` is the only module that talks to the counter (and always in a thread);
`figures.py`, `rows.py` and `story.py` turn jobs into text and know nothing of Textual's widgets.
"""
