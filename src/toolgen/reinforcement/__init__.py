"""In: an agent's checkpoint, and the training tasks of a dataset.
Out: a checkpoint that has learned from what became of its own runs of these tasks (stage 4).

`curriculum` says which tasks come when, `rollouts` carries them out and notes what was drawn, `rewards` judges, `objective` is
what is minimized, `policy` computes the same probabilities again for training, `run` is the loop. `samples` makes a dataset of
runs instead, and `preference` learns from its pairs.
"""

from toolgen.reinforcement.config import (
    PREFERENCE,
    STAGE,
    PreferenceConfig,
    ReinforceConfig,
    SampleConfig,
    resolve_preference,
    resolve_reinforcement,
)

__all__ = [
    "PREFERENCE",
    "STAGE",
    "PreferenceConfig",
    "ReinforceConfig",
    "SampleConfig",
    "resolve_preference",
    "resolve_reinforcement",
]
