"""From a tool's documentation to what a person would type: by rules, in English, without a model.

Other languages pass through: where no verb is recognized, the text is taken for the name of a thing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from toolgen.catalog.tool import Tool
from toolgen.datasets.plausible import words_of

_VERBS = frozenset(
    """
    access activate add adjust aggregate allocate analyze apply arrange assess assign authenticate begin
    block book broadcast browse build buy calculate call cancel change check choose classify clean clear
    close collect combine compare complete compose compress compute concatenate configure confirm connect
    convert copy count create customize deactivate decode decrypt delete deliver deploy derive describe
    detect determine disable discover display divide download draw edit enable encode encrypt enter estimate
    evaluate examine execute explain export extract fetch fill filter find fix follow forecast format gather
    generate get give grant handle highlight identify implement import increase initiate insert inspect
    install integrate interpret invert invoke invite issue join launch list load locate lock log look make
    manage map measure merge model modify monitor move multiply mute navigate normalize notify obtain offer
    open optimize order organize parse pause perform place plan play plot post predict prepare present print
    process produce project provide publish purchase query rank rate read rearrange recommend record reduce
    refund register reject remove rename render renew replace reply report request reschedule reserve reset
    resolve restart retrieve return reverse rotate round run save scan schedule scrape segment search select
    send set share show simulate solve sort split start stop store stream submit subscribe subtract suggest
    sum summarize switch synchronize tag take test track train transfer transform translate trim turn unlock
    update upload validate verify view visualize warn watch withdraw write
    """.split()  # noqa: SIM905 - a list of this length is not read
)
_ASKS_FOR_A_FACT = frozenset(
    """
    calculate compute determine fetch find get look obtain provide query retrieve return show estimate give
    """.split()  # noqa: SIM905 - a list of this length is not read
)
_PREFIX = re.compile(
    r"^(?:(?:this|the|a|an)\s+)?(?:\w+\s+)?(?:function|tool|api|endpoint|method|operation|call|service|utility)s?\s+"
    r"(?:(?:that|which|is|are|can|be|will|used|useful|designed|helps?|enables?|allows?|lets?|you|users?|the user|for|to)\s+)*",
    re.IGNORECASE,
)
_ALLOWS = re.compile(
    r"^(?:(?:used|use this|allows?|enables?|lets?|helps?)\s+)(?:(?:you|users?|the user|us)\s+)?(?:to\s+)?", re.I
)
_END = re.compile(r"(?<!e\.g)(?<!i\.e)(?<!etc)(?<! vs)[.!?](?=\s|$)|[\n;]")
_FILLER = re.compile(
    r"\b(?:an?|the)\s+(?:specified|given|provided|particular|certain|supplied|desired|requested|specific)\s+(?=(\w))",
    re.I,
)
_DANGLING = re.compile(
    r"\s+(?:associated|related|linked|based|compared|the|a|an|of|for|to|and|or|in|on|all)$", re.IGNORECASE
)
_CLAUSE = re.compile(
    r"\s*(?:,|\(|:| - )\s*.*$|\s+(?:based on|given|using|by|via|through|with|according to|including|such as|from|within|"
    r"and returns?|and optionally|returning|that|which|where|when|if|as|so|provided|while|along)\s+.*$",
    re.IGNORECASE,
)
_FUNCTION_WORDS = frozenset(
    """
    a an the of for in on at to and or is are be its their this that these those with by from as all any
    some
    """.split()  # noqa: SIM905 - a list of this length is not read
)
_DETERMINER = re.compile(r"^(?:the|a|an|all|any|some|its|their)\s+", re.IGNORECASE)
_MAX_WORDS = 18


def first_sentence(description: str) -> str:
    """The first sentence on one line, without its full stop."""
    lines = " ".join(part.strip() for part in description.strip().splitlines()[:3])
    return " ".join(_END.split(lines, maxsplit=1)[0].split())


def base_form(word: str) -> str | None:
    """The verb of which a word is the base form or third person; None for what is no known verb."""
    lower = word.lower()
    forms = [lower, lower.removesuffix("s"), lower.removesuffix("es"), re.sub("ies$", "y", lower)]
    return next((form for form in forms if form in _VERBS), None)


def instruction(tool: Tool) -> str:
    """What the tool does as an order in lower case, `calculate the area of a triangle`; "" where no verb begins it."""
    sentence = first_sentence(tool.description)
    for pattern in (_PREFIX, _ALLOWS):
        sentence = pattern.sub("", sentence, count=1)
    for text in (sentence, words_of(tool.name)):
        first, _, rest = text.partition(" ")
        if (verb := base_form(first.strip(","))) and rest:
            return f"{verb} {_tidy(rest)}"
    return ""


def thing(tool: Tool) -> str:
    """What the tool is about where it is described by a noun: `weather forecast for a city`."""
    return _tidy(first_sentence(tool.description)) or words_of(tool.name)


def core(text: str) -> str:
    """The text up to its first side clause."""
    cut = _DANGLING.sub("", _CLAUSE.sub("", text))
    return cut if len(cut.split()) >= 2 else " ".join(text.split()[:6])


def descriptive(tool: Tool, random: Random) -> list[str]:
    """Requests that say what is wanted, without values."""
    order = _limited(instruction(tool))
    if not order:
        noun = _limited(_uncapitalized(thing(tool)))
        return _shuffled([f"I'm looking for {noun}.", f"Can you help me with {noun}?", f"I need {noun}."], random)
    short = core(order)
    found = [f"Can you {order}?", f"I need to {short}.", f"Could you {short} for me?", f"I want to {order}."]
    found += [f"Please {short}.", f"Help me {short}."]
    verb, _, rest = order.partition(" ")
    if verb in _ASKS_FOR_A_FACT and rest.startswith("the ") and (question := _question(core(rest))):
        found += [question] * 2
    return _shuffled(found, random)


def vague(tool: Tool, random: Random) -> list[str]:
    """Requests of two to six words, as people type them into a search box."""
    order = core(instruction(tool) or _uncapitalized(thing(tool)))
    verb, _, rest = order.partition(" ")
    has_verb = base_form(verb) is not None
    noun = _DETERMINER.sub("", re.sub(r"^(?:for|to|in|on|of)\s+", "", rest if has_verb else order))
    head = re.split(r"\s+(?:for|in|on|at|to|of|about|between)\s+", noun, maxsplit=1)[0]
    bare = " ".join(word for word in noun.split() if word.lower() not in _FUNCTION_WORDS)
    name = words_of(tool.name)
    found = [noun, bare, f"need {noun}", f"{noun} please"]
    if len(bare.split()) > 5:  # too long for all of these
        found += [head, f"{head} please"] + [f"{verb} {head}"] * has_verb
    found += [f"{verb} {bare}", f"{verb} {noun}", f"how to {verb} {bare}"] if has_verb else [f"{noun}?"]
    if len(name.split()) > 1:
        first, _, others = name.partition(" ")
        found += [name, others if base_form(first) and " " in others else name]
    return _shuffled([text for text in found if 2 <= len(text.split()) <= 6], random)


def specified(tool: Tool, arguments: Mapping[str, Any], random: Random) -> list[str]:
    """Requests that name every argument."""
    order = core(instruction(tool)) or f"help me with {core(_uncapitalized(thing(tool)))}"
    left = dict(arguments)
    for name, value in arguments.items():
        if isinstance(value, str) and (placed := _placed(order, name, value)):
            order = placed
            del left[name]
    clauses = sorted((_clause(name, value) for name, value in left.items()), key=lambda one: one.startswith("with "))
    others = [clause for clause in clauses if not clause.startswith("with ")]
    given = listing([clause.removeprefix("with ") for clause in clauses if clause.startswith("with ")])
    listed = " ".join([*others, *([f"with {given}"] if given else [])])
    plain = ", ".join(f"{words_of(name)} {spoken(value)}" for name, value in left.items())
    if not listed:
        return _shuffled([f"{_capitalized(order)}.", f"Can you {order}?", f"Please {order}."], random)
    found = [f"{_capitalized(order)} {listed}.", f"Can you {order} {listed}?", f"I need to {order} {listed}."]
    found += [f"{_capitalized(order)}: {plain}"]
    return _shuffled(found, random)


def spoken(value: Any) -> str:
    """A value as it stands in a request."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return listing([f"{words_of(str(key))} {spoken(one)}" for key, one in value.items()])
    if isinstance(value, (list, tuple)):
        return listing([spoken(one) for one in value])
    text = str(value)
    return f"'{text}'" if isinstance(value, str) and len(text.split()) > 3 else text


