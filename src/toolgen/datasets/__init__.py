"""In: benchmark files, and a Catalog with them.
Out: Dataset, that is Query values with relevant tools, Task values with expected calls, and Trajectory values, in splits.
"""

from toolgen.datasets.folder import Dataset, load_dataset, save_dataset
from toolgen.datasets.preference import Preference
from toolgen.datasets.query import Call, Query, Rewritten, Synthetic
from toolgen.datasets.task import Task, Turn
from toolgen.datasets.trajectory import Message, Outcome, Trajectory, TurnOutcome

__all__ = [
    "Call",
    "Dataset",
    "Message",
    "Outcome",
    "Preference",
    "Query",
    "Rewritten",
    "Synthetic",
    "Task",
    "Trajectory",
    "Turn",
    "TurnOutcome",
    "load_dataset",
    "save_dataset",
]
