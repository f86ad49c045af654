"""What decoding the arguments of several requests together gains.

    python benchmarks/decoding.py CKPT DATASET [--split test] [--queries 16] [--rounds 3] [-o RESULT.json]

Each request is followed by its right tool and that tool's documentation; then its arguments are written greedily under the
tool's grammar, as by the agent: one request after another, then 4 and 8 together. `seconds` is the least of some rounds, sizes
in turns, for all requests, prompts included; `tokens_per_second` counts what was written. `other_texts` counts arguments that
came out otherwise than one after another, where two tokens are equal up to rounding.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from toolgen.checkpoint import Checkpoint
from toolgen.datasets import Query, load_dataset
from toolgen.decoding import Arguments, Forward, ToolDecoder
from toolgen.evaluation.provenance import hardware
from toolgen.files import write_json
from toolgen.inference.batching import run_together

TOGETHER = (1, 4, 8)


def write(decoder: ToolDecoder, query: Query, forward: Forward | None = None) -> Arguments:
    """The arguments of the request's first tool."""
    session = decoder.session(forward=forward)
    session.sync(decoder.checkpoint.protocol.prompt([{"role": "user", "content": query.text}]))
    decoder.begin_call(session, query.tools[0])
    return decoder.arguments(session, query.tools[0])


def write_all(decoder: ToolDecoder, queries: Sequence[Query], together: int) -> list[Arguments]:
    """The arguments of all requests."""
    if together == 1:
        return [write(decoder, query) for query in queries]
    return run_together(decoder.checkpoint.model, [partial(write, decoder, query) for query in queries], together)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--queries", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", "-o", type=Path)
    options = parser.parse_args()

    decoder = ToolDecoder(Checkpoint.load(options.checkpoint))
    queries = load_dataset(options.dataset).searches(options.split)[: options.queries]
    # Also compiles the grammars.
    written = {size: write_all(decoder, queries, size) for size in TOGETHER}
    seconds = dict.fromkeys(TOGETHER, float("inf"))
    for _ in range(options.rounds):
        for size in TOGETHER:
            started = time.perf_counter()
            write_all(decoder, queries, size)
            seconds[size] = min(seconds[size], time.perf_counter() - started)
    texts = {size: [arguments.text for arguments in found] for size, found in written.items()}
    tokens = {size: sum(arguments.tokens for arguments in found) for size, found in written.items()}
    result = {
        "benchmark": "decoding",
        "requests": len(queries),
        "tokens_written": tokens[1],
        "seconds": {str(size): round(taken, 2) for size, taken in seconds.items()},
        "tokens_per_second": {str(size): round(tokens[size] / taken, 1) for size, taken in seconds.items()},
        "other_texts": {
            str(size): sum(a != b for a, b in zip(texts[size], texts[1], strict=True)) for size in TOGETHER[1:]
        },
        "threads": torch.get_num_threads(),
        "hardware": hardware(),
    }
    print(json.dumps(result, indent=2))
    if options.output:
        write_json(options.output, result)


if __name__ == "__main__":
    main()
