"""What a tool that nobody calls could come back with, and what is said of a result: by rules, in English, without a model.

A made-up result is only ever a guess. It follows the tool's response schema where it has one, else its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from toolgen.catalog.tool import Tool
from toolgen.datasets.phrasing import base_form, instruction, spoken
from toolgen.datasets.plausible import value_for, words_of
from toolgen.errors import InputError
from toolgen.foreign.data import parse_json

ANSWER_LIMIT = 200
"""Characters of results that one answer repeats."""

_NUMERIC = frozenset(
    """
    add calculate compute convert count divide estimate evaluate measure multiply predict solve subtract sum
    """.split()  # noqa: SIM905 - a list of this length is not read
)
_LISTING = frozenset("browse discover filter find list query recommend scan search suggest".split())  # noqa: SIM905
_FACTUAL = frozenset(
    """
    check detect determine fetch get look obtain read retrieve return show track view
    """.split()  # noqa: SIM905 - a list of this length is not read
)
_THINGS = ("Harbor View", "Green Leaf", "Sunrise", "Blue Door", "North Star", "Old Mill", "Silver Oak")


def result_for(tool: Tool, arguments: Mapping[str, Any], random: Random) -> Any:
    """A made-up result of a call; what is raised where the response schema is none comes through."""
    if tool.returns:
        return _filled(value_for(tool.name, tool.returns, random), random)
    known, noun = _verb_and_noun(tool)
    given = _echo(arguments)
    if known in _NUMERIC:
        return {_key(noun): _number(random)}
    if known in _LISTING:
        found = random.sample(_THINGS, random.randint(1, 3))
        return {**given, _key(noun): found, "count": len(found)}
    if known in _FACTUAL or not known:
        guess = value_for(noun, {"type": "string"}, random)
        return {**given, _key(noun): _number(random) if guess is None else guess}
    return {**given, "status": random.choice(("success", "done", "completed")), "id": random.randint(1000, 99999)}


def answer_for(results: Sequence[str], random: Random, *, failed: bool = False) -> str:
    """A short, true text about the results of a turn; `failed`: the last of them is an error."""
    said = [facts for facts in map(facts_of, results[-1:] if failed else results) if facts]
    if failed:
        return " ".join(["The last call failed.", *(f"{facts}." for facts in said)])
    text = "; ".join(said)
    while len(text) > ANSWER_LIMIT and said:
        said.pop()
        text = "; ".join(said)
    if not text:
        return random.choice(("Done.", "It is done.", "That is done."))
    opening = random.choice(("", "", "Done: ", "Here it is: ", "I found this: ", "The result: "))
    return f"{opening}{text if opening else text[:1].upper() + text[1:]}."


def facts_of(content: str) -> str:
    """A small result in words, `temperature 21.5, unit C`; nothing of what is long or nested."""
    try:
        value = parse_json(content, "result")
    except InputError:
        return ""
    if not isinstance(value, dict):
        flat = isinstance(value, (int, float, str)) and not isinstance(value, bool)
        text = spoken(value) if flat or _is_short_list(value) else ""
    else:
        told = {key: item for key, item in value.items() if item not in ("", None, [], {})}
        if not all(_is_flat(item) or _is_short_list(item) for item in told.values()):
            return ""
        text = ", ".join(f"{words_of(str(key))} {spoken(item)}" for key, item in told.items())
    return text.rstrip(".") if len(text) <= ANSWER_LIMIT else ""


def _verb_and_noun(tool: Tool) -> tuple[str, str]:
    """What the tool does and with what, by its name, and where that has no verb by its description; the verb may be empty."""
    words = [word for word in words_of(tool.name).split() if not word.isdecimal()]
    place = next((place for place, word in enumerate(words) if base_form(word)), None)
    if place is None:
        return instruction(tool).partition(" ")[0], " ".join(words)
    return base_form(words[place]) or "", " ".join(words[place + 1 :] or words[:place])


def _filled(value: Any, random: Random) -> Any:
    """The value with a name where nothing could be guessed."""
    if isinstance(value, Mapping):
        return {key: _filled(item, random) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, random) for item in value]
    return random.choice(_THINGS) if value is None else value


def _is_flat(value: Any) -> bool:
    return not isinstance(value, (dict, list))


def _is_short_list(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(value) <= 5 and all(map(_is_flat, value))


def _echo(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The first text among the arguments, which results often repeat."""
    return next(({name: value} for name, value in arguments.items() if isinstance(value, str) and value), {})


def _key(noun: str) -> str:
    return "_".join(noun.split()[:4]) or "result"


def _number(random: Random) -> float:
    return random.choice((random.randint(1, 500), round(random.uniform(1, 500), 2)))
