"""The quickstart as data: its steps, the stand-alone command of each task, and which of them are still to be done.

A step is what is shown (`fetch`, `virtualize`, ...); a task is one command of it. Knows no model and runs nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import toolgen
from toolgen.catalog.tool import canonical_json
from toolgen.cli.searching import CHECKPOINT_FILE, DATASET_FILE
from toolgen.cli.virtualize import DEFAULT_BASE
from toolgen.errors import UsageError
from toolgen.fetching import BASES, Via, cache_folder, read_origin
from toolgen.retrieval import RetrieverSpec
from toolgen.retrieval.registry import DENSE_MODEL
from toolgen.training import PAPER_STAGES

STEPS: Mapping[str, str] = {
    "fetch": "the base model, the sentence encoder and BFCL",
    "catalog": "BFCL's tools and requests as a dataset",
    "virtualize": "one token a tool",
    "memorization": "stage 1: what each token means",
    "retrieval": "stage 2: from requests to tokens",
    "agent": "stage 3: whole tasks",
    "evaluate-retrieval": "finding tools, compared with BM25, a dense retriever and both together",
    "evaluate-agent": "carrying out tasks of the test split",
    "report": "one page with all of it",
}
STAGES = tuple(stage.name for stage in PAPER_STAGES)
DATASET, VIRTUAL, RESULTS, REPORT = Path("dataset"), Path("0-virtual"), Path("results"), Path("report.html")
TRAINED = {stage: Path(f"{number}-{stage}") for number, stage in enumerate(STAGES, start=1)}
FINAL = TRAINED["agent"]
AGENT_RESULT = RESULTS / "agent.json"
AGENT_TASKS = 20
COMPARED = (
    RetrieverSpec(method="bm25"),
    RetrieverSpec(method="dense"),
    RetrieverSpec(method="bm25", add=("dense",)),
    RetrieverSpec(method="generative"),
)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One command. In `arguments` a Path lies in the quickstart's folder; a string is meant literally.

    `output` (inside the folder) or `artifact` (inside the cache) is what it makes; a missing `transient` output matters
    only when another task reads it. `key` is the identity of the result: settings, version, and the keys of `needs`.
    """

    name: str
    step: str
    arguments: tuple[str | Path, ...]
    needs: tuple[str, ...] = ()
    output: Path | None = None
    marker: str = ""
    artifact: Path | None = None
    transient: bool = False
    key: str = ""

    def command(self, folder: Path) -> list[str]:
        """The arguments of `toolgen`."""
        return [str(folder / part) if isinstance(part, Path) else part for part in self.arguments]

    def is_present(self, folder: Path) -> bool:
        """Whether its whole output is there; outputs appear by renaming, so a marker file is enough."""
        if self.artifact is not None:
            return read_origin(cache_folder() / self.artifact) is not None
        return self.output is not None and (folder / self.output / self.marker).is_file()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done, and with what. `dataset` replaces BFCL; `settings` maps a stage to its `key=value` texts."""

    folder: Path = Path("toolgen-quickstart")
    via: Via = "pypi"
    base: str = DEFAULT_BASE
    dataset: Path | None = None
    settings: Mapping[str, Sequence[str]] = field(default_factory=dict)
    retrievers: Sequence[RetrieverSpec] = COMPARED
    agent_tasks: int = AGENT_TASKS

    @property
    def data(self) -> str | Path:
        """The dataset, as an argument of the tasks."""
        return DATASET if self.dataset is None else str(self.dataset)

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks in order, with their keys."""
        keys: dict[str, str] = {}
        tasks = []
        for task in (*self._fetch(), *self._build(), *self._train(), *self._evaluate()):
            needs = [keys[name] for name in task.needs]
            identity = canonical_json([_code_version(), [str(part) for part in task.arguments], needs])
            keys[task.name] = hashlib.sha256(identity.encode()).hexdigest()[:16]
            tasks.append(replace(task, key=keys[task.name]))
        return tuple(tasks)

    def _fetch(self) -> Iterable[Task]:
        wanted = [("base", self.base)] if self.base in BASES else []
        wanted += [("base", DENSE_MODEL)] if any("dense" in spec.methods for spec in self.retrievers) else []
        wanted += [("dataset", "bfcl")] if self.dataset is None else []
        for kind, name in wanted:
            yield Task(
                name=f"fetch {name}",
                step="fetch",
                arguments=("fetch", kind, name, "--via", self.via),
                artifact=Path(kind, name),
                transient=True,
            )

    def _build(self) -> Iterable[Task]:
        if self.dataset is None:
            yield Task(
                name="catalog",
                step="catalog",
                arguments=("catalog", "build", "bfcl:", "-o", DATASET),
                needs=("fetch bfcl",),
                output=DATASET,
                marker=DATASET_FILE,
            )
        yield Task(
            name="virtualize",
            step="virtualize",
            arguments=("virtualize", self.data, "--base", self.base, "-o", VIRTUAL),
            needs=(*self._data_tasks, *([f"fetch {self.base}"] if self.base in BASES else [])),
            output=VIRTUAL,
            marker=CHECKPOINT_FILE,
            transient=True,
        )

    def _train(self) -> Iterable[Task]:
        before, needed = VIRTUAL, "virtualize"
        for stage in STAGES:
            settings = [part for text in self.settings.get(stage, ()) for part in ("--set", text)]
            yield Task(
                name=stage,
                step=stage,
                arguments=("train", stage, before, self.data, "-o", TRAINED[stage], *settings),
                needs=(*self._data_tasks, needed),
                output=TRAINED[stage],
                marker=CHECKPOINT_FILE,
                transient=stage != STAGES[-1],
            )
            before, needed = TRAINED[stage], stage

    def _evaluate(self) -> Iterable[Task]:
        results = {f"evaluate {spec.name}": RESULTS / f"{spec.name}.json" for spec in self.retrievers}
        for spec in self.retrievers:
            subject = FINAL if "generative" in spec.methods else self.data
            needs = ["agent"] if "generative" in spec.methods else []
            needs += [f"fetch {DENSE_MODEL}"] if "dense" in spec.methods else []
            output = results[f"evaluate {spec.name}"]
            added = [part for name in spec.add for part in ("--add", name)]
            yield Task(
                name=f"evaluate {spec.name}",
                step="evaluate-retrieval",
                arguments=(
                    "evaluate",
                    "retrieval",
                    subject,
                    self.data,
                    "--retriever",
                    spec.method,
                    *added,
                    "-o",
                    output,
                ),
                needs=(*self._data_tasks, *needs),
                output=output,
            )
        # a multi-turn task takes as long as five others
        limit = ("--limit", str(self.agent_tasks), "--limit", f"multi_turn={max(1, self.agent_tasks // 5)}")
        yield Task(
            name="evaluate agent",
            step="evaluate-agent",
            arguments=("evaluate", "agent", FINAL, self.data, *limit, "-o", AGENT_RESULT),
            needs=(*self._data_tasks, *(["fetch bfcl"] if self.dataset is None else []), "agent"),
            output=AGENT_RESULT,
        )
        yield Task(
            name="report",
            step="report",
            arguments=("report", *results.values(), AGENT_RESULT, "-o", REPORT),
            needs=(*results, "evaluate agent"),
            output=REPORT,
        )

    @property
    def _data_tasks(self) -> tuple[str, ...]:
        return ("catalog",) if self.dataset is None else ()


