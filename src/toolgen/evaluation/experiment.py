"""Experiments: a file that says which methods or agents are measured on which datasets, and the table of what came out.

Knows results, not how they are made; `toolgen experiment` makes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from toolgen.datasets.splits import Split
from toolgen.errors import UsageError, nearest
from toolgen.evaluation.agent_results import AgentResult
from toolgen.evaluation.agent_table import agent_tables
from toolgen.evaluation.results import RetrievalResult, paired_difference
from toolgen.evaluation.retrieval import Candidates
from toolgen.evaluation.tables import BOLD, shown, signed
from toolgen.foreign.shown import markdown_table
from toolgen.foreign.yaml_core import read_yaml


class _Row(BaseModel):
    """One row of the table. `{dataset}` in a path stands for the dataset's name in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: str | None = None
    encoder: str | None = None
    llm: str | None = None
    endpoint: str | None = None
    model: str | None = None

    def on(self, dataset: str) -> Self:
        """The same with the dataset's name filled in."""
        values = {
            key: value.replace("{dataset}", dataset) if isinstance(value, str) else value
            for key, value in self.model_dump().items()
        }
        return type(self)(**values)


class Method(_Row):
    """A way to find tools; its keys are options of `evaluate retrieval`."""

    retriever: str
    add: tuple[str, ...] = ()
    unasked_bonus: float = 0.0
    sets: bool = False
    base_retriever: str | None = None
    beam: int | None = None
    candidates: Candidates = "catalog"


class Agent(_Row):
    """A way to carry out tasks; its keys are options of `evaluate agent`."""

    policy: str = "generative"
    retriever: str | None = None
    top: int | None = None
    retries: int = 0
    given_tools: bool = False
    concurrency: int = 1


_OF_METHODS = frozenset({"limit", "against_dataset", "metrics", "latency"})
_OF_AGENTS = frozenset({"limits", "kinds"})


