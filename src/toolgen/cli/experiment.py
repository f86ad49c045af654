"""`toolgen experiment`: many methods or agents on many datasets by one file, and one table; what is done is not done again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from toolgen.checkpoint.layout import MARKERS
from toolgen.cli.console import JsonOption, emit, message
from toolgen.cli.steps import Graph, Step, listing, working_in
from toolgen.cli.subcommand import run_command
from toolgen.errors import ToolgenError, UsageError
from toolgen.evaluation import AgentResult, Result, RetrievalResult, load_result
from toolgen.evaluation.experiment import Agent, Experiment, Method, agent_table, read_experiment, table
from toolgen.files import write_text

TABLE = "table.md"
STEPS = "steps"


def register(app: typer.Typer) -> None:
    """Adds `experiment`."""
    app.command("experiment", epilog="Example: toolgen experiment experiments/toollens.yaml")(experiment)


def experiment(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A YAML file with datasets and methods, or agents.")],
    show_list: Annotated[bool, typer.Option("--list", help="Show the commands and what is done; run nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure every method or agent of a file on every dataset of it and write one table with intervals and paired differences.

    First its steps (toolgen commands such as train): what somebody else has made already is taken, and a step whose command
    has changed is repeated with all that reads it. Then one evaluation a dataset and method. Every command is printed. A
    failed evaluation does not stop the others.
    """
    content = read_experiment(file)
    if show_list:
        rows = experiment_graph(content, file).rows()
        emit(rows, as_json, lambda: listing(rows))
        return
    debug = bool(ctx.obj and ctx.obj.get("debug"))
    with working_in(content.output, "experiment"):
        graph = experiment_graph(content, file)
        failed = graph.run(graph.choose(), lambda arguments: run_command(arguments, debug=debug))
        results = {
            dataset: {
                name: load_result(content.output / _place(dataset, name))
                for name in content.rows
                if _name(dataset, name) not in failed
            }
            for dataset in content.datasets
        }
        text = _table(content, results)
        write_text(content.output / TABLE, text)
    message(f"wrote {content.output / TABLE}")
    answer = {
        "table": str(content.output / TABLE),
        "failed": failed,
        "seconds": round(graph.seconds(*graph.steps), 1),
        "metrics": {d: {m: result.to_dict()["metrics"] for m, result in found.items()} for d, found in results.items()},
    }
    emit(answer, as_json, lambda: text.rstrip("\n").split("\n"))
    if failed:
        total = len(content.datasets) * len(content.rows)
        raise ToolgenError(f"{len(failed)} of {total} evaluations failed: {', '.join(failed)}; see above")


def experiment_graph(content: Experiment, file: Path) -> Graph:
    """The steps of an experiment file, then its evaluations; UsageError for a step that makes nothing."""
    steps: list[Step] = []
    for text in content.steps:
        step = _step(text, file, steps)
        if any(step.output == other.output for other in steps):
            raise UsageError(f"{file}: steps: two of them make {step.name}; give each an output of its own")
        steps.append(step)
    for dataset in content.datasets:
        steps += [_evaluation(content, dataset, name, steps) for name in content.rows]
    about = f"{len(content.rows)} {'agents' if content.agents else 'methods'}, split {content.split}"
    groups = {STEPS: "what the evaluations read", **{f"evaluate {dataset}": about for dataset in content.datasets}}
    return Graph(content.output, steps, groups, title="experiment")


def _step(text: str, file: Path, before: list[Step]) -> Step:
    """A step that reads the outputs of those before it which its words name. Its key covers the files that they name, too."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{file}: steps: {text!r} cannot be read: {error}") from error
    places = [i for i, word in enumerate(words[:-1]) if word in ("-o", "--output")]
    if len(places) != 1:
        raise UsageError(f"{file}: steps: {text!r} should be a toolgen command with one -o OUTPUT")
    return Step(
        name=words[places[0] + 1],
        group=STEPS,
        command=tuple(words),
        output=Path(words[places[0] + 1]).absolute(),
        needs=_makers(words, before),
        inputs=tuple(Path(word) for i, word in enumerate(words) if i != places[0] + 1),
        adopts=True,
    )


def _evaluation(content: Experiment, dataset: str, name: str, before: list[Step]) -> Step:
    """The keys of a method or agent are the options of `evaluate`; its checkpoint is what is evaluated."""
    spec, folder, place = content.rows[name].on(dataset), content.datasets[dataset], _place(dataset, name)
    options: dict[str, Any] = spec.model_dump(exclude={"checkpoint"}, exclude_defaults=True)
    if isinstance(spec, Agent):
        options |= {"split": content.split, "limit": content.limits, "kind": content.kinds}
    else:
        options |= {"split": content.split, **({"limit": content.limit} if content.limit else {})}
    given = [part for key, value in options.items() for part in _option(f"--{key.replace('_', '-')}", value)]
    kind = "agent" if isinstance(spec, Agent) else "retrieval"
    words = ["evaluate", kind, spec.checkpoint or str(folder), str(folder), *given]
    return Step(
        name=_name(dataset, name),
        group=f"evaluate {dataset}",
        command=(*words, "--output", place),
        output=place,
        needs=_makers(words, before),
        inputs=_inputs(spec, folder),
        may_fail=True,
    )


def _option(name: str, value: Any) -> list[str]:
    if value is True:
        return [name]
    return [part for one in (value if isinstance(value, tuple) else (value,)) for part in (name, str(one))]


def _inputs(method: Method | Agent, dataset: Path) -> tuple[Path, ...]:
    """Small files that tell whether a dataset or model has changed; a checkpoint's holds the losses of its stages."""
    inputs = [dataset / MARKERS["dataset"]]
    inputs += [Path(method.checkpoint) / MARKERS["checkpoint"]] if method.checkpoint else []
    inputs += [Path(method.encoder) / MARKERS["encoder"]] if method.encoder else []
    return tuple(inputs)


def _makers(words: list[str], before: list[Step]) -> tuple[str, ...]:
    """The steps whose outputs stand among the words, alone or behind a `=`."""
    read = {word.rpartition("=")[2] for word in words}
    return tuple(step.name for step in before if step.group == STEPS and step.name in read)


def _table(content: Experiment, results: Mapping[str, Mapping[str, Result]]) -> str:
    """UsageError for a result of another kind, which somebody has put there."""
    kind = AgentResult if content.agents else RetrievalResult
    for dataset, found in results.items():
        for name, result in found.items():
            if not isinstance(result, kind):
                place = content.output / _place(dataset, name)
                raise UsageError(f"{place} is no result of this experiment's kind; remove it")
    return agent_table(content, results) if content.agents else table(content, results)  # type: ignore[arg-type]


def _name(dataset: str, method: str) -> str:
    return f"{dataset}/{method}"


def _place(dataset: str, method: str) -> Path:
    return Path(f"{_slug(dataset)}.{_slug(method)}.json")


def _slug(text: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in text.lower()).strip("-") or "method"
