"""What calls leave of a request, and which of their arguments nobody asked for."""

from __future__ import annotations

import pytest

from toolgen.agent.said import further_ask, rest_of, text_of, without_unsaid
from toolgen.datasets.messages import call_message, result_message, user_message

REQUEST = "Weather in Oslo on 3 May, then in Bergen for 12 days."


@pytest.mark.parametrize(
    ("calls", "rest"),
    [
        ([], REQUEST),
        ([{"city": "oslo"}], " on 3 May, then in Bergen for 12 days."),
        ([{"city": "Oslo", "days": [3]}], " May, then in Bergen for 12 days."),
        ([{"city": "Oslo"}, {"city": "Bergen", "days": {"count": 12}}], " days."),
        ([{"city": "Berg", "days": 2, "unit": "", "rain": True}], REQUEST),
        ([{"city": "in (Bergen"}], " for 12 days."),
    ],
)
def test_the_rest_of_a_request_begins_behind_the_last_value_that_was_taken_from_it(
    calls: list[dict[str, object]], rest: str
) -> None:
    assert rest_of(REQUEST, calls) == rest


@pytest.mark.parametrize(
    ("value", "request_"),
    [
        (500000, "Borrow 500,000 for a house"),
        (500000.0, "Borrow 500000 for a house"),
        ("500,000", "Borrow $500000 for a house"),
        (12, "Borrow by the 12th for a house"),
        (3, "Borrow three for a house"),
        (4.5, "Borrow 4.5% for a house"),
        ("New York", "Borrow in new-york for a house"),
        ("2024-05-03", "Borrow on 2024-05-03 for a house"),
    ],
)
def test_a_value_may_be_said_in_another_form(value: object, request_: str) -> None:
    assert rest_of(request_, [{"x": value}]).endswith(" for a house")
    assert len(rest_of(request_, [{"x": value}])) < len("th for a house") + 1


def test_what_is_said_as_it_is_written_comes_before_other_forms() -> None:
    assert rest_of("Two draws with a deviation of 2, please", [{"x": 2}]) == ", please"
    assert rest_of("From 1 to -1, please", [{"x": -1}]) == ", please"


@pytest.mark.parametrize("value", [5, 50, 500, "York new", "-", 0.5])
def test_a_part_of_a_number_or_other_words_are_not_the_value(value: object) -> None:
    request_ = "Borrow 500,000 in New York for a house"
    assert rest_of(request_, [{"x": value}]) == request_


@pytest.mark.parametrize(
    ("rest", "more"),
    [
        ("", False),
        (" for 12 days, please.", False),
        (" and Bergen.", True),
        (", and also the tides there.", True),
        (" in the morning. Then in Bergen.", True),
        (" in the morning, which is when the boats go out. Then in Bergen.", False),
        (" and.", False),
        (" android phones", False),
        (" " + "word " * 23, True),
        (" " + "word " * 22, False),
    ],
)
def test_words_that_join_or_many_words_ask_for_a_further_call(rest: str, more: bool) -> None:
    asked = further_ask("Weather in Oslo" + rest, [{"city": "Oslo"}])
    assert asked == (rest if more else "")
    assert not further_ask("Weather in Oslo" + rest, [{"city": "Paris"}]), "nothing is said of what is left"


def test_what_a_joining_sentence_follows_asks_for_a_further_call_where_that_sentence_was_answered_first() -> None:
    request_ = "Find the SLA of AWS. Additionally, back up my files to Oslo. Finally, wake me at 7."
    assert further_ask(request_, [{"hour": 7}]) == "Find the SLA of AWS. Additionally, back up my files to Oslo"
    assert further_ask(request_, [{"hour": 7}, {"place": "Oslo"}]) == "Find the SLA of AWS"
    assert further_ask(request_, [{"hour": 7}, {"place": "Oslo"}, {"name": "AWS"}]) == ""


def test_optional_arguments_that_nobody_said_are_left_out() -> None:
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "state": {"type": "string"},
            "days": {"type": "integer"},
            "unit": {"enum": ["metric", "imperial"]},
            "hourly": {"type": "boolean"},
        },
        "required": ["city"],
    }
    arguments = {"city": "Paris", "state": "Texas", "days": 3, "unit": "metric", "hourly": True}
    kept = {"city": "Paris", "days": 3, "unit": "metric", "hourly": True}
    assert without_unsaid(arguments, schema, "The next three days in Oslo") == kept
    assert without_unsaid(arguments, schema | {"minProperties": 5}, "The next three days in Oslo") == arguments


def test_what_was_said_holds_requests_calls_and_results() -> None:
    messages = [user_message("Book it."), call_message("find", {"city": "Oslo"}, "c"), result_message("c", "hotel 7")]
    assert {"Book", "Oslo", "hotel"} <= {*text_of(messages).replace('"', " ").split()}
