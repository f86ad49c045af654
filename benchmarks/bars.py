"""Results of the benchmarks as bars, each kind of result by the figures it is about.

    python benchmarks/bars.py benchmarks/results/RESULT.json ...

Writes RESULT.svg beside each RESULT.json; `training.py` does it by itself.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from toolgen.evaluation.charts import FAINT, PLAIN, STRONG, Bar, bar_page


def training(result: Mapping[str, Any]) -> Iterator[Bar]:
    """Each stage's variants."""
    colours = {"reference": FAINT, "full": PLAIN, "default": STRONG}
    for stage, found in result["stages"].items():
        for name, colour in colours.items():
            yield Bar(f"{stage}, {name}", found["tokens_per_second"][name], colour)


def search(result: Mapping[str, Any]) -> Iterator[Bar]:
    """One search by each way."""
    for name, milliseconds in result["milliseconds"].items():
        yield Bar(name, milliseconds, STRONG if name in ("search", "half") else FAINT)


def vocabulary(result: Mapping[str, Any]) -> Iterator[Bar]:
    """What is waited for with a large catalog."""
    for source in ("by_name", "by_documentation"):
        yield Bar(f"virtualized {source.replace('_', ' ')}", result[source]["virtualize_seconds"])
    yield Bar("saved", result["by_documentation"]["save_seconds"])
    yield Bar("opened", result["search"]["open_seconds"])
    for stage in ("memorization", "retrieval"):
        yield Bar(f"until {stage} begins", result[stage]["seconds_to_first_step"])


def processes(result: Mapping[str, Any]) -> Iterator[Bar]:
    """One process and several."""
    names = {
        "one": "one, 2 threads",
        "replicated": "two, DDP",
        "shard_rows": "two, shard_rows",
        "shard_trunk": "two, shard_trunk",
    }
    for name, label in names.items():
        yield Bar(label, result[name]["tokens_per_second"])


KINDS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], Iterator[Bar]]]] = {
    "training": ("Training, tokens a second", training),
    "search": ("One search among {tools:,} tools, milliseconds", search),
    "vocabulary": ("A large catalog, seconds", vocabulary),
    "processes": ("Several processes, tokens a second", processes),
}


def chart(result: Mapping[str, Any]) -> str:
    """The chart of a result as SVG, with the machine in its last line. KeyError for a kind that has none."""
    title, rows = KINDS[result["benchmark"]]
    hardware = result.get("hardware") or result["origin"]["hardware"]
    cores = f"{hardware['cores']} core{'s' if hardware['cores'] > 1 else ''}"
    machine = f"{hardware['processor']}, {cores}, {hardware['memory_gib']} GiB, {hardware['system']}"
    return str(bar_page(title.format_map(result), [*rows(result)], note=machine))


def main() -> None:
    for place in map(Path, sys.argv[1:]):
        place.with_suffix(".svg").write_text(chart(json.loads(place.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
