"""What grows with a catalog, and what breaks first: synthetic catalogs of a thousand to a million tools.

    python benchmarks/scale.py [--tools 1000 10000 100000 1000000] [--steps catalog open ...] [--clock cpu] [-o RESULT.json]

Tools are synthetic: a service has 50 operations, named and described with a few dozen words and numbers, with three
parameters each. They say nothing of how well anything is found. The trunk has one layer, since its cost does not grow with
the catalog; rows are as wide as those of a 135M base (576), and the tokenizer is the base's. Each step is a process of its
own, so that its peak memory is its own. Times are processor seconds of one core; with `--clock wall` seconds, in which a card
does what it was given. A RESULT that is there is added to: all steps but `product` and `loss` read what `catalog` wrote, and
`search` what `rows` did.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from toolgen.catalog import Catalog, Tool
from toolgen.evaluation.provenance import hardware
from toolgen.files import write_json

VERBS = ["get", "list", "create", "update", "delete", "send", "find", "book", "cancel", "approve", "archive", "export"]
NOUNS = [
    "invoice",
    "order",
    "customer",
    "report",
    "weather",
    "flight",
    "hotel",
    "payment",
    "account",
    "message",
    "ticket",
    "file",
    "user",
    "team",
    "event",
]
OTHERS = [
    "daily",
    "recent",
    "open",
    "large",
    "public",
    "regional",
    "monthly",
    "failed",
    "pending",
    "primary",
    "shared",
    "external",
]
OPERATIONS, WIDTH, SEARCHES = 50, 576, 12
Figures = dict[str, Any]


def synthetic(count: int) -> Iterator[Tool]:
    """The same tools each time; a larger catalog begins with the tools of a smaller one."""
    for number in range(count):
        random = Random(number)
        verb, noun, other = random.choice(VERBS), random.choice(NOUNS), random.choice(OTHERS)
        service = f"service {number // OPERATIONS}"
        fields = random.sample(NOUNS, 3)
        yield Tool(
            id=f"{service}&&{verb}_{other}_{noun}_{number % OPERATIONS}",
            provider=service,
            name=f"{verb}_{other}_{noun}_{number % OPERATIONS}",
            description=f"{verb.title()} the {other} {noun} of {service}, by its {fields[0]} and {fields[1]}.",
            parameters={
                "type": "object",
                "properties": {f"{field}_id": {"type": "string", "description": f"Which {field}."} for field in fields},
                "required": [f"{fields[0]}_id"],
            },
        )


clock: Callable[[], float] = time.process_time


class Times(dict[str, float]):
    """Seconds of the clock by name."""

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Around what is measured."""
        started = clock()
        yield
        self[name] = round(clock() - started, 4)


def catalog_step(count: int, work: Path) -> Figures:
    """Making tools, writing and reading their file."""
    times = Times()
    with times.of("make"):
        made = Catalog(synthetic(count))
    with times.of("save"):
        made.save(work / "catalog.jsonl")
    content_hash = made.content_hash
    (work / "hash").write_text(content_hash)
    return {**times, "megabytes": _megabytes(work / "catalog.jsonl")}


def opened(work: Path) -> Catalog:
    return Catalog.open(work / "catalog.jsonl", (work / "hash").read_text())


def open_step(_count: int, work: Path) -> Figures:
    """Opening a sound file, and reading all of it."""
    times = Times()
    with times.of("open"):
        catalog = opened(work)
    with times.of("get"):
        catalog.get(catalog.ids[-1])
    peak = _peak()
    with times.of("read_all"):
        for tool in catalog:
            assert tool.id
    return {**times, "opened_gib": peak}


def bm25_step(_count: int, work: Path) -> Figures:
    """Counting the words of all documents, and searches."""
    from toolgen.retrieval.bm25 import BM25Retriever

    times, catalog, retriever = Times(), opened(work), BM25Retriever()
    with times.of("index"):
        retriever.index(catalog)
    return {**times, "search": _search(retriever.search)}


def tokens_step(_count: int, work: Path) -> Figures:
    """A token a tool in the base's tokenizer."""
    from toolgen.fetching import resolve_base
    from toolgen.fetching.opening import open_tokenizer
    from toolgen.virtualization import TextEncoder, add_tool_tokens
    from toolgen.virtualization.indexing import atomic

    times, catalog, tokenizer = Times(), opened(work), open_tokenizer(resolve_base("smollm2-135m-instruct"))
    with times.of("name"):
        spelling = atomic(catalog)
    with times.of("add"):  # and prove that each round-trips
        vocabulary = add_tool_tokens(tokenizer, catalog, spelling)
    with times.of("text_encoder"):
        encoder = TextEncoder(tokenizer)
    with times.of("save"):
        tokenizer.save_pretrained(work / "tokenizer")
    with times.of("open"):
        open_tokenizer(work / "tokenizer")
    with times.of("record"):
        write_json(work / "vocabulary.json", vocabulary.to_dict())
    with times.of("encode"):
        encoder.encode_each(["Send the pending invoice of service 12 by its account."])
    return {**times, "megabytes": _megabytes(work / "tokenizer" / "tokenizer.json")}


