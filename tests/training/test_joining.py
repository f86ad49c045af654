"""Conversations of one request each become one that asks for all."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from toolgen.datasets.messages import call_message, calls_by_turn, calls_message, result_message, user_message
from toolgen.datasets.query import Call
from toolgen.datasets.trajectory import Message
from toolgen.training.joining import (
    JOINS,
    Partners,
    calls_in,
    is_joinable,
    join_requests,
    join_texts,
    joined_conversation,
)


def asked(text: str, *calls: tuple[str, dict[str, Any]], answer: str = "Done.") -> list[Message]:
    ids = [f"other_{number}" for number in range(len(calls))]
    return [
        user_message(text),
        calls_message([(tool, arguments, id) for (tool, arguments), id in zip(calls, ids, strict=True)]),
        *(result_message(id, f"result of {tool}") for (tool, _), id in zip(calls, ids, strict=True)),
        call_message("finish", {"answer": answer}, "end"),
    ]


WEATHER = asked("What is the weather in Oslo?", ("weather&&now", {"city": "Oslo"}), answer="Rain.")
MAILS = asked("Mail Ann and Bo.", ("mail&&send", {"to": "Ann"}), ("mail&&send", {"to": "Bo"}), answer="Sent.")


def test_the_calls_and_results_of_all_are_those_of_one_message() -> None:
    joined = joined_conversation([MAILS, WEATHER], "Mail Ann and Bo. What is the weather in Oslo?")
    assert [message["role"] for message in joined] == ["user", "assistant", "tool", "tool", "tool", "assistant"]
    expected = (("mail&&send", {"to": "Ann"}), ("mail&&send", {"to": "Bo"}), ("weather&&now", {"city": "Oslo"}))
    assert calls_by_turn(joined) == [[Call(tool=tool, arguments=arguments) for tool, arguments in expected]]
    calls = [call["id"] for call in joined[1]["tool_calls"]]
    assert len({*calls}) == 3 and [message["tool_call_id"] for message in joined[2:5]] == calls
    assert [message["content"] for message in joined[2:5]] == ["result of mail&&send"] * 2 + ["result of weather&&now"]
    end = joined[-1]["tool_calls"][0]["function"]
    assert end["name"] == "finish" and json.loads(end["arguments"]) == {"answer": "Sent. Rain."}
    assert is_joinable(joined)


def test_each_request_is_in_the_text_and_only_an_opening_word_loses_its_capital() -> None:
    texts = {join_texts(["Book a table.", "What is new?", "Paris in May?"], Random(seed)) for seed in range(200)}
    assert len(texts) == len(JOINS) ** 2
    for text in texts:
        assert text.startswith("Book a table") and "hat is new?" in text and text.endswith("Paris in May?")
    assert "Book a table. What is new? Also, Paris in May?" in texts
    assert "Book a table and what is new? Then Paris in May?" in texts


def test_partners_make_other_calls_and_sometimes_call_the_same_tool() -> None:
    bergen = asked("And in Bergen?", ("weather&&now", {"city": "Bergen"}))
    partners = Partners([WEATHER, MAILS, bergen])
    drawn = [partners.drawn(calls_in(WEATHER), Random(seed)) for seed in range(200)]
    assert None in drawn  # the conversation itself was drawn
    found = [places for places in drawn if places]
    assert {1, 2} == {place for places in found for place in places}
    assert {len(places) for places in found} == {1, 2} and all(len({*places}) == len(places) for places in found)
    assert sum(places[0] == 2 for places in found) > len(found) / 2
    joined = join_requests([WEATHER, bergen], Random(0))
    assert calls_in(joined) == calls_in(WEATHER) | calls_in(bergen)
    assert str(joined[0]["content"]).startswith("What is the weather in Oslo?")


@pytest.mark.parametrize(
    "messages",
    [
        [user_message("Hi"), call_message("finish", {"answer": "Hello."}, "1")],
        [user_message("Fly"), call_message("no_tool", {}, "1")],
        [*WEATHER, *WEATHER],
        [{"role": "system", "content": "Be short."}, *WEATHER],
        [*WEATHER[:-1], call_message("finish", {"answer": "?", "gave_up": True}, "2")],
        [*WEATHER[:3], *WEATHER[1:]],
        [*MAILS[:3], MAILS[-1]],
        WEATHER[:-1],
        WEATHER[:1],
        [],
    ],
    ids=[
        "answered",
        "declined",
        "turns",
        "system",
        "gave_up",
        "steps",
        "lost_result",
        "unanswered",
        "request",
        "empty",
    ],
)
def test_what_is_more_or_less_than_a_request_and_its_calls_is_not_joined(messages: list[Message]) -> None:
    assert not is_joinable(messages)


def test_calls_are_equal_whatever_the_order_of_their_arguments() -> None:
    one, other = asked("x", ("a&&b", {"x": 1, "y": 2})), asked("z", ("a&&b", {"y": 2, "x": 1}))
    assert calls_in(one) == calls_in(other) == {("a&&b", '{"x": 1, "y": 2}')}
