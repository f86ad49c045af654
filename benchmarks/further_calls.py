"""Whether a further call follows, told by the words that calls leave of a request (`toolgen.agent.said.asks_for_more`).

    python benchmarks/further_calls.py CORPUS/* bfcl seal-tools [--split train] [-o RESULT.json]

Every training request with its calls, in their order, gives a place behind each of them: another call follows, or none. Printed
for each dataset: how many places of both kinds, and at what share of them the rule goes on. No model is read.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from toolgen.agent.said import asks_for_more
from toolgen.datasets import Dataset, load_dataset
from toolgen.files import write_json


def places(dataset: Dataset, split: str) -> Iterator[tuple[bool, bool]]:
    """Whether another call follows, and whether the rule says so; each text once."""
    calls = {query.text: query.calls for query in dataset.queries.get(split, ())}
    for text, made in calls.items():
        for number in range(1, len(made or ()) + 1):
            said = asks_for_more(text, [call.arguments for call in made[:number]])
            yield number < len(made), said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--split", default="train")
    parser.add_argument("--output", "-o", type=Path)
    options = parser.parse_args()
    found = {}
    for folder in options.datasets:
        pairs = [*places(load_dataset(folder, verify=False), options.split)]
        both = {follows: [said for one, said in pairs if one == follows] for follows in (True, False)}
        if pairs:
            found[folder.name] = {
                name: {"places": len(said), "goes_on": round(sum(said) / len(said), 3) if said else None}
                for name, said in (("another_follows", both[True]), ("none_follows", both[False]))
            }
    print(json.dumps(found, indent=1))
    if options.output:
        write_json(options.output, found)


if __name__ == "__main__":
    main()
