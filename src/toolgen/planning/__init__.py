"""In: ModelShape (of a base's configuration), Workload, StageConfig, Machine.
Out: Plan: memory and time of each stage before anything runs.

Arithmetic only, no weights.
"""

from toolgen.planning.cost import Machine, Plan, StageCost, Workload, plan
from toolgen.planning.reinforcement import preference_cost, reinforcement_cost
from toolgen.planning.shape import ModelShape

__all__ = ["Machine", "ModelShape", "Plan", "StageCost", "Workload", "plan", "preference_cost", "reinforcement_cost"]
