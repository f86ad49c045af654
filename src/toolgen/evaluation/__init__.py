"""In: a Retriever or an agent, and a Dataset to try it on.
Out: results with intervals, every query's record and their origin; one HTML report.

The metrics are in `toolgen.evaluation.metrics`, the agent's evaluation in `toolgen.evaluation.agent`.
"""

from toolgen.evaluation.agent_results import AgentRecord, AgentResult
from toolgen.evaluation.projection import project_rows
from toolgen.evaluation.provenance import Provenance, collect_provenance
from toolgen.evaluation.report import ToolMap, render_report, write_report
from toolgen.evaluation.result_files import Result, load_result
from toolgen.evaluation.results import QueryRecord, RetrievalResult, paired_difference
from toolgen.evaluation.retrieval import evaluate_retrieval

__all__ = [
    "AgentRecord",
    "AgentResult",
    "Provenance",
    "QueryRecord",
    "Result",
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
