"""Importer of function-calling data in JSON or JSON lines: requests with the functions offered and the calls expected.

    {"query", "tools", "answers"}                                     xLAM, APIGen (arXiv 2406.18518)
    {"conversations": [{"from", "value"}, ...], "tools"}              APIGen-MT (arXiv 2504.03601)
    {"system": "... [functions as JSON] ...", "conversations": [...]} ToolACE (arXiv 2409.00920)

`tools` and `answers` are JSON or its text. Becomes: one tool per function name (definitions of one name are merged), one
query per record with the calls of its first turn, and a trajectory per conversation whose calls all have results. Splits
are by hash, and a tenth of the tools stays unasked in training, as for BFCL. Runs nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.flat_schema import flat_schema
from toolgen.catalog.loaders.report import LoadReport, Loss, lines_lost
from toolgen.catalog.naming import tool_id, unique_ids
from toolgen.catalog.normalization import merge_schemas, normalize_schema
from toolgen.catalog.schema import Schema, schema_errors
from toolgen.catalog.tool import Tool, canonical_json
from toolgen.datasets.call_text import parse_calls
from toolgen.datasets.folder import Dataset
from toolgen.datasets.messages import FINISH, call_message, result_message, user_message
from toolgen.datasets.query import Call, Query
from toolgen.datasets.splits import split_queries, text_group
from toolgen.datasets.trajectory import Message, Outcome, Trajectory, TurnOutcome
from toolgen.datasets.transforms import UNKNOWN_LICENCE
from toolgen.errors import DatasetError
from toolgen.foreign.data import clean, read_values

Json = dict[str, Any]
NamedCall = tuple[str, Json]

_ROLES: Mapping[str, Literal["user", "assistant", "call", "result"]] = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant"), "assistant"),
    **dict.fromkeys(("function_call", "tool_call"), "call"),
    **dict.fromkeys(("observation", "tool", "tool_response", "function"), "result"),
}


@dataclass(frozen=True)
class _Step:
    """What the assistant did: calls and, where there is one, what came back; or a text alone."""

    calls: tuple[NamedCall, ...] = ()
    result: str | None = None
    text: str = ""


@dataclass
class _Turn:
    text: str
    steps: list[_Step] = field(default_factory=list)

    @property
    def calls(self) -> tuple[NamedCall, ...]:
        return tuple(call for step in self.steps for call in step.calls)


@dataclass(frozen=True)
class _Record:
    id: str
    functions: tuple[Json, ...]
    turns: tuple[_Turn, ...]


class _Unreadable(Exception):
    """Why a record cannot be read, in a few words."""


def import_function_calls(path: Path) -> Dataset:
    """The dataset of one file. Records that cannot be read, that call a function which they do not offer, or that call
    nothing in a conversation are losses; calls that contradict their function are kept, with the reasons in the query's
    `faults`. DatasetError if the file is neither JSON nor JSON lines."""
    path = Path(path)
    losses: list[Loss] = []
    notes: list[str] = []
    records = list(_read_records(path, losses, notes))
    tools = _tools(records, path.stem, notes)
    queries: list[Query] = []
    trajectories: list[Trajectory] = []
    for record in records:
        try:
            queries.append(_query(record, tools))
        except _Unreadable as error:
            losses.append(Loss(record.id, str(error)))
            continue
        if trajectory := _trajectory(record, tools):
            trajectories.append(trajectory)
    faulty = [query for query in queries if query.faults]
    notes += [f"{q.id}: expected call contradicts its function: {'; '.join(q.faults)}" for q in faulty]
    split = split_queries(queries, lambda query: text_group(query.text))
    place = {query.id: name for name, found in split.items() for query in found}
    report = LoadReport(
        source=f"functioncalls:{path.name}",
        loaded=len(tools),
        losses=tuple(losses),
        notes=tuple(notes),
        counts={
            "queries": len(queries),
            "queries_with_faults": len(faulty),
            "trajectories": len(trajectories),
            "definitions": sum(tool.source["definitions"] for tool in tools.values()),
        },
    )
    return Dataset(
        name=path.stem,
        version="",
        source=f"functioncalls:{path.name}",
        licence=UNKNOWN_LICENCE,
        catalog=Catalog(tools.values()),
        queries=split,
        trajectories={name: tuple(t for t in trajectories if place[t.query] == name) for name in split},
        reports=(report,),
    )


# --- records ----------------------------------------------------------------------------------------------------------


def _read_records(path: Path, losses: list[Loss], notes: list[str]) -> Iterator[_Record]:
    records = read_values(path, lines_lost(path.name, losses), notes.append)
    if len(records) == 1 and isinstance(records[0], list):
        (records,) = records
    if not records:
        raise DatasetError(f"{path} is empty; expected JSON or JSON lines with query, tools and answers")
    parsed: dict[str, tuple[Json, ...]] = {}  # function lists repeat from record to record
    seen: set[str] = set()
    for number, record in enumerate(records, start=1):
        name = str(record["id"]) if isinstance(record, dict) and record.get("id") is not None else str(number)
        name = f"{path.stem}-{name}"
        try:
            if name in seen:
                raise _Unreadable("its id occurs again; the first one was kept")
            yield _read_record(record, name, parsed)
            seen.add(name)
        except _Unreadable as error:
            losses.append(Loss(name, str(error)))
        except RecursionError:  # one record must not cost the others
            losses.append(Loss(name, "nested too deeply"))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            losses.append(Loss(name, f"in none of the known forms ({type(error).__name__}: {str(error)[:80]})"))


def _read_record(record: Any, name: str, parsed: dict[str, tuple[Json, ...]]) -> _Record:
    if not isinstance(record, dict):
        raise _Unreadable(f"expected an object, got {type(record).__name__}")
    system = str(record.get("system") or "")
    if "tools" in record:
        functions = _functions(record["tools"], parsed)
    elif "conversations" in record:
        functions = _functions_in(system, parsed)
    else:
        raise _Unreadable("expected query, tools and answers, or conversations")
    if "conversations" in record:
        return _Record(name, functions, tuple(_turns(record["conversations"], functions)))
    calls = tuple(_named_call(answer) for answer in _decoded(record["answers"], "answers"))
    text = str(record["query"]).strip()
    if not text:
        raise _Unreadable("its query is empty")
    return _Record(name, functions, (_Turn(text, [_Step(calls=calls)]),))


def _decoded(value: Any, what: str) -> list[Any]:
    try:
        content = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise _Unreadable(f"its {what} are no JSON: {str(error)[:60]}") from None
    if not isinstance(content, list):
        raise _Unreadable(f"its {what} are a {type(content).__name__} instead of a list")
    return list(clean(content))  # a text inside the text can hold what the record itself does not


def _functions(value: Any, parsed: dict[str, tuple[Json, ...]]) -> tuple[Json, ...]:
    key = value if isinstance(value, str) else canonical_json(value)
    if key not in parsed:
        parsed[key] = tuple(_function(one) for one in _decoded(value, "tools"))
    return parsed[key]


def _functions_in(system: str, parsed: dict[str, tuple[Json, ...]]) -> tuple[Json, ...]:
    """The first JSON list of objects with names in a text."""
    for start in re.finditer(r"\[\s*\{", system):
        try:
            found, _ = json.JSONDecoder().raw_decode(system, start.start())
        except (ValueError, RecursionError):
            continue
        if all(isinstance(one, dict) and "name" in one for one in found):
            return _functions(found, parsed)
    raise _Unreadable("it offers no functions: neither 'tools' nor a JSON list of them in 'system'")


def _function(value: Any) -> Json:
    function = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"].strip():
        raise _Unreadable(f"it offers a function without a name: {str(value)[:60]!r}")
    return function


def _named_call(value: Any) -> NamedCall:
    value = json.loads(value) if isinstance(value, str) else value
    arguments = value.get("arguments", value.get("parameters")) or {}
    arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    if not isinstance(value["name"], str) or not isinstance(arguments, dict):
        raise _Unreadable(f"expected a call with name and arguments, got {str(value)[:60]!r}")
    return value["name"], clean(arguments)


def _turns(messages: Sequence[Any], functions: Sequence[Json]) -> Iterator[_Turn]:
    names = [function["name"] for function in functions]
    turn: _Turn | None = None
    for message in messages:
        text = str(message["value"]).strip()
        role = _ROLES.get(message["from"])
        if role == "user":
            if turn:
                yield turn
            turn = _Turn(text)
        elif turn is None or role is None:
            continue  # a system prompt, or a greeting before the first request
        elif role == "call":
            content = json.loads(text)
            calls = tuple(_named_call(one) for one in (content if isinstance(content, list) else [content]))
            turn.steps.append(_Step(calls=calls))
        elif role == "result":
            if turn.steps and turn.steps[-1].calls and turn.steps[-1].result is None:
                turn.steps[-1] = _Step(turn.steps[-1].calls, text)
        else:
            written = tuple((name, clean(arguments)) for name, arguments in parse_calls(text, names))
            turn.steps.append(_Step(calls=written) if written else _Step(text=text))
    if turn is None:
        raise _Unreadable("nobody asks for anything in it")
    yield turn


# --- tools ------------------------------------------------------------------------------------------------------------


def _tools(records: Sequence[_Record], stem: str, notes: list[str]) -> dict[str, Tool]:
    """Function name to its tool."""
    definitions: dict[str, dict[str, Json]] = {}
    seen: set[int] = set()
    for record in records:
        if id(record.functions) in seen:
            continue
        seen.add(id(record.functions))
        for function in record.functions:
            definitions.setdefault(function["name"], {}).setdefault(canonical_json(function), function)
    parts = [(provider or stem, short) for provider, _, short in (name.rpartition(".") for name in definitions)]
    ids = unique_ids(tool_id(provider, short) for provider, short in parts)
    notes += [f"{new}: id {given!r} was taken" for given, new in ids.renamed]
    tools = {}
    for (name, found), identifier, (provider, short) in zip(definitions.items(), ids.ids, parts, strict=True):
        schemas = [_parameters(function, notes) for function in found.values()]
        tools[name] = Tool(
            id=identifier,
            provider=provider,
            name=short or name,
            description=max((str(one.get("description") or "").strip() for one in found.values()), key=len),
            parameters=merge_schemas(schemas),
            source={"dataset": stem, "name": name, "definitions": len(found)},
        )
    return tools


def _parameters(function: Json, notes: list[str]) -> Schema:
    declared = function.get("parameters", function.get("arguments"))
    if (
        isinstance(declared, dict)
        and "properties" not in declared
        and all(isinstance(v, dict) for v in declared.values())
    ):
        declared = flat_schema(declared)
    return normalize_schema(declared, on_note=lambda line: notes.append(f"{function['name']}: {line}"))


# --- queries and trajectories -----------------------------------------------------------------------------------------


def _query(record: _Record, tools: Mapping[str, Tool]) -> Query:
    offered = {function["name"] for function in record.functions}
    for turn in record.turns:
        for name, _ in turn.calls:
            if name not in offered:
                raise _Unreadable(f"it calls {name!r}, which it does not offer")
    first = record.turns[0]
    if not first.calls and first.steps and first.steps[0].text:
        raise _Unreadable("its first answer calls nothing: it may ask back or talk")
    calls = tuple(Call(tool=tools[name].id, arguments=arguments) for name, arguments in first.calls)
    faults = [
        f"{tools[name].id}: {error}"
        for name, arguments in first.calls
        for error in schema_errors(arguments, tools[name].parameters)
    ]
    relevant = tuple(dict.fromkeys(call.tool for call in calls))
    return Query(id=record.id, text=first.text, tools=relevant, calls=calls, faults=tuple(faults))


def _trajectory(record: _Record, tools: Mapping[str, Tool]) -> Trajectory | None:
    """The whole conversation, each turn ended by its answer; None where a call has no result or a turn no answer."""
    messages: list[Message] = []
    ends: list[TurnOutcome] = []
    for turn in record.turns:
        messages.append(user_message(turn.text))
        for step in turn.steps[:-1] if turn.steps else ():
            if step.text:
                continue  # said before a call
            if step.result is None:
                return None
            for (name, arguments), result in zip(step.calls, _results(step.result, len(step.calls)), strict=True):
                call = f"call_{len(messages)}"
                messages += [call_message(tools[name].id, arguments, call), result_message(call, result)]
        if not turn.steps or not turn.steps[-1].text:
            return None
        answer = turn.steps[-1].text
        messages.append(call_message(FINISH, {"answer": answer}, f"call_{len(messages)}"))
        ends.append(TurnOutcome(status="finished", answer=answer))
    outcome = Outcome(turns=tuple(ends))
    return Trajectory(id=record.id, query=record.id, messages=tuple(messages), outcome=outcome)


def _results(text: str, count: int) -> list[str]:
    """One result a call: a JSON list of as many results is parted, any other text belongs to each of the calls."""
    try:
        parts = json.loads(text)
    except (ValueError, RecursionError):
        parts = None
    if count > 1 and isinstance(parts, list) and len(parts) == count:
        return [json.dumps(part, ensure_ascii=False) for part in parts]
    return [text] * count
