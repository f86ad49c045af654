"""In: benchmark files, and a Catalog with them.
Out: Dataset, that is Query values with relevant tools and expected calls, and Trajectory values, in splits.
"""

from toolgen.datasets.folder import Dataset, load_dataset, save_dataset
from toolgen.datasets.query import Call, Query
from toolgen.datasets.trajectory import Message, Trajectory

__all__ = ["Call", "Dataset", "Message", "Query", "Trajectory", "load_dataset", "save_dataset"]
