"""In: a Retriever or an agent, and a Dataset to try it on.
Out: results with intervals, every query's record and their origin; one HTML report.

The metrics are in `toolgen.evaluation.metrics`, the agent's evaluation in `toolgen.evaluation.agent`.
"""

from toolgen.evaluation.projection import project_rows
from toolgen.evaluation.provenance import Provenance, collect_provenance
from toolgen.evaluation.report import ToolMap, render_report, write_report
from toolgen.evaluation.results import QueryRecord, RetrievalResult, load_result, paired_difference
from toolgen.evaluation.retrieval import evaluate_retrieval

__all__ = [
    "Provenance",
    "QueryRecord",
    "RetrievalResult",
    "ToolMap",
    "collect_provenance",
    "evaluate_retrieval",
    "load_result",
    "paired_difference",
    "project_rows",
    "render_report",
    "write_report",
]
