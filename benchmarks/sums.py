"""How BM25 is best added to other logits, on requests of several datasets.

    python benchmarks/sums.py --of DATASET CHECKPOINT [--of DATASET CHECKPOINT ...] [--split dev] [--limit 400] [-o RESULT.json]

BM25's scores are added as they are, times a weight, or as shares of the request's best score, times a number of logits; beside
the checkpoint's model, MiniLM, and both. One line a sum: NDCG@1 / recall@5 of each dataset, and their means over the datasets.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from toolgen.checkpoint import Checkpoint
from toolgen.datasets import Query, load_dataset
from toolgen.evaluation.metrics import ndcg, recall
from toolgen.evaluation.provenance import hardware
from toolgen.files import write_json
from toolgen.retrieval import BM25Retriever, Resources, make_sum
from toolgen.retrieval.protocol import top_ranking

Scores = npt.NDArray[np.float64]
PLAIN = (0.3, 0.5, 0.7, 1.0, 1.5)
SHARE = (4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 12.0)
BESIDE = {"model": ("generative",), "minilm": ("dense",), "model+minilm": ("generative", "dense")}


def judged(scores_QN: Scores, ids: tuple[str, ...], queries: tuple[Query, ...]) -> tuple[float, float]:
    """Means of NDCG@1 and recall@5, in percent."""
    rankings = [top_ranking(ids, scores_N, 5).tools for scores_N in scores_QN]
    pairs = [*zip(rankings, (query.tools for query in queries), strict=True)]
    return (
        round(100 * fmean(ndcg(*pair, 1) for pair in pairs), 1),
        round(100 * fmean(recall(*pair, 5) for pair in pairs), 1),
    )


def measured(folder: Path, checkpoint: Path, split: str, limit: int) -> dict[str, tuple[float, float]]:
    """Every sum on one dataset."""
    dataset = load_dataset(folder, verify=False)
    queries = tuple(dataset.searches(split)[:limit])
    texts, ids = [query.text for query in queries], dataset.catalog.ids
    resources, words = Resources(checkpoint=Checkpoint.load(checkpoint)), BM25Retriever()
    words.index(dataset.catalog)
    plain_QN = words.score_all(texts).astype(np.float64)
    share_QN = plain_QN / np.maximum(plain_QN.max(1, keepdims=True), np.finfo(np.float32).tiny)
    found = {"bm25": judged(plain_QN, ids, queries)}
    logits: dict[str, Scores] = {}
    for method in ("generative", "dense"):
        alone = make_sum([method], resources)
        alone.index(dataset.catalog)
        logits[method] = alone.score_all(texts)
    for name, methods in BESIDE.items():
        beside_QN = sum((logits[method] for method in methods), np.zeros_like(plain_QN))
        found[name] = judged(beside_QN, ids, queries)
        for form, scores_QN, weights in (("", plain_QN, PLAIN), ("share of ", share_QN, SHARE)):
            for weight in weights:
                found[f"{name} + {weight:g} {form}bm25"] = judged(beside_QN + weight * scores_QN, ids, queries)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", nargs=2, action="append", type=Path, required=True, metavar=("DATASET", "CHECKPOINT"))
    parser.add_argument("--split", default="dev")
    parser.add_argument("--limit", type=int, default=400)
    parser.add_argument("--output", "-o", type=Path)
    given = parser.parse_args()
    found = {pair[0].name: measured(*pair, given.split, given.limit) for pair in given.of}
    rows: list[dict[str, Any]] = []
    for name in next(iter(found.values())):
        by_dataset = {dataset: one[name] for dataset, one in found.items()}
        means = tuple(round(fmean(one[place] for one in by_dataset.values()), 1) for place in (0, 1))
        rows.append({"sum": name, **by_dataset, "mean": means})
        print(f"{name:32} | {' | '.join(f'{first} / {five}' for first, five in (*by_dataset.values(), means))}")
    if given.output:
        result = {"benchmark": "sums", "split": given.split, "limit": given.limit, "rows": rows, "hardware": hardware()}
        write_json(given.output, result)


if __name__ == "__main__":
    main()
