"""OpenAI function JSON in all its forms; broken records are losses, broken files are errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolgen.catalog.loaders.openai_functions import load_openai_functions
from toolgen.catalog.schema import schema_errors
from toolgen.errors import InputError

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


@pytest.mark.parametrize("content", ["", "<html>", '[{"name": "cut', '{\n"a": {},\n"b": [\n', "[" * 100_000])
def test_a_file_that_is_not_json_is_one_clear_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError, match=r"weather\.json is neither JSON nor JSON lines"):
        load_openai_functions(_write(tmp_path, content))


def test_a_missing_or_binary_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        load_openai_functions(tmp_path / "nothing.json")
    (tmp_path / "binary.json").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(InputError, match="not text in UTF-8"):
        load_openai_functions(tmp_path / "binary.json")


CITY: dict[str, Any] = {"city": {"type": "string", "description": "Where"}}
SCHEMA = {"type": "object", "properties": CITY, "required": ["city"]}


@pytest.mark.parametrize(
    "document",
    [
        {"tools": [{"name": "f", "inputSchema": SCHEMA}]},
        {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "f", "inputSchema": SCHEMA}]}},
        [{"functionDeclarations": [{"name": "f", "parameters": SCHEMA}]}],
        {"tools": [{"function_declarations": [{"name": "f", "parametersJsonSchema": SCHEMA}]}]},
        {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": SCHEMA}}}]},
        [{"name": "f", "args": CITY}],
        [{"name": "f", "args_schema": SCHEMA}],
        [{"name": "f", "parameter_definitions": {"city": {**CITY["city"], "required": True}}}],
        [{"name": "f", "parameters": CITY}],
        [{"type": "function", "function": {"name": "f", "inputSchema": SCHEMA}}],
        [{"name": "f", "fn_schema_str": json.dumps(SCHEMA)}],
        [{"name": "f", "parameters": json.dumps(CITY)}],
        [{"metadata": {"name": "f", "fn_schema": SCHEMA}, "return_direct": False}],
        {"modelId": "m", "toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": SCHEMA}}}]}},
        {"f": {"description": "F.", "inputSchema": SCHEMA}},
        {"tools": {"f": {"inputSchema": {"jsonSchema": SCHEMA}}}},
        {
            "tools": [
                {"type": "namespace", "name": "crm", "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}]}
            ]
        },
    ],
)
def test_arguments_are_read_wherever_a_relative_of_the_form_keeps_them(tmp_path: Path, document: Any) -> None:
    loaded = load_openai_functions(_write(tmp_path, json.dumps(document)))
    (tool,) = loaded.tools
    assert tool.name == "f"
    assert tool.properties["city"]["type"] == "string"
    assert list(tool.required) == ["city"]
    assert loaded.report.losses == ()


def test_a_parameter_that_is_called_type_does_not_make_a_schema_of_a_map(tmp_path: Path) -> None:
    flat = {"type": {"type": "str", "description": "Which kind"}, "size": {"type": "int", "default": 3}}
    (tool,) = load_openai_functions(_write(tmp_path, json.dumps([{"name": "f", "parameters": flat}]))).tools
    assert {*tool.properties} == {"type", "size"}


def test_arguments_under_a_key_that_is_not_read_are_named(tmp_path: Path) -> None:
    loaded = load_openai_functions(_write(tmp_path, json.dumps([{"name": "f", "arguments_model": SCHEMA}])))
    assert loaded.tools[0].properties == {}
    assert any("'arguments_model' is not read" in note for note in loaded.report.notes)


@pytest.mark.parametrize("key", ["fn_schema_str", "schema_text"])
def test_arguments_in_a_text_that_cannot_be_read_are_named(tmp_path: Path, key: str) -> None:
    loaded = load_openai_functions(_write(tmp_path, json.dumps([{"name": "f", key: "class F(BaseModel): ..."}])))
    assert loaded.tools[0].properties == {}
    (note,) = loaded.report.notes
    assert repr(key) in note and "\n" not in note


def test_a_namespace_is_the_provider_of_its_tools(tmp_path: Path) -> None:
    spaces = [{"type": "namespace", "name": name, "tools": [RESPONSES]} for name in ("crm", "erp")]
    loaded = load_openai_functions(_write(tmp_path, json.dumps({"tools": [*spaces, RESPONSES]})))
    assert [tool.id for tool in loaded.tools] == ["crm&&get_weather", "erp&&get_weather", "weather&&get_weather"]
    assert loaded.report.losses == () == loaded.report.notes


def test_a_broken_line_costs_itself_alone(tmp_path: Path) -> None:
    loaded = load_openai_functions(_write(tmp_path, '{"name": "a"}\n{broken\n\n{"name": "b"}\n'))
    assert [tool.name for tool in loaded.tools] == ["a", "b"]
    (loss,) = loaded.report.losses
    assert loss.name == "line 2"


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_lines_end_at_a_line_feed_alone(tmp_path: Path, separator: str) -> None:
    lines = [json.dumps({"name": name, "description": f"one{separator}two"}, ensure_ascii=False) for name in "ab"]
    loaded = load_openai_functions(_write(tmp_path, "\n".join(lines)))
    assert [tool.name for tool in loaded.tools] == ["a", "b"]
    assert loaded.tools[0].description == f"one{separator}two"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_json_does_not_have_becomes_null_with_a_note(tmp_path: Path, number: str) -> None:
    text = '[{"name": "a", "parameters": {"type": "object", "properties": {"x": {"type": "number", "default": %s}}}}]'
    loaded = load_openai_functions(_write(tmp_path, text % number))
    (tool,) = loaded.tools
    assert tool.properties["x"]["type"] == "number"
    assert not {"NaN", "Infinity"} & {*json.dumps(tool.to_dict()).replace(",", " ").split()}
    assert any("numbers that JSON does not have" in note for note in loaded.report.notes)


def test_keywords_of_older_drafts_mean_what_they_meant(tmp_path: Path) -> None:
    pair = {"type": "array", "items": [{"type": "string"}, {"type": "integer"}], "additionalItems": False}
    address = {"type": "object", "dependencies": {"zip": ["country"], "street": {"required": ["number"]}}}
    schema = {"type": "object", "properties": {"pair": pair, "address": address}}
    (tool,) = load_openai_functions(_write(tmp_path, json.dumps([{"name": "f", "parameters": schema}]))).tools
    for good in (
        {"pair": ["x", 1]},
        {"address": {"zip": "1", "country": "NO"}},
        {"address": {"street": "a", "number": 1}},
    ):
        assert not schema_errors(good, tool.parameters)
    for bad in ({"pair": ["x", 1, 2]}, {"address": {"zip": "1"}}, {"address": {"street": "a"}}):
        assert schema_errors(bad, tool.parameters)
