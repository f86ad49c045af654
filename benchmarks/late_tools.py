"""Tools that come when a checkpoint stands: how well requests find them, and what the tools that were there lose.

    python benchmarks/late_tools.py split DATASET -o EARLY
    toolgen index EARLY -o CKPT                  (or any training on EARLY)
    python benchmarks/late_tools.py measure CKPT DATASET [--more OTHER] [--learn] [--full CKPT] [--encoder ENCODER]
                                                         [-o RESULT.json]

`split` writes the dataset without a fifth of its tools, chosen by hash, and without all requests that need one of them.
`measure` adds that fifth by `Checkpoint.with_tools`, and tools of OTHER for which there are no requests, up to 1,000. Requests
are those of the splits dev and test, the same ones for every size: where N tools are added, the late tools are parted into
groups of N, and a request is searched over the early tools and the groups of its own late ones. `processor_seconds` are of
the steps that lead to so many tools. `early` are requests for early tools alone, without late ones (0) and with each of some
groups.

`--learn`: the late tools also learn their training requests, in closed form. `--full`: a checkpoint that has had all tools from
the beginning. `--encoder`: a ToolRetriever trained on EARLY. Late tools are found by a ToolRetriever, BM25 and MiniLM without
more ado: documents are encoded or counted.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from toolgen.catalog import Catalog
from toolgen.catalog.tool import Tool
from toolgen.checkpoint import Checkpoint
from toolgen.datasets import load_dataset
from toolgen.datasets.folder import Dataset, save_dataset
from toolgen.datasets.query import Query
from toolgen.evaluation.metrics import bootstrap, ndcg, recall
from toolgen.evaluation.provenance import hardware
from toolgen.files import write_json
from toolgen.retrieval import Resources, SumRetriever, make_sum
from toolgen.retrieval.generative import GenerativeRetriever
from toolgen.training.late_requests import Asked, learn_requests

SIZES = (1, 10, 100, 1000)
PART = 5  # one tool of so many comes late
LIMIT = 400  # requests for late tools, and as many for early ones
AT_HAND = 500  # training requests for late tools


def is_late(tool: Tool) -> bool:
    return int(sha256(tool.id.encode()).hexdigest(), 16) % PART == 0


def without_late(dataset: Dataset) -> Dataset:
    late = {tool.id for tool in dataset.catalog if is_late(tool)}
    queries = {
        split: tuple(query for query in dataset.searches(split) if late.isdisjoint(query.tools))
        for split in dataset.queries
    }
    early = Catalog(tool for tool in dataset.catalog if tool.id not in late)
    return replace(dataset, catalog=early, queries=queries, tasks={}, trajectories={})


def spread(queries: Sequence[Query]) -> list[Query]:
    return list(queries[:: -(-len(queries) // LIMIT) or 1])


def steps_of(late: Sequence[Tool]) -> Iterator[tuple[int, Sequence[Tool]]]:
    """How many tools there are after each step, and those that it adds."""
    start = 0
    for size in (*(size for size in SIZES if size < len(late)), len(late)):
        yield size, late[start:size]
        start = size


def added(checkpoint: Checkpoint, late: Sequence[Tool]) -> tuple[Checkpoint, dict[int, float]]:
    """The checkpoint with all late tools, and processor seconds by how many there were."""
    seconds, total = {}, 0.0
    for size, tools in steps_of(late):
        started = time.process_time()
        checkpoint = checkpoint.with_tools(tools)
        total += time.process_time() - started
        seconds[size] = round(total, 1)
    return checkpoint, seconds


def by_rows(checkpoint: Checkpoint, states: Tensor) -> npt.NDArray[np.float64]:
    """The logit of every tool for requests whose hidden states these are; they do not depend on the rows."""
    found: npt.NDArray[np.float64] = (states.double() @ checkpoint.tool_rows.detach().double().T).numpy()
    return found


def by_documents(
    checkpoint: Checkpoint, texts: Sequence[str], encoder: Path | None
) -> dict[str, npt.NDArray[np.float64]]:
    """By what needs no training for new tools."""
    found = {}
    for name in ("bm25", "dense", *(["toolretriever"] if encoder else [])):
        found[name] = scored(make_sum([name], Resources(encoder=encoder)), checkpoint, texts)
    return found


def bm25_beside(checkpoint: Checkpoint, texts: Sequence[str], method: str = "generative") -> npt.NDArray[np.float64]:
    """BM25 as it counts in a sum with this checkpoint, or with another method."""
    return scored(make_sum(["bm25"], Resources(checkpoint=checkpoint), beside=[method]), checkpoint, texts)


def scored(logits: SumRetriever, checkpoint: Checkpoint, texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """The logit of every tool of the checkpoint for each text."""
    logits.index(checkpoint.catalog)
    return logits.score_all(texts)


def ranked(scores_N: npt.NDArray[np.float64], allowed_N: npt.NDArray[np.bool_], ids: Sequence[str]) -> list[str]:
    return [ids[place] for place in np.argsort(-np.where(allowed_N, scores_N, -np.inf), kind="stable")[:5]]


def judged(rankings: Sequence[Sequence[Sequence[str]]], queries: Sequence[Query]) -> dict[str, Any]:
    """Mean, low and high end of the 95% interval, in percent, of the mean over the rankings of each request."""
    found: dict[str, Any] = {}
    for name, metric, k in (("ndcg@1", ndcg, 1), ("recall@5", recall, 5)):
        pairs = zip(rankings, queries, strict=True)
        one = bootstrap([fmean(metric(tools, query.tools, k) for tools in some) for some, query in pairs])
        found[name] = [round(100 * value, 1) for value in (one.mean, one.low, one.high)]
    return found


def groups_of(late: Sequence[str], asked: int, size: int) -> list[list[str]]:
    """Late tools in groups of a size, the last as large; `asked` of them have requests, the others only fill up."""
    if size >= asked:
        return [list(late[:size])]
    return [list(late[max(min(start, asked - size), 0) :][:size]) for start in range(0, asked, size)]


class Curve:
    """Rankings by methods for late and early requests, by how many tools are added."""

    def __init__(self, catalog: Catalog, early: int, late: Sequence[str], asked: int) -> None:
        self.ids, self.late, self.asked = catalog.ids, dict.fromkeys(late), asked
        self.place = {tool: place for place, tool in enumerate(self.ids)}
        self.early_N = np.arange(len(self.ids)) < early

    def allowed(self, group: Sequence[str]) -> npt.NDArray[np.bool_]:
        allowed_N = self.early_N.copy()
        allowed_N[[self.place[tool] for tool in group]] = True
        return allowed_N

    def of_late(self, scores_QN: npt.NDArray[np.float64], queries: Sequence[Query], size: int) -> dict[str, Any]:
        groups = groups_of([*self.late], self.asked, size)
        masks = [self.allowed(group) for group in groups]
        rankings = []
        for scores_N, query in zip(scores_QN, queries, strict=True):
            own = [next(mask for mask in masks if mask[self.place[tool]]) for tool in query.tools if tool in self.late]
            rankings.append([ranked(scores_N, np.logical_or.reduce([self.early_N, *own]), self.ids)])
        return judged(rankings, queries)

    def of_early(self, scores_QN: npt.NDArray[np.float64], queries: Sequence[Query], size: int) -> dict[str, Any]:
        groups = groups_of([*self.late], self.asked, size) if size else [[]]
        masks = [self.allowed(group) for group in groups[:: -(-len(groups) // 20)]]
        rankings = [[ranked(scores_N, mask, self.ids) for mask in masks] for scores_N in scores_QN]
        return judged(rankings, queries)


def measured(given: argparse.Namespace) -> dict[str, Any]:
    dataset = load_dataset(given.dataset, verify=False)
    checkpoint = Checkpoint.load(given.checkpoint)
    early = len(checkpoint.catalog)
    late = [tool for tool in dataset.catalog if tool.id not in checkpoint.catalog]
    asked = len(late)
    if given.more:
        known = {*dataset.catalog.ids}
        others = [tool for tool in load_dataset(given.more, verify=False).catalog if tool.id not in known]
        late += others[:: max(len(others) // max(SIZES), 1)][: max(max(SIZES) - asked, 0)]
    late_ids = {tool.id for tool in late[:asked]}
    unseen = [query for split in ("dev", "test") for query in dataset.searches(split)]
    for_late = spread([query for query in unseen if not late_ids.isdisjoint(query.tools)])
    for_early = spread([query for query in unseen if late_ids.isdisjoint(query.tools)])
    checkpoint, seconds = added(checkpoint, late)
    curve = Curve(checkpoint.catalog, early, [tool.id for tool in late], asked)
    texts = [query.text for query in (*for_late, *for_early)]
    states = GenerativeRetriever(checkpoint).hidden_states(texts)
    scores = {"model": by_rows(checkpoint, states), **by_documents(checkpoint, texts, given.encoder)}
    scores["model + bm25"] = scores["model"] + bm25_beside(checkpoint, texts)
    for name in sorted(scores.keys() & {"dense", "toolretriever"}):
        scores[f"{name} + bm25"] = scores[name] + bm25_beside(checkpoint, texts, name)
    if given.learn:
        some = [Asked(q.text, q.tools) for q in dataset.searches("train") if not late_ids.isdisjoint(q.tools)]
        some = some[:: -(-len(some) // AT_HAND) or 1]
        states_of = GenerativeRetriever(checkpoint).hidden_states
        started = time.process_time()
        checkpoint = learn_requests(checkpoint, some, states_of, late_ids)
        seconds["learning"] = round(time.process_time() - started, 1)
        scores["model, learned"] = by_rows(checkpoint, states)
        scores["model, learned + bm25"] = scores["model, learned"] + bm25_beside(checkpoint, texts)
    sizes = sorted({size for size in (*SIZES, asked) if size <= len(late)})
    count = len(for_late)
    result: dict[str, Any] = {
        "early_tools": early,
        "late_tools": asked,
        "filling_tools": len(late) - asked,
        "requests": {"late": count, "early": len(for_early)},
        "processor_seconds": seconds,
        "late": {n: {size: curve.of_late(one[:count], for_late, size) for size in sizes} for n, one in scores.items()},
        "early": {
            n: {size: curve.of_early(one[count:], for_early, size) for size in (0, *sizes)} for n, one in scores.items()
        },
    }
    if given.full:
        full = Checkpoint.load(given.full)
        own_QN = by_rows(full, GenerativeRetriever(full).hidden_states([query.text for query in for_late]))
        every_N = np.ones(len(full.catalog), dtype=np.bool_)
        result["full"] = judged([[ranked(own_N, every_N, full.catalog.ids)] for own_N in own_QN], for_late)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    split = commands.add_parser("split")
    split.add_argument("dataset", type=Path)
    split.add_argument("--output", "-o", type=Path, required=True)
    measure = commands.add_parser("measure")
    measure.add_argument("checkpoint", type=Path)
    measure.add_argument("dataset", type=Path)
    measure.add_argument("--more", type=Path)
    measure.add_argument("--learn", action="store_true")
    measure.add_argument("--full", type=Path)
    measure.add_argument("--encoder", type=Path)
    measure.add_argument("--output", "-o", type=Path)
    given = parser.parse_args()
    if given.command == "split":
        save_dataset(without_late(load_dataset(given.dataset, verify=False)), given.output)
        return
    result = {"benchmark": "late-tools", "dataset": given.dataset.name, **measured(given), "hardware": hardware()}
    print(json.dumps(result))
    if given.output:
        write_json(given.output, result)


if __name__ == "__main__":
    main()
