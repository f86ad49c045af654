"""BM25 on ToolLens under several analyzers, beside the row that COLT's paper gives for it (arXiv 2405.16089).

The published code has no BM25, so this measures what the published figures can be explained by: which text of a tool is
indexed, whether function words of English are kept, k1 and b. The publisher's test split is not at hand; these are its training
requests, made for the same sets of tools, every STRIDE-th of them.

    python benchmarks/published_bm25.py FOLDER [--stride 4] [--output benchmarks/results/published-bm25-DATE.json]

FOLDER is the published folder: corpus.jsonl, queries.jsonl, qrels/train.tsv.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import bm25s
import numpy as np

from toolgen.catalog.text import document
from toolgen.catalog.words import words
from toolgen.datasets.beir import import_beir
from toolgen.evaluation.metrics import bootstrap, comp, ndcg, recall
from toolgen.files import write_json

PUBLISHED = {"recall@5": 26.88, "ndcg@5": 26.09, "comp@5": 6.13}
# Lucene's English stop words, which a stock analyzer leaves out.
STOPWORDS = frozenset(
    """
    a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to was
    will with
    """.split()  # noqa: SIM905 - a list of this length is not read
)
SETTINGS = ((1.2, 0.75), (0.9, 0.4), (1.5, 0.6))  # Lucene's defaults, Anserini's, ours


def all_words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def without_stopwords(text: str) -> list[str]:
    return [word for word in all_words(text) if word not in STOPWORDS]


ANALYZERS: dict[str, Callable[[str], list[str]]] = {
    "split at spaces": str.split,
    "words": all_words,
    "words without Lucene's stop words": without_stopwords,
    "toolgen's": words,
}


def texts_of(folder: Path) -> dict[str, list[str]]:
    """Which text stands for a tool: name to one text a tool, in the order of the corpus."""
    published = [json.loads(line)["text"] for line in (folder / "corpus.jsonl").read_text("utf-8").splitlines()]
    described = [
        re.search(r"api_name:(.*?), api_description:(.*?), required_params:", text, re.S) for text in published
    ]
    return {
        "published text": published,
        "API name and description": [" ".join(found.groups()) if found else "" for found in described],
        "toolgen's document": [document(tool) for tool in import_beir(folder).catalog],
    }


def requests_of(folder: Path, stride: int) -> list[tuple[str, list[str]]]:
    """Text and relevant places in the corpus of every `stride`-th training request."""
    texts = {r["_id"]: r["text"] for r in map(json.loads, (folder / "queries.jsonl").read_text("utf-8").splitlines())}
    relevant: dict[str, list[str]] = {}
    for line in (folder / "qrels" / "train.tsv").read_text("utf-8").splitlines()[1:]:
        query, tool, _ = line.split("\t")
        relevant.setdefault(query, []).append(tool)
    return [(texts[query], tools) for query, tools in list(relevant.items())[::stride]]


def measured(
    texts: Sequence[str], requests: Sequence[tuple[str, list[str]]], analyzer: Callable[[str], list[str]]
) -> Iterator[dict[str, float | str]]:
    """One row of percentages a setting of k1 and b."""
    documents = [analyzer(text) for text in texts]
    asked = [analyzer(text) for text, _ in requests]
    for k1, b in SETTINGS:
        index = bm25s.BM25(k1=k1, b=b, method="lucene")
        index.index(documents, show_progress=False)
        values: dict[str, list[float]] = {name: [] for name in PUBLISHED}
        for terms, (_, relevant) in zip(asked, requests, strict=True):
            known = index.get_tokens_ids(terms)
            scores = index.get_scores_from_ids(known) if len(known) else np.zeros(len(documents))
            best = [str(place) for place in np.argsort(-scores, kind="stable")[:5] if scores[place] > 0]
            values["recall@5"].append(recall(best, relevant, 5))
            values["ndcg@5"].append(ndcg(best, relevant, 5))
            values["comp@5"].append(comp(best, relevant, 5))
        row: dict[str, float | str] = {"k1": k1, "b": b}
        for name, found in values.items():
            interval = bootstrap(found)
            row |= {name: 100 * interval.mean, f"{name} ±": 50 * (interval.high - interval.low)}
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stride", type=int, default=4)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    requests = requests_of(given.folder, given.stride)
    rows = []
    print(f"{len(requests)} requests; published: " + " / ".join(f"{value}" for value in PUBLISHED.values()))
    for text, texts in texts_of(given.folder).items():
        for name, analyzer in ANALYZERS.items():
            for row in measured(texts, requests, analyzer):
                rows.append({"text": text, "analyzer": name, **row})
                shown = " / ".join(f"{row[key]:.2f} ±{row[f'{key} ±']:.2f}" for key in PUBLISHED)
                print(f"{text} | {name} | k1 {row['k1']}, b {row['b']} | {shown}", flush=True)
    if given.output:
        write_json(given.output, {"requests": len(requests), "published": PUBLISHED, "rows": rows})


if __name__ == "__main__":
    main()
