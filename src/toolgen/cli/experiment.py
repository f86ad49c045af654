"""`toolgen experiment`: many methods on many datasets by one file, and one table; what is done is not done again."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from toolgen.catalog.tool import canonical_json
from toolgen.cli.app import INTERRUPTED
from toolgen.cli.console import JsonOption, console, emit, message
from toolgen.cli.searching import CHECKPOINT_FILE, DATASET_FILE, ENCODER_FILE
from toolgen.cli.subcommand import run_command, shown_command
from toolgen.errors import ToolgenError, UsageError
from toolgen.evaluation import RetrievalResult, load_result
from toolgen.evaluation.experiment import Experiment, Method, read_experiment, table
from toolgen.files import write_json, write_text

LEDGER, TABLE = "done.json", "table.md"


def register(app: typer.Typer) -> None:
    """Adds `experiment`."""
    app.command("experiment", epilog="Example: toolgen experiment experiments/toollens.yaml")(experiment)


def experiment(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A YAML file with datasets and methods.")],
    listing: Annotated[bool, typer.Option("--list", help="Show the commands and what is done; run nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure every method of a file on every dataset of it and write one table with intervals and paired differences.

    First its steps (toolgen commands such as train), each done if its output is there; then one evaluation a dataset and
    method, done if its result was made from the same inputs. Every command is printed. A failure does not stop the others.
    """
    content = read_experiment(file)
    debug = bool(ctx.obj and ctx.obj.get("debug"))
    steps = [_Step(text, file) for text in content.steps]
    runs = [_Run(content, dataset, method) for dataset in content.datasets for method in content.methods]
    if listing:
        everything: list[_Step | _Run] = [*steps, *runs]
        rows = [{"done": one.is_done(), "command": shown_command(one.arguments)} for one in everything]
        emit(rows, as_json, lambda: "\n".join(f"{'done ' if r['done'] else 'to do'}  $ {r['command']}" for r in rows))
        return
    for step in steps:
        if not step.is_done() and (code := _run(step.arguments, debug)):
            message(f"experiment stopped: the step {step.arguments[0]} failed; the same command goes on there")
            raise typer.Exit(code)
    failed = [run.name for run in runs if not run.is_done() and not run.measure(debug)]
    results = {
        dataset: {run.method: run.result() for run in runs if run.dataset == dataset and run.name not in failed}
        for dataset in content.datasets
    }
    text = table(content, results)
    write_text(content.output / TABLE, text)
    message(f"wrote {content.output / TABLE}")
    answer = {
        "table": str(content.output / TABLE),
        "failed": failed,
        "metrics": {d: {m: result.to_dict()["metrics"] for m, result in found.items()} for d, found in results.items()},
    }
    emit(answer, as_json, lambda: text)
    if failed:
        raise ToolgenError(f"{len(failed)} of {len(runs)} evaluations failed: {', '.join(failed)}; see above")


class _Step:
    """One command that makes something; its output's existence is what says that it is done."""

    def __init__(self, text: str, file: Path) -> None:
        try:
            self.arguments = shlex.split(text)
        except ValueError as error:
            raise UsageError(f"{file}: steps: {text!r} cannot be read: {error}") from error
        places = [i for i, word in enumerate(self.arguments[:-1]) if word in ("-o", "--output")]
        if len(places) != 1:
            raise UsageError(f"{file}: steps: {text!r} should be a toolgen command with one -o OUTPUT")
        self.output = Path(self.arguments[places[0] + 1])

    def is_done(self) -> bool:
        return self.output.exists()


class _Run:
    """One evaluation: a method on a dataset."""

    def __init__(self, content: Experiment, dataset: str, method: str) -> None:
        self.dataset, self.method, self.name = dataset, method, f"{dataset}/{method}"
        self.folder = content.output
        self.place = self.folder / f"{_slug(dataset)}.{_slug(method)}.json"
        spec = content.methods[method].on(dataset)
        self._inputs = _inputs(spec, content.datasets[dataset])
        self.arguments = _arguments(spec, content, content.datasets[dataset], self.place)

    @property
    def key(self) -> str:
        """Identity of the result: the command and the content of what it reads, as far as a small file tells it."""
        contents = [hashlib.sha256(path.read_bytes()).hexdigest() for path in self._inputs if path.is_file()]
        return hashlib.sha256(canonical_json([self.arguments, contents]).encode()).hexdigest()[:16]

    def is_done(self) -> bool:
        """Whether the result is there and its inputs are still those that it was made from."""
        return self.place.is_file() and _read_ledger(self.folder).get(self.place.name) == self.key

    def measure(self, debug: bool) -> bool:
        """Runs the evaluation; False if it failed."""
        if _run(self.arguments, debug):
            return False
        write_json(self.folder / LEDGER, {**_read_ledger(self.folder), self.place.name: self.key})
        return True

    def result(self) -> RetrievalResult:
        result = load_result(self.place)
        if not isinstance(result, RetrievalResult):
            raise UsageError(f"{self.place} is no result of evaluate retrieval; remove it")
        return result


def _arguments(method: Method, content: Experiment, dataset: Path, place: Path) -> list[str]:
    """A method's keys are the options of `evaluate retrieval`; its checkpoint is what is evaluated."""
    options: dict[str, Any] = method.model_dump(exclude={"checkpoint"}, exclude_defaults=True)
    options |= {"split": content.split, **({"limit": content.limit} if content.limit else {}), "output": place}
    given = [part for key, value in options.items() for part in _option(f"--{key.replace('_', '-')}", value)]
    return ["evaluate", "retrieval", method.checkpoint or str(dataset), str(dataset), *given]


def _option(name: str, value: Any) -> list[str]:
    if value is True:
        return [name]
    return [part for one in (value if isinstance(value, tuple) else (value,)) for part in (name, str(one))]


def _inputs(method: Method, dataset: Path) -> list[Path]:
    inputs = [dataset / DATASET_FILE]
    if method.checkpoint:
        inputs.append(Path(method.checkpoint) / CHECKPOINT_FILE)  # with the losses of its stages
    if method.encoder:
        inputs.append(Path(method.encoder) / ENCODER_FILE)
    return inputs


def _run(arguments: list[str], debug: bool) -> int:
    """The exit code of the command, which is shown; typer.Exit if the user stopped it."""
    console.print(f"[cyan]$ {escape(shown_command(arguments))}[/]", highlight=False, soft_wrap=True)
    code = run_command(arguments, debug=debug)
    if code == INTERRUPTED or code < 0:
        message("experiment stopped; the same command goes on there")
        raise typer.Exit(INTERRUPTED)
    return code


def _read_ledger(folder: Path) -> dict[str, str]:
    try:
        content = json.loads((folder / LEDGER).read_text(encoding="utf-8"))
        return dict(content) if isinstance(content, dict) else {}
    except (OSError, ValueError):
        return {}  # every evaluation counts as not done


def _slug(text: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in text.lower()).strip("-") or "method"
