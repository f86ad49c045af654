"""Knowing when not to: whether the confidence of an index's rankings tells requests that no tool answers from the others.

    python benchmarks/declining.py CKPT DATASET [--limit N] [--other CKPT DATASET] [-o RESULT.json]

CKPT is what `toolgen index` wrote of DATASET, or what was trained from it; the split test of DATASET has requests that no tool
answers (BFCL). The area under the ROC curve, and the risk where only so many requests are answered, are those of `toolgen
evaluate retrieval`, by what a ranking says of itself: the confidence that `toolgen index` fitted on requests by rules, the one
that `toolgen calibrate` fits on the split dev, and the first score of BM25 and MiniLM. Thresholds are those for which 5, 10 and
20 percent of answerable requests may be declined. BFCL's label says that none of an entry's few tools answers; `sound` are
those that no tool of the whole catalog answers.

`--other`: the confidence and the thresholds of the first index on rankings of a second one, beside its own by rules. Requests
that no tool answers are there those of the split test with their own tools hidden.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from toolgen.agent.acting import chooser
from toolgen.checkpoint import Checkpoint
from toolgen.checkpoint.calibration import Calibration
from toolgen.datasets import load_dataset
from toolgen.datasets.query import Query
from toolgen.evaluation.declining import judge_declining
from toolgen.evaluation.provenance import hardware
from toolgen.files import write_json
from toolgen.retrieval import Resources, calibrate, make_retriever
from toolgen.retrieval.confidence import evidence
from toolgen.retrieval.protocol import Ranking, Retriever, search_without

RATES = (0.05, 0.1, 0.2)
Item = TypeVar("Item")


def as_by_default(checkpoint: Checkpoint) -> Retriever:
    """What an index is searched with, and what a trained checkpoint acts with."""
    return make_retriever(chooser(checkpoint), Resources(checkpoint=checkpoint))


def with_confidence(rankings: Sequence[Ranking], calibration: Calibration) -> list[Ranking]:
    return [replace(one, confidence=calibration.confidence(evidence(one))) for one in rankings]


def judged(answerable: Sequence[Ranking], queries: Sequence[Query], others: Sequence[Ranking]) -> dict[str, Any]:
    right = [bool({*one.tools[:1]} & {*query.tools}) for one, query in zip(answerable, queries, strict=True)]
    found = judge_declining(answerable, right, others)
    area = [round(value, 3) for value in (found.auc.mean, found.auc.low, found.auc.high)]
    curve = [[round(coverage, 3), round(risk, 3)] for coverage, risk in found.risk_coverage]
    return {"sign": found.sign, "area": area, "risk_coverage": curve}


def declined(answerable: Sequence[Ranking], others: Sequence[Ranking], calibration: Calibration) -> dict[str, Any]:
    """Shares of answerable and of other requests that are below each threshold."""
    shares = {}
    for rate in RATES:
        threshold = calibration.threshold(rate)
        below = [
            sum((one.confidence or 0.0) < threshold for one in with_confidence(part, calibration)) / len(part)
            for part in (answerable, others)
        ]
        shares[str(rate)] = [round(share, 3) for share in below]
    return shares


def by(
    calibration: Calibration, answerable: Sequence[Ranking], queries: Sequence[Query], others: Sequence[Ranking]
) -> Any:
    sure = [with_confidence(part, calibration) for part in (answerable, others)]
    return {**judged(sure[0], queries, sure[1]), "declined": declined(answerable, others, calibration)}


def spread(queries: Sequence[Query], limit: int) -> list[Query]:
    return list(queries[:: -(-len(queries) // limit) or 1])


def own(folder: Path, place: Path, limit: int) -> tuple[dict[str, Any], Calibration]:
    """What is found on requests that no tool answers, and the calibration on the split dev."""
    dataset, checkpoint = load_dataset(place, verify=False), Checkpoint.load(folder)
    answerable = spread(dataset.searches("test"), limit)
    unanswerable = spread([query for query in dataset.requests("test") if not query.tools], limit)
    development = spread(dataset.requests("dev"), limit)
    retriever = as_by_default(checkpoint)
    retriever.index(dataset.catalog)
    fitted = calibrate(retriever, [(query.text, query.tools) for query in development])
    found, lacking = (retriever.search([query.text for query in part], 2) for part in (answerable, unanswerable))
    result: dict[str, Any] = {
        "retriever": retriever.name,
        "answerable": len(answerable),
        "unanswerable": len(unanswerable),
        "sound": len(sound(unanswerable, unanswerable)),
        "development": len(development),
        "by the split dev, tools hidden": by(fitted, found, answerable, hidden(retriever, answerable)),
    }
    calibrations = {"by the split dev": fitted}
    if retriever.name in checkpoint.calibrations:  # an index's own; training has none
        calibrations["by rules"] = checkpoint.calibrations[retriever.name]
    for name, calibration in calibrations.items():
        result[name] = by(calibration, found, answerable, lacking)
        result[f"{name}, sound"] = by(calibration, found, answerable, sound(lacking, unanswerable))
    for name in ("bm25", "dense"):
        plain = make_retriever(name)
        plain.index(dataset.catalog)
        pair = [plain.search([query.text for query in part], 2) for part in (answerable, unanswerable)]
        result[name] = judged(pair[0], answerable, pair[1])
        result[f"{name}, sound"] = judged(pair[0], answerable, sound(pair[1], unanswerable))
    return result, fitted


def sound(items: Sequence[Item], queries: Sequence[Query]) -> list[Item]:
    """Those of the requests whose label has no known fault."""
    return [item for item, query in zip(items, queries, strict=True) if not query.faults]


def hidden(retriever: Retriever, queries: Sequence[Query]) -> list[Ranking]:
    """The rankings as they were if the tools of their requests did not exist."""
    return search_without(retriever, [query.text for query in queries], 2, [query.tools for query in queries])


def elsewhere(folder: Path, place: Path, fitted: Calibration) -> dict[str, Any]:
    """What a calibration that was fitted elsewhere says of another index's rankings."""
    dataset, checkpoint = load_dataset(place, verify=False), Checkpoint.load(folder)
    queries = dataset.searches("test")
    retriever = as_by_default(checkpoint)
    retriever.index(dataset.catalog)
    found, without = retriever.search([query.text for query in queries], 2), hidden(retriever, queries)
    return {
        "requests": len(queries),
        "by the first dataset": by(fitted, found, queries, without),
        "by rules": by(checkpoint.calibrations[retriever.name], found, queries, without),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--limit", type=int, default=1000, help="of each kind of request, evenly spread")
    parser.add_argument("--other", type=Path, nargs=2, metavar=("CKPT", "DATASET"))
    parser.add_argument("--output", "-o", type=Path)
    given = parser.parse_args()
    result, fitted = own(given.checkpoint, given.dataset, given.limit)
    result = {
        "benchmark": "declining",
        "dataset": given.dataset.name,
        **result,
        "calibration": asdict(fitted)["weights"],
    }
    if given.other:
        result["other"] = {"dataset": given.other[1].name, **elsewhere(*given.other, fitted)}
    result["hardware"] = hardware()
    print(json.dumps(result))
    if given.output:
        write_json(given.output, result)


if __name__ == "__main__":
    main()
