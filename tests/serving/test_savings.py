"""Savings against counts by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolgen.catalog import Catalog, Tool
from toolgen.errors import InputError
from toolgen.serving.savings import savings

SHORT = Tool(id="a&&b", provider="a", name="b", description="Does it")
LONG = Tool(id="c&&d", provider="c", name="d", description="words " * 500)
CATALOG = Catalog([SHORT, LONG])
LISTED: list[dict[str, Any]] = [{"name": "search_tools", "description": None, "inputSchema": {}, "title": "not listed"}]


def letters(texts: Any) -> int:
    return sum(map(len, texts))


def log_of(folder: Path, *lines: Any) -> Path:
    path = folder / "calls.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_without_a_log_a_search_costs_five_mean_lines_and_a_mean_definition() -> None:
    found = savings(CATALOG, LISTED, letters)
    lines = [len("a&&b: Does it"), len("c&&d: ") + len(("words " * 500)[:239].rstrip()) + 1]
    both = {"inputSchema": dict(SHORT.parameters), "annotations": {"readOnlyHint": False}}
    definitions = [len(json.dumps({"name": tool.id, "description": tool.description, **both})) for tool in CATALOG]
    assert found.per_search == pytest.approx(5 * sum(lines) / 2 + sum(definitions) / 2)
    assert found.gateway_listed == len('{"name": "search_tools", "description": "", "input_schema": {}}')
    schema = {"input_schema": dict(SHORT.parameters)}
    listed = [len(json.dumps({"name": tool.id, "description": tool.description, **schema})) for tool in CATALOG]
    assert found.all_listed == sum(listed)
    assert not found.is_measured
    assert found.break_even == (sum(listed) - found.gateway_listed) // int(found.per_search + 0.5)


def test_a_log_says_what_searches_cost(tmp_path: Path) -> None:
    search = {"operation": "search", "tools": ["a&&b"]}
    call = {"operation": "call", "tools": ["gone&&away"], "status": "ok"}
    found = savings(CATALOG, LISTED, letters, log=log_of(tmp_path, search, search, call))
    assert found.per_search == len("a&&b: Does it")
    assert found.operations == {"search": 2, "call": 1}
    assert found.unknown == 1
    assert found.to_dict()["per_search_from"] == "log"
    assert any("1 lines name tools" in line for line in found.lines())


def test_where_listing_all_is_cheaper_nothing_is_even() -> None:
    found = savings(Catalog([SHORT]), [{"name": "x" * 1000, "inputSchema": {}}], letters)
    _, three, _, even = found.lines()
    assert found.break_even == 0 and even == "break-even: never, listing all is cheaper"
    assert three.endswith("% more)") and "-" not in three


@pytest.mark.parametrize("line", [5, {"operation": "search"}, {"tool": "a&&b", "status": "ok"}])
def test_another_file_is_no_log(tmp_path: Path, line: Any) -> None:
    with pytest.raises(InputError, match="no log"):
        savings(CATALOG, LISTED, letters, log=log_of(tmp_path, line))
