"""Catalog and Tool: order, identity by content, one clear error for what is broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolgen.catalog import Catalog, Tool
from toolgen.catalog.catalog import _ToolLines
from toolgen.catalog.tool import Definition
from toolgen.errors import CatalogError


def _tool(name: str, **fields: object) -> Tool:
    return Tool(**{"id": f"p&&{name}", "provider": "p", "name": name, **fields})  # type: ignore[arg-type]


def test_a_catalog_keeps_the_order_and_finds_tools_by_id_and_position() -> None:
    catalog = Catalog([_tool("b"), _tool("a")])
    assert catalog.ids == ("p&&b", "p&&a")
    assert catalog.get("p&&a") is catalog[1]
    assert catalog.position("p&&a") == 1
    assert "p&&a" in catalog and "a" not in catalog


def test_a_repeated_id_is_an_error_that_names_it() -> None:
    with pytest.raises(CatalogError, match="p&&a"):
        Catalog([_tool("a"), _tool("a", description="another")])


def test_an_unknown_id_is_an_error_that_names_it() -> None:
    with pytest.raises(CatalogError, match="nope"):
        Catalog([_tool("a")]).get("nope")


@pytest.mark.parametrize(
    ("endpoint", "origin"),
    [
        (None, ""),
        ({"kind": "http", "server": "https://a.example/v1", "path": "/x"}, "https://a.example/v1"),
        ({"kind": "http", "server": "/v1", "path": "/x"}, ""),
        ({"kind": "mcp", "server": "p", "tool": "a", "url": "https://a.example/mcp"}, "https://a.example/mcp"),
        (
            {"kind": "mcp", "server": "p", "command": ["python", "my server.py"], "cwd": "/a"},
            "python 'my server.py' in /a",
        ),
        ({"kind": "python", "file": "/a/tools.py", "function": "a"}, "/a/tools.py"),
        ({"kind": "python", "module": "os.path", "function": "a"}, "os.path"),
        ({"kind": "simulated", "environment": "bfcl", "class": "C"}, ""),
    ],
)
def test_a_tool_says_where_its_calls_go(endpoint: dict[str, object] | None, origin: str) -> None:
    assert _tool("a", endpoint=endpoint).origin == origin


def test_a_catalog_with_other_definitions_keeps_everything_else(tmp_path: Path) -> None:
    catalog = Catalog([_tool("a", category="c"), _tool("b"), _tool("d")])
    catalog.save(tmp_path / "catalog.jsonl")
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    for one in (catalog, Catalog.open(tmp_path / "catalog.jsonl", catalog.content_hash)):
        other = one.redefined([Definition(tool="p&&a", description="New.", parameters=schema)])
        assert other == Catalog([_tool("a", category="c", description="New.", parameters=schema), *catalog[1:]])
        assert other[-3:] == tuple(other) and other[-3] == other.get("p&&a") and other.content_hash != one.content_hash
        assert one.redefined([]) is one and one.get("p&&a").description == ""


def test_an_edited_catalog_neither_reads_nor_copies_the_tools_that_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = [_tool(str(number)) for number in range(50)]
    Catalog(tools).save(tmp_path / "catalog.jsonl")
    edited, read = Catalog.open(tmp_path / "catalog.jsonl"), []
    parse = _ToolLines._parse

    def noted(lines: _ToolLines, line: bytes, place: int) -> Tool:
        read.append(place)
        return parse(lines, line, place)

    monkeypatch.setattr(_ToolLines, "_parse", noted)
    for number in range(1500):  # more often than Python calls itself
        new = _tool(f"new {number}")
        changed = _tool(str(number % 50), description=f"for the {number}th time")
        edited = edited.extended([new]).replaced([changed])
        tools = [*tools, new]
        tools[number % 50] = changed
    assert read == []
    assert edited == Catalog(tools)


def test_the_content_hash_depends_on_what_a_model_sees_and_not_on_the_source() -> None:
    assert _tool("a", source={"file": "x"}).content_hash == _tool("a").content_hash
    assert _tool("a", description="d").content_hash != _tool("a").content_hash
    assert Catalog([_tool("a"), _tool("b")]).content_hash != Catalog([_tool("b"), _tool("a")]).content_hash


def test_diff_lists_what_was_added_removed_and_changed() -> None:
    old = Catalog([_tool("kept"), _tool("changed"), _tool("removed")])
    new = Catalog([_tool("added"), _tool("kept"), _tool("changed", description="new")])
    diff = old.diff(new)
    assert (diff.added, diff.removed, diff.changed) == (("p&&added",), ("p&&removed",), ("p&&changed",))
    assert not old.diff(old)


def test_a_catalog_survives_its_file(tmp_path: Path) -> None:
    catalog = Catalog([_tool("eins", description="über 工具"), _tool("zwei", endpoint={"kind": "python"})])
    catalog.save(tmp_path / "catalog.jsonl")
    assert Catalog.load(tmp_path / "catalog.jsonl") == catalog


def test_an_opened_catalog_equals_the_loaded_one_and_tells_a_broken_line_when_it_is_needed(tmp_path: Path) -> None:
    file = tmp_path / "catalog.jsonl"
    catalog = Catalog([_tool('"quoted" \\ 工具'), _tool("b")])
    catalog.save(file)
    opened = Catalog.open(file)
    assert opened.ids == catalog.ids and opened[-1] == catalog[1] and opened[:1] == catalog[:1]
    assert opened == catalog and opened.content_hash == catalog.content_hash
    assert Catalog.open(file, "known").content_hash == "known"
    file.write_text('{"id": "a"}\n' + file.read_text(encoding="utf-8"), encoding="utf-8")
    broken = Catalog.open(file)
    assert broken.get("p&&b") == catalog[1]
    with pytest.raises(CatalogError, match=r"catalog\.jsonl, line 1"):
        list(broken)


def test_only_some_tools_of_a_large_catalog_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = Catalog(Tool(id=str(n), provider="p", name=f"n{n}") for n in range(5))
    catalog.save(tmp_path / "catalog.jsonl")
    monkeypatch.setattr("toolgen.catalog.catalog.KEPT", 2)
    opened = Catalog.open(tmp_path / "catalog.jsonl")
    assert opened == catalog and opened.content_hash == catalog.content_hash
    assert [opened[n] is opened[n] for n in range(5)] == [True, True, False, False, False]


@pytest.mark.parametrize(
    "line", ["not json", '{"id": "a"}', '{"id": "a", "provider": "", "name": "a", "colour": 1}', "[]"]
)
def test_a_line_that_is_no_tool_is_an_error(tmp_path: Path, line: str) -> None:
    file = tmp_path / "catalog.jsonl"
    file.write_text(line + "\n")
    with pytest.raises(CatalogError):
        Catalog.load(file)
