"""toolgen: every tool is one token of a language model.

The packages, in the order of the data; each imports only from those before it:

    errors, files    one family of exceptions; files and folders that appear whole or not at all
    foreign          files and addresses of others -> values within bounds, under one set of rules
    fetching         a name                        -> a local folder (base model, raw benchmark)
    catalog          foreign descriptions          -> Catalog of Tools
    datasets         benchmark files               -> Dataset: Catalog, Queries, Tasks, Trajectories
    virtualization   Catalog                       -> ToolVocabulary, a model with a row for each tool
    checkpoint       weights, tokenizer, vocabulary, catalog and history in one folder
    training         Dataset, Checkpoint           -> Checkpoint, in three stages
    decoding         Checkpoint                    -> only legal tool tokens and arguments
    retrieval        Query                         -> Ranking (generative, BM25, dense, ...)
    agent            task, Checkpoint, environment -> Trajectory
    evaluation       Rankings, Trajectories        -> results with intervals, report
    cli              thin commands over all of it
    testing          tiny fakes for our tests and yours

The public names below are loaded when first used: `import toolgen` imports neither torch nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolgen.catalog import Catalog, Tool
    from toolgen.checkpoint import Checkpoint
    from toolgen.datasets import Call, Dataset, Query, Task, Trajectory, load_dataset
    from toolgen.errors import ToolgenError
    from toolgen.retrieval.protocol import Ranking, Retriever
else:
    from toolgen._lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "toolgen.catalog": "Catalog Tool",
            "toolgen.checkpoint": "Checkpoint",
            "toolgen.datasets": "Call Dataset Query Task Trajectory load_dataset",
            "toolgen.errors": "ToolgenError",
            "toolgen.retrieval.protocol": "Ranking Retriever",
        },
    )

__version__ = "0.1.0"

__all__ = [
    "Call",
    "Catalog",
    "Checkpoint",
    "Dataset",
    "Query",
    "Ranking",
    "Retriever",
    "Task",
    "Tool",
    "ToolgenError",
    "Trajectory",
    "__version__",
    "load_dataset",
]
