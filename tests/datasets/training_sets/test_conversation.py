"""What comes out of a conversation: requests that stand for themselves, and the whole as a trajectory."""

from __future__ import annotations

import json

from toolgen.catalog.tool import Tool
from toolgen.datasets.query import Call
from toolgen.datasets.training_sets.conversation import Action, Conversation, Request, Step, Turn

FIND = Tool(id="find", provider="", name="find")
BOOK = Tool(id="book", provider="", name="book")


def said(text: str) -> tuple[Step, ...]:
    return (Step(text=text),)


def called(tool: str, result: str | None = None, text: str = "", **arguments: object) -> Step:
    return Step(text=text, actions=(Action(tool=tool, arguments=arguments, result=result),))


def conversation(*turns: Turn, relevant: tuple[str, ...] = ()) -> Conversation:
    return Conversation(id="c", tools=(FIND, BOOK), turns=turns, relevant=relevant)


def test_a_turn_with_calls_is_a_request_with_its_tools_and_calls() -> None:
    turn = Turn(text="Rooms in Rome?", steps=(called("find", city="Rome"), called("find", city="Roma"), called("book")))

    (request,) = conversation(turn).requests()

    calls = (
        Call(tool="find", arguments={"city": "Rome"}),
        Call(tool="find", arguments={"city": "Roma"}),
        Call(tool="book", arguments={}),
    )
    assert request == Request(id="c-0", text="Rooms in Rome?", tools=("find", "book"), calls=calls)


def test_a_question_back_is_a_request_without_calls_and_its_answer_joins_the_text_of_the_next() -> None:
    asked = Turn(text="A room!", steps=said("Where?"), ending="asked")
    again = Turn(text="In Rome.", steps=said("When?"), ending="asked")
    booked = Turn(text="On Monday.", steps=(called("book", city="Rome"),))

    first, second = conversation(asked, again, booked).requests()

    assert (first.text, first.tools, first.calls, first.asks_back) == ("A room!", ("book",), None, True)
    assert (second.text, second.tools, second.asks_back) == ("A room!\nIn Rome.\nOn Monday.", ("book",), False)


def test_requests_after_calls_are_marked_as_following_them() -> None:
    turns = Turn(text="Find it.", steps=(called("find"),)), Turn(text="Book that.", steps=(called("book"),))

    assert [request.follows for request in conversation(*turns).requests()] == [False, True]


def test_a_declined_turn_is_a_request_without_tools_and_ends_what_was_asked_before() -> None:
    asked = Turn(text="A room!", steps=said("Where?"), ending="asked")
    declined = Turn(text="No, sing!", steps=said("I cannot."), ending="declined")

    (request,) = conversation(asked, declined).requests()

    assert (request.text, request.tools, request.calls) == ("No, sing!", (), ())


def test_tools_that_are_named_without_calls_leave_the_calls_unknown() -> None:
    (request,) = conversation(Turn(text="A room!"), relevant=("book",)).requests()

    assert (request.tools, request.calls, request.asks_back) == (("book",), None, False)


def test_a_complete_conversation_becomes_a_trajectory_with_the_calls_of_a_step_in_one_message() -> None:
    both = Step(
        text="I look.", actions=(Action(tool="find", arguments={"n": 1}, result="a"), called("find", "b").actions[0])
    )
    turns = (
        Turn(text="Find two.", steps=(both, Step(text="Found a and b."))),
        Turn(text="Sing!", ending="declined"),
    )

    trajectory = conversation(*turns).trajectory()

    assert trajectory is not None
    assert [message["role"] for message in trajectory.messages] == (
        ["user", "assistant", "tool", "tool", "assistant", "user", "assistant"]
    )
    calls = [call["function"] for m in trajectory.messages for call in m.get("tool_calls", ())]
    assert [(call["name"], json.loads(call["arguments"])) for call in calls] == [
        ("find", {"n": 1}),
        ("find", {}),
        ("finish", {"answer": "Found a and b."}),
        ("no_tool", {}),
    ]
    assert [m["content"] for m in trajectory.messages if m["role"] == "assistant"] == ["I look.", "", ""]
    assert trajectory.outcome.status == "declined"


def test_without_results_an_answer_or_any_need_of_tools_there_is_no_trajectory() -> None:
    no_result = Turn(text="Find it.", steps=(called("find"), Step(text="Here.")))
    no_answer = Turn(text="Find it.", steps=(called("find", "a"),))
    small_talk = Turn(text="Hello", steps=said("Hello!"))

    assert [conversation(turn).trajectory() for turn in (no_result, no_answer, small_talk)] == [None] * 3


def test_a_question_back_alone_is_a_trajectory_that_ends_in_the_question() -> None:
    trajectory = conversation(Turn(text="A trip!", steps=said("Where to?"), ending="asked")).trajectory()

    assert trajectory is not None
    assert trajectory.outcome.answer == "Where to?"
