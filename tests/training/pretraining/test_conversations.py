"""Conversations are drawn as they are, with other values, or joined."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from toolgen.catalog.tool import Tool
from toolgen.datasets.messages import actions_of, call_message, calls_message, result_message, user_message
from toolgen.datasets.trajectory import Message
from toolgen.training.joining import is_joinable
from toolgen.training.pretraining.conversations import Conversations
from toolgen.training.pretraining.corpus import TrainingCatalog

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CITIES = ("Oslo", "Bergen", "Turku", "Malmo", "Narvik")


def told(text: str, *calls: tuple[str, dict[str, Any]]) -> tuple[Message, ...]:
    ids = [f"c{number}" for number in range(len(calls))]
    made = [(tool, arguments, id) for (tool, arguments), id in zip(calls, ids, strict=True)]
    results = [result_message(id, "fine") for id in ids]
    return (user_message(text), calls_message(made), *results, call_message("finish", {"answer": "Done."}, "end"))


ASKED = tuple(told(f"Weather in {city}, please", ("sky&&now", {"city": city})) for city in CITIES)
DECLINED: tuple[Message, ...] = (user_message("Sing!"), call_message("no_tool", {}, "1"))
CATALOG = TrainingCatalog(
    "sky", (Tool(id="sky&&now", provider="sky", name="now", parameters=CITY),), (), (*ASKED, DECLINED)
)


def drawn(join: float, vary: float, number: int = 0) -> list[list[str]]:
    """The cities that are called for in many draws; each stands in the request."""
    conversations, found = Conversations(CATALOG, join, vary), []
    for seed in range(60):
        messages = conversations.drawn(number, Random(seed))
        assert is_joinable(messages)
        cities = [arguments["city"] for _, arguments in actions_of(messages[1])]
        assert all(city in str(messages[0]["content"]) for city in cities)
        found.append(cities)
    return found


def test_a_catalog_without_requests_is_drawn_by_the_tools_that_its_conversations_call() -> None:
    several = replace(CATALOG, conversations=(*ASKED, told("Pay", ("bank&&pay", {})), told("Go", ("map&&go", {}))))
    weights = [Conversations(one, 0.0, 0.0).weight for one in (replace(CATALOG, conversations=(DECLINED,)), several)]
    assert 0 < weights[0] < weights[1]


def test_without_shares_a_conversation_is_what_it_is() -> None:
    conversations = Conversations(CATALOG, 0.0, 0.0)
    assert len(conversations) == 6
    assert all(conversations.drawn(place, Random(place)) is CATALOG.conversations[place] for place in range(6))


def test_some_have_other_values() -> None:
    found = [cities for (cities,) in drawn(0.0, 0.5)]
    assert {*found} > {"Oslo", "Bergen"} and 20 < found.count("Oslo") < 50


def test_some_are_joined_with_others() -> None:
    found = drawn(0.5, 0.0)
    assert {len(cities) for cities in found} == {1, 2, 3}
    assert all(cities[0] == "Oslo" and len({*cities}) == len(cities) for cities in found)


def test_some_ask_for_several_values() -> None:
    found = drawn(1.0, 1.0)
    assert max(map(len, found)) > 1


@pytest.mark.parametrize("seed", range(3))
def test_what_is_no_request_with_its_calls_stays(seed: int) -> None:
    assert Conversations(CATALOG, 1.0, 1.0).drawn(5, Random(seed)) is CATALOG.conversations[5]
