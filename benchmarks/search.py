"""Time of one search: the bare forward pass, toolgen's search, and the beam search of the original.

    python benchmarks/search.py CKPT DATASET [--split test] [--queries 40] [--rounds 3] [-o RESULT.json]

Each request is timed alone, the variants in turns, in one process:

    bare     the trunk's forward pass over the prompt: no head, no ranking
    search   `GenerativeRetriever.search`: prompt, forward pass, product with the tool rows, exact top 10
    half     the same with weights in fp16 (`inference/weights.py`)
    int8     the same with weights in 8 bits; rankings can differ
    beam     five beams of `generate`, constrained by a Python trie to a tool token and the end of the turn, as the
             original (arXiv 2410.03439) searches

`same_first`, `same_five` and `same_ten` say of how many requests the variant's best tool, the set of its five best, and its
best ten in order, are those of `search`; `ndcg_at_1` and `recall_at_5` are measured on the same requests. `batched` is the time
of a request when all are searched at once, by how many tokens one pass may take. In a dataset without requests,
descriptions of tools stand for them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from toolgen.checkpoint import Checkpoint
from toolgen.datasets import Dataset, Query, load_dataset
from toolgen.evaluation.provenance import hardware
from toolgen.files import write_json
from toolgen.inference.engine import Engine
from toolgen.inference.weights import Weights
from toolgen.retrieval.generative import GenerativeRetriever

BEAMS = 5
BATCH_TOKENS = (256, 512, 1024, 2048)
Search = Callable[[str], Sequence[str]]


def beam_search(checkpoint: Checkpoint) -> Search:
    """`generate` with a trie in Python: after the prompt any tool token, after a tool token the end of the turn."""
    vocabulary, protocol = checkpoint.vocabulary, checkpoint.protocol
    end = checkpoint.tokenizer.eos_token_id
    trie = {token: {end: {}} for token in vocabulary.tool_token_ids}

    def search(text: str) -> Sequence[str]:
        prompt = protocol.prompt([{"role": "user", "content": text}])

        def allowed(_beam: int, ids: torch.Tensor) -> list[int]:
            node = trie
            for token in ids[len(prompt) :].tolist():
                node = node.get(token, {})
            return list(node) or [end]

        found = checkpoint.model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            num_beams=BEAMS,
            num_return_sequences=BEAMS,
            max_new_tokens=2,
            do_sample=False,
            prefix_allowed_tokens_fn=allowed,
            pad_token_id=end,
            eos_token_id=end,
        )
        return [vocabulary.tool_ids[int(row[len(prompt)]) - vocabulary.tool_token_ids.start] for row in found]

    return search


def made_with(checkpoint: Checkpoint, weights: Weights, tokens: int = 1024) -> GenerativeRetriever:
    """A retriever whose passes are made with these weights and take so many tokens at most."""
    engine = Engine(checkpoint.model, weights=weights, pass_tokens=tokens, prefix_mebibytes=0)
    return GenerativeRetriever(checkpoint, engine=engine)


def quality(found: Sequence[Sequence[str]], queries: Sequence[Query]) -> dict[str, float]:
    """Share of the requests whose first tool is relevant, and of relevant tools among the first five, in percent."""
    first = [ranking[0] in query.tools for ranking, query in zip(found, queries, strict=True)]
    five = [
        len(set(ranking[:5]) & set(query.tools)) / len(query.tools)
        for ranking, query in zip(found, queries, strict=True)
    ]
    return {"ndcg_at_1": round(100 * statistics.mean(first), 1), "recall_at_5": round(100 * statistics.mean(five), 1)}


def requests(dataset: Dataset, split: str, count: int) -> list[Query]:
    """The first requests of a split that some tool answers; of a dataset without any, evenly chosen descriptions."""
    found = [query for query in dataset.queries[split] if query.tools][:count]
    if found:
        return found
    tools = [tool for tool in dataset.catalog[:: len(dataset.catalog) // (2 * count)] if tool.description][:count]
    return [Query(id=tool.id, text=tool.description[:200], tools=(tool.id,)) for tool in tools]


def batched(checkpoint: Checkpoint, texts: Sequence[str], rounds: int) -> dict[str, Any]:
    """Milliseconds a request, by weights and tokens in a pass; the least of some rounds, in turns."""
    kinds: tuple[Weights, ...] = ("full", "half", "int8")
    least: dict[str, dict[str, float]] = {name: {} for name in kinds}
    for _ in range(rounds):
        for tokens in BATCH_TOKENS:
            for name in kinds:
                retriever = made_with(checkpoint, name, tokens)
                retriever.search(texts[:1], 10)
                started = time.perf_counter()
                retriever.search(texts, 10)
                taken = round(1000 * (time.perf_counter() - started) / len(texts), 2)
                least[name][str(tokens)] = min(taken, least[name].get(str(tokens), taken))
    return least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", "-o", type=Path)
    options = parser.parse_args()

    checkpoint = Checkpoint.load(options.checkpoint)
    queries = requests(load_dataset(options.dataset), options.split, options.queries)
    retriever, half, quantized = (
        made_with(checkpoint, "full"),
        made_with(checkpoint, "half"),
        made_with(checkpoint, "int8"),
    )
    trunk, protocol = checkpoint.model.base_model, checkpoint.protocol

    def bare(text: str) -> Sequence[str]:
        with torch.inference_mode():
            trunk(input_ids=torch.tensor([protocol.prompt([{"role": "user", "content": text}])]), use_cache=False)
        return ()

    variants: dict[str, Search] = {
        "bare": bare,
        "search": lambda text: retriever.search([text], 10)[0].tools,
        "half": lambda text: half.search([text], 10)[0].tools,
        "int8": lambda text: quantized.search([text], 10)[0].tools,
        "beam": beam_search(checkpoint),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    found: dict[str, list[Sequence[str]]] = {name: [] for name in variants}
    for number in range(options.rounds + 1):  # the first round warms up and keeps the rankings
        for query in queries:
            for name, search in variants.items():
                started = time.perf_counter()
                ranking = search(query.text)
                if number:
                    times[name].append(1000 * (time.perf_counter() - started))
                else:
                    found[name].append(ranking)
    median = {name: statistics.median(values) for name, values in times.items()}
    ranked = {name: rankings for name, rankings in found.items() if name != "bare"}
    result = {
        "benchmark": "search",
        "tools": len(checkpoint.catalog),
        "queries": len(queries),
        "prompt_tokens": statistics.median(
            len(protocol.prompt([{"role": "user", "content": q.text}])) for q in queries
        ),
        "milliseconds": {name: round(value, 2) for name, value in median.items()},
        "batched": batched(checkpoint, [query.text for query in queries], options.rounds),
        "search_over_bare": round(median["search"] / median["bare"], 3),
        "search_over": {name: round(median["search"] / median[name], 2) for name in ("half", "int8")},
        "beam_over": {name: round(median["beam"] / median[name], 2) for name in ("search", "half", "int8")},
        "quality": {name: quality(rankings, queries) for name, rankings in ranked.items()},
        "same_first": {
            name: sum(a[0] == b[0] for a, b in zip(rankings, found["search"], strict=True))
            for name, rankings in ranked.items()
        },
        "same_five": {
            name: sum(set(a[:5]) == set(b[:5]) for a, b in zip(rankings, found["search"], strict=True))
            for name, rankings in ranked.items()
        },
        "same_ten": {
            name: sum(list(a) == list(b) for a, b in zip(rankings, found["search"], strict=True))
            for name, rankings in ranked.items()
            if name != "beam"
        },
        "threads": torch.get_num_threads(),
        "hardware": hardware(),
    }
    print(json.dumps(result, indent=2))
    if options.output:
        write_json(options.output, result)


if __name__ == "__main__":
    main()
