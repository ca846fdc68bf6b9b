"""How we ask the web for facts: politely, side by side, and not twice for what was answered a moment ago."""

from comfy_doctor.asking.asker import DAY, HOUR, Asker, Head, Page
from comfy_doctor.asking.cache import AnswerCache

__all__ = ["DAY", "HOUR", "AnswerCache", "Asker", "Head", "Page"]
