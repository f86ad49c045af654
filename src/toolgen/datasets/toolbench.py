"""Importer of ToolBench and StableToolBench: any of their files, or a folder that is searched for them.

    toolenv/tools/<category>/<tool>.json         all APIs of a tool                      -> tools
    tools.jsonl, tools.jsonl.gz                  the same, a tool with its `category` a line
    toolenv/response_examples/<category>/*.json  the form of its responses               -> `returns` of these tools
    instruction/*.json, test_instruction/*.json  requests with `api_list` and `relevant APIs` -> tools, queries
    retrieval/<group>/                           corpus.tsv, *.query.txt, qrels.*.tsv    -> tools, queries
    answer/<group>/*.json                        runs of the depth-first search          -> trajectories
    trajectories/*.json                          runs in ToolEval's form                 -> trajectories

An API is a tool, a tool of ToolBench its provider. APIs that a tool lists under one name are all kept; requests and runs, which
only name them, mean the first. Requests of instruction files are split by hash, all of one text together; retrieval files keep
their splits. A trajectory goes with its request. Where no file has its request with the relevant tools, those that it called
are taken for them (category "trajectory"), in the training split.
Source: Qin et al., ToolLLM, arXiv 2307.16789; Guo et al., StableToolBench, arXiv 2403.07714.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.loaders.rapidapi import api_tool, response_schema
from toolgen.catalog.loaders.report import LoadReport, Loss, lines_lost
from toolgen.catalog.naming import unique_ids
from toolgen.catalog.tool import Tool, canonical_json
from toolgen.datasets.folder import Dataset
from toolgen.datasets.messages import calls_by_turn
from toolgen.datasets.query import Query
from toolgen.datasets.splits import SPLITS, in_development_tenth, split_of, text_group
from toolgen.datasets.toolbench_runs import (
    FINISH_FUNCTION,
    Run,
    function_name,
    function_tool,
    normal_name,
    read_runs,
    trajectory_of,
)
from toolgen.datasets.trajectory import Trajectory
from toolgen.errors import CatalogError, DatasetError, InputError
from toolgen.foreign.data import line_values, parse_json, read_bytes, read_gzip, read_json, read_lines

DATASET_NAME = "toolbench"
LICENCE = "Apache-2.0"
CORPUS = "corpus.tsv"
TOOL_LINES = ("tools.jsonl", "tools.jsonl.gz")
_PUBLISHED_SPLITS = {"train": "train", "dev": "dev", "eval": "dev", "test": "test"}

Json = dict[str, Any]


class ApiKey(NamedTuple):
    """What APIs are told apart by: ToolBench's three names, and which of those that its tool lists under this name."""

    category: str
    tool: str
    api: str
    number: int = 1


@dataclass
class _Found:
    """What the files hold, before ids are given and requests are resolved."""

    apis: dict[ApiKey, Tool] = field(default_factory=dict)
    responses: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)  # category and tool, normalized
    requests: list[_Request] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    read: dict[tuple[str, int], ApiKey] = field(
        default_factory=dict
    )  # canonical record: requests repeat what they offer
    by_function: dict[str, ApiKey] = field(default_factory=dict)  # the name that runs call an API by
    files: int = 0


@dataclass(frozen=True)
class _Request:
    id: str
    text: str
    relevant: tuple[ApiKey, ...]
    group: str
    split: str | None  # None: by hash


def import_toolbench(path: Path) -> Dataset:
    """The dataset of a file or folder in any of ToolBench's layouts.

    What is in none of these forms, requests without a relevant API and runs without a usable step are losses; steps
    that call what does not exist are left out of their run and noted. DatasetError if nothing is found at `path`.
    """
    root = Path(path)
    found = _Found()
    for file in _files(root):
        found.files += 1
        with _losing(_shown(file, root), file, found):
            _read_file(file, root, found)
    tools = _with_ids(found)
    queries = _queries(found.requests, tools, found.losses)
    trajectories = _trajectories(found, tools, queries)
    report = LoadReport(
        source=f"toolbench:{root.name}",
        loaded=len(tools),
        losses=tuple(found.losses),
        notes=tuple(found.notes),
        counts={
            "files": found.files,
            "queries": sum(map(len, queries.values())),
            "trajectories": sum(map(len, trajectories.values())),
        },
    )
    return Dataset(
        name=DATASET_NAME,
        version="",
        source=f"toolbench:{root.resolve().name}",
        licence=LICENCE,
        catalog=Catalog(tools.values()),
        queries={split: tuple(one) for split, one in queries.items()},
        trajectories={split: tuple(one) for split, one in trajectories.items()},
        reports=(report,),
    )


