"""The retrievers that ask a language model (Re-Invoke, IterFeedback, long-context) beside those that they stand on.

    python benchmarks/written_retrievers.py DATASET [--llm smollm2-135m-instruct] [--requests 60] [--tools 200] [-o RESULT]

A small model on a CPU writes a few tokens a second, and Re-Invoke has it write for every tool; so the catalog is cut to the
tools of the first `requests` test requests and others drawn by seed, `tools` in all, and every method searches the same ones.
Figures are therefore higher than over the whole catalog and only to be compared with each other. What the llm wrote for
Re-Invoke is kept in --cache: stopped, the same command goes on.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolgen.catalog import Catalog
from toolgen.datasets import Dataset, load_dataset
from toolgen.evaluation import evaluate_retrieval
from toolgen.evaluation.experiment import shown
from toolgen.evaluation.provenance import hardware
from toolgen.evaluation.results import RetrievalResult, paired_difference
from toolgen.fetching import cache_folder, resolve_base
from toolgen.files import write_json
from toolgen.inference.local_model import LocalModel
from toolgen.llm import LanguageModel
from toolgen.retrieval import BM25Retriever, Retriever, make_retriever
from toolgen.retrieval.iter_feedback import IterFeedbackRetriever
from toolgen.retrieval.long_context import LongContextRetriever
from toolgen.retrieval.re_invoke import ReInvokeRetriever

METRICS = ("ndcg@1", "recall@5")


def cut(dataset: Dataset, requests: int, tools: int, seed: int) -> Dataset:
    """The first test requests, over their own tools and others drawn by seed, in the catalog's order."""
    queries = tuple(dataset.searches("test")[:requests])
    needed = {tool for query in queries for tool in query.tools}
    others = [tool for tool in dataset.catalog.ids if tool not in needed]
    kept = needed | {*random.Random(seed).sample(others, max(0, min(len(others), tools - len(needed))))}
    catalog = Catalog(tool for tool in dataset.catalog if tool.id in kept)
    return replace(dataset, catalog=catalog, queries={"test": queries}, trajectories={})


def methods(llm: LanguageModel, per_tool: int, rounds: int, cache: Path) -> Iterator[tuple[str, Retriever, str]]:
    """Label, retriever, and the label of what it stands on."""
    yield "BM25", BM25Retriever(), ""
    yield "MiniLM", make_retriever("dense"), ""
    yield "long-context over BM25", LongContextRetriever(BM25Retriever(), llm), "BM25"
    yield (
        f"IterFeedback, {rounds} rounds",
        IterFeedbackRetriever(make_retriever("dense"), llm, rounds=rounds),
        "MiniLM",
    )
    written = ReInvokeRetriever(make_retriever("dense"), llm, cache=cache, per_tool=per_tool)
    yield f"Re-Invoke, {per_tool} requests a tool", written, "MiniLM"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--llm", default="smollm2-135m-instruct")
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--tools", type=int, default=200)
    parser.add_argument("--per-tool", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=cache_folder() / "re-invoke")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    dataset = cut(load_dataset(given.dataset), given.requests, given.tools, given.seed)
    print(f"{len(dataset.queries['test'])} requests over {len(dataset.catalog)} tools, {given.llm} writes", flush=True)
    llm = LocalModel(resolve_base(given.llm))
    results: dict[str, RetrievalResult] = {}
    rows: list[dict[str, Any]] = []
    for label, retriever, base in methods(llm, given.per_tool, given.rounds, given.cache):
        started = time.perf_counter()
        retriever.index(dataset.catalog)
        indexed = time.perf_counter()
        result = results[label] = evaluate_retrieval(retriever, dataset, indexed=True)
        row: dict[str, Any] = {"method": label, "index_seconds": round(indexed - started, 1), **result.latency}
        row |= {name: shown(result.metrics["all"][name]) for name in METRICS}
        if base:
            for name in METRICS:
                difference = paired_difference(result, results[base], name)
                row[f"{name} against {base}"] = [100 * x for x in (difference.mean, difference.low, difference.high)]
        rows.append(row)
        print(" | ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        if given.output:
            settings = {
                name: getattr(given, name) for name in ("llm", "requests", "tools", "per_tool", "rounds", "seed")
            }
            write_json(
                given.output,
                {"hardware": hardware(), "dataset": dataset.name, "arguments": settings, "rows": rows},
            )


if __name__ == "__main__":
    main()
