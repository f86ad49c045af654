"""The two published forms of ToolBench's runs, and what becomes of one: a Trajectory.

- `answer/*.json` of the depth-first search: the finished path is the last list of `answer_generation.train_messages`.
- ToolEval's `{id: {"query", "available_tools", "answer": {"answer_details": [...], "final_answer"}}}`: each message of a
  tool is the text of a Python object with name, arguments and response.

Both name functions `<api>_for_<tool>`, with normalized names of which only the last 64 characters count, and normalize
parameter names the same way. Knows no file.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolgen.catalog.naming import tool_id
from toolgen.catalog.normalization import normalize_schema
from toolgen.catalog.schema import Note
from toolgen.catalog.tool import Tool
from toolgen.datasets.messages import FINISH, call_message, result_message, user_message
from toolgen.datasets.trajectory import Outcome, Trajectory, TurnOutcome
from toolgen.errors import DatasetError, InputError
from toolgen.foreign.data import clean, parse_json

Json = Mapping[str, Any]

FUNCTION_NAME_LIMIT = 64
FINISH_FUNCTION = "Finish"
_RESERVED = frozenset({"from", "class", "return", "false", "true", "id", "and"})
_DESCRIPTION = re.compile(
    r'This is the subfunction for tool "(?P<tool>[^"]*)".*?The description of this function is: "(?P<text>.*)"',
    re.DOTALL,
)
_PYTHON_TEXT = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_CALL = re.compile(
    rf"\{{'name': (?P<name>{_PYTHON_TEXT}), 'arguments': (?P<arguments>{_PYTHON_TEXT})(?:, 'response': (?P<response>.*))?",
    re.DOTALL,
)


@dataclass(frozen=True)
class Step:
    """A call as the run wrote it: `arguments` is JSON text."""

    function: str
    arguments: str
    result: str
    thought: str = ""

    def __post_init__(self) -> None:
        for text in (self.function, self.result, self.thought):
            if not isinstance(text, str):
                raise TypeError(f"expected a text in a step, got {type(text).__name__}")


@dataclass(frozen=True)
class Run:
    """One run: the request, the functions that were offered, the steps, and how it ended."""

    id: str
    text: str
    functions: tuple[Json, ...]
    steps: tuple[Step, ...]
    final_answer: str


def normal_name(name: str) -> str:
    """ToolBench's own spelling of a name: lower case, runs of anything but letters, digits and Chinese characters an
    underscore, `get_` before a digit, `is_` before a reserved word."""
    spelled = re.sub(r"_{2,}", "_", re.sub(r"[^\u4e00-\u9fa5^a-zA-Z0-9_]", "_", name)).lower().strip("_")
    return f"get_{spelled}" if spelled[:1].isdigit() else spelled


def parameter_name(name: str) -> str:
    """The spelling of a parameter or API."""
    spelled = normal_name(name)
    return f"is_{spelled}" if spelled in _RESERVED else spelled


def function_name(provider: str, api: str) -> str:
    """The name under which a run calls an API."""
    return f"{parameter_name(api)}_for_{normal_name(provider)}"[-FUNCTION_NAME_LIMIT:]


def function_tool(function: Json, dataset: str, note: Note) -> Tool:
    """The tool that a run's function describes, where no file has the API itself. DatasetError if it has no name."""
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise DatasetError(f"expected a function with a name, got {str(function)[:80]!r}")
    found = _DESCRIPTION.match(str(function.get("description") or ""))
    provider = found["tool"] if found else ""
    api = name.removesuffix(f"_for_{provider}") if provider else name
    declared = function.get("parameters") or {}
    if isinstance(declared, Mapping) and isinstance(properties := declared.get("properties"), Mapping):
        declared = {key: value for key, value in declared.items() if key != "optional"}
        declared["properties"] = {key: _with_example(schema) for key, schema in properties.items()}
    return Tool(
        id=tool_id(provider, api),
        provider=provider,
        name=api,
        description=(found["text"] if found else str(function.get("description") or "")).strip(),
        parameters=normalize_schema(declared, on_note=lambda line: note(f"{name}: {line}")),
        source={"dataset": dataset, "format": "function", "name": name},
    )


def _with_example(schema: Any) -> Any:
    if not isinstance(schema, Mapping) or "example_value" not in schema:
        return schema
    return {**{k: v for k, v in schema.items() if k != "example_value"}, "examples": [schema["example_value"]]}


def read_runs(document: Json, name: str) -> Iterator[Run | DatasetError]:
    """The runs of one file; `name` is that of the file. A run that cannot be read is given as its error."""
    if isinstance(document.get("answer_generation"), dict):
        yield _read(_search_run, document["answer_generation"], name)
        return
    for key, record in document.items():
        yield _read(_evaluated_run, record, f"{name}-{key}")


