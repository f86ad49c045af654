"""`benchmarks/generated_calls.py`: what a random model writes, counted, and resumed where it was stopped."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from toolgen.datasets import save_dataset
from toolgen.testing import tiny_base, tiny_dataset

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def generate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import generated_calls  # type: ignore[import-not-found]

    dataset, base = tmp_path / "tools", tmp_path / "base"
    save_dataset(tiny_dataset(), dataset)
    tiny_base(base)

    def run(name: str, count: int, *options: str) -> Any:
        output = tmp_path / name
        monkeypatch.setattr(
            sys, "argv", ["", str(dataset), "--base", str(base), "-n", str(count), *options, "-o", str(output)]
        )
        generated_calls.main()
        return json.loads(output.read_text(encoding="utf-8"))["all"]

    return run


def test_values_that_are_ended_now_and_then_are_seldom_cut_and_still_valid(generate: Any) -> None:
    few = ("--tokens", "48")
    closed = generate("closed.json", 12, "--closing", "0.6", *few)
    left = generate("left.json", 12, *few)

    assert closed["calls"] == closed["valid"] == 12
    assert closed["cut"] < left["cut"]
    assert closed["left the grammar without the constraint"] > 0


def test_a_run_goes_on_where_it_was_stopped(generate: Any, tmp_path: Path) -> None:
    generate("calls.json", 3, "--closing", "0.6")
    first = (tmp_path / "calls.jsonl").read_text(encoding="utf-8")

    assert generate("calls.json", 6, "--closing", "0.6")["calls"] == 6
    assert (tmp_path / "calls.jsonl").read_text(encoding="utf-8").startswith(first)
