"""ToolBench's API records: parameters, responses, the one-line text of corpora."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.catalog.loaders.rapidapi import api_tool, parse_api_text, response_schema
from toolgen.catalog.schema import check_schema, schema_errors
from toolgen.errors import CatalogError

RECORD = {
    "category_name": "Logistics",
    "tool_name": "suivi-colis",
    "api_name": "Latest",
    "api_description": " The last state. ",
    "required_parameters": [
        {"name": "id", "type": "STRING", "description": "the parcel", "default": "CA1"},
        {"name": "n", "type": "NUMBER", "description": "", "default": "3"},
    ],
    "optional_parameters": [
        {"name": "day", "type": "DATE (YYYY-MM-DD)", "description": "from", "default": ""},
        {"name": "all", "type": "BOOLEAN", "description": "", "default": "True"},
        {"name": "n", "type": "STRING", "description": "again", "default": ""},
    ],
    "method": "GET",
    "template_response": {
        "id": "str",
        "tags": ["list of str with length 3"],
        "rows": [{"a": "int", "_list_length": 9}],
    },
}


def test_a_record_becomes_a_tool_with_one_argument_schema() -> None:
    notes: list[str] = []
    tool = api_tool(RECORD, dataset="toolbench", on_note=notes.append)
    assert (tool.id, tool.category, tool.description) == ("suivi-colis&&Latest", "Logistics", "The last state.")
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "the parcel", "examples": ["CA1"]},
            "n": {"type": "number", "examples": [3]},
            "day": {"type": "string", "description": "from (YYYY-MM-DD)"},
            "all": {"type": "boolean", "examples": [True]},
        },
        "required": ["id", "n"],
    }
    assert notes == ["suivi-colis&&Latest: parameter 'n' is declared again; the first declaration was kept"]
    assert not schema_errors({"id": "x", "n": 2.5, "day": "2024-01-01"}, tool.parameters)
    assert schema_errors({"id": "x", "n": "2"}, tool.parameters)


@pytest.mark.parametrize("kind", ["SELECT", "DATEPICKER", "DATETIME", "ENUM", "CREDENTIALS"])
def test_what_a_form_lets_people_choose_or_pick_is_text(kind: str) -> None:
    notes: list[str] = []
    record = {"tool_name": "t", "api_name": "a", "required_parameters": [{"name": "x", "type": kind, "default": "y"}]}
    tool = api_tool(record, dataset="toolbench", on_note=notes.append)
    assert (tool.properties, notes) == ({"x": {"type": "string", "examples": ["y"]}}, [])


def test_a_response_template_becomes_a_schema() -> None:
    assert response_schema(RECORD["template_response"]) == {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "rows": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer"}}}},
        },
    }
    assert response_schema("empty list") == {"type": "array"}
    assert response_schema("something else") == {}
    assert response_schema("") is None and response_schema(None) is None and response_schema({}) is None


def test_the_one_line_text_of_a_corpus_is_read_back() -> None:
    text = (
        "category_name:Food, tool_name:Recipes, api_name:Find, by name, api_description:Finds.\n\nsort: asc, "
        'required_params: [{"name": "q", "type": "STRING", "description": "a, b"}], optional_params: [], '
        'return_schema: {"x": "int"}'
    )
    record = parse_api_text(text)
    assert record is not None
    tool = api_tool(record, dataset="d")
    assert (tool.provider, tool.name, tool.description) == ("Recipes", "Find, by name", "Finds.\n\nsort: asc")
    assert tool.properties == {"q": {"type": "string", "description": "a, b"}}
    assert tool.returns == {"type": "object", "properties": {"x": {"type": "integer"}}}
    assert parse_api_text("A plain text about a tool") is None
    assert parse_api_text(text.replace('{"name": "q"', '{"name" "q"')) is None


@pytest.mark.parametrize("record", [None, [], "text", {}, {"api_name": 3}, {"api_name": "\0"}])
def test_what_has_no_name_is_refused(record: Any) -> None:
    with pytest.raises(CatalogError, match="API record"):
        api_tool(record, dataset="d")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
parameters = st.lists(
    st.fixed_dictionaries({}, optional={"name": st.text(max_size=5), "type": st.text(max_size=6) | json_values,
                                        "description": json_values, "default": json_values}) | json_values,
    max_size=4,
)  # fmt: skip


@given(required=parameters | json_values, optional=parameters, response=json_values)
def test_any_record_with_a_name_becomes_a_tool_with_valid_schemas(required: Any, optional: Any, response: Any) -> None:
    record = {"tool_name": "t", "api_name": "a", "required_parameters": required, "optional_parameters": optional}
    tool = api_tool(record | {"template_response": response}, dataset="d")
    check_schema(tool.parameters)
    check_schema(tool.returns or {})
    assert set(tool.required) <= set(tool.properties)
    json.dumps(tool.to_dict(), ensure_ascii=False).encode()
