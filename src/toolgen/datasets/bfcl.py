"""Importer of the Berkeley Function-Calling Leaderboard, from the unpacked package `bfcl-eval` (Apache-2.0).

Becomes: one tool per function name of the Python single-turn categories (definitions of one name are merged) and one
per method of the eight simulated APIs; the single-turn requests with their ground-truth calls; the irrelevance sets as
requests without a tool; the multi-turn tasks. Reads data files only: it runs nothing of the package.

Source: Patil et al., "The Berkeley Function Calling Leaderboard", ICML 2025.
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.loaders.report import LoadReport
from toolgen.catalog.naming import tool_id, unique_ids
from toolgen.catalog.schema import (
    Schema,
    close_object,
    merge_schemas,
    normalize_schema,
    normalize_value_schema,
    schema_errors,
)
from toolgen.catalog.tool import Tool, canonical_json
from toolgen.datasets.folder import Dataset
from toolgen.datasets.query import Call, Query
from toolgen.datasets.splits import is_held_out, split_queries, text_group
from toolgen.errors import DatasetError
from toolgen.fetching import read_origin

DATASET_NAME = "bfcl"
SINGLE_TURN = (
    "simple_python",
    "multiple",
    "parallel",
    "parallel_multiple",
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
)
IRRELEVANCE = ("irrelevance", "live_irrelevance")
MULTI_TURN = ("multi_turn_base", "multi_turn_long_context", "multi_turn_miss_func", "multi_turn_miss_param")
NOT_IMPORTED = {
    "simple_java": "arguments are Java source text",
    "simple_javascript": "arguments are JavaScript source text",
    "live_relevance": "no ground-truth call",
    "memory": "answers instead of calls",
    "web_search": "needs the network",
    "format_sensitivity": "an index of other entries",
}
CLASS_DOCUMENTS = {
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TwitterAPI": "posting_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "VehicleControlAPI": "vehicle_control",
}
_PREAMBLE = re.compile(
    r"^This tool belongs to (?:the )?(?P<system>.+?)(?:, which| that is|\. |$).*? Tool description: ", re.S
)
_ENUMERATION = re.compile(r"\s*\[Enum\]:\s*(?P<values>.+)$", re.S)

Json = dict[str, Any]


@dataclass(frozen=True)
class _SingleTurnTools:
    """The merged tools and the way back from a function name to its tool."""

    tools: tuple[Tool, ...]
    by_name: Mapping[str, Tool]
    notes: tuple[str, ...]


def import_bfcl(package_root: Path) -> Dataset:
    """The dataset of the package whose folders `data/` and `eval_checker/` are in `package_root`; without trajectories.

    The report lists the ground-truth calls that contradict their merged function: their queries carry the reasons in
    `meta["call_errors"]`. Calls that contradict the entry's own definition and agree only with the merged one are
    marked `meta["valid_only_merged"]`. Raises DatasetError if `package_root` is not this package.
    """
    root = find_package(package_root)
    data = root / "data"
    entries = {category: _read_lines(data / f"BFCL_v4_{category}.json") for category in (*SINGLE_TURN, *IRRELEVANCE)}
    single = _single_turn_tools([entry for category in SINGLE_TURN for entry in entries[category]])
    methods = tuple(_method_tools(data))
    queries = [query for category in SINGLE_TURN for query in _single_turn(data, category, entries[category], single)]
    queries += [_irrelevance(entry, category) for category in IRRELEVANCE for entry in entries[category]]
    queries += [query for category in MULTI_TURN for query in _multi_turn(data, category, methods)]
    catalog = Catalog([*single.tools, *methods])
    return Dataset(
        name=DATASET_NAME,
        version=_version(root),
        source="PyPI package bfcl-eval, https://github.com/ShishirPatil/gorilla",
        licence="Apache-2.0",
        catalog=catalog,
        queries=split_queries(queries, _group),
        reports=(_report(catalog, queries, single),),
    )


def find_package(path: Path) -> Path:
    """The folder with `data/` and `eval_checker/`: `path` itself, or what an unpacked wheel holds below it."""
    if package := first_package(path, lambda root: (root / "data" / "BFCL_v4_simple_python.json").is_file()):
        return package
    raise DatasetError(
        f"{path} is not the unpacked package bfcl-eval: data/BFCL_v4_simple_python.json is missing; "
        "fetch it with 'toolgen fetch dataset bfcl'"
    )


def first_package(path: Path, fits: Callable[[Path], bool]) -> Path | None:
    """The first of `path` and the folders that an unpacked wheel nests below it that fits; None if none does."""
    return next(filter(fits, (Path(path), Path(path) / "bfcl_eval", Path(path) / "bfcl_eval" / "bfcl_eval")), None)


# --- tools ------------------------------------------------------------------------------------------------------------


def _single_turn_tools(entries: Sequence[Json]) -> _SingleTurnTools:
    definitions: dict[str, dict[str, Json]] = {}
    for entry in entries:
        for function in entry["function"]:
            definitions.setdefault(function["name"], {}).setdefault(canonical_json(function), function)
    parts = [(provider or DATASET_NAME, name) for provider, _, name in (n.rpartition(".") for n in definitions)]
    ids = unique_ids([tool_id(provider, name) for provider, name in parts])
    notes = [f"id {given!r} was taken; became {new!r}" for given, new in ids.renamed]
    tools = [
        _merged_tool(name, list(found.values()), identifier, provider, short, notes)
        for (name, found), identifier, (provider, short) in zip(definitions.items(), ids.ids, parts, strict=True)
    ]
    return _SingleTurnTools(tuple(tools), dict(zip(definitions, tools, strict=True)), tuple(notes))


def _merged_tool(
    name: str, definitions: Sequence[Json], identifier: str, provider: str, short: str, notes: list[str]
) -> Tool:
    schemas = [_argument_schema(definition, notes) for definition in definitions]
    return Tool(
        id=identifier,
        provider=provider,
        name=short,
        description=max((d["description"].strip() for d in definitions), key=len),
        parameters=close_object(merge_schemas(schemas)),
        source={"dataset": DATASET_NAME, "name": name, "definitions": len(definitions)},
    )


def _argument_schema(function: Json, notes: list[str] | None = None) -> Schema:
    """Closed: BFCL counts a parameter that the description does not declare as a wrong call."""

    def note(line: str) -> None:
        if notes is not None and (full := f"{function['name']}: {line}") not in notes:
            notes.append(full)

    return close_object(normalize_schema(function["parameters"], on_note=note))


def _with_enumerations(foreign: Any) -> Any:
    """Real enumerations for those that the multi-turn documents spell in text: `The mode. [Enum]: ["on", "off"]`."""
    if isinstance(foreign, list):
        return [_with_enumerations(item) for item in foreign]
    if not isinstance(foreign, dict):
        return foreign
    found = {key: _with_enumerations(value) for key, value in foreign.items()}
    description = found.get("description")
    if found.get("type") == "string" and isinstance(description, str) and (match := _ENUMERATION.search(description)):
        found["enum"] = [value.strip().strip('"') for value in match["values"].strip("[] .").split(",")]
        found["description"] = description[: match.start()]
    return found


def _method_tools(data: Path) -> Iterator[Tool]:
    for class_name, document in CLASS_DOCUMENTS.items():
        for function in _read_lines(data / "multi_turn_func_doc" / f"{document}.json"):
            preamble = _PREAMBLE.match(function["description"])
            name = function["name"]
            yield Tool(
                id=tool_id(class_name, name),
                provider=class_name,
                name=name,
                category=preamble["system"] if preamble else "",
                description=function["description"][preamble.end() if preamble else 0 :].strip(),
                parameters=_argument_schema(_with_enumerations(function)),
                returns=normalize_value_schema(_with_enumerations(function["response"])),
                endpoint={"kind": "simulated", "environment": DATASET_NAME, "class": class_name, "method": name},
                source={"dataset": DATASET_NAME, "name": name, "definitions": 1},
            )


# --- single-turn requests ---------------------------------------------------------------------------------------------


def _single_turn(data: Path, category: str, entries: Sequence[Json], tools: _SingleTurnTools) -> Iterator[Query]:
    answers = {a["id"]: a["ground_truth"] for a in _read_lines(data / "possible_answer" / f"BFCL_v4_{category}.json")}
    for entry in entries:
        if entry["id"] not in answers:
            raise DatasetError(f"BFCL entry {entry['id']} has no ground truth; the package is incomplete")
        yield _single_turn_query(entry, category, answers[entry["id"]], tools)


def _single_turn_query(entry: Json, category: str, answers: Sequence[Json], tools: _SingleTurnTools) -> Query:
    functions = {function["name"]: _argument_schema(function) for function in entry["function"]}
    calls, expected, errors, own_errors = [], [], [], []
    for answer in answers:
        ((name, accepted),) = answer.items()
        tool = tools.by_name[name]
        arguments = canonical_arguments(accepted, functions[name])
        calls.append(Call(tool=tool.id, arguments=arguments))
        expected.append({tool.id: accepted})
        errors += [f"{tool.id}: {error}" for error in schema_errors(arguments, tool.parameters)]
        own_errors += schema_errors(arguments, functions[name])
        errors += [f"{tool.id}: no value of {p!r} is accepted" for p, values in accepted.items() if not values]
    relevant = tuple(dict.fromkeys(call.tool for call in calls))
    merged = {name: tools.by_name[name] for name in functions}
    differing = {
        merged[name].id: schema
        for name, schema in functions.items()
        if merged[name].id in relevant and canonical_json(schema) != canonical_json(merged[name].parameters)
    }
    meta: Json = {"category": category, "kind": "single_turn", "candidates": list(functions), "expected": expected}
    meta |= {"unseen_tools": any(is_held_out(tool) for tool in relevant)}
    meta |= {"schemas": differing} if differing else {}
    meta |= {"call_errors": errors} if errors else {}
    meta |= {"valid_only_merged": True} if own_errors and not errors else {}
    return _with_conversation(entry["question"][0], id=entry["id"], tools=relevant, calls=tuple(calls), meta=meta)


def canonical_arguments(accepted: Mapping[str, Sequence[Any]], schema: Mapping[str, Any]) -> Json:
    """One argument object out of BFCL's accepted values, `{parameter: [value, ...]}`.

    The empty string among the values of a parameter that is not required means that it may be left out, and then it is.
    Otherwise: the first value that the parameter's schema admits, else the first. Where a value is an object or a list
    of objects, each of its members is again a list of accepted values, one level deep: below that BFCL compares
    literally.
    """
    return _choose(accepted, schema, _resolve)


def _choose(
    accepted: Mapping[str, Sequence[Any]], schema: Mapping[str, Any], resolve: Callable[[Any, Mapping[str, Any]], Any]
) -> Json:
    required, properties = schema.get("required", ()), schema.get("properties", {})
    arguments = {}
    for name, values in accepted.items():
        if not values or ("" in values and name not in required):
            continue
        inner = properties.get(name, {})
        options = [_as_enumerated(resolve(value, inner), inner) for value in values if value != ""] or [""]
        arguments[name] = next((option for option in options if not schema_errors(option, inner)), options[0])
    return arguments


def _resolve(value: Any, schema: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return _choose(value, schema, _literal)
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return [_choose(item, schema.get("items", {}), _literal) for item in value]
    return value


def _as_enumerated(value: Any, schema: Mapping[str, Any]) -> Any:
    """The member of the enumeration that `value` means: BFCL compares strings without case, a JSON Schema does not."""
    if isinstance(value, str) and value not in (choices := schema.get("enum", [value])):
        return next((c for c in choices if isinstance(c, str) and c.casefold() == value.casefold()), value)
    return value


def _literal(value: Any, _schema: Mapping[str, Any]) -> Any:
    return value


def _irrelevance(entry: Json, category: str) -> Query:
    meta = {"category": category, "kind": "irrelevance", "unseen_tools": False}
    meta |= {"candidates": [function["name"] for function in entry["function"]]}
    return _with_conversation(entry["question"][0], id=entry["id"], tools=(), calls=(), meta=meta)


def _with_conversation(messages: Sequence[Json], *, meta: Json, **fields: Any) -> Query:
    """A query whose text is what the user said; a system message and a longer conversation are kept in `meta`."""
    users = [message["content"] for message in messages if message["role"] == "user"]
    systems = [message["content"] for message in messages if message["role"] == "system"]
    meta = meta | ({"system": "\n".join(systems)} if systems else {})
    if len(messages) - len(systems) > 1:
        meta |= {"messages": list(messages)}
    return Query(text="\n".join(users), meta=meta, **fields)


# --- multi-turn tasks -------------------------------------------------------------------------------------------------


def _multi_turn(data: Path, category: str, methods: Sequence[Tool]) -> Iterator[Query]:
    answers = {a["id"]: a["ground_truth"] for a in _read_lines(data / "possible_answer" / f"BFCL_v4_{category}.json")}
    for entry in _read_lines(data / f"BFCL_v4_{category}.json"):
        offered = {tool.name: tool for tool in methods if tool.provider in entry["involved_classes"]}
        turns = [[parse_call(text, offered) for text in turn] for turn in answers[entry["id"]]]
        calls = tuple(call for turn in turns for call in turn)
        texts = ["\n".join(message["content"] for message in turn) for turn in entry["question"]]
        errors = [
            f"{c.tool}: {e}" for c in calls for e in schema_errors(c.arguments, offered[_method(c.tool)].parameters)
        ]
        meta = {"category": category, "kind": "multi_turn", "unseen_tools": False, "turns": texts}
        meta |= {"turn_calls": [len(turn) for turn in turns]}
        meta |= {key: value for key, value in entry.items() if key not in ("id", "question")}
        meta |= {"call_errors": errors} if errors else {}
        yield Query(
            id=entry["id"],
            text=texts[0],
            tools=tuple(dict.fromkeys(call.tool for call in calls)),
            calls=calls,
            meta=meta,
        )


def parse_call(text: str, offered: Mapping[str, Tool]) -> Call:
    """`cd('temp')` or `cd(folder='temp')` as a Call; positional values get the method's parameter names in order.

    `offered` maps a method name to its tool. Raises DatasetError for anything but one call with literal values.
    """
    try:
        expression = ast.parse(text.strip(), mode="eval").body
        if not isinstance(expression, ast.Call) or not isinstance(expression.func, ast.Name):
            raise ValueError("not a call of a plain name")
        if any(keyword.arg is None for keyword in expression.keywords):
            raise ValueError("** has no meaning here")
        tool = offered[expression.func.id]
        names = list(tool.properties)
        values = {names[i]: ast.literal_eval(value) for i, value in enumerate(expression.args)}
        values |= {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in expression.keywords}
    except (SyntaxError, ValueError, KeyError, IndexError) as error:
        raise DatasetError(f"cannot read the ground-truth call {text!r}: {error}") from error
    return Call(tool=tool.id, arguments=_without_tuples(values))


def _method(identifier: str) -> str:
    return identifier.rpartition("&&")[2]


def _without_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_tuples(item) for key, item in value.items()}
    return [_without_tuples(item) for item in value] if isinstance(value, (list, tuple)) else value


# --- splits and report ------------------------------------------------------------------------------------------------


def _group(query: Query) -> str:
    """Multi-turn: the number of the task, which its four variants share. Otherwise the text."""
    if query.meta["kind"] == "multi_turn":
        return f"multi_turn {query.id.rpartition('_')[2]}"
    return text_group(query.text)


def _report(catalog: Catalog, queries: Sequence[Query], single: _SingleTurnTools) -> LoadReport:
    faulty = [q for q in queries if "call_errors" in q.meta]
    kinds = Counter(query.meta["kind"] for query in queries)
    notes = [f"category {name} is not imported: {reason}" for name, reason in NOT_IMPORTED.items()]
    notes += [f"{q.id}: ground truth contradicts its function: {'; '.join(q.meta['call_errors'])}" for q in faulty]
    counts = {
        "merged_names": sum(tool.source["definitions"] > 1 for tool in single.tools),
        "definitions": sum(tool.source["definitions"] for tool in single.tools),
        "held_out_tools": sum(is_held_out(tool.id) for tool in single.tools),
        "queries_with_call_errors": len(faulty),
        "queries_valid_only_merged": sum("valid_only_merged" in query.meta for query in queries),
    }
    counts |= {f"queries.{kind}": count for kind, count in sorted(kinds.items())}
    return LoadReport(source=DATASET_NAME, loaded=len(catalog), losses=(), notes=(*single.notes, *notes), counts=counts)


def _version(root: Path) -> str:
    """The version of the wheel, as the fetching or the wheel's own metadata beside the package tells it."""
    if (origin := read_origin(root.parent)) and "==" in origin.source:
        return origin.source.rpartition("==")[2]
    for info in sorted(root.parent.glob("bfcl_eval-*.dist-info")):
        return info.name.removeprefix("bfcl_eval-").removesuffix(".dist-info")
    return "unknown"


def _read_lines(path: Path) -> list[Json]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read the BFCL file {path}: {error}") from error
