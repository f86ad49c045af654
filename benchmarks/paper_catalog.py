"""ToolGen's own catalog: the APIs of ToolBench, and StableToolBench's requests of its group G1 (I1) over all of them.

    python benchmarks/paper_catalog.py bm25 FOLDER [-o benchmarks/results/paper-catalog-bm25-DATE.json]
    python benchmarks/paper_catalog.py search FOLDER RETRIEVER [--checkpoint CKPT] [--encoder ENCODER] [-o RESULT.json]
    python benchmarks/paper_catalog.py requests FOLDER --published SHORTCUTSBENCH -o DATASET

FOLDER is what the source `toolbench:` reads: `tools.jsonl.gz`, one tool a line, and `test_instruction/G1_*.json`.

`bm25` measures what the published figures of BM25 can be explained by (arXiv 2410.03439, I1 over all tools): which text of an
API is indexed, which words are taken from it, k1 and b. How BM25 was run is not published. APIs of one tool and name
are one API there, so they are here, and NDCG is also computed as there (`ndcg_toolgen`, of 100 tools). `search` measures one
retriever as toolgen searches with it: `bm25`, `dense`, or with a checkpoint or encoder `generative`, `toolretriever`, each with
`+bm25` for a sum; NDCG, recall, the time that one process takes, and its memory. `requests` writes a dataset to train on: the
same catalog and those of ToolBench's training requests that ShortcutsBench publishes (`queries.jsonl.gz`: a request and the
actions that answered it), without near copies of the 474.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
from published_bm25 import all_words, without_stopwords

from toolgen.catalog.text import document
from toolgen.catalog.tool import Tool
from toolgen.catalog.words import words
from toolgen.checkpoint import Checkpoint
from toolgen.datasets.folder import Dataset, save_dataset
from toolgen.datasets.query import Query
from toolgen.datasets.toolbench import import_toolbench
from toolgen.datasets.toolbench_runs import normal_name, parameter_name
from toolgen.datasets.training_sets.near_copies import NearCopies
from toolgen.evaluation.metrics import bootstrap, ndcg, ndcg_toolgen, recall
from toolgen.evaluation.provenance import hardware
from toolgen.files import write_json
from toolgen.retrieval import Resources, RetrieverSpec, make_retriever

PUBLISHED = {"ndcg@1": 22.77, "ndcg@3": 22.64, "ndcg@5": 25.61}
DEPTH = 100
CUTOFFS = (1, 3, 5)
SETTINGS = ((1.5, 0.75), (0.9, 0.4), (1.5, 0.6))  # rank-bm25's defaults, Anserini's, ours
ANALYZERS: dict[str, Callable[[str], list[str]]] = {
    "split at spaces": str.split,
    "words": all_words,
    "words without Lucene's stop words": without_stopwords,
    "toolgen's": words,
}
Name = tuple[str, str, str]


def toolbench_text(record: Mapping[str, Any]) -> str:
    """An API as ToolBench's own retriever reads it."""
    parts = [str(record.get(key) or "") for key in ("category_name", "tool_name", "api_name", "api_description")]
    parts += [
        f"{key}: {json.dumps(record.get(field, ''))}"
        for key, field in (
            ("required_params", "required_parameters"),
            ("optional_params", "optional_parameters"),
            ("return_schema", "template_response"),
        )
    ]
    return ", ".join(parts)


def records_of(folder: Path) -> Iterator[dict[str, Any]]:
    """Every API as its files have it: first those of requests, which have the most fields."""
    for file in sorted(folder.rglob("G1_*.json")):
        for request in json.loads(file.read_text("utf-8")):
            yield from request["api_list"]
    for file in sorted(folder.rglob("tools.jsonl.gz")):
        for line in filter(None, gzip.decompress(file.read_bytes()).decode().split("\n")):
            tool = json.loads(line)
            for api in tool["api_list"]:
                own = {"category_name": tool["category"], "tool_name": tool["tool_name"], "api_name": api["name"]}
                yield api | own | {"api_description": api["description"], "template_response": api.get("schema", "")}


def texts_of(folder: Path, tools: Sequence[Tool]) -> dict[str, list[str]]:
    """Which text stands for an API: name to one text an API."""
    own: dict[Name, str] = {}
    for record in records_of(folder):
        category, tool, api = (str(record[key]).strip() for key in ("category_name", "tool_name", "api_name"))
        own.setdefault((category, tool, api), toolbench_text(record))
    return {
        "ToolBench's": [own[tool.category, tool.provider, tool.name] for tool in tools],
        "names and description": [f"{tool.provider} {tool.name} {tool.description}" for tool in tools],
        "toolgen's document": [document(tool) for tool in tools],
    }


def by_name(dataset: Dataset) -> tuple[list[Tool], list[tuple[str, list[str]]]]:
    """One API of each tool and name, as in ToolGen, and the requests with the ids of these."""
    first: dict[tuple[str, str], Tool] = {}
    for tool in dataset.catalog:
        first.setdefault((tool.provider, tool.name), tool)
    kept = {tool.id: first[tool.provider, tool.name].id for tool in dataset.catalog}
    return [*first.values()], [(q.text, [*dict.fromkeys(kept[id] for id in q.tools)]) for q in requests_of(dataset)]


def requests_of(dataset: Dataset) -> list[Query]:
    return [query for split in dataset.queries for query in dataset.searches(split)]


def judged(rankings: Sequence[Sequence[str]], relevant: Sequence[Sequence[str]]) -> dict[str, list[float]]:
    """Mean, low and high end of the 95% interval of each metric, in percent."""
    values: dict[str, list[float]] = {}
    for ranked, tools in zip(rankings, relevant, strict=True):
        for name, metric in (("ndcg", ndcg), ("ndcg_toolgen", ndcg_toolgen), ("recall", recall)):
            for k in CUTOFFS:
                values.setdefault(f"{name}@{k}", []).append(metric(ranked, tools, k))
    found = {name: bootstrap(one) for name, one in values.items()}
    return {name: [round(100 * value, 2) for value in (one.mean, one.low, one.high)] for name, one in found.items()}


