"""Results that nobody gave, and what is said of results."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from toolgen.catalog import Tool
from toolgen.catalog.schema import schema_errors
from toolgen.datasets.results import ANSWER_LIMIT, answer_for, facts_of, result_for


def made(tool: str, **arguments: Any) -> Any:
    return result_for(Tool(id=tool, provider="p", name=tool), arguments, Random(0))


def test_a_result_follows_the_response_schema() -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "array", "items": {"type": "integer"}}},
        "required": ["city", "days"],
    }
    tool = Tool(id="w", provider="p", name="w", returns=schema)
    for seed in range(20):
        assert schema_errors(result_for(tool, {}, Random(seed)), schema) == []


def test_without_a_response_schema_the_name_says_what_comes_back() -> None:
    assert isinstance(made("calculate_bmi", weight=70)["bmi"], (int, float))
    listed = made("find_restaurants", city="Rome", seats=2)
    assert listed["city"] == "Rome" and listed["count"] == len(listed["restaurants"]) > 0
    assert made("geo.get_country", city="Rome").keys() == {"city", "country"}
    assert made("book_table", name="Ada").keys() == {"name", "status", "id"}
    assert made("12") and made("Größe")
    assert made("Events_3_FindEvents").keys() == {"events", "count"}
    solving = Tool(id="s", provider="solve", name="quadratic_equation", description="Solve a quadratic equation.")
    assert result_for(solving, {"a": 1}, Random(0)).keys() == {"quadratic_equation"}
    assert made("get_country", city="Rome") == made("get_country", city="Rome")


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        ('{"result": 4.5}', "result 4.5"),
        ('{"a": "", "b_c": "Yes.", "ok": true}', "b c Yes., ok yes"),
        ('{"found": ["A", "B"]}', "found A and B"),
        ('{"a": {"b": 1}}', ""),
        ("None", ""),
        ("21", "21"),
        ('{"text": "' + "x" * 300 + '"}', ""),
    ],
)
def test_small_flat_results_are_told_and_others_are_not(content: str, facts: str) -> None:
    assert facts_of(content) == facts


def test_an_answer_repeats_each_result_as_far_as_there_is_room() -> None:
    contents = [json.dumps({"title": title, "id": number}) for number, title in enumerate("abc")]
    answers = {answer_for(contents, Random(seed)) for seed in range(40)}
    assert len(answers) > 3
    for answer in answers:
        assert all(f"itle {title}, id {number}" in answer for number, title in enumerate("abc"))
    long = [json.dumps({"text": "x" * 150})] * 3
    assert len(answer_for(long, Random(0))) < ANSWER_LIMIT + 20
    assert answer_for(["[]"], Random(0)) in ("Done.", "It is done.", "That is done.")


def test_an_answer_to_an_error_says_so() -> None:
    assert answer_for(['{"id": 1}', '{"error": "no such ticket"}'], Random(0), failed=True) == (
        "The last call failed. error no such ticket."
    )
