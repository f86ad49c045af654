"""In: a call of a tool.
Out: what came back, and a changed state: Python functions, the worlds of BFCL, AgentDojo and tau2, HTTP, a dry run, a
recorded run or what a response schema suggests.
"""

from toolgen.agent.environments.agentdojo import AgentDojoEnvironment
from toolgen.agent.environments.bfcl import BfclEnvironment
from toolgen.agent.environments.composed import ComposedEnvironment
from toolgen.agent.environments.dry_run import DryRunEnvironment
from toolgen.agent.environments.http import Header, HttpEnvironment, HttpOptions
from toolgen.agent.environments.mcp import McpEnvironment
from toolgen.agent.environments.protocol import Environment, Reversible, ToolResult
from toolgen.agent.environments.python_functions import PythonEnvironment
from toolgen.agent.environments.recorded import RecordedEnvironment, SimulatedEnvironment
from toolgen.agent.environments.registry import NO_PACKAGES, Packages, environment_for
from toolgen.agent.environments.tau2 import Tau2Environment
from toolgen.agent.environments.virtual_server import VirtualServerEnvironment

__all__ = [
    "NO_PACKAGES",
    "AgentDojoEnvironment",
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
    "Tau2Environment",
    "ToolResult",
    "VirtualServerEnvironment",
    "environment_for",
]
