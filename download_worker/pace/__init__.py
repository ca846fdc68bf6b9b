"""How fast a connection may go on: `pace.py` asks, `shared.py` answers for all worker processes of one home.

`bucket.py` is the rule (pure), `table.py` the file that the processes share, `orders.py` what was said by hand.
"""

from download_worker.pace.pace import UNLIMITED, Pace, hold_back
from download_worker.pace.shared import SharedPace

__all__ = ["UNLIMITED", "Pace", "SharedPace", "hold_back"]
