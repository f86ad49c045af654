"""Random names of tools and parameters: what was valid is valid, what was not is not, and nothing but names changes."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.text import document
from toolgen.catalog.tool import Tool
from toolgen.datasets import Dataset
from toolgen.datasets.bfcl import import_bfcl
from toolgen.datasets.messages import FINISH, call_message, calls_message, result_message, user_message
from toolgen.datasets.seal_tools import import_seal_tools
from toolgen.training.renaming import renamed, renamed_conversation


def tool(properties: dict[str, Any], description: str = "Does it.", **more: Any) -> Tool:
    parameters = {"type": "object", "properties": properties, **more}
    return Tool(id="shop&&order", provider="shop", name="order", description=description, parameters=parameters)


def described(text: str = "What it is.", **schema: Any) -> dict[str, Any]:
    return {**schema, "description": text}


# --- any schema -------------------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b", "start_date", "kind"])
values = st.recursive(
    st.sampled_from(["a", "x", 1, None, True]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3),
    max_leaves=4,
)
plain = st.sampled_from(
    [{}, {"type": "string"}, {"type": "integer"}, {"enum": ["a", 1]}, {"$ref": "#/$defs/one"}, True]
)
name_lists = st.lists(names, max_size=2, unique=True)


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Schemas of objects that speak of names in every way."""
    explained = st.builds(lambda one: described(**one) if isinstance(one, dict) else one, inner)
    keywords: dict[str, st.SearchStrategy[Any]] = {
        "properties": st.dictionaries(names, explained | inner, max_size=3),
        "required": name_lists,
        "additionalProperties": st.sampled_from([False, {"type": "string"}]),
        "dependentRequired": st.dictionaries(names, name_lists, max_size=1),
        "dependentSchemas": st.dictionaries(names, inner, max_size=1),
        "anyOf": st.lists(inner, min_size=1, max_size=2),
        "allOf": st.lists(inner, min_size=1, max_size=2),
        "not": inner,
        "if": inner,
        "then": inner,
        "else": inner,
        "minProperties": st.just(1),
        "patternProperties": st.fixed_dictionaries({"^s": inner}),
        "propertyNames": st.just({"maxLength": 1}),
        "enum": st.lists(values, min_size=1, max_size=2),
    }
    return st.fixed_dictionaries({}, optional=keywords)


schemas = st.recursive(plain, objects, max_leaves=6)
parameters = st.builds(
    lambda schema, definition: {"type": "object", **schema, "$defs": {"one": definition}},
    objects(schemas),
    objects(plain.filter(lambda one: one != {"$ref": "#/$defs/one"})),
)
arguments = st.dictionaries(names, values, max_size=4)


@given(parameters, arguments, st.integers(0, 3))
def test_under_random_names_the_same_arguments_are_valid(
    schema: dict[str, Any], given: dict[str, Any], seed: int
) -> None:
    one = Tool(id="t", provider="p", name="t", parameters=schema)
    other = renamed(one, Random(seed))
    Draft202012Validator.check_schema(other.tool.parameters)
    before, after = Draft202012Validator(schema), Draft202012Validator(other.tool.parameters)
    assert after.is_valid(other.arguments(given)) == before.is_valid(given)
    assert list(other.arguments(given).values()) == list(given.values())


# --- what has which name ----------------------------------------------------------------------------------------------


def test_documentation_shows_random_names_and_everything_else() -> None:
    one = tool(
        {
            "size": described("How large. Only with `order_type`.", enum=["small", "large"], default="small"),
            "order_type": described("One of two."),
            "bare": {"type": "integer"},
        },
        description="Orders. Give order_type, not the size.",
        required=["order_type", "bare"],
    )
    other, new = renamed(one, Random(0))
    assert new.keys() == {"size", "order_type"} and other.id == one.id
    assert other.required == (new["order_type"], "bare")
    text = document(one, defaults=True).replace("shop.order\n", f"{other.name}\n")
    text = text.replace("order_type", new["order_type"]).replace("- size", f"- {new['size']}")
    assert document(other, defaults=True) == text and "not the size" in text


def test_a_name_that_a_nested_object_has_too_stays() -> None:
    inner: dict[str, Any] = {"type": "object", "properties": {"name": described(), "left": described()}}
    one = tool({"name": described(), "guest": described(**inner), "day": described()})
    other, new = renamed(one, Random(0))
    assert new.keys() == {"guest", "day"}
    assert other.properties[new["guest"]] == one.properties["guest"]


@pytest.mark.parametrize(
    "more",
    [
        {"patternProperties": {"^x": {}}},
        {"propertyNames": {"enum": ["day"]}},
        {"anyOf": [{"enum": [{"day": 1}]}]},
        {"not": {"$ref": "#/properties/day"}},
    ],
)
def test_parameters_keep_their_names_where_the_schema_says_more_of_names(more: dict[str, Any]) -> None:
    one = tool({"day": described()}, **more)
    other, new = renamed(one, Random(0))
    assert not new and other.parameters == one.parameters and other.name != one.name


def test_a_value_that_is_called_like_a_parameter_is_not_reworded() -> None:
    sort = described("By created_at or `name`.", enum=["created_at", "name"])
    other, new = renamed(tool({"created_at": described(), "name": described(), "sort": sort}), Random(0))
    assert other.properties[new["sort"]] == sort


def test_a_conversation_uses_the_new_names_in_every_call_and_nothing_else_changes() -> None:
    one, also = tool({"day": described()}), Tool(id="other", provider="", name="other")
    catalog = Catalog([one, also])
    messages = [
        user_message("day"),
        calls_message([(one.id, {"day": "day", "extra": 1}, "1"), (also.id, {"day": 2}, "2")]),
        result_message("1", '{"day": 3}'),
        result_message("2", "day"),
        call_message(FINISH, {"answer": "day"}, "3"),
    ]
    found, tools = renamed_conversation(messages, catalog, "seed")
    assert found[0] == messages[0] and found[2:] == messages[2:] and tools.keys() == {one.id, also.id}
    first, second = (call["function"] for call in found[1]["tool_calls"])
    assert json.loads(first["arguments"]) == {tools[one.id].names["day"]: "day", "extra": 1}
    assert json.loads(second["arguments"]) == {"day": 2} and first["name"] == one.id
    assert renamed_conversation(messages, catalog, "seed") == (found, tools)
    assert renamed_conversation(messages, catalog, "other")[1] != tools


# --- published data ---------------------------------------------------------------------------------------------------


def check_calls(dataset: Dataset) -> float:
    """Every expected call of a dataset stays valid; the share of the arguments that get another name."""
    given = changed = 0
    for split in dataset.queries:
        for task in dataset.all_tasks(split):
            catalog = dataset.catalog.redefined(task.definitions)
            for call in task.calls:
                one = catalog.get(call.tool)
                other = renamed(one, Random(f"{task.id}/{call.tool}"))
                before, after = Draft202012Validator(one.parameters), Draft202012Validator(other.tool.parameters)
                arguments = other.arguments(call.arguments)
                assert after.is_valid(arguments) == before.is_valid(call.arguments), (task.id, call.tool)
                given += len(arguments)
                changed += len(arguments.keys() & {*other.names.values()})
    return changed / given


@pytest.mark.weights
def test_every_call_of_bfcl_stays_valid(cached_bfcl: Path) -> None:
    assert check_calls(import_bfcl(cached_bfcl)) > 0.9


def test_every_call_of_seal_tools_stays_valid(shared_data: Path) -> None:
    assert check_calls(import_seal_tools(shared_data / "seal-tools")) > 0.9
