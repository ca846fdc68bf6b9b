"""Reports and progress for people: stdout gets what was asked for, stderr what is going on. A skin: it decides nothing.

Text from outside goes through `safe_text` and into `Text`, never into markup.
"""

from comfy_doctor.render.narrator import Narrator
from comfy_doctor.render.shown import show

__all__ = ["Narrator", "show"]
