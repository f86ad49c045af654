"""Importer of the Berkeley Function-Calling Leaderboard, from the unpacked package `bfcl-eval` (Apache-2.0).

Becomes: one tool per function name of the Python single-turn categories and one per method of the eight simulated APIs;
the single-turn requests, as queries and as tasks with the values that BFCL accepts; the irrelevance sets as requests without
a tool; the multi-turn tasks. A third of the names have several definitions. A request does not say which of them is meant, so
they are merged into one tool to be found; each task keeps the definitions of its own entry, which are shown once the tool is
chosen. Reads data files only: it runs nothing of the package.

Source: Patil et al., "The Berkeley Function Calling Leaderboard", ICML 2025.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.loaders.report import LoadReport
from toolgen.catalog.merging import merge_schemas
from toolgen.catalog.naming import tool_id, unique_ids
from toolgen.catalog.normalization import close_object, normalize_schema, normalize_value_schema
from toolgen.catalog.schema import Schema, schema_errors
from toolgen.catalog.tool import Definition, Tool, canonical_json
from toolgen.datasets.bfcl_irrelevance import relabelled
from toolgen.datasets.folder import Dataset
from toolgen.datasets.payloads import BfclAnswer, BfclCalls, BfclSystems
from toolgen.datasets.query import Call, Query
from toolgen.datasets.splits import SPLITS, is_kept_unasked, split_of, split_queries, text_group
from toolgen.datasets.task import Task, Turn
from toolgen.datasets.training_sets.evidence import is_said
from toolgen.errors import DatasetError
from toolgen.fetching import read_origin
from toolgen.fetching.artifacts import DATASETS
from toolgen.foreign.data import read_objects

DATASET_NAME = "bfcl"
# What BFCL says for the user in the turn in which functions that it held back become available.
MORE_FUNCTIONS = "I have updated some more functions you can choose from. What about now?"
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

    The report lists the ground-truth calls that contradict their function: their queries and tasks carry the reasons in
    `faults`. So do requests that BFCL says no tool fits, where one of the whole catalog does (`bfcl_irrelevance.py`).
    Raises DatasetError if `package_root` is not this package.
    """
    root = find_package(package_root)
    data = root / "data"
    entries = {category: _read_lines(data / f"BFCL_v4_{category}.json") for category in (*SINGLE_TURN, *IRRELEVANCE)}
    single = _single_turn_tools([entry for category in SINGLE_TURN for entry in entries[category]])
    methods = tuple(_method_tools(data))
    requests = [task for category in SINGLE_TURN for task in _single_turn(data, category, entries[category], single)]
    catalog = Catalog([*single.tools, *methods])
    requests += [_irrelevance(entry, category, catalog) for category in IRRELEVANCE for entry in entries[category]]
    tasks = [task for category in MULTI_TURN for task in _multi_turn(data, category, methods)]
    queries = split_queries(map(_query, requests), lambda query: text_group(query.text))
    return Dataset(
        name=DATASET_NAME,
        version=_version(root),
        source="PyPI package bfcl-eval, https://github.com/ShishirPatil/gorilla",
        licence=DATASETS[DATASET_NAME].licence,
        catalog=catalog,
        queries=queries,
        tasks=_split_tasks(requests, tasks, queries),
        reports=(_report(catalog, [*requests, *tasks], single),),
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


def _single_turn(data: Path, category: str, entries: Sequence[Json], tools: _SingleTurnTools) -> Iterator[Task]:
    answers = {a["id"]: a["ground_truth"] for a in _read_lines(data / "possible_answer" / f"BFCL_v4_{category}.json")}
    for entry in entries:
        if entry["id"] not in answers:
            raise DatasetError(f"BFCL entry {entry['id']} has no ground truth; the package is incomplete")
        yield _single_turn_task(entry, category, answers[entry["id"]], tools)


def _single_turn_task(entry: Json, category: str, answers: Sequence[Json], tools: _SingleTurnTools) -> Task:
    text, system = _text_and_system(entry["question"][0])
    functions = {function["name"]: function for function in entry["function"]}
    definitions: dict[str, Definition] = {}
    calls, accepting, faults = [], [], []
    for answer in answers:
        ((name, accepted),) = answer.items()
        tool = tools.by_name[name]
        definition = definitions.setdefault(name, _definition(tool, functions[name]))
        arguments = canonical_arguments(accepted, definition.parameters, text)
        calls.append(Call(tool=tool.id, arguments=arguments))
        accepting.append(BfclAnswer(accepted=accepted))
        faults += [f"{tool.id}: {error}" for error in schema_errors(arguments, definition.parameters)]
        faults += [f"{tool.id}: no value of {p!r} is accepted" for p, values in accepted.items() if not values]
    return Task(
        id=entry["id"],
        turns=(Turn(text=text, calls=tuple(calls)),),
        system=system,
        payload=BfclCalls(answers=tuple(accepting)),
        definitions=tuple(one for name, one in definitions.items() if _differs(one, tools.by_name[name])),
        category=category,
        faults=tuple(faults),
    )


def _definition(tool: Tool, function: Json) -> Definition:
    return Definition(tool=tool.id, description=function["description"].strip(), parameters=_argument_schema(function))


def _differs(definition: Definition, tool: Tool) -> bool:
    """Whether the merged tool says something else."""
    own, merged = canonical_json(definition.parameters), canonical_json(tool.parameters)
    return (definition.description, own) != (tool.description, merged)


def canonical_arguments(accepted: Mapping[str, Sequence[Any]], schema: Mapping[str, Any], text: str = "") -> Json:
    """One argument object out of BFCL's accepted values, `{parameter: [value, ...]}`, for the request `text`.

    The empty string among the values of a parameter that is not required means that it may be left out. Then it is, unless
    the request says another of the values and no parameter that must be given takes that: whoever learns from these calls
    shall give what was said. Of several values the first that the parameter's schema admits and the request says is taken,
    else the first that the schema admits, else the first. Where a value is an object or a list of objects, each of its
    members is again a list of accepted values, one level deep: below that BFCL compares literally.
    """

    def resolve(value: Any, inner: Mapping[str, Any]) -> Any:
        if isinstance(value, dict):
            return _choose(value, inner, text, _literal)
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            return [_choose(item, inner.get("items", {}), text, _literal) for item in value]
        return value

    return _choose(accepted, schema, text, resolve)


def _choose(
    accepted: Mapping[str, Sequence[Any]],
    schema: Mapping[str, Any],
    text: str,
    resolve: Callable[[Any, Mapping[str, Any]], Any],
) -> Json:
    required, properties = schema.get("required", ()), schema.get("properties", {})
    arguments: Json = {}
    left_out: dict[str, Any] = {}
    for name, values in accepted.items():
        inner = properties.get(name, {})
        options = [_as_enumerated(resolve(value, inner), inner) for value in values if value != ""] or [*values]
        admitted = [option for option in options if not schema_errors(option, inner)]
        said = next((option for option in admitted if is_said(option, text)), None)
        if "" in values and name not in required:
            left_out[name] = said
        elif options:
            arguments[name] = said if said is not None else [*admitted, *options][0]
    taken = [*arguments.values()]
    arguments |= {name: said for name, said in left_out.items() if said is not None and said not in taken}
    return {name: arguments[name] for name in accepted if name in arguments}


def _as_enumerated(value: Any, schema: Mapping[str, Any]) -> Any:
    """The member of the enumeration that `value` means: BFCL compares strings without case, a JSON Schema does not."""
    if isinstance(value, str) and value not in (choices := schema.get("enum", [value])):
        return next((c for c in choices if isinstance(c, str) and c.casefold() == value.casefold()), value)
    return value


def _literal(value: Any, _schema: Mapping[str, Any]) -> Any:
    return value


def _irrelevance(entry: Json, category: str, catalog: Catalog) -> Task:
    text, system = _text_and_system(entry["question"][0])
    label = relabelled().get(entry["id"])
    faults = (label.fault,) if label and label.fault and label.tool in catalog else ()
    return Task(id=entry["id"], turns=(Turn(text=text, calls=()),), system=system, category=category, faults=faults)


def _text_and_system(messages: Sequence[Json]) -> tuple[str, str]:
    """All that the user said, and the system message; of nine entries the assistant's answers in between are lost."""
    users, systems = (
        "\n".join(message["content"] for message in messages if message["role"] == role) for role in ("user", "system")
    )
    return users, systems


def _query(task: Task) -> Query:
    """The single-turn request as a query."""
    (turn,) = task.turns
    return Query(
        id=task.id, text=turn.text, tools=task.tools, calls=turn.calls, category=task.category, faults=task.faults
    )


# --- multi-turn tasks -------------------------------------------------------------------------------------------------


def _multi_turn(data: Path, category: str, methods: Sequence[Tool]) -> Iterator[Task]:
    answers = {a["id"]: a["ground_truth"] for a in _read_lines(data / "possible_answer" / f"BFCL_v4_{category}.json")}
    for entry in _read_lines(data / f"BFCL_v4_{category}.json"):
        offered = {tool.name: tool for tool in methods if tool.provider in entry["involved_classes"]}
        calls = [tuple(parse_call(text, offered) for text in turn) for turn in answers[entry["id"]]]
        texts = ["\n".join(message["content"] for message in turn) or MORE_FUNCTIONS for turn in entry["question"]]
        yield Task(
            id=entry["id"],
            turns=tuple(
                Turn(text=text, calls=expected, held_back=_held_back(entry, offered, place))
                for place, (text, expected) in enumerate(zip(texts, calls, strict=True))
            ),
            state=entry["initial_config"],
            payload=BfclSystems(
                classes=tuple(entry["involved_classes"]), long_context=category == "multi_turn_long_context"
            ),
            category=category,
            faults=tuple(
                f"{call.tool}: {error}"
                for call in itertools.chain(*calls)
                for error in schema_errors(call.arguments, offered[_method(call.tool)].parameters)
            ),
        )


def _held_back(entry: Json, offered: Mapping[str, Tool], turn: int) -> tuple[str, ...]:
    """The tools that BFCL offers only in a later turn: `{"2": ["mv"]}` says from turn 2 on."""
    later = [name for first, names in entry.get("missed_function", {}).items() if turn < int(first) for name in names]
    return tuple(tool.id for name, tool in offered.items() if name in later)


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


def _split_tasks(
    requests: Sequence[Task], tasks: Sequence[Task], queries: Mapping[str, Sequence[Query]]
) -> dict[str, tuple[Task, ...]]:
    """Requests as their queries; multi-turn tasks by their number, which the four variants of a task share."""
    place = {query.id: split for split, found in queries.items() for query in found}
    place |= {task.id: split_of(f"multi_turn {task.id.rpartition('_')[2]}") for task in tasks}
    return {split: tuple(task for task in (*requests, *tasks) if place[task.id] == split) for split in SPLITS}


def _report(catalog: Catalog, tasks: Sequence[Task], single: _SingleTurnTools) -> LoadReport:
    faulty = [task for task in tasks if task.faults and not task.no_tool_fits]
    notes = [f"category {name} is not imported: {reason}" for name, reason in NOT_IMPORTED.items()]
    notes += [f"{task.id}: ground truth contradicts its function: {'; '.join(task.faults)}" for task in faulty]
    counts = {
        "merged_names": sum(tool.source["definitions"] > 1 for tool in single.tools),
        "definitions": sum(tool.source["definitions"] for tool in single.tools),
        "unasked_tools": sum(is_kept_unasked(tool.id) for tool in single.tools),
        "tasks_with_faults": len(faulty),
        "tasks_that_a_tool_fits_after_all": sum(bool(task.faults) and task.no_tool_fits for task in tasks),
        "tasks_with_own_definitions": sum(bool(task.definitions) for task in tasks),
    }
    counts |= {f"tasks.{kind}": count for kind, count in sorted(Counter(task.kind for task in tasks).items())}
    return LoadReport(source=DATASET_NAME, loaded=len(catalog), losses=(), notes=(*single.notes, *notes), counts=counts)


def _version(root: Path) -> str:
    """The version of the wheel, as the fetching or the wheel's own metadata beside the package tells it."""
    if (origin := read_origin(root.parent)) and "==" in origin.source:
        return origin.source.rpartition("==")[2]
    for info in sorted(root.parent.glob("bfcl_eval-*.dist-info")):
        return info.name.removeprefix("bfcl_eval-").removesuffix(".dist-info")
    return "unknown"


def _read_lines(path: Path) -> list[Json]:
    def damaged(line: str, reason: str) -> None:
        raise DatasetError(f"cannot read the BFCL file {path}, {line}: {reason}; fetch the package again")

    return [record for _, record in read_objects(path, damaged)]
