"""In: a task, a policy (the model of a checkpoint) and an environment that executes calls.
Out: a trajectory: everything that was said and done, and how it ended.
"""

from toolgen.agent.acting import acting_policy
from toolgen.agent.agent import Agent, AgentRun
from toolgen.agent.calls import Confirm, asking_before_changes
from toolgen.agent.environments import (
    AgentDojoEnvironment,
    BfclEnvironment,
    ComposedEnvironment,
    DryRunEnvironment,
    Environment,
    Header,
    HttpEnvironment,
    HttpOptions,
    McpEnvironment,
    Packages,
    PythonEnvironment,
    RecordedEnvironment,
    SimulatedEnvironment,
    Tau2Environment,
    ToolResult,
    VirtualServerEnvironment,
    environment_for,
)
from toolgen.agent.loop import AgentEvent, Budget, run_agent
from toolgen.agent.policy import Action, GenerativePolicy, GivenTools, Policy, RetryingPolicy, ScriptedPolicy
from toolgen.agent.prompted import PromptedPolicy, ground_truth
from toolgen.agent.record import RunRecorder, Unfinished, read_run, recorded_results, unfinished
from toolgen.agent.recording import record_trajectories

__all__ = [
    "Action",
    "Agent",
    "AgentDojoEnvironment",
    "AgentEvent",
    "AgentRun",
    "BfclEnvironment",
    "Budget",
    "ComposedEnvironment",
    "Confirm",
    "DryRunEnvironment",
    "Environment",
    "GenerativePolicy",
    "GivenTools",
    "Header",
    "HttpEnvironment",
    "HttpOptions",
    "McpEnvironment",
    "Packages",
    "Policy",
    "PromptedPolicy",
    "PythonEnvironment",
    "RecordedEnvironment",
    "RetryingPolicy",
    "RunRecorder",
    "ScriptedPolicy",
    "SimulatedEnvironment",
    "Tau2Environment",
    "ToolResult",
    "Unfinished",
    "VirtualServerEnvironment",
    "acting_policy",
    "asking_before_changes",
    "environment_for",
    "ground_truth",
    "read_run",
    "record_trajectories",
    "recorded_results",
    "run_agent",
    "unfinished",
]
