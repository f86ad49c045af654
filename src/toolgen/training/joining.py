"""Conversations of one request each put together into one that asks for all: several calls that do not depend on each other.

What users ask for in one message is often several things, and real conversations of that kind are rare. The request is the
requests one after another, the calls stand in one message, the answer is the answers. Knows no tokenizer and no model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence, Set
from random import Random
from typing import Any

from toolgen.datasets.messages import (
    FINISH,
    NO_TOOL,
    actions_of,
    call_message,
    calls_message,
    result_message,
    user_message,
)
from toolgen.datasets.trajectory import Message

JOINS = (" ", " Also, ", " Then ", " and ")
"""What stands between two requests."""
JOINED = (2, 3)
"""Fewest and most requests of one."""
SAME_TOOL = 0.33
"""How often a conversation that is joined with others is joined with one that calls the same tool, if there is one."""

_SENTENCE_END = re.compile(r"[.!]\s*$")
# First words of a request that begin with a capital letter only because they are first.
_OPENER = re.compile(
    r"\A(?:an?|are|book|calculate|can|check|compute|convert|could|create|determine|do|does|fetch|find|generate|get|give|how|i'd|is"
    r"|list|look|make|may|need|order|please|provide|retrieve|search|send|set|show|tell|the|translate|use|what|what's|when|where"
    r"|which|who|will|would)(?= )",
    re.IGNORECASE,
)


def join_texts(texts: Sequence[str], random: Random) -> str:
    """Requests as one, each behind a word that joins it to those before."""
    text = texts[0]
    for other in texts[1:]:
        join = random.choice(JOINS)
        if join.strip():
            other = _OPENER.sub(lambda found: found[0].lower(), other)
        text = (_SENTENCE_END.sub("", text) if join == " and " else text.rstrip()) + join + other
    return text


def is_joinable(messages: Sequence[Message]) -> bool:
    """Whether a conversation is one request, calls that are all in one message, their results, and an answer."""
    roles = [message["role"] for message in messages]
    if roles[:2] != ["user", "assistant"] or roles[-1] != "assistant" or {*roles[2:-1]} != {"tool"}:
        return False
    called = [action for action, _ in actions_of(messages[1])]
    ended = list(actions_of(messages[-1]))
    if {FINISH, NO_TOOL} & {*called} or [action for action, _ in ended] != [FINISH]:
        return False
    return len(called) == len(roles) - 3 and not ended[0][1].get("gave_up")


class Partners:
    """Joinable conversations to join others with, also by the tool that they call."""

    def __init__(self, conversations: Sequence[Sequence[Message]]) -> None:
        self._calls = [calls_in(messages) for messages in conversations]
        self._by_tool: dict[str, list[int]] = {}
        for place, calls in enumerate(self._calls):
            for tool, _ in calls:
                self._by_tool.setdefault(tool, []).append(place)

    def drawn(self, calls: Set[tuple[str, str]], random: Random) -> list[int] | None:
        """The places of one or two conversations to join with one that makes these calls; None if those that were drawn make
        one of them, too."""
        places: list[int] = []
        for _ in range(random.randint(*JOINED) - 1):
            same = self._by_tool[min(calls)[0]] if random.random() < SAME_TOOL else None
            place = random.choice(same or range(len(self._calls)))
            if calls & self._calls[place]:
                return None
            places.append(place)
            calls = calls | self._calls[place]
        return places


def join_requests(conversations: Sequence[Sequence[Message]], random: Random) -> list[Message]:
    """Joinable conversations as one whose request is theirs, one after another."""
    request = join_texts([str(messages[0]["content"]) for messages in conversations], random)
    return joined_conversation(conversations, request)


def joined_conversation(conversations: Sequence[Sequence[Message]], request: str) -> list[Message]:
    """Joinable conversations as one that `request` asks for: its calls and results are all of theirs, in order."""
    calls = [call for messages in conversations for call in actions_of(messages[1])]
    results = [message["content"] for messages in conversations for message in messages[2:-1]]
    answers = [arguments["answer"] for messages in conversations for _, arguments in actions_of(messages[-1])]
    return conversation_of(request, calls, results, " ".join(answers))


def conversation_of(
    request: str, calls: Sequence[tuple[str, Mapping[str, Any]]], results: Sequence[str], answer: str
) -> list[Message]:
    """A joinable conversation: the request, its calls in one message, a result for each, and the answer."""
    *ids, last = (f"call_{number + 1}" for number in range(len(calls) + 1))
    return [
        user_message(request),
        calls_message((action, arguments, id) for (action, arguments), id in zip(calls, ids, strict=True)),
        *(result_message(id, content) for content, id in zip(results, ids, strict=True)),
        call_message(FINISH, {"answer": answer}, last),
    ]


def calls_in(messages: Sequence[Message]) -> set[tuple[str, str]]:
    """The calls of a conversation, each as tool id and written arguments."""
    return {
        (action, json.dumps(arguments, sort_keys=True))
        for message in messages
        for action, arguments in actions_of(message)
        if action != FINISH
    }