def rows_step(_count: int, work: Path) -> Figures:
    """A checkpoint of one layer: rows from documentation, its folder."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    from toolgen.checkpoint import Checkpoint
    from toolgen.fetching import resolve_base
    from toolgen.fetching.opening import open_tokenizer

    times, tokenizer = Times(), open_tokenizer(resolve_base("smollm2-135m-instruct"))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=1536,
        num_hidden_layers=1,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    catalog = opened(work)
    with times.of("virtualize"):
        made = Checkpoint.from_model(model, tokenizer, catalog, base="one layer")
    with times.of("save"):
        made.save(work / "checkpoint")
    return {**times, "megabytes": sum(map(_megabytes, (work / "checkpoint").iterdir()))}


def search_step(_count: int, work: Path) -> Figures:
    """Opening the checkpoint and searching it."""
    from toolgen.checkpoint import Checkpoint
    from toolgen.retrieval.generative import GenerativeRetriever

    times = Times()
    with times.of("open"):
        checkpoint = Checkpoint.load(work / "checkpoint")
    retriever = GenerativeRetriever(checkpoint)
    with times.of("first_search"):
        retriever.search(["Send the pending invoice"], 10)
    return {**times, "search": _search(retriever.search)}


def product_step(count: int, _work: Path) -> Figures:
    """The exact ten best of all rows for one state, and the same from four slices, as four processes would hold them."""
    import torch

    from toolgen.checkpoint.checkpoint import device_of
    from toolgen.retrieval.protocol import top_ranking

    rows, ids = torch.rand(count, WIDTH, device=device_of()), tuple(map(str, range(count)))
    slices = [range(count)[start : start + -(-count // 4)] for start in range(0, count, -(-count // 4))]
    times: dict[str, list[float]] = {"product": [], "rank": [], "slice": []}

    def best(of: range) -> list[tuple[float, str]]:
        started = clock()
        scores = (rows[of.start : of.stop] @ state).cpu().numpy()
        made = clock()
        found = top_ranking(ids[of.start : of.stop], scores, 10)
        ended = clock()
        if len(of) == count:
            times["product"].append(made - started)
            times["rank"].append(ended - made)
        else:
            times["slice"].append(ended - started)
        return [*zip(found.scores, found.tools, strict=True)]

    for _ in range(SEARCHES):
        state = torch.rand(WIDTH, device=rows.device)
        whole = best(range(count))
        merged = sorted((pair for part in slices for pair in best(part)), key=lambda pair: -pair[0])[:10]
        assert {tool for _, tool in merged} == {tool for _, tool in whole}
    return {name: round(median(found[2:]), 5) for name, found in times.items()}


def loss_step(count: int, _work: Path) -> Figures:
    """Loss and gradient of 64 positions over the rows of base and tools, and an optimizer step of the rows.

    Logits are normal with a deviation of 3: a model's are within some tens of each other. Were they hundreds apart, many
    probabilities would be denormal numbers, and the loss of 100,000 tools twenty times slower (Emerald Rapids).
    """
    import torch

    from toolgen.checkpoint.checkpoint import device_of
    from toolgen.training.softmax import Block, set_cross_entropy

    torch.set_default_device(device_of())
    times, base = Times(), 49_152
    rows = torch.nn.Parameter(torch.randn(count, WIDTH) * 3 / WIDTH**0.5)
    targets = torch.randint(base, base + count, (64, 1))
    optimizer = torch.optim.AdamW([rows], fused=True)
    old = torch.randn(base, WIDTH) * 3 / WIDTH**0.5
    for name in ("first_loss", "loss"):
        hidden = torch.randn(64, WIDTH, requires_grad=True)
        with times.of(name):
            loss = set_cross_entropy(
                hidden, Block(0, old), Block(base, rows), targets, torch.ones(64, 1), torch.zeros(64, dtype=torch.bool)
            )
            loss.backward()  # type: ignore[no-untyped-call]
        with times.of(name.replace("loss", "update")):
            optimizer.step()
            optimizer.zero_grad()
    return dict(times)


STEPS: dict[str, Callable[[int, Path], Figures]] = {
    "catalog": catalog_step,
    "open": open_step,
    "bm25": bm25_step,
    "tokens": tokens_step,
    "rows": rows_step,
    "search": search_step,
    "product": product_step,
    "loss": loss_step,
}


def _search(search: Callable[[list[str], int], Any]) -> float:
    """Median seconds of a search."""
    times = []
    for number in range(SEARCHES):
        query = f"{VERBS[number % len(VERBS)]} the {OTHERS[number % len(OTHERS)]} {NOUNS[number]} of service {number}"
        started = clock()
        search([query], 10)
        times.append(clock() - started)
    return round(median(times[2:]), 4)


def _megabytes(path: Path) -> float:
    return round(path.stat().st_size / 1e6, 2)


def _peak() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20), 3)


def measured(count: int, step: str, work: Path, clock_name: str) -> Figures:
    """A step in a process of its own."""
    command = [sys.executable, __file__, "--clock", clock_name, "--one", step, str(count), str(work)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    answer: Figures = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    global clock
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--clock", choices=["cpu", "wall"], default="cpu", help="wall: for a card")
    parser.add_argument("--output", "-o", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        if options.clock == "wall":
            from stage_runs import wall

            clock = wall
        step, count, work = options.one
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        found = STEPS[step](int(count), Path(work))
        print(json.dumps({**found, "peak_gib": _peak()}))
        return
    result: Figures = {"benchmark": "scale", "width": WIDTH, "sizes": {}, "hardware": hardware()}
    if options.output and options.output.exists():
        result = json.loads(options.output.read_text(encoding="utf-8"))
    for count in options.tools:
        with tempfile.TemporaryDirectory() as work:
            for step in options.steps:
                found = measured(count, step, Path(work), options.clock)
                print(count, step, found, flush=True)
                result["sizes"].setdefault(str(count), {})[step] = found
                if options.output:
                    write_json(options.output, result)


if __name__ == "__main__":
    main()