def parse_settings(texts: Iterable[str]) -> dict[str, list[str]]:
    """`STAGE.KEY=VALUE` texts by stage; UsageError for what is none."""
    settings: dict[str, list[str]] = {}
    for text in texts:
        stage, dot, rest = text.partition(".")
        if stage not in STAGES or not dot or "=" not in rest:
            raise UsageError(f"--set {text!r}: expected STAGE.KEY=VALUE with a stage of {', '.join(STAGES)}")
        settings.setdefault(stage, []).append(rest)
    return settings


def choose_tasks(
    plan: Plan, is_recorded: Callable[[Task], bool], *, only: str | None = None, start: str | None = None
) -> list[Task]:
    """The tasks to run, in order: those of the step `only`, or of `start` and all after it, or else whatever is not done.

    What one of them reads and is gone or out of date is made again first.
    """
    for step in (only, start):
        if step is not None and step not in STEPS:
            raise UsageError(f"there is no step {step!r}; steps are {', '.join(STEPS)}")
    if only and start:
        raise UsageError("give --only or --from, not both")
    wanted = {task.name for task in plan.tasks if _is_wanted(task, plan.folder, is_recorded, only, start)}
    by_name = {task.name: task for task in plan.tasks}
    for task in reversed(plan.tasks):
        if task.name in wanted:
            needed = (by_name[name] for name in task.needs)
            wanted |= {one.name for one in needed if not (is_recorded(one) and one.is_present(plan.folder))}
    return [task for task in plan.tasks if task.name in wanted]


def _is_wanted(
    task: Task, folder: Path, is_recorded: Callable[[Task], bool], only: str | None, start: str | None
) -> bool:
    order = list(STEPS)
    if only:
        return task.step == only
    if start and order.index(task.step) >= order.index(start):
        return True
    return start is None and not (is_recorded(task) and (task.transient or task.is_present(folder)))


def _code_version() -> str:
    """The version, and the file that holds the defaults of the stages: while toolgen is developed they change under one
    version. It is read as text because importing it would bring torch."""
    defaults = Path(toolgen.__file__).parent / "training" / "stages.py"
    return f"{toolgen.__version__}+{hashlib.sha256(defaults.read_bytes()).hexdigest()[:8]}"
