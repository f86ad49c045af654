"""Synthetic requests: what is drafted from documentation, what the filter drops, and how they enter a dataset."""

from __future__ import annotations

from typing import Any

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st

from toolgen.catalog import Catalog, Tool
from toolgen.catalog.normalization import normalize_schema
from toolgen.catalog.schema import schema_errors
from toolgen.datasets import Dataset, Query, Synthetic
from toolgen.datasets.synthetic import LONGEST, Draft, drafts_by_rule, keep_useful, tools_to_ask_for, with_queries

NEWS = Tool(
    id="a&&get_news",
    provider="a",
    name="get_news",
    description="Fetches the latest news on a specific topic. Fast.",
    parameters={
        "type": "object",
        "properties": {"topic": {"type": "string"}, "quantity": {"type": "integer", "minimum": 1, "maximum": 5}},
        "required": ["topic", "quantity"],
    },
)
AREA = Tool(id="b&&area", provider="b", name="area", description="This function calculates the area of a circle.")


def dataset(*queries: Query) -> Dataset:
    return Dataset(
        name="d", version="1", source="s", licence="l", catalog=Catalog([NEWS, AREA]), queries={"train": queries}
    )


def draft(tool: Tool, text: str, style: str = "vague") -> Draft:
    return Draft(tool.id, text, style, "rules")


def test_the_same_seed_gives_the_same_drafts_and_another_one_others() -> None:
    assert [*drafts_by_rule(NEWS, 4, 0)] == [*drafts_by_rule(NEWS, 4, 0)]
    assert [*drafts_by_rule(NEWS, 4, 0)] != [*drafts_by_rule(NEWS, 4, 1)]


def test_descriptions_in_the_third_person_become_requests() -> None:
    texts = {one.text for seed in range(20) for one in drafts_by_rule(AREA, 8, seed)}
    assert "What is the area of a circle?" in texts
    assert "Can you calculate the area of a circle?" in texts


def test_vague_requests_have_two_to_six_words() -> None:
    found = [one for seed in range(20) for one in drafts_by_rule(NEWS, 8, seed) if one.style == "vague"]
    assert found
    assert all(2 <= len(one.text.split()) <= 6 for one in found)


def test_specified_requests_say_the_arguments_of_a_valid_call() -> None:
    found = [one for seed in range(20) for one in drafts_by_rule(NEWS, 8, seed) if one.call]
    assert found
    for one in found:
        assert one.call is not None
        jsonschema.validate(one.call.arguments, NEWS.parameters)
        assert all(str(value) in one.text for value in one.call.arguments.values())


def test_the_filter_says_how_many_it_dropped_and_why() -> None:
    drafts = [
        draft(NEWS, "get news"),
        draft(NEWS, "something"),
        draft(AREA, "Something!"),
        draft(NEWS, "old news"),
        draft(AREA, "weather"),
        draft(AREA, "circle area"),
    ]
    old = Query(id="q", text="Old news?", tools=(NEWS.id,))
    filtered = keep_useful(drafts, dataset(old), lambda texts: [[AREA.id] if "c" in t else [] for t in texts], 4)
    assert [one.text for one in filtered.kept] == ["circle area"]
    assert filtered.dropped == {
        "copies the documentation": 1,
        "asks for several tools alike": 2,
        "repeats another request": 1,
        "the tool is not found with it": 1,
    }


def test_the_requests_are_added_to_one_split_under_ids_of_their_own() -> None:
    once = with_queries(dataset(), [draft(NEWS, "x y"), draft(NEWS, "z")], "train")
    twice = with_queries(once, [draft(NEWS, "w")], "train")
    assert [q.id for q in twice.queries["train"]] == [f"synthetic/{NEWS.id}/{n}" for n in range(3)]
    assert twice.queries["train"][0].origin == Synthetic(style="vague", by="rules")
    assert not twice.queries["test"]


def test_only_unasked_leaves_out_what_a_training_request_asks_for() -> None:
    asked = dataset(Query(id="q", text="t", tools=(NEWS.id,)))
    assert tools_to_ask_for(asked, only_unasked=True) == (AREA,)
    assert len(tools_to_ask_for(asked, only_unasked=False)) == 2


hostile_texts = st.text(max_size=30) | st.sampled_from(["", " ", "{", "`" * 50, "$$", "<<a&&b>>", "\u202e", "x" * 600])
leaves = st.sampled_from(
    [
        {"type": "string", "pattern": "^[a-f]{40}$"},
        {"type": "string", "enum": ["", "\u202e", "a"]},
        {"type": "string", "minLength": 500},
        {"type": "string", "format": "date-time"},
        {"type": "integer", "minimum": 10, "maximum": 1},
        {"type": "number", "multipleOf": 1e-12},
        {"type": "array", "minItems": 3, "uniqueItems": True, "items": {"enum": [1]}},
        {"type": ["null", "boolean"]},
        {"anyOf": [{"type": "null"}, {"$ref": "#/nowhere"}]},
        {"not": {}},
        {"const": {"a": [None]}},
        {"default": 10**400},
        {"examples": ["x", 3]},
        {},
    ]
)
schemas = st.recursive(
    leaves,
    lambda inner: (
        st.dictionaries(hostile_texts, inner, max_size=3).map(
            lambda found: {"type": "object", "properties": found, "required": list(found)[:2]}
        )
        | inner.map(lambda one: {"type": "array", "items": one})
    ),
    max_leaves=8,
)


@given(
    name=hostile_texts.filter(bool),
    description=hostile_texts,
    parameters=st.dictionaries(hostile_texts, schemas, max_size=4),
    seed=st.integers(0, 3),
)
@settings(deadline=None)
def test_any_tool_gets_requests_whose_calls_fit_it_or_none(
    name: str, description: str, parameters: dict[str, Any], seed: int
) -> None:
    schema = normalize_schema({"type": "object", "properties": parameters, "required": list(parameters)[:1]})
    tool = Tool(id=name, provider="", name=name, description=description, parameters=schema)
    drafts = list(drafts_by_rule(tool, 6, seed))
    assert drafts == list(drafts_by_rule(tool, 6, seed))
    for one in drafts:
        assert one.text.strip() and len(one.text) <= LONGEST
        if one.call:
            assert one.call.tool == tool.id
            assert not schema_errors(one.call.arguments, tool.parameters)
