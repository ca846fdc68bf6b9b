"""The workshop: turns one job after another into a proven file in place, headless, for months.

Start reading at `process.py`: it is the walk of one job. This package knows nothing of `comfy_doctor`.
"""

__version__ = "0.1.0"
