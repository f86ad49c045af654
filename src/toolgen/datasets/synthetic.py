"""Synthetic requests for tools, above all unasked ones, and the filter that keeps the useful ones.

Round trip as in Re-Invoke (arXiv 2408.01875) and the filtering of generated queries in InPars (arXiv 2202.05144): a
request is kept if a retriever finds its tool with it. Knows no retriever: one is handed in as a function.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from toolgen.catalog.schema import schema_errors
from toolgen.catalog.tool import Tool
from toolgen.datasets.folder import Dataset
from toolgen.datasets.phrasing import descriptive, first_sentence, specified, vague
from toolgen.datasets.plausible import arguments_for
from toolgen.datasets.query import Call, Query, Synthetic

TRAINED = "trained"
"""The style of a writer that learned from the dataset's own requests."""
RULE_STYLES = ("vague", "specified", "descriptive")
STYLES = (*RULE_STYLES, TRAINED)
TURNS = 3  # requests of one style by rules for one tool, at most: more only repeat each other
LONGEST = 400  # characters of a request
SPARE = 3  # drafts for each request wanted, since the filter drops some

Find = Callable[[Sequence[str]], Sequence[Sequence[str]]]
"""From requests to the ids of the tools found for each, best first and as many as count."""


@dataclass(frozen=True)
class Draft:
    """One request for one tool, before the filter."""

    tool: str
    text: str
    style: str
    by: str
    call: Call | None = None


@dataclass(frozen=True)
class Filtered:
    """The drafts that were kept, and how many were dropped for which reason."""

    kept: tuple[Draft, ...]
    dropped: dict[str, int]


def tools_to_ask_for(dataset: Dataset, *, only_unasked: bool) -> tuple[Tool, ...]:
    """All tools, or the unasked ones (synthetic requests count here)."""
    if not only_unasked:
        return tuple(dataset.catalog)
    asked = {tool for request in dataset.requests_and_tasks("train") for tool in request.tools}
    return tuple(tool for tool in dataset.catalog if tool.id not in asked)


def drafts_by_rule(tool: Tool, per_tool: int, seed: int) -> Iterator[Draft]:
    """Requests in all styles, the same for the same tool and seed whatever else is in the catalog. What nobody would type,
    such as a documentation without spaces, is left out."""
    return (draft for draft in _drafts(tool, per_tool, seed) if len(draft.text) <= LONGEST)


def _drafts(tool: Tool, per_tool: int, seed: int) -> Iterator[Draft]:
    random = Random(f"{seed}/{tool.id}")
    each = -(-per_tool * SPARE // len(RULE_STYLES))
    for text in vague(tool, random)[:each]:
        yield Draft(tool.id, text, "vague", "rules")
    for text in descriptive(tool, random)[:each]:
        yield Draft(tool.id, text, "descriptive", "rules")
    for _ in range(each):
        arguments = arguments_for(tool, random)
        if not arguments or _unspoken(arguments) or schema_errors(arguments, tool.parameters):
            continue
        texts = specified(tool, arguments, random)
        yield Draft(tool.id, texts[0], "specified", "rules", Call(tool=tool.id, arguments=arguments))


def keep_useful(drafts: Iterable[Draft], dataset: Dataset, find: Find, per_tool: int) -> Filtered:
    """Drops copies of the documentation, texts that ask for two tools or stand in the dataset already, and requests
    with which `find` misses the tool; then keeps `per_tool` of each tool, the styles in turn."""
    drafts = list(drafts)
    dropped: Counter[str] = Counter()
    owners: dict[str, set[str]] = {}
    for draft in drafts:
        owners.setdefault(_key(draft.text), set()).add(draft.tool)
    taken = {_key(query.text) for queries in dataset.queries.values() for query in queries}
    taken |= {_key(task.turns[0].text) for tasks in dataset.tasks.values() for task in tasks}
    documented = {
        t.id: {_key(t.name), _key(t.description), _key(first_sentence(t.description))} for t in dataset.catalog
    }
    sound: list[Draft] = []
    for draft in drafts:
        key = _key(draft.text)
        if key in documented[draft.tool]:
            dropped["copies the documentation"] += 1
        elif len(owners[key]) > 1:
            dropped["asks for several tools alike"] += 1
        elif key in taken:
            dropped["repeats another request"] += 1
        else:
            taken.add(key)
            sound.append(draft)
    found = []
    for draft, tools in zip(sound, find([draft.text for draft in sound]), strict=True):
        if draft.tool in tools:
            found.append(draft)
        else:
            dropped["the tool is not found with it"] += 1
    kept = _styles_in_turn(found, per_tool)
    if spare := len(found) - len(kept):
        dropped["more than were asked for"] = spare
    return Filtered(tuple(kept), dict(dropped))


def with_queries(dataset: Dataset, kept: Sequence[Draft], split: str) -> Dataset:
    """The dataset with the drafts as requests at the end of a split. Ids are `synthetic/<tool id>/<n>`."""
    existing = {request.id for every in dataset.queries for request in dataset.requests_and_tasks(every)}
    numbers: Counter[str] = Counter()
    added = []
    for draft in kept:
        while (name := f"synthetic/{draft.tool}/{numbers[draft.tool]}") in existing:
            numbers[draft.tool] += 1
        existing.add(name)
        origin = Synthetic(style=draft.style, by=draft.by)
        calls = None if draft.call is None else (draft.call,)
        added.append(Query(id=name, text=draft.text, tools=(draft.tool,), calls=calls, origin=origin))
    return replace(dataset, queries={**dataset.queries, split: (*dataset.queries[split], *added)})


def _styles_in_turn(drafts: Sequence[Draft], per_tool: int) -> list[Draft]:
    of_tool: dict[str, dict[str, list[Draft]]] = {}
    for draft in drafts:
        of_tool.setdefault(draft.tool, {style: [] for style in STYLES})[draft.style].append(draft)
    kept = []
    for styles in of_tool.values():
        turns = (
            (turn, STYLES.index(style), draft) for style, found in styles.items() for turn, draft in enumerate(found)
        )
        order = sorted(turns, key=lambda item: item[:2])
        ordered = [draft for turn, _, draft in order if turn < TURNS or draft.style == TRAINED]
        kept += ordered[:per_tool]
    return kept


def _key(text: str) -> str:
    """Texts with the same key say the same: case, punctuation and `_` do not count."""
    return " ".join(re.findall(r"\w+", text.replace("_", " ").lower()))


def _unspoken(value: Any) -> bool:
    """Whether a value, or one inside it, could not be guessed; or the whole is too much to say in a sentence."""
    text = json.dumps(value, ensure_ascii=False)
    return "null" in text or len(text) > 300
