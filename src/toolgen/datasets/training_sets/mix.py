"""A mix of training sets as one dataset, cleaned of what must not be learned.

Values that nothing said gives away are not taught: such a request keeps its tools and loses its calls, such a
conversation gives no trajectory. What was declined because of the few tools that were offered is left out, too: another
tool of the mix may do it. Near copies of test requests are left out whole. Everything is in the split train.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.loaders.report import Loss
from toolgen.catalog.naming import unique_ids
from toolgen.catalog.schema import schema_errors
from toolgen.catalog.tool import JsonObject, Tool
from toolgen.datasets.folder import Dataset
from toolgen.datasets.query import Call, Query
from toolgen.datasets.splits import SPLITS
from toolgen.datasets.task import Task, Turn
from toolgen.datasets.training_sets.conversation import Conversation, Request, calls_of
from toolgen.datasets.training_sets.evidence import is_evidenced
from toolgen.datasets.training_sets.near_copies import NearCopies
from toolgen.datasets.training_sets.reading import NOT_IN_FORM, LoadedSet
from toolgen.datasets.training_sets.registry import TRAINING_SETS
from toolgen.datasets.trajectory import Trajectory
from toolgen.datasets.transforms import join
from toolgen.errors import DatasetError, ToolgenError, UsageError, nearest

NEAR_COPY = "a near copy of a request that must not be trained on"

OnMessage = Callable[[str], None]

Key = tuple[str, str]
"""A tool's id in its set and its content: where definitions differ, tools do."""


def build_mix(
    folder: Path, names: Sequence[str], name: str, near: NearCopies, on_message: OnMessage | None = None
) -> Dataset:
    """The dataset of some sets (all that `folder` holds, if none is named), each in the folder of its name.

    One report a set says what was taken and lost. UsageError names an unknown set, DatasetError one that is not there or not in
    its publisher's form.
    """
    parts = []
    for one in _chosen(Path(folder), names):
        if on_message:
            on_message(f"reading {one}")
        parts.append(clean(one, _load(one, Path(folder) / one), near))
    source = "; ".join(f"{part.name}: {part.source}, {TRAINING_SETS[part.name].share}" for part in parts)
    return join(parts, name=name, source=source)


def _load(name: str, folder: Path) -> LoadedSet:
    try:
        return TRAINING_SETS[name].load(folder)
    except ToolgenError:
        raise
    except NOT_IN_FORM as error:  # of what describes the tools; a damaged request is a loss
        raise DatasetError(
            f"{folder} is not in the form of {name} ({type(error).__name__}: {str(error)[:80]})"
        ) from error


def texts_of(datasets: Iterable[Dataset]) -> Iterator[str]:
    """All that is asked in some datasets, in every split and turn: what no training text may repeat."""
    for dataset in datasets:
        for split in SPLITS:
            yield from (query.text for query in dataset.queries[split])
            yield from (turn.text for task in dataset.tasks[split] for turn in task.turns)


def clean(name: str, loaded: LoadedSet, near: NearCopies) -> Dataset:
    """One set as a dataset."""
    entry = TRAINING_SETS[name]
    taken = _Taken(name, near, _ids((loaded.tools, *(one.tools for one in loaded.conversations))))
    for tool in loaded.tools:
        taken.add_tool(tool)
    for conversation in loaded.conversations:
        taken.add_conversation(conversation)
    losses = (*loaded.report.losses, *taken.losses)
    counts = {**loaded.report.counts, **dict(sorted(taken.counts.items()))}
    report = replace(loaded.report, source=name, loaded=len(taken.tools), losses=losses, counts=counts)
    return Dataset(
        name=name,
        version="",
        source=entry.source,
        licence=entry.licence,
        catalog=Catalog(taken.tools.values()),
        queries={"train": tuple(taken.queries)},
        tasks={"train": tuple(taken.tasks)},
        trajectories={"train": tuple(taken.trajectories)},
        reports=(report,),
    )


