"""Sets of human requests with an intent: SNIPS and HWU64 (intents with slots as tools), CLINC150, IN3."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolgen.catalog.tool import Tool
from toolgen.datasets.training_sets import descriptions
from toolgen.datasets.training_sets.conversation import Action, Conversation, Step, Turn
from toolgen.datasets.training_sets.reading import (
    Intake,
    LoadedSet,
    Unusable,
    make_tool,
    read_set_text,
    words_of,
)
from toolgen.foreign.data import parse_json

MOST = 1000
"""Requests that are taken of SNIPS and of HWU64: 71 intents need no more."""


def load_snips(folder: Path) -> LoadedSet:
    """`utterances.jsonl.gz`: seven intents with exact values, at most MOST requests, evenly over the intents."""
    intake = Intake("snips")
    records = list(intake.records(folder / "utterances.jsonl.gz"))
    slots = _slots((r["intent"], part["entity"]) for _, r in records for part in r["data"] if "entity" in part)
    names = sorted({record["intent"] for _, record in records})
    tools = {intent: _intent_tool(intent, "", slots.get(intent, ()), "snips") for intent in names}
    taken = _evenly(records, lambda record: record["intent"])
    intake.notes.append(f"{len(records) - len(taken)} requests beyond the first {MOST} (by hash) were left out")
    intake.take(taken, lambda identifier, record: _snips(identifier, record, tools))
    return intake.loaded(tools.values())


def _snips(identifier: str, record: Any, tools: Mapping[str, Tool]) -> Conversation:
    text = "".join(part["text"] for part in record["data"]).strip()
    values = [(part["entity"], part["text"].strip()) for part in record["data"] if "entity" in part]
    return _intent(identifier, text, record["intent"], values, tools)


def load_hwu64(folder: Path) -> LoadedSet:
    """`annotated.jsonl.gz`: a home assistant's intents. The small talk of `general_...` calls nothing and is a loss."""
    intake = Intake("hwu64")
    records = list(intake.records(folder / "annotated.jsonl.gz"))
    slots = _slots((r["intent"], e["entity"]) for _, r in records for e in r["entities"])
    names = sorted({record["intent"] for _, record in records if not record["intent"].startswith("general_")})
    tools = {}
    for intent in names:
        provider, _, name = intent.partition("_")
        tools[intent] = _intent_tool(name, provider, slots.get(intent, ()), "hwu64")
    taken = _evenly([one for one in records if one[1]["intent"] in tools], lambda record: record["intent"])
    intake.notes.append(f"{len(records) - len(taken)} requests beyond the first {MOST} (by hash) were left out")
    intake.take(taken, lambda identifier, record: _hwu64(identifier, record, tools))
    return intake.loaded(tools.values())


def _hwu64(identifier: str, record: Any, tools: Mapping[str, Tool]) -> Conversation:
    values = [(entity["entity"], entity["value"]) for entity in record["entities"]]
    return _intent(identifier, record["text"].strip(), record["intent"], values, tools)


def _intent(
    identifier: str, text: str, intent: str, values: Sequence[tuple[str, str]], tools: Mapping[str, Tool]
) -> Conversation:
    arguments = dict(values)
    if len(arguments) < len(values):
        raise Unusable("it gives a slot twice")
    action = Action(tool=tools[intent].id, arguments=arguments)
    turn = Turn(text=text, steps=(Step(actions=(action,)),))
    return Conversation(id=identifier, tools=tuple(tools.values()), turns=(turn,))


def _slots(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for intent, slot in pairs:
        found.setdefault(intent, {})[slot] = None
    return {intent: list(slots) for intent, slots in found.items()}


def _intent_tool(name: str, provider: str, slots: Sequence[str], set_name: str) -> Tool:
    properties = {slot: {"type": "string", "description": words_of(slot)} for slot in slots}
    intent = f"{provider}_{name}" if provider else name
    description = descriptions.SNIPS.get(intent) or descriptions.HWU64.get(intent) or f"{words_of(intent)}."
    return make_tool(name, provider, description, {"type": "object", "properties": properties}, set_name)


def _evenly(records: Sequence[tuple[str, Any]], group: Any) -> list[tuple[str, Any]]:
    """At most MOST records, as many of each group as of any other, chosen by hash so that no order matters."""
    groups: dict[str, list[tuple[str, Any]]] = {}
    for one in sorted(records, key=lambda one: hashlib.sha256(one[0].encode()).digest()):
        groups.setdefault(group(one[1]), []).append(one)
    each = MOST // max(1, len(groups))
    return [one for found in groups.values() for one in found[:each]]


# --- CLINC150 ---------------------------------------------------------------------------------------------------------

_CANDIDATES = 10  # intents that are offered with an out-of-scope request


def load_clinc150(folder: Path) -> LoadedSet:
    """`data_full.json.gz`: the requests that are out of scope, as requests that no tool fits. The 150 intents are the
    tools, ten of them (by hash) the candidates of each request; requests within scope have no arguments and are left out."""
    intake = Intake("clinc150")
    data = parse_json(read_set_text(folder / "data_full.json.gz"), "data_full.json.gz")
    intents = sorted({intent for _, intent in data["train"]})
    tools = [make_tool(intent, "", f"{words_of(intent)}.", None, "clinc150") for intent in intents]
    parts = [(f"{part}-{n}", text) for part in data if part.startswith("oos") for n, (text, _) in enumerate(data[part])]
    intake.take(parts, lambda identifier, text: _out_of_scope(identifier, text, tools))
    left = sum(len(data[part]) for part in data if not part.startswith("oos"))
    intake.notes.append(
        f"{left} requests within scope were left out: their intents have neither documentation nor slots"
    )
    return intake.loaded(tools)


def _out_of_scope(identifier: str, text: str, tools: Sequence[Tool]) -> Conversation:
    order = sorted(tools, key=lambda tool: hashlib.sha256(f"{identifier} {tool.id}".encode()).digest())
    turn = Turn(text=text.strip(), ending="declined")
    return Conversation(id=identifier, tools=tuple(order[:_CANDIDATES]), turns=(turn,))


# --- IN3 --------------------------------------------------------------------------------------------------------------


def load_in3(folder: Path) -> LoadedSet:
    """`train.jsonl.gz`: vague tasks with the question that asks for the most important missing detail. No tools."""
    intake = Intake("in3")
    intake.take(intake.records(folder / "train.jsonl.gz"), _in3)
    return intake.loaded()


def _in3(identifier: str, record: Any) -> Conversation:
    if not record["vague"]:
        raise Unusable("it is not vague, and holds no tool")
    details = sorted(record["missing_details"], key=lambda one: -int(one["importance"]))
    turn = Turn(text=record["task"].strip(), steps=(Step(text=details[0]["inquiry"]),), ending="asked")
    return Conversation(id=identifier, tools=(), turns=(turn,))