def trajectory_of(run: Run, query: str, tools: Mapping[str, Tool], note: Note) -> Trajectory:
    """The trajectory of a run. `tools` are those behind its function names; steps that call anything else, or whose
    arguments are no JSON object, are left out and noted."""
    messages = [user_message(run.text)]
    for step in run.steps:
        tool = tools.get(str(step.function))
        arguments = _object(step.arguments)
        if tool is None or arguments is None:
            what = (
                f"calls {step.function!r}, which was not offered" if tool is None else "has arguments that are no JSON"
            )
            note(f"{run.id}: a step {what}; left out")
            continue
        original = {parameter_name(parameter): parameter for parameter in tool.properties}
        arguments = {original.get(key, key): value for key, value in arguments.items()}
        call = f"call_{len(messages)}"
        messages += [call_message(tool.id, arguments, call, step.thought), result_message(call, step.result)]
    final = _object(run.final_answer) or {}
    gave_up = final.get("return_type") != "give_answer"
    answer = str(final.get("final_answer") or "")
    ending = {"answer": answer} | ({"gave_up": True} if gave_up else {})
    messages.append(call_message(FINISH, ending, f"call_{len(messages)}"))
    end = TurnOutcome(status="gave_up" if gave_up else "finished", answer=answer)
    return Trajectory(id=run.id, query=query, messages=tuple(messages), outcome=Outcome(turns=(end,)))


# --- the two forms ----------------------------------------------------------------------------------------------------


def _read(read: Callable[[Any, str], Run], record: Any, name: str) -> Run | DatasetError:
    try:
        return read(record, name)
    except DatasetError as error:
        return error
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        return DatasetError(f"run {name}: not in a form of ToolBench ({type(error).__name__}: {error})")


def _search_run(answer: Json, name: str) -> Run:
    lists = answer.get("train_messages")
    if not lists:
        raise DatasetError(f"run {name}: it ended without an answer, and no path was kept")
    steps: list[Step] = []
    thoughts: list[str] = []
    for message in lists[-1]:
        role, content = message["role"], message.get("content") or ""
        if role == "function":
            if steps and not steps[-1].result and steps[-1].function == message["name"]:
                steps[-1] = Step(steps[-1].function, steps[-1].arguments, content, steps[-1].thought)
        elif role == "assistant":
            thoughts += [content] if content else []
            if called := message.get("function_call"):
                steps.append(Step(called["name"], called["arguments"], "", "\n".join(thoughts)))
                thoughts = []
    return Run(
        name, answer["query"].strip(), _functions(answer["function"]), _without_finish(steps), answer["final_answer"]
    )


def _evaluated_run(record: Json, name: str) -> Run:
    answer = record["answer"]
    steps: list[Step] = []
    thoughts: list[str] = []
    nodes = list(answer["answer_details"])
    while nodes:
        node = nodes[0]  # the chain of a run without branches; of a tree, the path that was published first
        if node["role"] == "assistant" and node["message"]:
            thoughts.append(node["message"])
        elif node["role"] == "tool":
            steps.append(_evaluated_step(node["message"], "\n".join(thoughts), name))
            thoughts = []
        nodes = node["next"]
    return Run(
        name,
        record["query"].strip(),
        _functions(record["available_tools"]),
        _without_finish(steps),
        answer["final_answer"],
    )


def _evaluated_step(message: Any, thought: str, name: str) -> Step:
    """A message may be an object, the text of one, or such a text that was cut off: then the call must be whole."""
    if not isinstance(message, str):
        return Step(message["name"], message["arguments"], str(message.get("response") or ""), thought)
    try:
        value = clean(ast.literal_eval(message))
        return Step(value["name"], value["arguments"], str(value.get("response") or ""), thought)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    if found := _CALL.match(message):
        # What is left of the response begins with its quotation mark.
        texts = [clean(ast.literal_eval(found[key])) for key in ("name", "arguments")]
        return Step(texts[0], texts[1], (found["response"] or "")[1:], thought)
    if message.startswith(f"{{'name': '{FINISH_FUNCTION}'"):
        return Step(FINISH_FUNCTION, "", "", thought)  # its arguments are in final_answer too
    raise DatasetError(f"run {name}: the text of a call is cut off in the file before its arguments end")


def _functions(value: Any) -> tuple[Json, ...]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise TypeError("its functions are no list of objects")
    return tuple(value)


def _without_finish(steps: Sequence[Step]) -> tuple[Step, ...]:
    return tuple(step for step in steps if step.function != FINISH_FUNCTION)


def _object(text: Any) -> dict[str, Any] | None:
    if isinstance(text, Mapping):
        return dict(text)
    try:
        value = parse_json(str(text or "{}"), "arguments")
    except InputError:
        return None
    return value if isinstance(value, dict) else None
