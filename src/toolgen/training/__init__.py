"""In: a checkpoint, and a dataset's catalog, requests and trajectories.
Out: a checkpoint that has learned them, with its history and one metrics record a step.

`sources` makes examples, `collate` tensors, `model` the loss, `loop` the training, `stages` the three stages.
"""

from toolgen.training.config import STAGES, Stage, StageConfig, resolve_config
from toolgen.training.stages import run_stage

__all__ = ["STAGES", "Stage", "StageConfig", "resolve_config", "run_stage"]
