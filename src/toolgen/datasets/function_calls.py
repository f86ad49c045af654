"""Importer of function-calling data in JSON or JSON lines, each record in one of the forms of `call_records.py`: requests with
the functions offered and the calls expected.

Becomes: one tool per function name (definitions of one name are merged), one query per record with the calls of its first
turn, and a trajectory per conversation whose calls all have results. Splits are by hash, and a tenth of the tools stays
unasked in training, as for BFCL. Runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.loaders.openai_functions import parameters_of
from toolgen.catalog.loaders.report import LoadReport, Loss, lines_lost
from toolgen.catalog.merging import merge_schemas
from toolgen.catalog.naming import tool_id, unique_ids
from toolgen.catalog.normalization import normalize_schema
from toolgen.catalog.schema import Schema, schema_errors
from toolgen.catalog.tool import Tool, canonical_json
from toolgen.datasets.call_messages import Json, Unreadable
from toolgen.datasets.call_records import Record, read_record
from toolgen.datasets.folder import Dataset
from toolgen.datasets.messages import FINISH, call_message, calls_message, result_message, user_message
from toolgen.datasets.query import Call, Query
from toolgen.datasets.splits import split_queries, text_group
from toolgen.datasets.trajectory import Message, Outcome, Trajectory, TurnOutcome
from toolgen.datasets.transforms import UNKNOWN_LICENCE
from toolgen.errors import DatasetError
from toolgen.foreign.data import read_values


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
        except Unreadable as error:
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


def _read_records(path: Path, losses: list[Loss], notes: list[str]) -> Iterator[Record]:
    records = read_values(path, lines_lost(path.name, losses), notes.append)
    if len(records) == 1 and isinstance(records[0], list):
        (records,) = records
    if not records:
        raise DatasetError(f"{path} is empty; expected JSON or JSON lines of function-calling data")
    parsed: dict[str, tuple[Json, ...]] = {}  # function lists repeat from record to record
    seen: set[str] = set()
    for number, record in enumerate(records, start=1):
        name = str(record["id"]) if isinstance(record, dict) and record.get("id") is not None else str(number)
        name = f"{path.stem}-{name}"
        try:
            if name in seen:
                raise Unreadable("its id occurs again; the first one was kept")
            yield read_record(record, name, parsed)
            seen.add(name)
        except Unreadable as error:
            losses.append(Loss(name, str(error)))
        except RecursionError:  # one record must not cost the others
            losses.append(Loss(name, "nested too deeply"))
        except ValueError as error:
            losses.append(Loss(name, str(error)[:200]))
        except (KeyError, TypeError, AttributeError) as error:
            losses.append(Loss(name, f"in none of the known forms ({type(error).__name__}: {str(error)[:80]})"))


# --- tools ------------------------------------------------------------------------------------------------------------


def _tools(records: Sequence[Record], stem: str, notes: list[str]) -> dict[str, Tool]:
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
        schemas = [_schema(function, notes) for function in found.values()]
        tools[name] = Tool(
            id=identifier,
            provider=provider,
            name=short or name,
            description=max((str(one.get("description") or "").strip() for one in found.values()), key=len),
            parameters=merge_schemas(schemas),
            source={"dataset": stem, "name": name, "definitions": len(found)},
        )
    return tools


def _schema(function: Mapping[str, Any], notes: list[str]) -> Schema:
    def note(line: str) -> None:
        notes.append(f"{function['name']}: {line}")

    return normalize_schema(parameters_of(dict(function), notes.append), on_note=note)


# --- queries and trajectories -----------------------------------------------------------------------------------------


def _query(record: Record, tools: Mapping[str, Tool]) -> Query:
    offered = {function["name"] for function in record.functions}
    for turn in record.turns:
        for name, _ in turn.calls:
            if name not in offered:
                raise Unreadable(f"it calls {name!r}, which it does not offer")
    first = record.turns[0]
    if not first.calls and first.steps and first.steps[0].text:
        raise Unreadable("its first answer calls nothing: it may ask back or talk")
    calls = tuple(Call(tool=tools[name].id, arguments=arguments) for name, arguments in first.calls)
    faults = [
        f"{tools[name].id}: {error}"
        for name, arguments in first.calls
        for error in schema_errors(arguments, tools[name].parameters)
    ]
    relevant = tuple(dict.fromkeys(call.tool for call in calls))
    return Query(id=record.id, text=first.text, tools=relevant, calls=calls, faults=tuple(faults))


def _trajectory(record: Record, tools: Mapping[str, Tool]) -> Trajectory | None:
    """The whole conversation, each turn ended by its answer; None where a call has no result or a turn no answer."""
    messages: list[Message] = []
    ends: list[TurnOutcome] = []
    for turn in record.turns:
        messages.append(user_message(turn.text))
        for step in turn.steps[:-1] if turn.steps else ():
            if step.text:
                continue  # said before a call
            if (results := step.results) is None:
                return None
            made = [
                (tools[name].id, arguments, f"call_{len(messages)}_{number}")
                for number, (name, arguments) in enumerate(step.calls)
            ]
            messages.append(calls_message(made))
            messages += [result_message(call, result) for (_, _, call), result in zip(made, results, strict=True)]
        if not turn.steps or not turn.steps[-1].text:
            return None
        answer = turn.steps[-1].text
        messages.append(call_message(FINISH, {"answer": answer}, f"call_{len(messages)}"))
        ends.append(TurnOutcome(status="finished", answer=answer))
    outcome = Outcome(turns=tuple(ends))
    return Trajectory(id=record.id, query=record.id, messages=tuple(messages), outcome=outcome)