class Experiment(BaseModel):
    """The content of an experiment file. Paths are relative to where the command is run.

    It measures either `methods`, on the first `limit` requests, or `agents`, which carry out up to `limits` tasks (`150`,
    `multi_turn=20`), the same for all, of `kinds`. `against` names the method or agent, `against_dataset` the dataset that the
    others are compared with. Datasets can only be compared if they hold the same requests in other words (`toolgen catalog
    rewrite`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    output: Path
    steps: tuple[str, ...] = ()
    datasets: dict[str, Path] = Field(min_length=1)
    methods: dict[str, Method] = Field(default_factory=dict)
    agents: dict[str, Agent] = Field(default_factory=dict)
    split: Split = "test"
    limit: int | None = Field(None, ge=1)
    limits: tuple[str | int, ...] = ()
    kinds: tuple[str, ...] = ()
    against: str | None = None
    against_dataset: str | None = None
    metrics: tuple[str, ...] = ("ndcg@1", "ndcg@5", "recall@5", "comp@5")
    groups: tuple[str, ...] = ("all", "sound", "asked", "unasked")
    latency: bool = False
    """Also a table of what one search takes, and of the tokens that a generative one spells a tool with."""

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if bool(self.methods) == bool(self.agents):
            raise ValueError("expected either methods or agents, at least one of them")
        given, other, idle = ("agents", "methods", _OF_METHODS) if self.agents else ("methods", "agents", _OF_AGENTS)
        for key in sorted(idle & self.model_fields_set):
            raise ValueError(f"{key} is for {other}; beside {given} it would change nothing, so leave it out")
        return self

    @property
    def rows(self) -> Mapping[str, Method | Agent]:
        """The methods or agents by their names."""
        return self.methods or self.agents


def read_experiment(path: Path) -> Experiment:
    """The experiment in a YAML file; InputError if it is none, UsageError says what does not fit."""
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UsageError(f"the experiment {path} should map keys to values; it holds a {type(content).__name__}")
    try:
        experiment = Experiment(**content)
    except ValidationError as error:
        first = error.errors()[0]
        place = "".join(f"{part}." for part in first["loc"]).rstrip(".")
        raise UsageError(f"{path}: {place + ': ' if place else ''}{first['msg']}{_near(first)}") from error
    _check_named(path, "against", "agent" if experiment.agents else "method", experiment.against, experiment.rows)
    _check_named(path, "against_dataset", "dataset", experiment.against_dataset, experiment.datasets)
    return experiment


def _check_named(path: Path, key: str, kind: str, name: str | None, known: Mapping[str, object]) -> None:
    if name is not None and name not in known:
        raise UsageError(f"{path}: {key} names no {kind} {name!r}; {kind}s are {', '.join(known)}")


def _near(error: Mapping[str, Any]) -> str:
    if error["loc"][:1] == ("steps",):
        return "; put a command that has a colon in quotes"
    if error["type"] != "extra_forbidden":
        return ""
    kinds: Mapping[str, type[BaseModel]] = {"methods": Method, "agents": Agent}
    known = kinds.get(str(error["loc"][0]), Experiment).model_fields
    return nearest(str(error["loc"][-1]), known, f"; known keys: {', '.join(known)}")


Results = Mapping[str, Mapping[str, RetrievalResult]]
"""Dataset to method to result."""


def table(experiment: Experiment, results: Results) -> str:
    """All results as Markdown: percent with 95% intervals, one table a dataset, then differences to `against`, last those of
    each method to itself on `against_dataset`."""
    parts = []
    for dataset, found in results.items():
        parts.append(f"## {dataset}, split {experiment.split}\n")
        parts.append(markdown_table(("requests", "method", *_labels(experiment)), _rows(experiment, found)))
        if experiment.latency:
            parts.append(markdown_table(("method", "tokens a tool", "median ms"), _latency(found)))
        base = experiment.against
        if base is not None and base in found and len(found) > 1:
            others = {method: (result, found[base]) for method, result in found.items() if method != base}
            parts.append(f"Difference to {base} on the same requests ({BOLD}):\n")
            parts.append(markdown_table(("requests", "method", *_labels(experiment)), _differences(experiment, others)))
    full = experiment.against_dataset
    on_full = results.get(full, {}) if full is not None else {}
    for dataset, found in results.items():
        pairs = {method: (result, on_full[method]) for method, result in found.items() if method in on_full}
        if dataset != full and pairs:
            parts.append(f"{dataset} against {full}, the same method on the same requests ({BOLD}):\n")
            parts.append(markdown_table(("requests", "method", *_labels(experiment)), _differences(experiment, pairs)))
    return "\n".join(parts)


def agent_table(experiment: Experiment, results: Mapping[str, Mapping[str, AgentResult]]) -> str:
    """The same for results of agents."""
    parts = []
    for dataset, found in results.items():
        parts.append(f"## {dataset}, split {experiment.split}\n")
        parts += agent_tables(found, experiment.groups, experiment.against)
    return "\n".join(parts)


def _labels(experiment: Experiment) -> list[str]:
    return [name if name.startswith("recall") else name.upper() for name in experiment.metrics]


def _rows(experiment: Experiment, found: Mapping[str, RetrievalResult]) -> Iterator[list[str]]:
    for group in experiment.groups:
        for method, result in found.items():
            if values := result.metrics.get(group):
                count = next(iter(values.values())).count
                cells = [shown(values[name]) if name in values else "" for name in experiment.metrics]
                yield [f"{group} ({count:,})", method, *cells]


def _latency(found: Mapping[str, RetrievalResult]) -> Iterator[list[str]]:
    for method, result in found.items():
        tokens = result.provenance.config.get("retriever", {}).get("tokens_per_tool", "")
        yield [method, str(tokens), f"{result.latency['median_ms']:.0f}"]


def _differences(
    experiment: Experiment, pairs: Mapping[str, tuple[RetrievalResult, RetrievalResult]]
) -> Iterator[list[str]]:
    """A row for each group and method: the first result of its pair minus the second, request by request. Requests that are
    in a group by their words count in the group of the first."""
    for group in experiment.groups:
        for method, (result, other) in pairs.items():
            if group not in result.metrics or group not in other.metrics:
                continue
            cells = [
                signed(paired_difference(result, other, name, group)) if name in result.metrics[group] else ""
                for name in experiment.metrics
            ]
            yield [group, method, *cells]
