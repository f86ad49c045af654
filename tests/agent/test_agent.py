"""Agent: functions or an environment in, an ordinary result out; everything else is what the loop and its parts do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolgen.agent import Action, Agent, AgentEvent, Budget, DryRunEnvironment, ScriptedPolicy, ToolResult
from toolgen.catalog import Catalog, Tool
from toolgen.catalog.loaders.python_functions import load_python_functions, tool_from_function
from toolgen.checkpoint import Checkpoint
from toolgen.datasets import Call, Task
from toolgen.errors import UsageError
from toolgen.inference.late_tools import add_tools
from toolgen.testing import tiny_catalog, tiny_checkpoint


def add(a: int, b: int = 1) -> int:
    """Adds two numbers."""
    return a + b


def shout(text: str) -> str:
    """Says it loudly."""
    return text.upper() + "!"


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    catalog = Catalog([*tiny_catalog(), tool_from_function(add, provider="maths"), tool_from_function(shout)])
    return tiny_checkpoint(catalog=catalog, max_position_embeddings=4096)


def scripted(agent: Agent, *actions: tuple[str, dict[str, Any]] | Action) -> Agent:
    agent.policy = ScriptedPolicy(actions)
    return agent


def test_a_run_has_the_answer_the_calls_their_results_and_the_events(checkpoint: Checkpoint) -> None:
    heard: list[AgentEvent] = []
    with Agent(checkpoint, functions=[add, shout]) as agent:
        scripted(agent, ("maths&&add", {"a": 2}), ("shout", {"text": 3}), ("finish", {"answer": "It is 3."}))
        run = agent.run("how much is 2 and 1?", on_event=heard.append)
    assert (run.answer, run.status) == ("It is 3.", "finished")
    assert run.calls == (Call(tool="maths&&add", arguments={"a": 2}), Call(tool="shout", arguments={"text": 3}))
    assert run.results[0] == ToolResult(content="3")
    assert run.results[1].status == "error" and "text" in run.results[1].content
    assert [event.kind for event in run.events] == ["user", *["action", "begin", "result"] * 2, "action", "end"]
    assert heard == list(run.events)
    assert run.trajectory.outcome.calls == 2 and run.trajectory.messages[0]["content"] == "how much is 2 and 1?"


def test_the_model_itself_acts_within_its_budget_and_only_with_what_was_given(checkpoint: Checkpoint) -> None:
    with Agent(checkpoint, functions=[shout], budget=Budget(steps=3)) as agent:
        for text in ("say hello", "say \ud83d it"):
            run = agent.run(text)
            assert run.status in ("finished", "gave_up", "declined", "step_limit", "token_limit", "error")
            assert {call.tool for call in run.calls} <= {"shout"} and len(run.calls) == len(run.results) <= 3
            assert run.trajectory.outcome.environment == "python"


def test_a_search_goes_back_where_it_can_and_is_refused_for_functions(checkpoint: Checkpoint) -> None:
    with pytest.raises(UsageError, match="the environment python cannot undo one"):
        Agent(checkpoint, functions=[shout], search="dfs")
    assert not [thread for thread in threading.enumerate() if "toolgen functions" in thread.name]
    environment = DryRunEnvironment(checkpoint.catalog)
    with Agent(checkpoint, environment=environment, search="dfs") as agent:
        scripted(agent, ("shout", {"text": 3}), ("shout", {"text": "a"}))
        run = agent.run("shout a")
    assert [call.arguments for call in run.calls] == [{"text": 3}, {"text": "a"}] and run.status == "finished"
    assert environment.calls == [Call(tool="shout", arguments={"text": "a"})]
    assert [event.steps for event in run.events if event.kind == "path"] == [(2, 3)]


def test_an_environment_of_ones_own_stays_open(checkpoint: Checkpoint) -> None:
    class Closed(DryRunEnvironment):
        closed = False

        def close(self) -> None:
            self.closed = True

    environment = Closed(checkpoint.catalog)
    with Agent(checkpoint, environment=environment) as agent:
        run = scripted(agent, ("clock&&now", {})).run(Task.from_text("what time is it?", id="mine"))
    assert run.calls == tuple(environment.calls) and run.trajectory.id == "mine" and not environment.closed


def test_functions_of_a_file_are_called_by_the_ids_of_the_catalog_and_their_process_ends(tmp_path: Path) -> None:
    file = tmp_path / "tools.py"
    file.write_text('def twice(n: int) -> int:\n    """Doubles."""\n    return 2 * n\n')
    with Agent(tiny_checkpoint(catalog=Catalog(load_python_functions(str(file)).tools)), functions=file) as agent:
        run = scripted(agent, ("tools&&twice", {"n": 4})).run("twice 4")
    assert run.results == (ToolResult(content="8"),)
    assert not [thread for thread in threading.enumerate() if "toolgen functions" in thread.name]


def test_a_function_is_the_only_tool_of_its_name_with_its_parameters() -> None:
    def tool(tool_id: str, *required: str, **types: str) -> Tool:
        schema = {"type": "object", "properties": {key: {"type": kind} for key, kind in types.items()}}
        return Tool(id=tool_id, provider="", name="add", parameters={**schema, "required": [*required]})

    def agent(*tools: Tool, functions: Any = (add,)) -> Agent:
        return Agent(tiny_checkpoint(catalog=Catalog(tools)), functions=functions)

    fits = tool("calc.add", "a", "b", a="number", b="number")
    for others in ([], [tool("other", "a", a="number")], [tool("lax", a="integer", b="integer")]):
        assert agent(fits, *others).environment.tools == ("calc.add",)
    with pytest.raises(UsageError, match="no tool for the function 'add'"):
        agent(fits, tool("sums.add", "a", "b", a="integer", b="integer"))
    assert agent(fits, tool("x"), functions={"x": add}).environment.tools == ("x",)


@pytest.mark.parametrize(
    ("functions", "said"),
    [
        (lambda: [add, len_of], "no tool for the function 'len_of'"),
        (lambda: {"shot": shout}, "no tool for the function 'shot'; did you mean 'shout'"),
    ],
)
def test_a_function_that_is_no_tool_of_the_checkpoint_is_one_clear_line(
    checkpoint: Checkpoint, functions: Callable[[], Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        Agent(checkpoint, functions=functions())
    assert "functions={tool id: function}" in str(caught.value) and "\n" not in str(caught.value)


def len_of(text: str) -> int:
    """Length."""
    return len(text)


def test_what_the_line_says_gives_the_checkpoint_the_tool() -> None:
    checkpoint = tiny_checkpoint(max_position_embeddings=4096)
    checkpoint.search("before it has the tool")
    checkpoint = add_tools(checkpoint, [tool_from_function(len_of)])
    assert "len_of" in [result.tool for result in checkpoint.search("length of a text", k=99)]
    run = scripted(Agent(checkpoint, functions=[len_of]), ("len_of", {"text": "four"})).run("how long is it?")
    assert run.results == (ToolResult(content="4"),)


def test_one_of_functions_and_environment_is_needed(checkpoint: Checkpoint) -> None:
    with pytest.raises(UsageError, match="one of the two"):
        Agent(checkpoint)
    with pytest.raises(UsageError, match="one of the two"):
        Agent(checkpoint, functions=[add], environment=DryRunEnvironment(checkpoint.catalog))


@pytest.mark.parametrize("request_", ["", "  ", None, 3, ["a"]])
def test_what_is_no_request_is_said(checkpoint: Checkpoint, request_: Any) -> None:
    agent = Agent(checkpoint, environment=DryRunEnvironment(checkpoint.catalog))
    with pytest.raises(UsageError, match="an agent runs a text that is not empty, or a Task"):
        agent.run(request_)
