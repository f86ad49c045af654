"""Where `toolgen run` carries out a task, and what a person is asked before. Knows no model."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from toolgen.agent import (
    AgentEvent,
    BfclEnvironment,
    ComposedEnvironment,
    Confirm,
    DryRunEnvironment,
    Environment,
    McpEnvironment,
    RecordedEnvironment,
    SimulatedEnvironment,
    VirtualServerEnvironment,
    asking_before_changes,
    environment_for,
    read_run,
    recorded_results,
    unfinished,
)
from toolgen.agent.loop import Search
from toolgen.agent.search import reversible
from toolgen.catalog import Catalog
from toolgen.catalog.effects import only_reads, question
from toolgen.cli.calling import Calling
from toolgen.cli.console import agrees, message
from toolgen.datasets import Call, Task, Turn
from toolgen.datasets.bfcl import import_bfcl
from toolgen.datasets.sources import Source, build_dataset, source_packages
from toolgen.errors import UsageError
from toolgen.fetching import fetch_dataset

WORLDS = ("bfcl", "agentdojo", "tau2")
ENVIRONMENTS = (
    "endpoints, dry-run, simulated, recorded:FILE, virtual:URL, bfcl or bfcl:TASK_ID, agentdojo:SUITE/TASK, "
    "tau2:DOMAIN/TASK"
)


@dataclass(frozen=True)
class Place:
    """What is to be done and where; `past` is what was done before, `confirm` what is asked before each call, and `packages`
    are those by which the outcome can be judged."""

    task: Task
    environment: Environment
    confirm: Confirm | None = None
    past: tuple[AgentEvent, ...] = ()
    packages: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """What the options say: a request or the file of a run to resume, the environment, and where calls may go; with `yes`
    nobody is asked before a tool that may change something. `search` is how actions follow each other."""

    text: str | None
    resume: Path | None
    environment: str | None
    calling: Calling
    yes: bool
    bfcl: Path | None
    search: Search = "chain"


def place_for(catalog: Catalog, wanted: Wanted) -> Place:
    """The task and where it is carried out; UsageError if the options do not fit together."""
    if wanted.resume and wanted.search == "dfs":
        raise UsageError("--resume goes on with one chain; a search has no effects, so begin it anew")
    place = _place(catalog, wanted)
    if wanted.search == "dfs":
        try:
            reversible(place.environment)
        except UsageError:
            place.environment.close()
            raise
    return place


def _place(catalog: Catalog, wanted: Wanted) -> Place:
    name = wanted.environment or ("endpoints" if wanted.calling.names_places else "dry-run")
    kind, _, detail = name.partition(":")
    if wanted.calling.names_places and name != "endpoints":
        raise UsageError(f"--environment {name} calls nothing; --allow-host, --mcp-server and --python need endpoints")
    if wanted.resume and (wanted.text or kind in WORLDS):
        raise UsageError(
            "--resume goes on with the request of its file, not in a benchmark's world, whose state is gone; give it alone"
        )
    if kind == "bfcl":
        return _bfcl(catalog, detail, wanted)
    if kind in WORLDS:
        return _world(catalog, kind, detail, wanted)
    if wanted.resume:
        past = unfinished(wanted.resume)
        task, events = past.task, past.events
    elif wanted.text and wanted.text.strip():
        task, events = Task.from_text(wanted.text), ()
    else:
        raise UsageError('give a task: toolgen run CKPT "what to do" (only tasks such as bfcl:TASK_ID bring their own)')
    if name == "endpoints":
        environment, confirm = _endpoints(catalog, wanted)
        return Place(task, environment, confirm, events)
    if kind == "virtual":
        key = os.environ.get("TOOLBENCH_KEY", "")
        server = VirtualServerEnvironment(catalog, detail, private=wanted.calling.private, key=key)
        return Place(task, server, past=events)
    return Place(task, _without_calls(catalog, name), past=events)


def _without_calls(catalog: Catalog, name: str) -> Environment:
    """An environment that calls nothing."""
    kind, _, detail = name.partition(":")
    if name == "dry-run":
        return DryRunEnvironment(catalog)
    if name == "simulated":
        return SimulatedEnvironment(catalog)
    if kind == "recorded" and detail:
        return RecordedEnvironment(recorded_results(read_run(Path(detail))), catalog)
    raise UsageError(f"unknown environment {name!r}; expected {ENVIRONMENTS}")


def _endpoints(catalog: Catalog, wanted: Wanted) -> tuple[Environment, Confirm | None]:
    """Where each tool's endpoint says, and what is asked before its calls."""
    person = is_person_there()
    by_kind = replace(wanted.calling, asks=person).by_kind(catalog)
    environment = ComposedEnvironment(catalog, by_kind)
    offered = environment.tools
    try:
        if not offered:
            raise _nothing_to_call(catalog)
        changing = next((tool for tool in offered if not only_reads(catalog.get(tool))), None)
        if changing and not person and not wanted.yes:
            raise UsageError(
                f"{changing} may change something, and there is no terminal to ask before it is called; --yes calls it and "
                "others without asking, --read-only leaves out all that do not say that they only read"
            )
    except BaseException:
        environment.close()
        raise

    def ask(call: Call) -> bool:
        return wanted.yes or agrees(question(catalog.get(call.tool), call.arguments))

    asked = asking_before_changes(catalog, ask)
    mcp = by_kind.get("mcp")
    if isinstance(mcp, McpEnvironment):
        return environment, lambda call: mcp.agree(call.tool) and asked(call)
    return environment, asked


