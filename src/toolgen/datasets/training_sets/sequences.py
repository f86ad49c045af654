"""Sets of requests for one or several calls without results: SeqAPIBlend, T-Eval, ToolVerifier and ShortcutsBench."""

from __future__ import annotations

import ast
import csv
import io
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from toolgen.catalog.tool import Tool
from toolgen.datasets.training_sets.conversation import Action, Conversation, Step, Turn
from toolgen.datasets.training_sets.reading import (
    Intake,
    LoadedSet,
    Unusable,
    function_tool,
    make_tool,
    observed_schema,
    read_set_text,
    words_of,
)
from toolgen.errors import InputError
from toolgen.foreign.data import clean, parse_json

# --- SeqAPIBlend ------------------------------------------------------------------------------------------------------


def load_seq_apiblend(folder: Path) -> LoadedSet:
    """SeqMultiWOZ and SeqSNIPS: requests for several calls; of the accepted values of an argument the first is taken."""
    intake = Intake("seq-apiblend")
    described: list[Tool] = []
    for part in ("SeqMultiWOZ", "SeqSNIPS"):
        functions = [record for _, record in intake.records(folder / f"{part}.functions.jsonl.gz")]
        tools = {one["name"]: function_tool(one, "seq-apiblend", part.removeprefix("Seq")) for one in functions}
        described += tools.values()
        intake.take(intake.records(folder / f"{part}.jsonl.gz"), partial(_seq_apiblend, tools))
    return intake.loaded(described)


def _seq_apiblend(tools: Mapping[str, Tool], _: str, record: Any) -> Conversation:
    actions = tuple(
        Action(tool=tools[name].id, arguments=_first_values(accepted, tools[name]))
        for name, accepted in record["ground_truth"].items()
    )
    turn = Turn(text=record["question"].strip(), steps=(Step(actions=actions),))
    return Conversation(id=record["id"], tools=tuple(tools[name] for name in record["function"]), turns=(turn,))


def _first_values(accepted: Mapping[str, list[Any]], tool: Tool) -> dict[str, Any]:
    values = {name: value[0] for name, value in accepted.items() if value and value[0] != ""}
    for name, value in values.items():  # every value is written as text
        if tool.properties.get(name, {}).get("type") == "integer" and str(value).isdecimal():
            values[name] = int(value)
    return values


# --- T-Eval -----------------------------------------------------------------------------------------------------------

_T_EVAL_TYPES = {"STRING": "string", "NUMBER": "number", "INTEGER": "integer", "BOOLEAN": "boolean", "LIST": "array"}


def load_t_eval(folder: Path) -> LoadedSet:
    """`plan_json_v1.jsonl.gz`: plans of calls. `plan_str` repeats its requests and `review_str` holds none."""
    intake = Intake("t-eval")
    intake.take(intake.records(folder / "plan_json_v1.jsonl.gz"), _t_eval)
    intake.notes.append("plan_str_v1: not read, it repeats the requests of plan_json_v1")
    intake.notes.append("review_str_v1: not read, it judges results and holds no request")
    return intake.loaded()


def _t_eval(identifier: str, record: Any) -> Conversation:
    system, user = record["origin_prompt"]
    listed = system["content"].partition("following API:\n")[2].partition("\nPlease generate")[0]
    tools = {name: _t_eval_tool(function) for name, function in clean(ast.literal_eval(listed))}
    steps = tuple(
        Step(actions=(Action(tool=tools[step["name"]].id, arguments=step["args"]),))
        for step in record["ground_truth"]
        if step["name"] != "FinishAction"
    )
    turn = Turn(text=user["content"].strip(), steps=steps)
    return Conversation(id=identifier, tools=tuple(tools.values()), turns=(turn,))


def _t_eval_tool(function: Any) -> Tool:
    required, optional = function["required_parameters"], function["optional_parameters"]
    properties = {
        one["name"]: {"type": _T_EVAL_TYPES.get(one["type"], "string"), "description": one["description"]}
        for one in (*required, *optional)
    }
    schema = {"type": "object", "properties": properties, "required": [one["name"] for one in required]}
    provider, _, name = function["name"].rpartition(".")
    return make_tool(name, provider, function["description"], schema, "t-eval")


