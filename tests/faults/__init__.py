"""The fault matrix: what hosts can do wrong, how far a download was, what is known of the file; and how each cell ends.

`python -m tests.faults` prints it beside `wget -c` and `curl -C -`.
"""
