"""Tool lists of the Anthropic Messages API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolgen.catalog.loaders.anthropic_tools import load_anthropic
from toolgen.catalog.schema import check_schema, schema_errors
from toolgen.errors import InputError

WEATHER = {
    "name": "get_weather",
    "description": " The weather. ",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "content",
    [
        [WEATHER],
        {"model": "m", "max_tokens": 10, "tools": [WEATHER | {"type": "custom"}], "messages": []},
        json.dumps(WEATHER | {"cache_control": {"type": "ephemeral"}, "strict": True, "defer_loading": True}) + "\n",
    ],
)
def test_every_published_place_of_a_tool_list(tmp_path: Path, content: Any) -> None:
    loaded = load_anthropic(write(tmp_path / "mine.json", content))
    (tool,) = loaded.tools
    assert (tool.id, tool.description, tool.required) == ("mine&&get_weather", "The weather.", ("city",))
    assert not schema_errors({"city": "Rome"}, tool.parameters) and schema_errors({}, tool.parameters)
    assert loaded.report.losses == ()


def test_examples_of_a_whole_call_are_kept_in_the_schema(tmp_path: Path) -> None:
    (tool,) = load_anthropic(write(tmp_path / "t.json", [WEATHER | {"input_examples": [{"city": "Rome"}]}])).tools
    assert tool.parameters["examples"] == [{"city": "Rome"}]
    check_schema(tool.parameters)


def test_what_describes_no_arguments_is_a_loss_and_the_others_are_read(tmp_path: Path) -> None:
    records = [
        {"type": "web_search_20250305", "name": "web_search"},
        {"type": "mcp_toolset", "mcp_server_name": "x"},
        {"type": "function", "function": {"name": "f"}},
        {"name": "bare"},
        WEATHER | {"name": " "},
        5,
        WEATHER,
        WEATHER,
    ]
    loaded = load_anthropic(write(tmp_path / "t.json", records))
    assert [tool.id for tool in loaded.tools] == ["t&&get_weather", "t&&get_weather#2"]
    assert [loss.name for loss in loaded.report.losses] == [f"record {n}" for n in range(1, 7)]
    assert "runs at Anthropic" in loaded.report.losses[0].reason
    assert "'input_schema'" in loaded.report.losses[3].reason


@pytest.mark.parametrize("content", ["", "not JSON", '[{"name": "a"', "[" * 100_000])
def test_a_file_that_is_none_is_one_clear_line(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError, match="neither JSON nor JSON lines"):
        load_anthropic(write(tmp_path / "t.json", content))
