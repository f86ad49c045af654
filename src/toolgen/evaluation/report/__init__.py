"""In: results, training curves and the tool map.
Out: one HTML page that needs nothing else; each module lays out one part of it.
"""

from toolgen.evaluation.report.page import render_report, write_report
from toolgen.evaluation.report.tool_map import ToolMap

__all__ = ["ToolMap", "render_report", "write_report"]
