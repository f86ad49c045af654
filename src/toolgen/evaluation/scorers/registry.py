"""Which scorer judges a task."""

from __future__ import annotations

from toolgen.agent.environments import NO_PACKAGES, Packages
from toolgen.catalog.catalog import Catalog
from toolgen.datasets.payloads import AgentDojoTask, BfclCalls, BfclSystems, Tau2Task
from toolgen.datasets.task import Task
from toolgen.evaluation.scorers.abstention import AbstentionScorer
from toolgen.evaluation.scorers.agentdojo import AgentDojoScorer
from toolgen.evaluation.scorers.bfcl import BfclCallsScorer, BfclSystemsScorer
from toolgen.evaluation.scorers.calls import CallsScorer
from toolgen.evaluation.scorers.protocol import Scorer
from toolgen.evaluation.scorers.tau2 import Tau2Scorer


def scorer_for(task: Task, catalog: Catalog, packages: Packages = NO_PACKAGES) -> Scorer | None:
    """The scorer of a task; None where the expected calls are not known, where they need results that a dry run does not have,
    or a package that is not among `packages`."""
    if not task.has_known_calls or (task.package and task.package not in packages):
        return None
    if isinstance(task.payload, BfclCalls):
        return BfclCallsScorer(catalog)
    if isinstance(task.payload, BfclSystems):
        return BfclSystemsScorer(catalog, packages[task.package])
    if isinstance(task.payload, AgentDojoTask) and task.payload.user_task:
        return AgentDojoScorer(catalog, packages[task.package])
    if isinstance(task.payload, Tau2Task) and task.payload.record.get("evaluation_criteria"):
        return Tau2Scorer(catalog, packages[task.package])
    if task.no_tool_fits:
        return AbstentionScorer()
    return CallsScorer() if task.kind == "single_turn" else None
