"""Conversations for any catalog, made by rules: requests that mention exactly the values of their calls, as tasks.

Four kinds: one call, several independent calls, a detail that is missing at first, and nothing that a tool is for. Their calls
fit the tools' schemas; `record_trajectories` gives them results and answers. After APIGen (arXiv 2406.18518), whose language
model is replaced by rules. Knows no environment and no model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.schema import schema_errors
from toolgen.catalog.tool import Tool
from toolgen.datasets.phrasing import specified, spoken
from toolgen.datasets.plausible import arguments_for, value_for, words_of
from toolgen.datasets.query import Call
from toolgen.datasets.synthetic import LONGEST
from toolgen.datasets.task import Task, Turn
from toolgen.datasets.training_sets.evidence import is_evidenced

KINDS: Mapping[str, float] = {"one": 0.5, "several": 0.25, "missing": 0.15, "none": 0.1}
"""Share of each kind."""
MOST_CALLS = 3
OPTIONAL = 2
"""Optional parameters that one call may give, at most."""
DRAWS = 3
"""How many conversations are drawn for one that is wanted, at most."""
LONGEST_VALUE = 300
"""Characters of the arguments of a call, at most."""
TRIES = 4
"""How often arguments are drawn for a call before its tool is left out."""

_PLACES = ("city", "location", "country", "place", "state", "region")
_JOINS = (" Also, ", " And ", " Then ", " ")
_UNFIT = (
    "Write a short poem about {}.",
    "Tell me a joke about {}.",
    "What do you think of {}?",
    "Explain {} to a child.",
    "Why do people like {} so much?",
    "Give me three arguments against {}.",
    "How would you describe {} to a friend?",
    "Let us talk about {} for a while.",
)
_TOPICS = (
    "autumn",
    "the sea",
    "patience",
    "old friends",
    "growing up",
    "courage",
    "silence",
    "long walks",
    "chess",
    "gardening",
    "modern art",
    "jazz",
    "philosophy",
    "the moon landing",
    "honesty",
    "black holes",
    "medieval castles",
    "learning a language",
)


@dataclass(frozen=True)
class _Asked:
    """A request for one call."""

    tool: Tool
    text: str
    arguments: Mapping[str, Any]

    @property
    def call(self) -> Call:
        return Call(tool=self.tool.id, arguments=self.arguments)


def make_conversations(catalog: Catalog, count: int, seed: int) -> Iterator[Task]:
    """Up to `count` tasks, the same for the same catalog and seed; no two begin with the same words. Every tool has its turn;
    those for which no sayable arguments are found are left out. Fewer, where a small catalog has no more to ask for."""
    order = list(range(len(catalog)))
    Random(f"{seed}/order").shuffle(order)

    def draw(number: int, random: Random) -> Task | None:
        (kind,) = random.choices(list(KINDS), list(KINDS.values()))
        turns = _turns(kind, catalog, order, number, random)
        if not turns:
            return None
        return Task(id=f"made/{seed}/{number}", turns=turns, category=kind, synthetic=True)

    return drawn_tasks(count if order else 0, seed, draw)


def drawn_tasks(count: int, seed: int, draw: Callable[[int, Random], Task | None]) -> Iterator[Task]:
    """Up to `count` of the tasks that `draw` makes of a number and its own randomness; where it makes none, or one that begins
    with the words of another, it draws again, no more than DRAWS times for each that is wanted."""
    said: set[str] = set()
    for number in range(DRAWS * count):
        if len(said) == count:
            return
        task = draw(number, Random(f"{seed}/{number}"))
        if task and task.turns[0].text not in said:
            said.add(task.turns[0].text)
            yield task


def _turns(kind: str, catalog: Catalog, order: Sequence[int], number: int, random: Random) -> tuple[Turn, ...]:
    """The turns of one conversation; none where nothing fits."""
    if kind == "none":
        topic = " and ".join(random.sample(_TOPICS, random.randint(1, 2)))
        return (Turn(text=random.choice(_UNFIT).format(topic), calls=()),)
    tool = catalog[order[number % len(order)]]
    if kind == "missing":
        return _missing(tool, random)
    first = _asked(tool, random)
    if first is None or kind == "one":
        return (Turn(text=first.text, calls=(first.call,)),) if first else ()
    asked = [first]
    for _ in range(random.randint(1, MOST_CALLS - 1)):
        other = tool if random.random() < 0.5 else catalog[random.choice(order)]
        if (more := _asked(other, random)) and more.call not in [one.call for one in asked]:
            asked.append(more)
    text = asked[0].text
    for one in asked[1:]:
        text += random.choice(_JOINS) + one.text
    return (Turn(text=text, calls=tuple(one.call for one in asked)),)


def _asked(tool: Tool, random: Random) -> _Asked | None:
    """A request that says all arguments of a call; None where none was found."""
    for _ in range(TRIES):
        arguments = _arguments(tool, random)
        if _is_sayable(arguments) and not schema_errors(arguments, tool.parameters):
            text = _text(tool, arguments, random)
            if text and len(text) <= LONGEST and is_evidenced(arguments, {}, text):
                return _Asked(tool, text, arguments)
    return None


def _text(tool: Tool, arguments: Mapping[str, Any], random: Random) -> str:
    """A request that names the values; of several places it also says which is which."""
    texts = specified(tool, arguments, random)
    labels = [words_of(name) for name in arguments]
    if sum(label.endswith(_PLACES) for label in labels) > 1:
        return next((text for text in texts if all(label in text for label in labels)), "")
    return texts[0]


def _arguments(tool: Tool, random: Random) -> dict[str, Any]:
    found = arguments_for(tool, random)
    optional = [name for name in tool.properties if name not in found]
    for name in random.sample(optional, min(len(optional), random.choice((0, 0, 1, OPTIONAL)))):
        found[name] = value_for(name, tool.properties[name], random)
    return {name: found[name] for name in tool.properties if found.get(name) is not None}


def _missing(tool: Tool, random: Random) -> tuple[Turn, ...]:
    """A request that lacks a required value, which the next turn gives."""
    asked = _asked(tool, random)
    if asked is None:
        return ()
    able = [
        name
        for name in tool.required
        if isinstance(asked.arguments.get(name), (str, int, float)) and not isinstance(asked.arguments[name], bool)
    ]
    if not able:
        return ()
    left_out = random.choice(able)
    rest = {name: value for name, value in asked.arguments.items() if name != left_out}
    text = _text(tool, rest, random)
    value = asked.arguments[left_out]
    if not text or is_evidenced({left_out: value}, {}, text):
        return ()
    told = random.choice(
        (f"The {words_of(left_out)} is {spoken(value)}.", f"{spoken(value)}", f"It is {spoken(value)}.")
    )
    return (Turn(text=text, calls=()), Turn(text=told, calls=(asked.call,)))


def _is_sayable(value: Any) -> bool:
    """Whether a request can say a value: nothing in it is null, and it is short."""
    return not _has_null(value) and len(json.dumps(value, ensure_ascii=False)) <= LONGEST_VALUE


def _has_null(value: Any) -> bool:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return value is None or any(map(_has_null, inner))
