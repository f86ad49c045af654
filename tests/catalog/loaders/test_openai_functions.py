"""OpenAI function JSON in all its forms; broken records are losses, broken files are errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolgen.catalog.loaders.openai_functions import load_openai_functions
from toolgen.errors import CatalogError

WEATHER = {
    "name": "get_weather",
    "description": "Weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CHAT = {"type": "function", "function": WEATHER}
RESPONSES = {"type": "function", **WEATHER, "strict": True}


def _write(folder: Path, content: str) -> Path:
    file = folder / "weather.json"
    file.write_text(content, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "content",
    [
        json.dumps([CHAT]),
        json.dumps([RESPONSES]),
        json.dumps([WEATHER]),
        json.dumps(WEATHER, indent=2),
        json.dumps({"tools": [CHAT]}),
        json.dumps({"functions": [WEATHER]}),
        json.dumps(CHAT) + "\n\n",
        "\ufeff" + json.dumps([CHAT]),
    ],
)
def test_every_form_gives_the_same_tool(tmp_path: Path, content: str) -> None:
    loaded = load_openai_functions(_write(tmp_path, content))
    (tool,) = loaded.tools
    assert (tool.id, tool.provider, tool.name) == ("weather&&get_weather", "weather", "get_weather")
    assert tool.description == "Weather of a city."
    assert tool.parameters == WEATHER["parameters"]
    assert (loaded.report.loaded, loaded.report.losses, loaded.report.notes) == (1, (), ())


def test_json_lines_give_one_tool_a_line(tmp_path: Path) -> None:
    lines = [json.dumps({**CHAT, "function": {"name": f"f{i}"}}) for i in range(3)]
    loaded = load_openai_functions(_write(tmp_path, "\n".join(lines)), provider="p")
    assert [tool.id for tool in loaded.tools] == ["p&&f0", "p&&f1", "p&&f2"]


@pytest.mark.parametrize(
    "record", [{"type": "web_search"}, {"name": ""}, {"name": 3}, "text", None, {}, {"function": 1}]
)
def test_a_record_that_is_no_function_is_a_loss_and_the_others_are_loaded(tmp_path: Path, record: Any) -> None:
    loaded = load_openai_functions(_write(tmp_path, json.dumps([record, CHAT])))
    assert [tool.name for tool in loaded.tools] == ["get_weather"]
    (loss,) = loaded.report.losses
    assert loss.name == "record 1" and loss.reason


def test_a_repeated_name_gets_a_suffix_and_a_note(tmp_path: Path) -> None:
    loaded = load_openai_functions(_write(tmp_path, json.dumps([CHAT, CHAT])))
    assert [tool.id for tool in loaded.tools] == ["weather&&get_weather", "weather&&get_weather#2"]
    assert "get_weather#2" in loaded.report.notes[0]


def test_repairs_are_noted(tmp_path: Path) -> None:
    odd = {"name": "f", "description": 7, "parameters": {"type": "dict", "properties": {"x": {"type": "Date"}}}}
    loaded = load_openai_functions(_write(tmp_path, json.dumps(odd)))
    assert loaded.tools[0].parameters == {"type": "object", "properties": {"x": {}}}
    assert len(loaded.report.notes) == 2


def test_text_that_no_file_can_hold_is_cleaned(tmp_path: Path) -> None:
    content = json.dumps([{"name": "f\ud800\x00", "description": "\udfff"}])
    (tool,) = load_openai_functions(_write(tmp_path, content)).tools
    assert (tool.name, tool.description) == ("f?", "?")


@pytest.mark.parametrize("content", ["", "<html>", '[{"name": "cut', '{"name": NaN}', "[" * 100_000])
def test_a_file_that_is_not_json_is_one_clear_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(CatalogError, match=r"weather\.json is neither JSON nor JSON lines"):
        load_openai_functions(_write(tmp_path, content))


def test_a_missing_or_binary_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="cannot read"):
        load_openai_functions(tmp_path / "nothing.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(CatalogError, match="cannot read"):
        load_openai_functions(tmp_path / "binary.json")