def _clause(name: str, value: Any) -> str:
    label = words_of(name)
    if isinstance(value, bool):
        return f"with {label}" if value else f"without {label}"
    if isinstance(value, str) and re.search(r"(?:^| )(city|location|country|place|state|region)$", label):
        return f"in {value}"
    if isinstance(value, str) and label in ("date", "day"):
        return f"on {value}"
    return f"with {label} {spoken(value)}"


def _placed(order: str, name: str, value: str) -> str:
    """The order with `a city` or `the city name` replaced by the value itself."""
    label = words_of(name).removesuffix(" name")
    if not label or len(value) > 40:
        return ""
    pattern = re.compile(rf"\b(?:a|an|the|your|any)\s+(?:\w+\s+)?{re.escape(label)}(?:'s name| name)?(?![\w'])", re.I)
    text, count = pattern.subn(lambda _: value, order, count=1)
    return text if count else ""


def _question(noun: str) -> str:
    words = noun.split()
    end = next(
        (i for i, word in enumerate(words) if word in ("of", "for", "in", "between", "on", "to", "at")), len(words)
    )
    head = words[end - 1]
    plural = head.endswith("s") and not head.endswith(("ss", "us", "is"))
    return f"What {'are' if plural or ' and ' in noun else 'is'} {noun}?"


def _tidy(text: str) -> str:
    text = _FILLER.sub(_article, text.replace("`", ""))
    text = re.sub(r"\b(for )?(the |an )?authenticated user\b", lambda m: "for me" if m[1] else "me", text)
    text = re.sub(r"\b(?:the )?user's\b", "my", text)
    return re.sub(r"\b(and|or) (\w+s)\b", _second_verb, text).strip(" .,")


def _article(match: re.Match[str]) -> str:
    """`the specified` stays `the`; `a given item` is `an item`."""
    if match[0].lower().startswith("the"):
        return "the "
    return "an " if match[1].lower() in "aeio" else "a "


def _second_verb(match: re.Match[str]) -> str:
    """`and returns its roots` after an imperative is `and return its roots`; plural nouns are left alone."""
    word = match[2]
    verbs = {"returns", "provides", "calculates", "generates", "retrieves", "creates", "sends", "converts", "applies"}
    return f"{match[1]} {base_form(word)}" if word in verbs else match[0]


def _limited(text: str) -> str:
    return text if len(text.split()) <= _MAX_WORDS and "(" not in text else core(text)


def listing(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else "".join(parts)


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def _uncapitalized(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def _shuffled(texts: Sequence[str], random: Random) -> list[str]:
    distinct = list(dict.fromkeys(" ".join(text.split()) for text in texts))
    random.shuffle(distinct)
    return distinct
