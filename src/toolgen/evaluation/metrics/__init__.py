"""In: tool ids as a method ranked them, and the relevant ones.
Out: numbers in 0..1 for one request; means over requests with 95% intervals.

Every metric is defined here and nowhere else.
"""

from toolgen.evaluation.metrics.bootstrap import Difference, Interval, bootstrap, paired_bootstrap, ratio_bootstrap
from toolgen.evaluation.metrics.comp import comp
from toolgen.evaluation.metrics.ndcg import ndcg
from toolgen.evaluation.metrics.ndcg_toolgen import ndcg_toolgen
from toolgen.evaluation.metrics.recall import recall

__all__ = [
    "Difference",
    "Interval",
    "bootstrap",
    "comp",
    "ndcg",
    "ndcg_toolgen",
    "paired_bootstrap",
    "ratio_bootstrap",
    "recall",
]
