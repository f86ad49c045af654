"""In: a Task and the Trajectory of an agent that carried it out.
Out: a Score: right or not, why not, and the measures of its benchmark.
"""

from toolgen.evaluation.scorers.protocol import Score, Scorer
from toolgen.evaluation.scorers.registry import scorer_for

__all__ = ["Score", "Scorer", "scorer_for"]
