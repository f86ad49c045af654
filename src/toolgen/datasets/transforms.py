"""Functions from dataset to dataset: what a transform of the catalog means for the requests, and datasets put together.

Knows no file and no source format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.loaders.report import LoadReport
from toolgen.catalog.naming import unique_ids
from toolgen.catalog.transforms import Transformed, deduplicate, filter_tools, merge, prefix_providers, selector
from toolgen.datasets.folder import Dataset
from toolgen.datasets.preference import Preference
from toolgen.datasets.query import Call, Query
from toolgen.datasets.splits import SPLITS, text_group
from toolgen.datasets.task import Task, Turn
from toolgen.datasets.trajectory import Message
from toolgen.errors import UsageError

NOTES_OF_A_TRANSFORM = 1_000  # each removed or renamed tool is a note; beyond these they are only counted


def select(dataset: Dataset, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Dataset:
    """The dataset with the tools that `catalog.transforms.selector` means. Requests that need a tool which is left out
    are left out too."""
    found = filter_tools(dataset.catalog, [*map(selector, include)], [*map(selector, exclude)])
    if len(dataset.catalog) and not len(found.catalog):
        raise UsageError(f"none of the {len(dataset.catalog):,} tools is left by {_options(include, exclude)}")
    return apply(dataset, found, _options(include, exclude))


def _options(include: Sequence[str], exclude: Sequence[str]) -> str:
    options = [f"--include {text}" for text in include] + [f"--exclude {text}" for text in exclude]
    return " ".join(options)


def prefix(dataset: Dataset, text: str) -> Dataset:
    """The dataset with `text` in front of every provider."""
    return apply(dataset, prefix_providers(dataset.catalog, text), f"--prefix {text}", list_renamed=False)


def dedupe(dataset: Dataset) -> Dataset:
    """The dataset with one tool where several are equal but for their id; requests are redirected to it."""
    return apply(dataset, deduplicate(dataset.catalog), "--dedupe")


def apply(dataset: Dataset, transformed: Transformed, name: str, *, list_renamed: bool = True) -> Dataset:
    """The dataset after a transform of its catalog: ids follow, requests that need a removed tool go with their
    trajectories, and a report called `name` says what was changed."""
    removed = set(transformed.removed)
    dropped = {one.id for one in _requests(dataset) if removed & _named_by(one)}
    result = replace(
        rename_tools(dataset, transformed.renamed, transformed.catalog),
        version=transformed.catalog.content_hash[:12],
    )
    queries = {s: tuple(q for q in found if q.id not in dropped) for s, found in result.queries.items()}
    tasks = {s: tuple(t for t in found if t.id not in dropped) for s, found in result.tasks.items()}
    trajectories = {
        s: tuple(t for t in found if t.query not in dropped and not removed & t.called_tools)
        for s, found in result.trajectories.items()
    }
    preferences = {
        s: tuple(_without(p, removed) for p in found if p.query not in dropped and not removed & p.called_tools)
        for s, found in result.preferences.items()
    }
    notes = [f"{tool}: removed" for tool in transformed.removed]
    notes += [f"{old}: became {new!r}" for old, new in transformed.renamed.items()] if list_renamed else []
    notes += [f"{query}: request left out, it needs a removed tool" for query in sorted(dropped)]
    more = [f"... and {len(notes) - NOTES_OF_A_TRANSFORM} more"] if len(notes) > NOTES_OF_A_TRANSFORM else []
    counts = {
        "tools_before": len(dataset.catalog),
        "tools_removed": len(dataset.catalog) - len(transformed.catalog),
        "tools_renamed": len(transformed.renamed),
        "requests_removed": len(dropped),
        "trajectories_removed": sum(len(result.trajectories[s]) - len(trajectories[s]) for s in SPLITS),
    }
    report = LoadReport(
        source=name,
        loaded=len(transformed.catalog),
        notes=(*notes[:NOTES_OF_A_TRANSFORM], *more),
        counts=counts,
    )
    return replace(
        result,
        queries=queries,
        tasks=tasks,
        trajectories=trajectories,
        preferences=preferences,
        reports=(*dataset.reports, report),
    )


def rename_tools(dataset: Dataset, renamed: Mapping[str, str], catalog: Catalog | None = None) -> Dataset:
    """The dataset with other tool ids in its requests, calls and trajectories, over `catalog` (else its own)."""
    catalog = dataset.catalog if catalog is None else catalog
    if not any(old != new for old, new in renamed.items()):
        return replace(dataset, catalog=catalog)
    return replace(
        dataset,
        catalog=catalog,
        queries={s: tuple(_rename_in_query(q, renamed) for q in found) for s, found in dataset.queries.items()},
        tasks={s: tuple(_rename_in_task(t, renamed) for t in found) for s, found in dataset.tasks.items()},
        trajectories={
            s: tuple(replace(t, messages=_rename_in_messages(t.messages, renamed)) for t in found)
            for s, found in dataset.trajectories.items()
        },
        preferences={
            s: tuple(_rename_in_preference(p, renamed) for p in found) for s, found in dataset.preferences.items()
        },
    )


def join(datasets: Sequence[Dataset], *, name: str, source: str) -> Dataset:
    """One dataset of several: tools, requests and trajectories one after another, ids made unique, splits kept.

    Ids that had to change are notes in the report of the dataset that they come from, as are requests for testing whose
    words an earlier dataset has among its requests for training.
    """
    catalog, renamed = merge(dataset.catalog for dataset in datasets)
    parts: list[Dataset] = []
    for dataset, changes in zip(datasets, renamed, strict=True):
        notes = [f"id {old!r} is taken by another source; became {new!r}" for old, new in changes.items()]
        part, more = _with_free_ids(rename_tools(dataset, changes), parts)
        parts.append(_noted(part, [*notes, *more, *_leaks(part, parts)]))
    return Dataset(
        name=name,
        version=catalog.content_hash[:12],
        source=source,
        licence=_licence(parts),
        catalog=catalog,
        queries={split: tuple(q for part in parts for q in part.queries[split]) for split in SPLITS},
        tasks={split: tuple(t for part in parts for t in part.tasks[split]) for split in SPLITS},
        trajectories={split: tuple(t for part in parts for t in part.trajectories[split]) for split in SPLITS},
        preferences={split: tuple(p for part in parts for p in part.preferences[split]) for split in SPLITS},
        reports=tuple(report for part in parts for report in part.reports),
    )


def _with_free_ids(dataset: Dataset, earlier: Sequence[Dataset]) -> tuple[Dataset, list[str]]:
    """The dataset with ids of requests, trajectories and preferences that no earlier dataset has, and a note for each changed
    request."""
    requests = _renamed(dataset, earlier, lambda one: (request.id for request in _requests(one)))
    trajectories = _renamed(dataset, earlier, lambda one: (t.id for found in one.trajectories.values() for t in found))
    preferences = _renamed(dataset, earlier, lambda one: (p.id for found in one.preferences.values() for p in found))
    notes = [f"request id {old!r} is taken by another source; became {new!r}" for old, new in requests.items()]
    if not (requests or trajectories or preferences):
        return dataset, notes
    return replace(
        dataset,
        queries={
            s: tuple(replace(q, id=requests.get(q.id, q.id)) for q in found) for s, found in dataset.queries.items()
        },
        tasks={s: tuple(replace(t, id=requests.get(t.id, t.id)) for t in found) for s, found in dataset.tasks.items()},
        trajectories={
            s: tuple(replace(t, id=trajectories.get(t.id, t.id), query=requests.get(t.query, t.query)) for t in found)
            for s, found in dataset.trajectories.items()
        },
        preferences={
            s: tuple(replace(p, id=preferences.get(p.id, p.id), query=requests.get(p.query, p.query)) for p in found)
            for s, found in dataset.preferences.items()
        },
    ), notes


def _renamed(
    dataset: Dataset, earlier: Sequence[Dataset], ids_of: Callable[[Dataset], Iterable[str]]
) -> dict[str, str]:
    taken = {one for other in earlier for one in ids_of(other)}
    own = [*dict.fromkeys(ids_of(dataset))]
    clashing = [one for one in own if one in taken]
    return dict(unique_ids(clashing, taken | set(own)).renamed)


def _leaks(dataset: Dataset, earlier: Sequence[Dataset]) -> list[str]:
    """A line if what one dataset tests, another one trains."""
    count = sum(
        len(_groups([dataset], own) & _groups(earlier, other)) for own, other in (("test", "train"), ("train", "test"))
    )
    return [f"{count} requests are in the split train of one source and in test of another"] if count else []


def _groups(datasets: Iterable[Dataset], split: str) -> set[str]:
    """The groups of what is asked: the texts of the queries, and those that tasks begin with."""
    texts = [query.text for dataset in datasets for query in dataset.queries[split]]
    texts += [task.turns[0].text for dataset in datasets for task in dataset.tasks[split]]
    return set(map(text_group, texts))


def _noted(dataset: Dataset, notes: Sequence[str]) -> Dataset:
    if not notes:
        return dataset
    first, *others = dataset.reports or (LoadReport(source=dataset.name, loaded=len(dataset.catalog)),)
    return replace(dataset, reports=(replace(first, notes=(*first.notes, *notes)), *others))


def _licence(parts: Sequence[Dataset]) -> str:
    known = dict.fromkeys(f"{part.licence} ({part.name})" for part in parts if part.licence != UNKNOWN_LICENCE)
    rest = [UNKNOWN_LICENCE if not known else f"the rest {UNKNOWN_LICENCE}"] * any(
        part.licence == UNKNOWN_LICENCE for part in parts
    )
    return ", ".join([*known, *rest])


UNKNOWN_LICENCE = "unknown"


def _requests(dataset: Dataset) -> Iterator[Query | Task]:
    """The queries and tasks of all splits."""
    for split in SPLITS:
        yield from dataset.requests_and_tasks(split)


def _named_by(request: Query | Task) -> set[str]:
    return {*request.tools, *(call.tool for call in request.calls or ())}


def _rename_in_query(query: Query, renamed: Mapping[str, str]) -> Query:
    tools = tuple(dict.fromkeys(renamed.get(tool, tool) for tool in query.tools))
    return replace(query, tools=tools, calls=_rename_in_calls(query.calls, renamed))


def _rename_in_task(task: Task, renamed: Mapping[str, str]) -> Task:
    definitions = tuple(replace(one, tool=renamed.get(one.tool, one.tool)) for one in task.definitions)
    return replace(task, turns=tuple(_rename_in_turn(turn, renamed) for turn in task.turns), definitions=definitions)


def _rename_in_turn(turn: Turn, renamed: Mapping[str, str]) -> Turn:
    held_back = tuple(renamed.get(tool, tool) for tool in turn.held_back)
    return replace(turn, calls=_rename_in_calls(turn.calls, renamed), held_back=held_back)


def _rename_in_calls(calls: tuple[Call, ...] | None, renamed: Mapping[str, str]) -> tuple[Call, ...] | None:
    return None if calls is None else tuple(replace(c, tool=renamed.get(c.tool, c.tool)) for c in calls)


def _rename_in_preference(preference: Preference, renamed: Mapping[str, str]) -> Preference:
    return replace(
        preference,
        prompt=_rename_in_messages(preference.prompt, renamed),
        chosen=_rename_in_messages(preference.chosen, renamed),
        rejected=_rename_in_messages(preference.rejected, renamed),
        tools=preference.tools and tuple(dict.fromkeys(renamed.get(tool, tool) for tool in preference.tools)),
    )


def _without(preference: Preference, removed: set[str]) -> Preference:
    """The preference without tools that could be chosen and were not."""
    if preference.tools is None:
        return preference
    return replace(preference, tools=tuple(tool for tool in preference.tools if tool not in removed))


def _rename_in_messages(messages: Sequence[Message], renamed: Mapping[str, str]) -> tuple[Message, ...]:
    return tuple(_rename_in_message(message, renamed) for message in messages)


def _rename_in_message(message: Message, renamed: Mapping[str, str]) -> Message:
    calls = message.get("tool_calls")
    if not calls:
        return message
    return {**message, "tool_calls": [_rename_in_call(call, renamed) for call in calls]}


def _rename_in_call(call: Mapping[str, Any], renamed: Mapping[str, str]) -> Mapping[str, Any]:
    function = call["function"]
    return {**call, "function": {**function, "name": renamed.get(function["name"], function["name"])}}