# --- files ------------------------------------------------------------------------------------------------------------


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    known = (CORPUS, *TOOL_LINES)
    files = sorted(file for file in root.rglob("*") if file.suffix == ".json" or file.name in known)
    if not files:
        raise DatasetError(
            f"{root} holds no file of ToolBench (*.json, {', '.join(known)}); name its folder or one of its files"
        )
    return files


@contextmanager
def _losing(place: str, file: Path, found: _Found) -> Iterator[None]:
    """What is not in ToolBench's form at `place` is a loss; the rest is read."""
    try:
        yield
    except InputError as error:
        found.losses.append(Loss(place, str(error).removeprefix(f"{file}: ")))
    except (KeyError, TypeError, AttributeError) as error:
        found.losses.append(Loss(place, f"in none of ToolBench's forms ({type(error).__name__}: {error})"))


def _shown(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file != root else file.name


def _read_file(file: Path, root: Path, found: _Found) -> None:
    if file.name == CORPUS:
        return _read_retrieval(file, found)
    if file.name.endswith((".jsonl", ".jsonl.gz")):
        return _read_tool_lines(file, _shown(file, root), found)
    document = read_json(file, found.notes.append)
    if isinstance(document, list):
        return _read_instructions(document, file, found)
    if not isinstance(document, dict):
        raise DatasetError(f"{file}: expected a list or an object, got {type(document).__name__}")
    if isinstance(document.get("api_list"), list):
        return _read_tool(document, file, file.parent.name, found)
    if "answer_generation" in document or any(isinstance(one, dict) and "answer" in one for one in document.values()):
        group = file.parent.name if "answer_generation" in document else ""
        for run in read_runs(document, "-".join(part for part in (group, file.stem) if part)):
            if isinstance(run, DatasetError):
                name, _, reason = str(run).partition(": ")
                found.losses.append(Loss(name, reason))
            else:
                found.runs.append(run)
        return None
    raise DatasetError(f"{file}: in none of ToolBench's forms")


def _read_tool_lines(file: Path, place: str, found: _Found) -> None:
    data = read_gzip(file) if file.suffix == ".gz" else read_bytes(file)
    lost = lines_lost(place, found.losses)
    for number, document in line_values(data, str(file), lost, found.notes.append):
        with _losing(f"{place}, line {number}", file, found):
            _read_tool(document, file, document["category"], found)


def _read_tool(document: Json, file: Path, category: str, found: _Found) -> None:
    """A tool of `toolenv/tools`, or the responses of one."""
    if "tool_name" not in document:
        schemas = [one for one in document["api_list"] if isinstance(one, dict) and isinstance(one.get("name"), str)]
        if not schemas:
            raise DatasetError(f"{file}: in none of ToolBench's forms: neither a tool_name nor APIs with a name")
        found.responses[normal_name(category), file.stem] = {one["name"]: one.get("schema") for one in schemas}
        return
    tool = document["tool_name"]
    listed: Counter[str] = Counter()
    for api in document["api_list"]:
        if not isinstance(api, dict):
            found.losses.append(Loss(str(tool), f"expected an API, got {type(api).__name__}"))
            continue
        record = api | {"category_name": category, "tool_name": tool, "api_name": api.get("name")}
        record |= {"api_description": api.get("description"), "template_response": api.get("schema")}
        name = str(api.get("name")).strip()
        listed[name] += 1
        _add_api(record, found, listed[name])


def _read_instructions(records: Sequence[Any], file: Path, found: _Found) -> None:
    for number, record in enumerate(records, start=1):
        name = f"{file.stem}-{record.get('query_id', number) if isinstance(record, dict) else number}"
        try:
            found.requests.append(_read_request(record, name, file.stem, found))
        except DatasetError as error:
            found.losses.append(Loss(f"request {name}", str(error)))


def _read_request(record: Any, name: str, group: str, found: _Found) -> _Request:
    """DatasetError if the record is not a request with its APIs."""
    if not isinstance(record, dict) or not isinstance(record.get("query"), str):
        raise DatasetError("expected an object with a 'query'")
    offered, named = record.get("api_list") or [], record.get("relevant APIs") or []
    if not isinstance(offered, list) or not isinstance(named, list):
        raise DatasetError("its 'api_list' and 'relevant APIs' should be lists")
    keys = [key for api in offered if (key := _add_api(api, found))]
    if not named:
        raise DatasetError("it states no relevant APIs")
    relevant = [_resolve(pair, keys) for pair in named]
    if None in relevant:
        missing = named[relevant.index(None)]
        raise DatasetError(f"its relevant API {str(missing)!r} is not in its api_list")
    return _Request(name, record["query"].strip(), tuple(dict.fromkeys(key for key in relevant if key)), group, None)


def _resolve(pair: Any, keys: Iterable[ApiKey]) -> ApiKey | None:
    """The API that `[tool, api]` means among those of its own request: names repeat across categories."""
    wanted = tuple(str(part).strip() for part in pair) if isinstance(pair, list) else ()
    return next((key for key in keys if (key.tool, key.api) == wanted), None)


def _add_api(record: Any, found: _Found, number: int = 1) -> ApiKey | None:
    """The key of a record's API; of several definitions the first with a description is kept."""
    text = canonical_json(record)
    if known_key := found.read.get((text, number)):
        return known_key
    try:
        tool = api_tool(record, dataset=DATASET_NAME, on_note=found.notes.append)
    except CatalogError as error:
        found.losses.append(Loss("API", str(error)))
        return None
    key = ApiKey(tool.category, tool.provider, tool.name, number)
    known = found.apis.setdefault(key, tool)
    if known.content_hash != tool.content_hash:
        found.notes.append(f"{tool.id}: it is described in different ways; one was kept")
        if tool.description and not known.description:
            found.apis[key] = tool
    found.read[text, number] = key
    return key


def _read_retrieval(corpus: Path, found: _Found) -> None:
    """`corpus.tsv` (docid, JSON of the API) and beside it `<split>.query.txt` (id, text) and `qrels.<split>.tsv`."""
    documents: dict[str, ApiKey] = {}
    lost = lines_lost(corpus.name, found.losses)
    for number, line in read_lines(corpus, lost):
        name, tab, content = line.partition("\t")
        if number == 1 and name == "docid":
            continue
        if not tab:
            lost(f"line {number}", "expected docid and JSON with a tab between them")
            continue
        if content.startswith('"'):
            content = content[1:-1].replace('""', '"')  # how TSV writes a field that holds quotes
        try:
            record = parse_json(content, "its API", found.notes.append)
        except InputError as error:
            lost(f"line {number}", str(error))
            continue
        if key := _add_api(record, found):
            documents[name] = key
    files = {file.name.partition(".")[0]: file for file in sorted(corpus.parent.glob("*.query.txt"))}
    for published, file in files.items():
        if published not in _PUBLISHED_SPLITS:
            found.losses.append(Loss(file.name, f"no split {published!r}; expected {', '.join(_PUBLISHED_SPLITS)}"))
            continue
        split = _PUBLISHED_SPLITS[published]
        carve = split == "train" and not any(_PUBLISHED_SPLITS.get(other) == "dev" for other in files)
        relevant = _read_qrels(file.with_name(f"qrels.{published}.tsv"), found.losses)
        for _, line in read_lines(file, lines_lost(file.name, found.losses)):
            name, _, text = line.partition("\t")
            keys = [documents.get(document) for document in relevant.get(name, ())]
            if not keys or None in keys:
                reason = "a relevant document is not in the corpus" if keys else "no document is judged relevant to it"
                found.losses.append(Loss(f"request {corpus.parent.name}-{name}", reason))
                continue
            own = "dev" if carve and in_development_tenth(text_group(text)) else split
            distinct = tuple(dict.fromkeys(key for key in keys if key))
            group = corpus.parent.name
            found.requests.append(_Request(f"{group}-{name}", text.strip(), distinct, group, own))


def _read_qrels(path: Path, losses: list[Loss]) -> dict[str, list[str]]:
    """Query id to the ids of its relevant documents, from lines of query id, 0, document id and label."""
    relevant: dict[str, list[str]] = {}
    lost = lines_lost(path.name, losses)
    for number, line in read_lines(path, lost):
        fields = line.split("\t")
        if len(fields) != 4:
            lost(f"line {number}", f"expected query id, 0, document id and label, got {line[:60]!r}")
        elif fields[3].strip() != "0":
            relevant.setdefault(fields[0], []).append(fields[2])
    return relevant


# --- what becomes of them ---------------------------------------------------------------------------------------------


def _with_ids(found: _Found) -> dict[ApiKey, Tool]:
    """All tools by key, ids unique, with the responses that a file of its own describes."""
    by_function: dict[str, ApiKey] = {function_name(key.tool, key.api): key for key in reversed(found.apis)}
    for run in found.runs:
        for function in run.functions:
            name = str(function.get("name"))
            if name != FINISH_FUNCTION and name not in by_function:
                try:
                    tool = function_tool(function, DATASET_NAME, found.notes.append)
                except DatasetError as error:
                    found.losses.append(Loss(f"run {run.id}", str(error)))
                    continue
                by_function[name] = ApiKey("", tool.provider, tool.name)
                found.apis.setdefault(by_function[name], tool)
    found.by_function.update(by_function)
    unique = unique_ids(tool.id for tool in found.apis.values())
    found.notes.extend(f"{new}: id {given!r} was taken by another API of this name" for given, new in unique.renamed)
    tools = {}
    for (key, tool), new in zip(found.apis.items(), unique.ids, strict=True):
        responses = found.responses.get((normal_name(key.category), normal_name(key.tool)), {})
        returns = tool.returns or response_schema(responses.get(key.api))
        tools[key] = replace(tool, id=new, returns=returns)
    return tools


def _queries(requests: Sequence[_Request], tools: Mapping[ApiKey, Tool], losses: list[Loss]) -> dict[str, list[Query]]:
    queries: dict[str, list[Query]] = {split: [] for split in SPLITS}
    seen: set[str] = set()
    for request in requests:
        if request.id in seen:
            losses.append(Loss(f"request {request.id}", "its id occurs again; the first one was kept"))
            continue
        seen.add(request.id)
        relevant = tuple(tools[key].id for key in request.relevant)
        query = Query(id=request.id, text=request.text, tools=relevant, category=request.group)
        queries[request.split or split_of(text_group(request.text))].append(query)
    return queries


def _trajectories(
    found: _Found, tools: Mapping[ApiKey, Tool], queries: Mapping[str, list[Query]]
) -> dict[str, list[Trajectory]]:
    """One trajectory a run, beside its request; a request that no file has comes with it."""
    trajectories: dict[str, list[Trajectory]] = {split: [] for split in SPLITS}
    known = {query.text: (split, query.id) for split, some in queries.items() for query in some}
    for run in found.runs:
        names = {str(function.get("name")) for function in run.functions}
        offered = {name: tools[found.by_function[name]] for name in names if name in found.by_function}
        split, query = known.get(run.text, ("train", run.id))
        trajectory = trajectory_of(run, query, offered, found.notes.append)
        if run.text not in known:
            called = tuple(dict.fromkeys(call.tool for turn in calls_by_turn(trajectory.messages) for call in turn))
            if not called:
                found.losses.append(Loss(f"run {run.id}", "it calls no tool, and no file has its request"))
                continue
            queries[split].append(Query(id=run.id, text=run.text, tools=called, category="trajectory"))
            known[run.text] = (split, run.id)
        trajectories[split].append(trajectory)
    return trajectories
