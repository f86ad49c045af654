"""In: a checkpoint, and a dataset's catalog, requests and trajectories.
Out: a checkpoint that has learned them, with its history and one metrics record a step.

`stages` says what each stage is, `sources` makes its examples, `collate` tensors of them, `loop` trains, `run` runs a stage.
What stands here imports no torch.
"""

from toolgen.training.config import StageConfig, resolve_config
from toolgen.training.stages import PAPER_STAGES, STAGES, Stage

__all__ = ["PAPER_STAGES", "STAGES", "Stage", "StageConfig", "resolve_config"]
