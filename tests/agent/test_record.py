"""Recorded runs: what happened is in the file at once, can be read again, and answers for the tools."""

from __future__ import annotations

import json
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from toolgen.agent import (
    Action,
    AgentEvent,
    DryRunEnvironment,
    RecordedEnvironment,
    RunRecorder,
    ScriptedPolicy,
    SimulatedEnvironment,
    ToolResult,
    read_run,
    run_agent,
)
from toolgen.catalog import Catalog, Tool
from toolgen.datasets import Call, Task
from toolgen.errors import InputError, OutputError, UsageError

CREATE = "TicketAPI&&create_ticket"
TASK = Task.from_text("Open a ticket.")


def test_a_recorded_run_reads_back_as_the_events_that_happened(catalog: Catalog, tmp_path: Path) -> None:
    told: list[AgentEvent] = []
    policy = ScriptedPolicy([(CREATE, {"title": "\ud800 \u2028 \u00e9"})])
    with RunRecorder(tmp_path / "run.jsonl") as recorder:

        def hear(event: AgentEvent) -> None:
            recorder(event)
            told.append(event)

        run_agent(policy, DryRunEnvironment(catalog), TASK, on_event=hear)
        assert len((tmp_path / "run.jsonl").read_bytes().splitlines()) == 1 + len(told)  # before it is closed
    read = read_run(tmp_path / "run.jsonl")
    assert [event.kind for event in read] == [event.kind for event in told]
    assert [event.result for event in read] == [event.result for event in told]
    assert read[0] == told[0]


def test_a_line_that_was_cut_does_not_count_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with RunRecorder(path) as recorder:
        recorder(AgentEvent(kind="user", turn=0, text="Hi"))
    with path.open("a") as file:
        file.write('{"kind": "act')
    assert [event.text for event in read_run(path)] == ["Hi"]
    with path.open("a") as file:
        file.write('ion"}\n')
    with pytest.raises(InputError, match="line 3: turn"):
        read_run(path)
    (tmp_path / "other.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="no file of a run"):
        read_run(tmp_path / "other.jsonl")
    with pytest.raises(UsageError, match="exists"):
        RunRecorder(path)


def test_a_full_disk_ends_the_run_and_keeps_every_whole_line(catalog: Catalog, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with RunRecorder(path) as recorder:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            with pytest.raises(OutputError, match=r"run\.jsonl"):
                policy = ScriptedPolicy([(CREATE, {"title": "x" * 150})] * 9)
                run_agent(policy, DryRunEnvironment(catalog), TASK, on_event=recorder)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes().endswith(b"\n")
    assert [event.kind for event in read_run(path)][:2] == ["user", "action"]


def test_a_run_that_could_not_begin_its_file_leaves_none(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OutputError, match=r"run\.jsonl"):
            RunRecorder(tmp_path / "run.jsonl")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [*tmp_path.iterdir()]


def test_a_stuck_call_beside_others_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    call = Action(tool=CREATE, arguments={}, parallel=(Action(tool=CREATE, arguments={}),))
    with RunRecorder(path) as recorder:
        recorder(AgentEvent(kind="action", turn=0, action=call))
    path.write_text(path.read_text().replace('"stuck": ""', '"stuck": "arguments_cut"'))
    with pytest.raises(InputError, match="line 2: only calls of tools can be parallel"):
        read_run(path)


@pytest.mark.parametrize(
    ("field", "place"), [("turn", ()), ("step", ()), ("tokens", ("action",)), ("prompt_tokens", ("action",))]
)
def test_a_negative_count_is_refused_with_its_line(tmp_path: Path, field: str, place: tuple[str, ...]) -> None:
    path = tmp_path / "run.jsonl"
    with RunRecorder(path) as recorder:
        recorder(AgentEvent(kind="action", turn=0, step=1, action=Action(tool=CREATE)))
    head, line = path.read_text().splitlines()
    record = json.loads(line)
    (record[place[0]] if place else record)[field] = -1
    path.write_text(f"{head}\n{json.dumps(record)}\n")
    with pytest.raises(InputError, match=r"line 2: -1 .*expected .* from 0 on"):
        read_run(path)


def test_recorded_results_come_in_their_order_and_others_are_errors() -> None:
    made = [(Call(tool="t", arguments={"a": 1, "b": 2}), ToolResult(content=text)) for text in ("first", "second")]
    environment = RecordedEnvironment(made)
    for _ in range(2):
        environment.reset(TASK)
        contents = [environment.call("t", {"b": 2, "a": 1}).content for _ in range(3)]
        assert contents == ["first", "second", "second"]
    other = environment.call("t", {"a": 2})
    assert other.is_error and "was recorded" in other.content
    assert environment.call("u", {}).is_error


def test_two_hundred_recorded_runs_at_once_each_end_with_their_own_outcome(catalog: Catalog) -> None:
    def run(number: int) -> tuple[str, str, int]:
        made = [(Call(tool=CREATE, arguments={"title": str(number)}), ToolResult(content=f"ticket {number}"))]
        policy = ScriptedPolicy([(CREATE, {"title": str(number)}), (CREATE, {"title": "other"})])
        found = run_agent(policy, RecordedEnvironment(made, catalog), TASK)
        return found.outcome.status, found.messages[2]["content"], found.outcome.tool_errors

    with ThreadPoolExecutor(32) as pool:
        outcomes = list(pool.map(run, range(200)))
    assert outcomes == [("finished", f"ticket {number}", 1) for number in range(200)]


def test_simulated_answers_are_marked_follow_the_schema_and_repeat() -> None:
    returns = {"type": "object", "properties": {"unit": {"enum": ["C", "F"]}}, "required": ["unit"]}
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    weather = Tool(id="w", provider="p", name="w", parameters=schema, returns=returns)
    catalog = Catalog([weather, Tool(id="n", provider="p", name="n")])
    environment = SimulatedEnvironment(catalog)
    answers = [environment.call("w", {"city": str(number)}).content for number in range(20)]
    assert {json.loads(answer)["result"]["unit"] for answer in answers} == {"C", "F"}
    assert answers == [SimulatedEnvironment(catalog).call("w", {"city": str(number)}).content for number in range(20)]
    bare = SimulatedEnvironment(catalog, marked=False)
    assert json.loads(environment.call("n", {}).content) == {
        "simulated": True,
        "result": json.loads(bare.call("n", {}).content),
    }
    assert environment.call("w", {}).is_error
    policy = ScriptedPolicy([("w", {"city": "Oslo"})])
    assert run_agent(policy, environment, TASK).outcome.environment == "simulated"


@pytest.mark.parametrize("returns", [{"enum": 5}, {"type": "number", "minimum": "x"}, {"anyOf": {"a": 1}}])
def test_a_response_schema_that_is_none_is_an_error_result(returns: dict[str, object]) -> None:
    catalog = Catalog([Tool(id="w", provider="p", name="w", returns=returns)])
    result = SimulatedEnvironment(catalog).call("w", {})
    assert result.is_error and "response schema" in result.content
