"""Sets that call tools which they do not describe: Taskmaster-4, tau-bench and the tools of an Obsidian plug-in.

A tool's parameters are those of its calls, its description is written here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolgen.catalog.loaders.report import Loss
from toolgen.catalog.tool import Tool
from toolgen.datasets.training_sets import descriptions
from toolgen.datasets.training_sets.conversation import Action, Conversation, Step, Turn
from toolgen.datasets.training_sets.reading import Intake, LoadedSet, Unusable, make_tool, words_of
from toolgen.foreign.data import parse_json

# --- Taskmaster-4 -----------------------------------------------------------------------------------------------------

_COFFEE = "taskmaster4-coffee"


def load_taskmaster4(folder: Path) -> LoadedSet:
    """`dialogues.jsonl.gz`: orders in a coffee shop, each turn with its calls and results."""
    intake = Intake(_COFFEE)
    tools = intake.take_undescribed(intake.records(folder / "dialogues.jsonl.gz"), _coffee, _coffee_tool)
    return intake.loaded(tools)


def _coffee_tool(name: str, schema: Any) -> Tool:
    return make_tool(name, "coffee shop", descriptions.COFFEE.get(name) or words_of(name), schema, _COFFEE)


def _coffee(_: str, record: Any) -> Conversation:
    turns: list[tuple[str, list[Step]]] = []
    for utterance in record["utterances"]:
        if utterance["speaker"] == "user":
            turns.append((utterance["text"].strip(), [Step(actions=(one,)) for one in _coffee_calls(utterance)]))
        elif turns:  # else a greeting before the first words of the user
            turns[-1][1].append(Step(text=utterance["text"].strip()))
    found = tuple(Turn(text=text, steps=tuple(steps)) for text, steps in turns)
    return Conversation(id=record["conversation_id"], tools=(), turns=found)


def _coffee_calls(utterance: Any) -> Iterator[Action]:
    """The calls of a turn. Each is parted over annotations whose contexts end in the same number."""
    parts: dict[str, dict[str, str]] = {}
    for one in utterance.get("annotations", ()):
        parts.setdefault(one["context"].rpartition("_")[2], {})[one["name"]] = one["value"]
    for part in parts.values():
        arguments = parse_json(part.get("request", "{}"), "request")
        yield Action(tool=part["api_call"], arguments=arguments, result=part["response"])


# --- tau-bench --------------------------------------------------------------------------------------------------------

_TAU = "tau-bench"


def load_tau_bench(folder: Path) -> LoadedSet:
    """`retail_tasks_train.jsonl.gz`: what a customer wants, and the calls that do it. The airline runs belong to tasks
    that tau2 evaluates, and the few-shot examples show no calls: neither is read."""
    intake = Intake(_TAU)
    tools = intake.take_undescribed(intake.records(folder / "retail_tasks_train.jsonl.gz"), _retail, _retail_tool)
    intake.notes.append("gpt-4o-airline.success: not read, tau2 evaluates the same tasks")
    intake.notes.append("few_shot: not read, its calls are not shown")
    return intake.loaded(tools)


def _retail_tool(name: str, schema: Any) -> Tool:
    return make_tool(name, "retail", descriptions.RETAIL.get(name) or words_of(name), schema, _TAU)


def _retail(identifier: str, record: Any) -> Conversation:
    steps = tuple(Step(actions=(Action(tool=one["name"], arguments=one["kwargs"]),)) for one in record["actions"])
    if not steps:
        raise Unusable("it calls nothing")
    return Conversation(id=identifier, tools=(), turns=(Turn(text=record["instruction"].strip(), steps=steps),))


# --- an Obsidian plug-in ----------------------------------------------------------------------------------------------

_OBSIDIAN = "profsynapse-obsidian"
_KNOWN = 20  # calls of a name that make it one of the plug-in's tools; rarer names were made up by the writer
# What a row without a call must show to be a question for a missing detail; the others claim what nothing has told them.
_ASKING = (None, "uncertainty", "intellectual_humility")


def load_obsidian(folder: Path) -> LoadedSet:
    """All files: one request a record with the tools' calls. The `context` that every call repeats (session, memory,
    goal) is made up again each time and left out. Rejected halves of pairs are losses."""
    intake = Intake(_OBSIDIAN)
    records = [record for path in sorted(folder.glob("*.jsonl.gz")) for record in intake.records(path)]
    intake.losses += [
        Loss(identifier, "the rejected half of a pair") for identifier, one in records if one.get("label") is False
    ]
    kept = [(identifier, one) for identifier, one in records if one.get("label") is not False]
    tools = intake.take_undescribed(kept, _obsidian, _obsidian_tool, _KNOWN)
    intake.notes.append("the argument 'context' of every call was left out: nothing that was said gives it away")
    return intake.loaded(tools)


def _obsidian_tool(full: str, schema: Any) -> Tool:
    provider, _, name = full.partition("_")
    return make_tool(name, provider, descriptions.OBSIDIAN.get(full) or words_of(name), schema, _OBSIDIAN)


def _obsidian(identifier: str, record: Any) -> Conversation:
    messages = record["conversations"]
    request = next(message for message in messages if message["role"] == "user")["content"].strip()
    if request.startswith("Result:"):
        raise Unusable("it begins with a result instead of a request")
    answer = messages[-1]
    if answer["role"] != "assistant":
        raise Unusable("its request has no answer")
    actions = tuple(
        Action(tool=call["function"]["name"], arguments=_without_context(call))
        for call in answer.get("tool_calls") or ()
    )
    text = (answer.get("content") or "").strip()
    if not actions and ("?" not in text or record.get("behavior") not in _ASKING):
        raise Unusable("it answers without a call what only a call could tell")
    turn = Turn(text=request, steps=(Step(text=text, actions=actions),), ending="answered" if actions else "asked")
    system = messages[0]["content"].strip() if messages[0]["role"] == "system" else ""
    return Conversation(id=identifier, tools=(), turns=(turn,), system=system)


def _without_context(call: Any) -> dict[str, Any]:
    arguments = parse_json(call["function"]["arguments"], "arguments")
    return {key: value for key, value in arguments.items() if key != "context"}
