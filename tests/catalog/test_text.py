"""The text of a tool: short, and one line a parameter."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from toolgen.catalog import Tool, document, views
from toolgen.catalog.text import numbered

BOOK = Tool(
    id="travel&&book",
    provider="travel",
    name="book",
    description="Books a\n  flight.",
    parameters={
        "type": "object",
        "properties": {
            "to": {"type": "string", "description": "Where to."},
            "seat": {"type": "string", "enum": ["aisle", "window"]},
            "via": {"type": "array", "items": {"type": "string"}},
            "bag": {"type": "object", "properties": {"kg": {"type": "number"}, "size": {}}},
            "price": {"anyOf": [{"type": "integer"}, {"type": "string"}], "description": "At most."},
            "note": {},
        },
        "required": ["to"],
    },
)


def test_the_document_has_name_description_and_one_line_a_parameter() -> None:
    assert document(BOOK).splitlines() == [
        "travel.book",
        "Books a flight.",
        "- to (string, required): Where to.",
        "- seat (string, one of aisle | window)",
        "- via (array of string)",
        "- bag (object {kg, size})",
        "- price (integer or string): At most.",
        "- note (any)",
    ]


def test_defaults_are_told_where_they_are_asked_for_and_the_description_does_not_tell_them() -> None:
    properties = {
        "unit": {"type": "string", "default": "metric", "description": "Of length."},
        "days": {"type": "integer", "default": 3, "enum": [3, 7]},
        "full": {"default": False, "description": "All of it. The default is false."},
        "loud": {"type": "integer", "default": 50, "description": "The default if left out."},
        "note": {"type": "string", "default": ""},
        "text": {"type": "string", "default": "word " * 40},
    }
    tool = Tool(id="n", provider="", name="n", parameters={"type": "object", "properties": properties})
    assert "default metric" not in document(tool)
    lines = document(tool, defaults=True).splitlines()[1:]
    assert lines[:5] == [
        "- unit (string, default metric): Of length.",
        "- days (integer, one of 3 | 7, default 3)",
        "- full (any): All of it. The default is false.",
        "- loud (integer, default 50): The default if left out.",
        "- note (string)",
    ]
    assert lines[5].startswith("- text (string, default word word") and lines[5].endswith("...)")
    assert len(lines[5]) < 100


def test_parts_that_all_hold_are_named_together() -> None:
    both = {"allOf": [{"type": "object", "properties": {"kg": {}}}, {"type": "object", "properties": {"size": {}}}]}
    tool = Tool(id="n", provider="", name="n", parameters={"type": "object", "properties": {"bag": both}})
    assert document(tool).endswith("- bag (object {kg} and object {size})")


def test_a_type_that_is_none_is_shown_as_it_stands() -> None:
    tool = Tool(
        id="n", provider="", name="n", parameters={"type": "object", "properties": {"x": {"type": ["null", {}]}}}
    )
    assert "- x (null or {})" in document(tool)


def test_a_provider_that_is_only_the_name_of_the_dataset_is_not_shown() -> None:
    assert document(Tool(id="d&&n", provider="d", name="n", source={"dataset": "d"})) == "n"


def test_views_leave_out_what_is_empty() -> None:
    assert list(views(BOOK)) == ["document", "name", "description", "parameters"]
    assert views(Tool(id="n", provider="", name="n")) == {"document": "n", "name": "n"}


def test_a_long_enumeration_is_cut() -> None:
    schema = {"type": "object", "properties": {"n": {"enum": list(range(100))}}}
    text = document(Tool(id="n", provider="", name="n", parameters=schema))
    assert text.endswith("| 11 | ...)")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), json_values, max_size=4))
def test_every_normalized_schema_has_a_text(properties: dict[str, object]) -> None:
    from toolgen.catalog.normalization import normalize_schema

    tool = Tool(id="n", provider="", name="n", parameters=normalize_schema({"properties": properties}))
    assert document(tool).startswith("n")


def test_a_numbered_list_has_one_line_a_tool() -> None:
    assert numbered([BOOK, Tool(id="x", provider="", name="x")], 1000) == "1. travel.book: Books a flight.\n2. x"
    assert numbered([], 1000) == ""


@given(st.integers(1, 30), st.integers(0, 2000))
def test_a_numbered_list_keeps_to_its_budget(count: int, budget: int) -> None:
    text = numbered([BOOK] * count, budget)
    assert len(text.splitlines()) == count
    assert len(text) <= max(budget, 4 * count)
