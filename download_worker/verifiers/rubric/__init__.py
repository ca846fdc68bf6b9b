"""The last step of the chain: what the rules have proven, and what a language model may still object to.

START HERE: `judge.py` speaks the verdict. `proof.py`, `evidence.py` and `answer.py` are pure rules: what has been
proven, what the model is shown, what of its answer counts. `prompt.py` holds the versioned text; only `model.py` loads
openai, and only when a model is configured.
"""

from download_worker.verifiers.rubric.judge import ModelRubric

__all__ = ["ModelRubric"]
