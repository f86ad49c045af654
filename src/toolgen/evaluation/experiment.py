"""Experiments: a file that says which methods are measured on which datasets, and the table of what came out.

Knows results, not how they are made; `toolgen experiment` makes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from toolgen.datasets.splits import Split
from toolgen.errors import UsageError, nearest
from toolgen.evaluation.metrics import Difference, Interval
from toolgen.evaluation.results import RetrievalResult, paired_difference
from toolgen.evaluation.retrieval import Candidates
from toolgen.foreign.yaml_core import read_yaml


class Method(BaseModel):
    """One row of the table. `{dataset}` in a path stands for the dataset's name in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    retriever: str
    add: tuple[str, ...] = ()
    unasked_bonus: float = 0.0
    sets: bool = False
    checkpoint: str | None = None
    encoder: str | None = None
    llm: str | None = None
    endpoint: str | None = None
    model: str | None = None
    base_retriever: str | None = None
    beam: int | None = None
    candidates: Candidates = "catalog"

    def on(self, dataset: str) -> Method:
        """The same with the dataset's name filled in."""
        values = {
            key: value.replace("{dataset}", dataset) if isinstance(value, str) else value
            for key, value in self.model_dump().items()
        }
        return Method(**values)


class Experiment(BaseModel):
    """The content of an experiment file. Paths are relative to where the command is run.

    `against` names the method, `against_dataset` the dataset that the others are compared with. Datasets can only be
    compared if they hold the same requests in other words (`toolgen catalog rewrite`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    output: Path
    steps: tuple[str, ...] = ()
    datasets: dict[str, Path] = Field(min_length=1)
    methods: dict[str, Method] = Field(min_length=1)
    split: Split = "test"
    limit: int | None = Field(None, ge=1)
    against: str | None = None
    against_dataset: str | None = None
    metrics: tuple[str, ...] = ("ndcg@1", "ndcg@5", "recall@5", "comp@5")
    groups: tuple[str, ...] = ("all", "asked", "unasked")
    latency: bool = False
    """Also a table of what one search takes, and of the tokens that a generative one spells a tool with."""


def read_experiment(path: Path) -> Experiment:
    """The experiment in a YAML file; InputError if it is none, UsageError says what does not fit."""
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UsageError(f"the experiment {path} should map keys to values; it holds a {type(content).__name__}")
    try:
        experiment = Experiment(**content)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}{_near(first)}") from error
    _check_named(path, "against", "method", experiment.against, experiment.methods)
    _check_named(path, "against_dataset", "dataset", experiment.against_dataset, experiment.datasets)
    return experiment


def _check_named(path: Path, key: str, kind: str, name: str | None, known: Mapping[str, object]) -> None:
    if name is not None and name not in known:
        raise UsageError(f"{path}: {key} names no {kind} {name!r}; {kind}s are {', '.join(known)}")


def _near(error: Mapping[str, Any]) -> str:
    if error["loc"][0] == "steps":
        return "; put a command that has a colon in quotes"
    if error["type"] != "extra_forbidden":
        return ""
    known = (Method if error["loc"][0] == "methods" else Experiment).model_fields
    return nearest(str(error["loc"][-1]), known, f"; known keys: {', '.join(known)}")


_BOLD = "bold: the interval leaves out zero"

Results = Mapping[str, Mapping[str, RetrievalResult]]
"""Dataset to method to result."""


def table(experiment: Experiment, results: Results) -> str:
    """All results as Markdown: percent with 95% intervals, one table a dataset, then differences to `against`, last those of
    each method to itself on `against_dataset`."""
    parts = []
    for dataset, found in results.items():
        parts.append(f"## {dataset}, split {experiment.split}\n")
        parts.append(_markdown(("requests", "method", *_labels(experiment)), _rows(experiment, found)))
        if experiment.latency:
            parts.append(_markdown(("method", "tokens a tool", "median ms"), _latency(found)))
        base = experiment.against
        if base is not None and base in found and len(found) > 1:
            others = {method: (result, found[base]) for method, result in found.items() if method != base}
            parts.append(f"Difference to {base} on the same requests ({_BOLD}):\n")
            parts.append(_markdown(("requests", "method", *_labels(experiment)), _differences(experiment, others)))
    full = experiment.against_dataset
    on_full = results.get(full, {}) if full is not None else {}
    for dataset, found in results.items():
        pairs = {method: (result, on_full[method]) for method, result in found.items() if method in on_full}
        if dataset != full and pairs:
            parts.append(f"{dataset} against {full}, the same method on the same requests ({_BOLD}):\n")
            parts.append(_markdown(("requests", "method", *_labels(experiment)), _differences(experiment, pairs)))
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
                _signed(paired_difference(result, other, name, group)) if name in result.metrics[group] else ""
                for name in experiment.metrics
            ]
            yield [group, method, *cells]


def shown(interval: Interval) -> str:
    """`80.9 (78.3–83.3)`, in percent."""
    return f"{100 * interval.mean:.1f} ({100 * interval.low:.1f}–{100 * interval.high:.1f})"


def _signed(difference: Difference) -> str:
    mean, low, high = (f"{100 * value:+.1f}" for value in (difference.mean, difference.low, difference.high))
    text = f"**{mean}** ({low} to {high})" if difference.significant else f"{mean} ({low} to {high})"
    return text.replace("-", "−")


def _markdown(header: Sequence[str], rows: Iterator[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(_cell(cell) for cell in line) + " |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
