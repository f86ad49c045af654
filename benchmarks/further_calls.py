"""Whether a further call follows, told by the words that calls leave of a request (`toolgen.agent.said.further_ask`).

    python benchmarks/further_calls.py CORPUS/* bfcl seal-tools [--split train] [-o RESULT.json]

Every request of the split with its calls, in their order, gives a place behind each of them: another call follows, or none; and
where there are several calls one where the last was made first. Printed for each dataset: how many places of each kind, and at
what share of them the rule goes on. No model is read.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from toolgen.agent.said import further_ask
from toolgen.datasets import Dataset, load_dataset
from toolgen.files import write_json


def places(dataset: Dataset, split: str) -> Iterator[tuple[str, bool]]:
    """The kind of each place, and whether the rule goes on there; each text once."""
    calls = {query.text: [call.arguments for call in query.calls or ()] for query in dataset.queries.get(split, ())}
    for text, made in calls.items():
        for number in range(1, len(made) + 1):
            kind = "another follows" if number < len(made) else "none follows"
            yield kind, bool(further_ask(text, made[:number]))
        if len(made) > 1:
            yield "the last made first", bool(further_ask(text, made[-1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--split", default="train")
    parser.add_argument("--output", "-o", type=Path)
    options = parser.parse_args()
    found: dict[str, dict[str, dict[str, float]]] = {}
    for folder in options.datasets:
        kinds = defaultdict(list)
        for kind, goes_on in places(load_dataset(folder, verify=False), options.split):
            kinds[kind].append(goes_on)
        found[folder.name] = {
            kind: {"places": len(seen), "goes_on": round(sum(seen) / len(seen), 3)} for kind, seen in kinds.items()
        }
    print(json.dumps(found, indent=1))
    if options.output:
        write_json(options.output, found)


if __name__ == "__main__":
    main()
