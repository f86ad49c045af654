"""Conversations of one request get other values, in the request and in its calls alike."""

from __future__ import annotations

import re
from random import Random
from typing import Any

import pytest

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.tool import Tool
from toolgen.datasets.messages import actions_of, call_message, calls_message, result_message, user_message
from toolgen.datasets.trajectory import Message
from toolgen.training.joining import is_joinable
from toolgen.training.varying import OtherValues

CITIES = ("Oslo", "New York City", "Rome", "Lagos", "Quito")
CATALOG = Catalog(
    [
        Tool(
            id="weather&&now",
            name="now",
            description="The weather.",
            provider="weather",
            parameters={
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "unit": {"type": "string", "enum": ["Celsius", "Kelvin", "deg_f"]},
                    "day": {"type": "string"},
                    "days": {"type": "integer", "maximum": 9},
                    "station": {"type": "string"},
                    "share": {"type": "number"},
                    "numbers": {"type": "array", "items": {"type": "integer"}},
                },
            },
        )
    ]
)


def asked(text: str, *calls: dict[str, Any], result: str = "{}", answer: str = "Done.") -> list[Message]:
    ids = [f"call_{number}" for number in range(len(calls))]
    return [
        user_message(text),
        calls_message([("weather&&now", arguments, id) for arguments, id in zip(calls, ids, strict=True)]),
        *(result_message(id, result) for id in ids),
        call_message("finish", {"answer": answer}, "end"),
    ]


VALUES = OtherValues([(asked(f"How is {city}?", {"city": city}), CATALOG) for city in CITIES])


def varied(text: str, *calls: dict[str, Any], **said: str) -> list[list[Message]]:
    """What a hundred draws make of a conversation, without those that leave it."""
    made = (VALUES.varied(asked(text, *calls, **said), CATALOG, Random(seed)) for seed in range(100))
    return [messages for messages in made if messages is not None]


def arguments_of(messages: list[Message]) -> list[dict[str, Any]]:
    return [arguments for _, arguments in actions_of(messages[1])]


def test_request_arguments_results_and_answer_say_the_same_other_value() -> None:
    others = varied(
        "How is Oslo?", {"city": "Oslo"}, result='{"city": "Oslo"}', answer="Rain in Oslo, not in Oslofjord."
    )
    assert {arguments_of(one)[0]["city"] for one in others} == {*CITIES} - {"Oslo"}
    for one in others:
        (city,) = arguments_of(one)[0].values()
        assert (
            is_joinable(one) and one[0]["content"] == f"How is {city}?" and one[2]["content"] == f'{{"city": "{city}"}}'
        )
        assert [*actions_of(one[-1])] == [("finish", {"answer": f"Rain in {city}, not in Oslofjord."})]


@pytest.mark.parametrize(
    ("text", "arguments", "form"),
    [
        (
            "Take the numbers 300, 45 and 7.",
            {"numbers": [300, 45, 7]},
            r"Take the numbers [1-9]00, \d[1-9] and [1-9]\.",
        ),
        ("In the year 1969.", {"numbers": [1969]}, r"In the year (19|20)\d\d\."),
        ("A share of 0.25.", {"share": 0.25}, r"A share of 0\.\d[1-9]\."),
        ("A share of 12.", {"share": 12.0}, r"A share of [1-9][1-9]\."),
        ("On 2024-02-11.", {"day": "2024-02-11"}, r"On 2024-\d\d-\d\d\."),
        ("Station KJ-17b.", {"station": "KJ-17b"}, r"Station KJ-\d\db\."),
        ("Station XR22.", {"station": "XR22"}, r"Station [A-Z]{2}\d\d\."),
        ("Five days in celsius.", {"unit": "Celsius"}, r"Five days in kelvin\."),
        ("In Celsius.", {"unit": "Celsius"}, r"In Kelvin\."),
    ],
)
def test_another_value_has_the_form_of_the_first(text: str, arguments: dict[str, Any], form: str) -> None:
    others = varied(text, arguments)
    assert others
    for one in others:
        assert re.fullmatch(form, str(one[0]["content"])), one[0]["content"]
        (value,) = arguments_of(one)[0].values()
        for part in value if isinstance(value, list) else [value]:
            assert str(part).removesuffix(".0").lower() in str(one[0]["content"]).lower()


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("Oslo, always Oslo!", {"city": "Oslo"}),
        ("How is the capital?", {"city": "Oslo"}),
        ("How is it at 12:30?", {"numbers": [30]}),
        ("How was it on 3/4?", {"numbers": [3, 4]}),
        ("Version 3.14.", {"numbers": [3]}),
        ("The next days.", {"unit": "deg_f"}),
        ("Warmer than -3?", {"numbers": [-3]}),
        ("Station 2024-11.", {"station": "2024-11"}),
        ("Say hi.", {"station": "hi"}),
        ("", {}),
    ],
    ids=["twice", "unsaid", "time", "date", "decimal", "code", "negative", "form", "short", "empty"],
)
def test_what_cannot_be_replaced_for_sure_stays(text: str, arguments: dict[str, Any]) -> None:
    assert not varied(text, arguments)


def test_a_value_that_the_schema_forbids_is_not_taken() -> None:
    others = varied("For 3 days.", {"days": 3})
    assert others and all(1 <= arguments_of(one)[0]["days"] <= 9 for one in others)
    assert not varied("For 300 days.", {"days": 300})


def test_each_call_keeps_its_own_values() -> None:
    for one in varied("How are Oslo and Rome?", {"city": "Oslo"}, {"city": "Rome"}):
        first, second = (arguments["city"] for arguments in arguments_of(one))
        assert one[0]["content"] == f"How are {first} and {second}?" and (first, second) != ("Oslo", "Rome")


def test_a_request_for_several_values_lists_them_and_calls_for_each() -> None:
    conversation = asked("How is Oslo for 3 days?", {"city": "Oslo", "days": 3}, result="{}", answer="Rain.")
    made = [VALUES.for_several(conversation, CATALOG, Random(seed)) for seed in range(200)]
    cities = [one for one in made if one and len({call["city"] for call in arguments_of(one)}) > 1]
    days = [one for one in made if one and len({call["days"] for call in arguments_of(one)}) > 1]
    assert cities and days and {len(arguments_of(one)) for one in cities} == {2, 3}
    for one in cities:
        *first, last = (call["city"] for call in arguments_of(one))
        assert first[0] == "Oslo" and one[0]["content"] == f"How is {', '.join(first)} and {last} for 3 days?"
        assert is_joinable(one) and all(call["days"] == 3 for call in arguments_of(one))
        assert [*actions_of(one[-1])] == [("finish", {"answer": " ".join(["Rain."] * len([*first, last]))})]


def test_only_one_request_with_its_calls_is_varied() -> None:
    again = [*asked("How is Oslo?", {"city": "Oslo"}), *asked("How is Rome?", {"city": "Rome"})]
    two = asked("How are Oslo and Rome?", {"city": "Oslo"}, {"city": "Rome"})
    assert VALUES.varied(again, CATALOG, Random(0)) is None and VALUES.for_several(again, CATALOG, Random(0)) is None
    assert VALUES.for_several(two, CATALOG, Random(0)) is None
