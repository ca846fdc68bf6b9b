"""The last source: a language model that plans searches, and may name only what a search of ours returned.

START HERE: `resolver.py` asks about each model that nobody else could settle. `actions.py` (what a model's words count
for), `desk.py` (what it is shown, and which addresses are real) and `outcome.py` (what a person gets to see of it) are
pure rules but for the searches, which `searches.py` makes. The rubric's own `LanguageModel` speaks
for it, and is loaded only when the agent is asked.
"""

from comfy_doctor.resolvers.agent.resolver import Agent, agent_of
from comfy_doctor.resolvers.agent.searches import Hit, HostSearches, Searches

__all__ = ["Agent", "Hit", "HostSearches", "Searches", "agent_of"]
