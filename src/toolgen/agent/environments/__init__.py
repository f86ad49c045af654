"""In: a call of a tool.
Out: what came back, and a changed state: Python functions, BFCL's simulated systems, HTTP, a dry run, a recorded run or
what a response schema suggests.
"""

from toolgen.agent.environments.bfcl import BfclEnvironment
from toolgen.agent.environments.composed import ComposedEnvironment
from toolgen.agent.environments.dry_run import DryRunEnvironment
from toolgen.agent.environments.http import Header, HttpEnvironment, HttpOptions
from toolgen.agent.environments.mcp import McpEnvironment
from toolgen.agent.environments.protocol import Environment, Reversible, ToolResult
from toolgen.agent.environments.python_functions import PythonEnvironment
from toolgen.agent.environments.recorded import RecordedEnvironment, SimulatedEnvironment
from toolgen.agent.environments.registry import NO_PACKAGES, Packages, environment_for
from toolgen.agent.environments.virtual_server import VirtualServerEnvironment

__all__ = [
    "NO_PACKAGES",
    "BfclEnvironment",
    "ComposedEnvironment",
    "DryRunEnvironment",
    "Environment",
    "Header",
    "HttpEnvironment",
    "HttpOptions",
    "McpEnvironment",
    "Packages",
    "PythonEnvironment",
    "RecordedEnvironment",
    "Reversible",
    "SimulatedEnvironment",
    "ToolResult",
    "VirtualServerEnvironment",
    "environment_for",
]
