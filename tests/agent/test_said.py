"""What calls leave of a request, and which of their arguments nobody asked for."""

from __future__ import annotations

import pytest

from toolgen.agent.said import rest_of, text_of, without_unsaid
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
        ([{"city": "in (Bergen"}], REQUEST),
    ],
)
def test_the_rest_of_a_request_begins_behind_the_last_value_that_was_taken_from_it(
    calls: list[dict[str, object]], rest: str
) -> None:
    assert rest_of(REQUEST, calls) == rest


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
