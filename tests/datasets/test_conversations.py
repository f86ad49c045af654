"""Conversations made for a catalog: valid, said in full, and the same for the same seed."""

from __future__ import annotations

import pytest

from toolgen.catalog import Catalog, Tool
from toolgen.catalog.schema import schema_errors
from toolgen.datasets import Task
from toolgen.datasets.conversations import KINDS, MOST_CALLS, make_conversations
from toolgen.datasets.training_sets.evidence import is_evidenced, unevidenced_values


def tool(name: str, description: str, required: list[str], **properties: object) -> Tool:
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return Tool(id=name, provider="", name=name, description=description, parameters=schema)


CITY, DAYS = {"type": "string"}, {"type": "integer", "minimum": 1, "maximum": 10}
CATALOG = Catalog(
    [
        tool("get_weather", "Get the weather of a city.", ["city"], city=CITY, days=DAYS),
        tool("book_trip", "Book a trip.", ["from_city", "to_city", "date"], from_city=CITY, to_city=CITY, date=CITY),
        tool("calculate_area", "Calculate the area of a circle.", ["radius"], radius={"type": "number"}),
        tool("set_unit", "Set the unit.", ["unit"], unit={"enum": ["metric", "imperial"]}),
        tool("impossible", "Do what nobody can.", ["x"], x={"type": "string", "pattern": "^qz{9}$"}),
    ]
)


@pytest.fixture(scope="module")
def made() -> list[Task]:
    return list(make_conversations(CATALOG, 800, seed=0))


def test_every_call_fits_its_tool_and_is_said_before_it_is_made(made: list[Task]) -> None:
    for task in made:
        said = ""
        for turn in task.turns:
            said += f"\n{turn.text}"
            for call in turn.calls or ():
                schema = CATALOG.get(call.tool).parameters
                assert not schema_errors(call.arguments, schema)
                assert is_evidenced(call.arguments, {}, said)
    assert {one for task in made for one in task.tools} == {*CATALOG.ids} - {"impossible"}


def test_all_kinds_are_made_and_are_what_they_are_called(made: list[Task]) -> None:
    assert {task.category for task in made} == KINDS.keys()
    for task in made:
        counts = [len(turn.calls or ()) for turn in task.turns]
        if task.category == "none":
            assert counts == [0] and task.no_tool_fits
        elif task.category == "missing":
            (call,) = task.calls
            assert counts == [0, 1]
            lacking = unevidenced_values(call.arguments, {}, task.turns[0].text)
            assert len(lacking) == 1 and lacking[0] in CATALOG.get(call.tool).required
        else:
            assert len(counts) == 1 and 1 <= counts[0] <= (MOST_CALLS if task.category == "several" else 1)
            assert len({str(call) for call in task.calls}) == counts[0]
    assert any(len(task.calls) > 1 for task in made)


def test_a_request_with_two_places_says_which_is_which(made: list[Task]) -> None:
    trips = [task for task in made if task.category == "one" and task.tools == ("book_trip",)]
    assert trips and all("from city" in task.turns[0].text and "to city" in task.turns[0].text for task in trips)


def test_the_same_seed_makes_the_same_and_no_two_begin_alike(made: list[Task]) -> None:
    assert made == list(make_conversations(CATALOG, 800, seed=0))
    assert made != list(make_conversations(CATALOG, 800, seed=1))
    texts = [task.turns[0].text for task in made]
    assert len(texts) == len({*texts}) and len({task.id for task in made}) == len(made)
    assert all(task.synthetic for task in made) and list(make_conversations(Catalog(), 5, 0)) == []


def test_a_value_that_contains_the_word_null_is_asked_for_and_null_is_not() -> None:
    words, nothing = {"enum": ["annulled", "nullable"]}, {"enum": [[None], {"x": None}]}
    catalog = Catalog(
        [
            tool("set_state", "Set the state of a marriage.", ["state"], state=words),
            tool("set_nothing", "Set the nothing of a thing.", ["nothing"], nothing=nothing),
        ]
    )
    tasks = list(make_conversations(catalog, 40, seed=0))
    assert {call.arguments["state"] for task in tasks for call in task.calls} == {"annulled", "nullable"}
