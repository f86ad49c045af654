"""What decoding the arguments of several requests together would gain: `generate` at several batch sizes.

    python benchmarks/decoding.py CKPT DATASET [--split test] [--queries 16] [--tokens 32] [--rounds 3] [-o RESULT.json]

Each request is followed by its right tool and that tool's documentation, as where the agent writes arguments; then `generate`
writes `tokens` tokens greedily, without a grammar. Prompts of like length go together, padded on the left. `seconds` is the
least of some rounds, batch sizes in turns, for all requests; the grammar's share and the gathering of requests would come on
top.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from toolgen.checkpoint import Checkpoint
from toolgen.datasets import load_dataset
from toolgen.evaluation.provenance import hardware
from toolgen.evaluation.results import write_json

BATCHES = (1, 4, 8)


def prompts(checkpoint: Checkpoint, dataset: Path, split: str, count: int) -> list[list[int]]:
    """Token ids up to where the arguments begin, shortest first."""
    protocol = checkpoint.protocol
    queries = [query for query in load_dataset(dataset).queries[split] if query.tools and not query.is_multi_turn]
    found = [
        [
            *protocol.prompt([{"role": "user", "content": query.text}]),
            checkpoint.vocabulary.token_id(query.tools[0]),
            *protocol.after_tool(query.tools[0]),
        ]
        for query in queries[:count]
    ]
    return sorted(found, key=len)


def write(checkpoint: Checkpoint, batch: Sequence[Sequence[int]], tokens: int) -> None:
    """Decodes that many tokens for each prompt."""
    longest = max(map(len, batch))
    missing = [longest - len(prompt) for prompt in batch]
    checkpoint.model.generate(
        torch.tensor([[0] * gap + list(prompt) for gap, prompt in zip(missing, batch, strict=True)]),
        attention_mask=torch.tensor([[0] * gap + [1] * (longest - gap) for gap in missing]),
        min_new_tokens=tokens,
        max_new_tokens=tokens,
        do_sample=False,
        pad_token_id=0,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--queries", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", "-o", type=Path)
    options = parser.parse_args()

    checkpoint = Checkpoint.load(options.checkpoint)
    ids = prompts(checkpoint, options.dataset, options.split, options.queries)
    write(checkpoint, ids[:1], 2)
    seconds = dict.fromkeys(BATCHES, float("inf"))
    for _ in range(options.rounds):
        for size in BATCHES:
            started = time.perf_counter()
            for start in range(0, len(ids), size):
                write(checkpoint, ids[start : start + size], options.tokens)
            seconds[size] = min(seconds[size], time.perf_counter() - started)
    result = {
        "benchmark": "decoding",
        "requests": len(ids),
        "prompt_tokens_median": len(ids[len(ids) // 2]),
        "tokens_written": options.tokens,
        "seconds": {str(size): round(taken, 2) for size, taken in seconds.items()},
        "tokens_per_second": {
            str(size): round(len(ids) * options.tokens / taken, 1) for size, taken in seconds.items()
        },
        "threads": torch.get_num_threads(),
        "hardware": hardware(),
    }
    print(json.dumps(result, indent=2))
    if options.output:
        write_json(options.output, result)


if __name__ == "__main__":
    main()