@dataclass
class _Taken:
    """What is kept of a set."""

    set_name: str
    near: NearCopies
    ids: Mapping[Key, str]
    tools: dict[str, Tool] = field(default_factory=dict)
    queries: list[Query] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    trajectories: list[Trajectory] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    asked: set[tuple[str, tuple[str, ...]]] = field(default_factory=set)

    def add_tool(self, tool: Tool) -> Tool:
        """The tool under the id that it has in the dataset."""
        identifier = self.ids[_key(tool)]
        if identifier not in self.tools:
            self.tools[identifier] = tool if tool.id == identifier else replace(tool, id=identifier)
        return self.tools[identifier]

    def add_conversation(self, conversation: Conversation) -> None:
        name = f"{self.set_name}/{conversation.id}"
        if any(turn.text in self.near for turn in conversation.turns):
            self.losses.append(Loss(conversation.id, NEAR_COPY))
            return
        tools = {tool.id: self.add_tool(tool) for tool in conversation.tools}
        conversation = replace(conversation.with_tools(tools), id=name)
        for request in conversation.requests():
            if request.follows:
                self.counts["requests_that_lean_on_others"] += 1
            elif not request.tools and not TRAINING_SETS[self.set_name].declines_everything:
                self.counts["declined_for_the_offered_tools"] += 1
            elif request.text in self.near:
                self.losses.append(Loss(request.id, NEAR_COPY))
            else:
                self.add_request(request, conversation)
        self.add_whole(conversation)

    def add_request(self, request: Request, conversation: Conversation) -> None:
        if (request.text, request.tools) in self.asked:
            self.counts["repeated_requests"] += 1
            return
        self.asked.add((request.text, request.tools))
        schemas = _schemas(conversation)
        text = f"{conversation.system}\n{request.text}"
        sure = [is_evidenced(call.arguments, schemas[call.tool], text) for call in request.calls or ()]
        self.counts["calls"] += len(sure)
        self.counts["calls_evidenced"] += sum(sure)
        calls = request.calls if all(sure) else None
        query = Query(id=request.id, text=request.text, tools=request.tools, calls=calls, category=self.set_name)
        self.queries.append(replace(query, faults=_faults(calls or (), schemas)))

    def add_whole(self, conversation: Conversation) -> None:
        trajectory = conversation.trajectory()
        declined = any(turn.ending == "declined" for turn in conversation.turns)
        if trajectory is None:
            self.counts["conversations_without_results"] += 1
        elif declined and not TRAINING_SETS[self.set_name].declines_everything:
            self.counts["conversations_declined_for_the_offered_tools"] += 1
        elif not all(_evidence(conversation)):
            self.counts["conversations_with_unevidenced_values"] += 1
        else:
            turns = tuple(Turn(text=turn.text, calls=calls_of(turn.actions)) for turn in conversation.turns)
            task = Task(id=conversation.id, turns=turns, system=conversation.system, category=self.set_name)
            self.tasks.append(replace(task, faults=_faults(task.calls, _schemas(conversation))))
            self.trajectories.append(trajectory)


def _schemas(conversation: Conversation) -> dict[str, JsonObject]:
    return {tool.id: tool.parameters for tool in conversation.tools}


def _faults(calls: Iterable[Call], schemas: Mapping[str, JsonObject]) -> tuple[str, ...]:
    """Where calls contradict their tools."""
    return tuple(f"{one.tool}: {fault}" for one in calls for fault in schema_errors(one.arguments, schemas[one.tool]))


def _evidence(conversation: Conversation) -> Iterator[bool]:
    """For each call whether its values occur in what was said and returned before it."""
    schemas = _schemas(conversation)
    said = conversation.system
    for turn in conversation.turns:
        said += f"\n{turn.text}"
        for step in turn.steps:
            said += f"\n{step.text}"
            yield from (is_evidenced(one.arguments, schemas[one.tool], said) for one in step.actions)
            said = "\n".join((said, *(one.result or "" for one in step.actions)))


def _ids(groups: Iterable[Iterable[Tool]]) -> dict[Key, str]:
    keys = list(dict.fromkeys(_key(tool) for tools in groups for tool in tools))
    return dict(zip(keys, unique_ids(identifier for identifier, _ in keys).ids, strict=True))


def _key(tool: Tool) -> Key:
    return tool.id, tool.content_hash


def _chosen(folder: Path, names: Sequence[str]) -> list[str]:
    for name in names:
        if name not in TRAINING_SETS:
            raise UsageError(
                f"unknown training set {name!r}; sets are {', '.join(TRAINING_SETS)}{nearest(name, TRAINING_SETS)}"
            )
        if not (folder / name).is_dir():
            raise DatasetError(f"{folder} has no folder {name}; put the files of the set there")
    found = [name for name in TRAINING_SETS if name in names or (not names and (folder / name).is_dir())]
    if not found:
        raise DatasetError(
            f"{folder} holds no training set; expected a folder named like one: {', '.join(TRAINING_SETS)}"
        )
    return found