def explained(folder: Path) -> dict[str, Any]:
    """BM25 by text, analyzer and settings."""
    dataset = import_toolbench(folder)
    tools, requests = by_name(dataset)
    ids = [tool.id for tool in tools]
    rows = []
    for text, texts in texts_of(folder, tools).items():
        for analyzer, split in ANALYZERS.items():
            documents, asked = [split(one) for one in texts], [split(one) for one, _ in requests]
            for k1, b in SETTINGS:
                index = bm25s.BM25(k1=k1, b=b, method="lucene")
                index.index(documents, show_progress=False)
                rankings = [ranked(index, terms, ids) for terms in asked]
                row = {"text": text, "analyzer": analyzer, "k1": k1, "b": b}
                row |= judged(rankings, [relevant for _, relevant in requests])
                rows.append(row)
                shown = [" / ".join(f"{row[f'{one}@{k}'][0]:.2f}" for k in CUTOFFS) for one in ("ndcg_toolgen", "ndcg")]
                print(f"{text} | {analyzer} | k1 {k1}, b {b} | {' | '.join(shown)}", flush=True)
    return {"apis": len(dataset.catalog), "apis_by_name": len(tools), "requests": len(requests), "rows": rows}


def ranked(index: bm25s.BM25, terms: Sequence[str], ids: Sequence[str]) -> list[str]:
    known = index.get_tokens_ids(terms)
    scores = index.get_scores_from_ids(known) if len(known) else np.zeros(len(ids))
    return [ids[place] for place in np.argsort(-scores, kind="stable")[:DEPTH] if scores[place] > 0]


def searched(folder: Path, name: str, checkpoint: Path | None, encoder: Path | None) -> dict[str, Any]:
    """One retriever over the whole catalog."""
    seconds = {"load": timed(lambda: import_toolbench(folder))}
    dataset: Dataset = seconds["load"].pop("result")
    method, *added = name.split("+")
    resources = Resources(checkpoint=Checkpoint.load(checkpoint) if checkpoint else None, encoder=encoder)
    retriever = make_retriever(RetrieverSpec(method=method, add=tuple(added)), resources)
    seconds["index"] = timed(lambda: retriever.index(dataset.catalog))
    queries = requests_of(dataset)
    seconds["search"] = timed(lambda: retriever.search([query.text for query in queries], DEPTH))
    rankings = [ranking.tools for ranking in seconds["search"].pop("result")]
    groups = {
        "all": queries,
        **{one: [q for q in queries if q.category == one] for one in sorted({q.category for q in queries})},
    }
    found = {}
    for group, some in groups.items():
        own = {query.id for query in some}
        pairs = [(r, q.tools) for r, q in zip(rankings, queries, strict=True) if q.id in own]
        found[group] = {"requests": len(some), **judged([r for r, _ in pairs], [tools for _, tools in pairs])}
    return {
        "retriever": name,
        "apis": len(dataset.catalog),
        "processor_seconds": {step: round(one["seconds"], 1) for step, one in seconds.items()},
        "memory_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "found": found,
    }


def published_requests(dataset: Dataset, published: Path) -> Dataset:
    """The dataset with ToolBench's published training requests in place of its own."""
    ids: dict[str, str] = {}
    for tool in dataset.catalog:
        ids.setdefault(action_name(tool), tool.id)
    near = NearCopies(query.text for query in requests_of(dataset))
    found, dropped = [], 0
    records = [json.loads(line) for line in gzip.decompress((published / "queries.jsonl.gz").read_bytes()).splitlines()]
    for record in records:
        actions = dict.fromkeys(step["api_name"] for step in record["action_seqs"] if step["api_name"] != "Finish")
        text = record["query"].strip()
        if text in near:
            dropped += 1
        elif actions and all(action in ids for action in actions):
            found.append(Query(id=record["id"], text=text, tools=tuple(dict.fromkeys(ids[one] for one in actions))))
    asked = {tool for query in found for tool in query.tools}
    print(f"{len(found)} of {len(records)} requests, {dropped} near copies dropped; {len(asked)} tools asked for")
    return replace(dataset, name="paper", queries={"train": tuple(found)}, tasks={}, trajectories={})


def action_name(tool: Tool) -> str:
    """How ToolBench's requests name an API, in full: `get_by_id_for_cheeses`."""
    return f"{parameter_name(tool.name)}_for_{normal_name(tool.provider)}"


def timed(run: Callable[[], Any]) -> dict[str, Any]:
    started = time.process_time()
    return {"result": run(), "seconds": time.process_time() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["bm25", "search", "requests"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("retriever", nargs="?", default="bm25")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--encoder", type=Path)
    parser.add_argument("--published", type=Path)
    parser.add_argument("--output", "-o", type=Path)
    given = parser.parse_args()
    if given.what == "requests":
        save_dataset(published_requests(import_toolbench(given.folder), given.published), given.output)
        return
    if given.what == "bm25":
        result = explained(given.folder)
    else:
        result = searched(given.folder, given.retriever, given.checkpoint, given.encoder)
        print(re.sub(r"\[\s+(\S+)\s+(\S+)\s+(\S+)\s+\]", r"[\1 \2 \3]", json.dumps(result, indent=1)))
    if given.output:
        write_json(
            given.output, {"benchmark": "paper-catalog", "published": PUBLISHED, **result, "hardware": hardware()}
        )


if __name__ == "__main__":
    main()