# --- ToolVerifier -----------------------------------------------------------------------------------------------------

_CHOSEN = re.compile(r'CALLTOOL\["(.*?)"\]')


def load_toolverifier(folder: Path) -> LoadedSet:
    """`train.csv.gz`: a request, eight described tools and the chosen one; no arguments."""
    intake = Intake("toolverifier")
    rows = csv.DictReader(io.StringIO(read_set_text(folder / "train.csv.gz")))
    intake.take(((f"train-{number}", row["text"]) for number, row in enumerate(rows, 1)), _toolverifier)
    return intake.loaded()


def _toolverifier(identifier: str, text: str) -> Conversation:
    request, choices, answer = text.split("\n###\n")
    chosen = _CHOSEN.search(answer)
    if not chosen:
        raise Unusable("it chooses no tool")
    tools = {}
    for line in choices.removeprefix("Tool Choices: ").split("\n"):
        name, _, description = line.partition(" = ")
        tools[name.strip()] = make_tool(name.strip(), "", description, None, "toolverifier")
    if chosen[1].strip() not in tools:
        raise Unusable(f"it chooses {chosen[1]!r}, which is not among its choices")
    turn, relevant = Turn(text=request.removeprefix("User: ").strip()), (tools[chosen[1].strip()].id,)
    return Conversation(id=identifier, tools=tuple(tools.values()), turns=(turn,), relevant=relevant)


# --- ShortcutsBench's ToolBench part ----------------------------------------------------------------------------------

_ACTION_INPUT = re.compile(r"Action Input:\s*(\{[\s\S]*\})\s*$")


def load_shortcutsbench(folder: Path) -> LoadedSet:
    """`queries.jsonl.gz` with actions, `apis.jsonl.gz` with one-line descriptions. Parameters are those of the calls."""
    intake = Intake("shortcutsbench-toolllm")
    queries = list(intake.records(folder / "queries.jsonl.gz"))
    seen: dict[str, list[Any]] = {}
    for _, record in queries:
        for step in record["action_seqs"]:
            if step["api_name"] != "Finish" and (arguments := _action_input(step)):
                seen.setdefault(step["api_name"], []).append(arguments)
    tools = {}
    for _, record in intake.records(folder / "apis.jsonl.gz"):
        name, _, provider = record["id"].rpartition("_for_")
        schema = observed_schema(seen.get(record["id"], ()))
        description = record["info"].strip() or words_of(name)
        tools[record["id"]] = make_tool(name or record["id"], provider, description, schema, "shortcutsbench-toolllm")
    intake.take(queries, lambda identifier, record: _shortcuts(record, tools))
    return intake.loaded(tools.values())


def _action_input(step: Any) -> Any:
    found = _ACTION_INPUT.search(step["api_action"] or "")
    try:
        value = parse_json(found[1], "Action Input") if found else None
    except InputError:
        return None
    return value if isinstance(value, dict) else None


def _shortcuts(record: Any, tools: Mapping[str, Tool]) -> Conversation:
    named = [step for step in record["action_seqs"] if step["api_name"] != "Finish"]
    if unknown := [step["api_name"] for step in named if step["api_name"] not in tools]:
        raise Unusable(f"it calls {unknown[0]!r}, which is not described")
    if not named:
        raise Unusable("it calls nothing")
    used = {step["api_name"]: tools[step["api_name"]] for step in named}
    read = [(tools[step["api_name"]].id, _action_input(step)) for step in named]
    offered = tuple(used.values())
    if any(arguments is None for _, arguments in read):  # the order of calls is known, not all of the arguments
        turn = Turn(text=record["query"].strip())
        return Conversation(id=record["id"], tools=offered, turns=(turn,), relevant=tuple(tool.id for tool in offered))
    steps = tuple(Step(actions=(Action(tool=name, arguments=arguments),)) for name, arguments in read)
    return Conversation(id=record["id"], tools=offered, turns=(Turn(text=record["query"].strip(), steps=steps),))
