"""toolgen: every tool is one token of a language model.

Each package says in its first lines what goes in and what comes out.

The public names below are loaded when first used: `import toolgen` imports neither torch nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolgen.agent import (
        Agent,
        AgentRun,
        Budget,
        DryRunEnvironment,
        Environment,
        HttpEnvironment,
        McpEnvironment,
        PythonEnvironment,
        ToolResult,
        record_trajectories,
    )
    from toolgen.catalog import Catalog, Tool
    from toolgen.catalog.loaders.python_functions import tool_from_function
    from toolgen.catalog.transforms import select_tools
    from toolgen.checkpoint import Checkpoint, SearchResult
    from toolgen.datasets import Call, Dataset, Query, Task, Trajectory, load_dataset, save_dataset
    from toolgen.errors import ToolgenError
    from toolgen.evaluation import evaluate_retrieval
    from toolgen.inference.late_tools import add_tools, remove_tools, update_tools
    from toolgen.retrieval import BM25Retriever, DenseRetriever, Ranking, Retriever
    from toolgen.retrieval.generative import GenerativeRetriever
    from toolgen.training import STAGES, resolve_config
    from toolgen.training.run import run_stage
else:
    from toolgen._lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "toolgen.agent": "Agent AgentRun Budget DryRunEnvironment Environment HttpEnvironment McpEnvironment "
            "PythonEnvironment ToolResult record_trajectories",
            "toolgen.catalog": "Catalog Tool",
            "toolgen.catalog.loaders.python_functions": "tool_from_function",
            "toolgen.catalog.transforms": "select_tools",
            "toolgen.checkpoint": "Checkpoint SearchResult",
            "toolgen.datasets": "Call Dataset Query Task Trajectory load_dataset save_dataset",
            "toolgen.errors": "ToolgenError",
            "toolgen.evaluation": "evaluate_retrieval",
            "toolgen.inference.late_tools": "add_tools remove_tools update_tools",
            "toolgen.retrieval": "BM25Retriever DenseRetriever Ranking Retriever",
            "toolgen.retrieval.generative": "GenerativeRetriever",
            "toolgen.training": "STAGES resolve_config",
            "toolgen.training.run": "run_stage",
        },
    )

__version__ = "0.1.0"

__all__ = [
    "STAGES",
    "Agent",
    "AgentRun",
    "BM25Retriever",
    "Budget",
    "Call",
    "Catalog",
    "Checkpoint",
    "Dataset",
    "DenseRetriever",
    "DryRunEnvironment",
    "Environment",
    "GenerativeRetriever",
    "HttpEnvironment",
    "McpEnvironment",
    "PythonEnvironment",
    "Query",
    "Ranking",
    "Retriever",
    "SearchResult",
    "Task",
    "Tool",
    "ToolResult",
    "ToolgenError",
    "Trajectory",
    "__version__",
    "add_tools",
    "evaluate_retrieval",
    "load_dataset",
    "record_trajectories",
    "remove_tools",
    "resolve_config",
    "run_stage",
    "save_dataset",
    "select_tools",
    "tool_from_function",
    "update_tools",
]
