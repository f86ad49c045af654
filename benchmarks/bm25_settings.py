"""BM25's k1 and b on the development splits of several datasets, alone or beside a sentence encoder.

    python benchmarks/bm25_settings.py DATASET... [--k1 K1...] [--b B...] [--weights W...] [-o RESULT.json]

With `--weights`, BM25's scores, as shares of the request's best, are added to MiniLM's logits, once with each weight. One line
a setting: NDCG@1, NDCG@5 and recall@5 of each dataset, and their means over the datasets.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from toolgen.datasets import load_dataset
from toolgen.datasets.folder import Dataset
from toolgen.evaluation.metrics import ndcg, recall
from toolgen.evaluation.provenance import hardware
from toolgen.files import write_json
from toolgen.retrieval.bm25 import BM25Retriever
from toolgen.retrieval.protocol import top_ranking
from toolgen.retrieval.registry import LOGIT_SCALES, make_retriever

K1 = (0.6, 0.9, 1.2, 1.5, 2.0, 2.5)
B = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 1.0)
METRICS = (("ndcg@1", ndcg, 1), ("ndcg@5", ndcg, 5), ("recall@5", recall, 5))
Setting = tuple[float, float, float]
"""k1, b, and the weight of BM25 beside MiniLM, 0 where it is alone."""


def judged(scores_QN: npt.NDArray[np.float64], dataset: Dataset) -> dict[str, float]:
    """Each metric's mean over the development requests, in percent."""
    rankings = [top_ranking(dataset.catalog.ids, scores_N, 5).tools for scores_N in scores_QN]
    pairs = [*zip(rankings, (query.tools for query in dataset.searches("dev")), strict=True)]
    return {name: round(100 * fmean(metric(*pair, k) for pair in pairs), 2) for name, metric, k in METRICS}


def measured(dataset: Dataset, given: argparse.Namespace) -> dict[Setting, dict[str, float]]:
    texts = [query.text for query in dataset.searches("dev")]
    others_QN = np.zeros((len(texts), len(dataset.catalog)))
    if given.weights:
        dense: Any = make_retriever("dense")
        dense.index(dataset.catalog)
        others_QN += LOGIT_SCALES["dense"] * dense.score_all(texts)
    found = {}
    for k1, b in product(given.k1, given.b):
        bm25 = BM25Retriever(k1=k1, b=b, relative=bool(given.weights))
        bm25.index(dataset.catalog)
        scores_QN = bm25.score_all(texts).astype(np.float64)
        for weight in given.weights:
            found[k1, b, weight] = judged(others_QN + weight * scores_QN, dataset)
        if not given.weights:
            found[k1, b, 0.0] = judged(scores_QN, dataset)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--k1", nargs="+", type=float, default=K1)
    parser.add_argument("--b", nargs="+", type=float, default=B)
    parser.add_argument("--weights", nargs="+", type=float, default=())
    parser.add_argument("--output", "-o", type=Path)
    given = parser.parse_args()
    datasets = {folder.name: load_dataset(folder, verify=False) for folder in given.datasets}
    found = {name: measured(dataset, given) for name, dataset in datasets.items()}
    rows = []
    for setting in next(iter(found.values())):
        by_dataset = {name: one[setting] for name, one in found.items()}
        means = {name: round(fmean(one[name] for one in by_dataset.values()), 2) for name, _, _ in METRICS}
        rows.append({**dict(zip(("k1", "b", "weight"), setting, strict=True)), **by_dataset, "mean": means})
        shown = (" / ".join(f"{value:.1f}" for value in one.values()) for one in (*by_dataset.values(), means))
        print(f"k1 {setting[0]}, b {setting[1]}, weight {setting[2]} | {' | '.join(shown)}")
    if given.output:
        requests = {name: len(dataset.searches("dev")) for name, dataset in datasets.items()}
        result = {"benchmark": "bm25-settings", "requests": requests, "rows": rows, "hardware": hardware()}
        write_json(given.output, result)


if __name__ == "__main__":
    main()
