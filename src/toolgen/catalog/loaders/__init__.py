"""In: foreign descriptions of tools (function JSON, Python code).
Out: LoadedTools, that is Tool values with a LoadReport of what was lost or repaired.
"""

from toolgen.catalog.loaders.common import LoadedTools
from toolgen.catalog.loaders.report import LoadReport, Loss

__all__ = ["LoadReport", "LoadedTools", "Loss"]
