"""What each indexing costs before any training: time to build it, new rows, tokens a tool, and one search.

    python benchmarks/indexings.py DATASET [--base smollm2-135m-instruct] [--only codes] [--queries 20] [-o RESULT.json]

`build` is from the catalog to every tool's text (document vectors, clusters, codes), `virtualize` the whole checkpoint in
memory (tokenizer, rows and a second set of document vectors included). A search is one request alone, the ten best tools, with
the default beam; a model that has learned opens other nodes, but no more of them. In a dataset without requests, descriptions
of tools stand for them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from toolgen.catalog.text import views
from toolgen.checkpoint import Checkpoint
from toolgen.datasets import Dataset, load_dataset
from toolgen.evaluation.provenance import hardware
from toolgen.fetching import resolve_base
from toolgen.retrieval.generative import GenerativeRetriever
from toolgen.virtualization import INDEXINGS, Indexing, TextEncoder, document_vectors, spell


def build_seconds(indexing: Indexing, data: Dataset, base: Path) -> float:
    """The indexing alone; the base is open before the clock starts."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    started = time.perf_counter()
    spell(
        indexing,
        data.catalog,
        vectors=lambda: document_vectors(model, tokenizer, [views(tool) for tool in data.catalog]),
        encode=TextEncoder(tokenizer).encode_each,
        tool_sets=[[data.catalog.position(tool) for tool in one] for one in data.tool_sets],
    )
    return time.perf_counter() - started


def measure(indexing: Indexing, data: Dataset, base: Path, texts: list[str]) -> dict[str, Any]:
    """One row of the result."""
    built = build_seconds(indexing, data, base)
    started = time.perf_counter()
    checkpoint = Checkpoint.create(base, data.catalog, indexing=indexing, tool_sets=data.tool_sets)
    virtualized = time.perf_counter() - started
    vocabulary, retriever = checkpoint.vocabulary, GenerativeRetriever(checkpoint)
    times = []
    for text in [*texts[:2], *texts]:
        before = time.perf_counter()
        retriever.search([text], 10)
        times.append(1000 * (time.perf_counter() - before))
    return {
        "indexing": indexing,
        "tools": len(vocabulary),
        "new_tokens": len(vocabulary.tool_token_ids),
        "tokens_per_tool": vocabulary.tokens_per_tool,
        "longest": max(map(len, vocabulary.sequences)),
        "build_seconds": built,
        "virtualize_seconds": virtualized,
        "search_milliseconds_median": statistics.median(times[2:]),
    }


def requests(data: Dataset, count: int) -> list[str]:
    """Held-out requests, or descriptions."""
    asked = [query.text for query in data.searches("test")]
    described = [tool.description[:200] for tool in data.catalog[:: max(1, len(data.catalog) // (2 * count))]]
    return (asked or [text for text in described if text])[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--base", default="smollm2-135m-instruct")
    parser.add_argument("--only", choices=INDEXINGS, action="append", help="may be repeated; by default all")
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    data, base = load_dataset(arguments.dataset), resolve_base(arguments.base)
    rows = []
    for indexing in arguments.only or INDEXINGS:
        rows.append(measure(indexing, data, base, requests(data, arguments.queries)))
        print(json.dumps(rows[-1]), flush=True)
    if arguments.output:
        result = {"dataset": data.name, "base": arguments.base, "hardware": hardware(), "indexings": rows}
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
