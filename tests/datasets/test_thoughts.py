"""Thoughts by rules: what is said of where each value comes from."""

from __future__ import annotations

from typing import Any

import pytest

from toolgen.catalog import Catalog, Tool
from toolgen.datasets.messages import call_message, calls_message, result_message, user_message
from toolgen.datasets.thoughts import LONGEST, with_thoughts
from toolgen.datasets.trajectory import Message

SCHEMA = {
    "type": "object",
    "properties": {
        "destinationCity": {"type": "string"},
        "guest_count": {"type": "integer"},
        "room": {"enum": ["single", "double"]},
        "notes": {"type": "array", "items": {"type": "string"}},
    },
}
CATALOG = Catalog([Tool(id="h&&book_room", provider="h", name="book_room", parameters=SCHEMA)])
ASKED = user_message("Two guests want to go to Oslo.")


def thought_of(*messages: Message) -> str:
    return str(with_thoughts(messages, CATALOG)[-1]["content"])


def booked(**arguments: Any) -> Message:
    return call_message("h&&book_room", arguments, "1")


@pytest.mark.parametrize(
    ("messages", "thought"),
    [
        ([booked()], "To book room."),
        (
            [booked(destinationCity="Oslo", guest_count=2)],
            "To book room: destination city is Oslo, guest count is 2.",
        ),
        ([booked(destinationCity="Bergen")], "To book room: destination city is Bergen by choice."),
        (
            [result_message("0", '{"city": "Bergen"}'), booked(destinationCity="Bergen", guest_count=2)],
            "To book room: destination city is Bergen from the result, guest count is 2.",
        ),
        ([call_message("finish", {"answer": "Booked."}, "1")], "All is done."),
        ([call_message("finish", {"answer": "Where to?", "gave_up": True}, "1")], "Something is missing."),
        ([call_message("no_tool", {}, "1")], "No tool does this."),
        (
            [calls_message([("h&&book_room", {"guest_count": 2}, "1"), ("h&&book_room", {}, "2")])],
            "To book room: guest count is 2; then To book room.",
        ),
    ],
)
def test_a_thought_says_what_is_done_and_where_its_values_come_from(messages: list[Message], thought: str) -> None:
    assert thought_of(ASKED, *messages) == thought


def test_a_long_value_is_cut_and_only_calls_get_a_thought() -> None:
    long = thought_of(ASKED, booked(notes=["word " * 50]))
    assert len(long) < LONGEST + 60 and "..." in long
    spoken = {"role": "assistant", "content": "Which room?"}
    assert with_thoughts([ASKED, spoken, ASKED], CATALOG) == [ASKED, spoken, ASKED]


def test_an_earlier_thought_is_replaced_and_arguments_stay() -> None:
    before = call_message("h&&book_room", {"guest_count": 2}, "1", thought="Hm.")
    (_, after) = with_thoughts([ASKED, before], CATALOG)
    assert after == {**before, "content": "To book room: guest count is 2."}