def is_person_there() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


def _nothing_to_call(catalog: Catalog) -> UsageError:
    """That no tool can be called with these options, and which would let it be."""
    ways = {"http": "--allow-host HOST", "mcp": "--mcp-server SERVER", "python": "--python FILE"}
    counts = Counter(str((tool.endpoint or {}).get("kind")) for tool in catalog)
    found = [f"{counts[kind]:,} by {way}" for kind, way in ways.items() if counts[kind]]
    described = sum(counts.values()) - sum(counts[kind] for kind in ways)
    found += [f"{described:,} not at all, only in --environment dry-run or simulated"] if described else []
    return UsageError(f"no tool of this catalog can be called with these options; its tools can be: {'; '.join(found)}")


def _bfcl(catalog: Catalog, task_id: str, wanted: Wanted) -> Place:
    package = wanted.bfcl or fetch_dataset("bfcl", on_message=message)
    environment = BfclEnvironment(package, catalog)
    text = wanted.text
    if not task_id:
        if not text:
            raise UsageError("give a task, or choose one of BFCL's with --environment bfcl:TASK_ID")
        return Place(Task.from_text(text), environment)
    found = (task for tasks in import_bfcl(package).tasks.values() for task in tasks)
    tasks = {task.id: task for task in found if task.kind == "multi_turn"}
    if task_id not in tasks:
        raise UsageError(f"BFCL has no multi-turn task {task_id!r}; they are named like {next(iter(tasks))}")
    if text:
        return Place(replace(tasks[task_id], turns=(Turn(text=text),)), environment)
    return Place(tasks[task_id], environment, packages={"bfcl": package})


def _world(catalog: Catalog, kind: str, name: str, wanted: Wanted) -> Place:
    """A task of AgentDojo or tau2."""
    source = Source(kind, name.partition("/")[0])
    packages = source_packages(source, message)
    found = {task.id: task for tasks in build_dataset([source], kind).tasks.values() for task in tasks}
    if f"{kind}/{name}" not in found:
        example = next(iter(found)).removeprefix(f"{kind}/")
        raise UsageError(f"{kind} has no task {name!r}; they are named like {example}")
    task = found[f"{kind}/{name}"]
    if wanted.text:
        task = replace(task, turns=(Turn(text=wanted.text),))
    return Place(task, environment_for(task, catalog, packages), packages={} if wanted.text else packages)
