"""`toolgen run`: the agent at work on one task, its steps shown as they happen."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from toolgen.agent import (
    Action,
    AgentEvent,
    BfclEnvironment,
    Budget,
    DryRunEnvironment,
    Environment,
    GenerativePolicy,
    McpEnvironment,
    PythonEnvironment,
    RecordedEnvironment,
    RunRecorder,
    SimulatedEnvironment,
    read_run,
    recorded_results,
    run_agent,
)
from toolgen.agent.loop import OnEvent
from toolgen.catalog import Catalog
from toolgen.catalog.transforms import select_tools
from toolgen.cli.console import MAX_SEED, JsonOption, emit, message, show, show_json
from toolgen.cli.searching import has_weights, load_catalog
from toolgen.cli.tool_sources import ExcludeOption, IncludeOption
from toolgen.datasets import Task, Trajectory, Turn
from toolgen.datasets.bfcl import import_bfcl
from toolgen.datasets.trajectory import TURN_DONE
from toolgen.decoding import DecodingOptions, Sampling
from toolgen.errors import UsageError
from toolgen.evaluation.scorers import Score, scorer_for
from toolgen.fetching import fetch_dataset

_ENVIRONMENTS = (
    "dry-run, simulated, recorded:FILE, python:FILE (or python:MODULE), mcp or mcp:SERVER, bfcl or bfcl:TASK_ID"
)
# A longer argument or result is cut on the screen; --json has the whole.
_SHOWN = 600


_ARGUMENT_TOKENS = DecodingOptions().argument_tokens
_ArgumentTokensOption = Annotated[
    int,
    typer.Option(
        "--max-argument-tokens", min=1, help="Tokens of one call's arguments; longer ones are not carried out."
    ),
]
_RecordOption = Annotated[
    Path | None, typer.Option("--record", metavar="FILE", help="A new file for every step, written as it happens.")
]
_ReplayOption = Annotated[
    Path | None, typer.Option("--replay", metavar="FILE", help="Show a recorded run again; nothing is called.")
]


@dataclass(frozen=True)
class _Prepared:
    """What is to be done and where; `packages` are those by which the outcome can be judged."""

    task: Task
    environment: Environment
    packages: Mapping[str, Path] = field(default_factory=dict)


def register(app: typer.Typer) -> None:
    """Adds `run`."""
    app.command("run", epilog='Example: toolgen run CKPT "Is there rain in Oslo tomorrow?" --environment dry-run')(run)


def run(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help="A trained checkpoint.")],
    task: Annotated[str | None, typer.Argument(help="The request. Not needed with bfcl:TASK_ID.")] = None,
    environment: Annotated[
        str, typer.Option("--environment", "-e", metavar="ENV", help=f"Where calls are executed: {_ENVIRONMENTS}.")
    ] = "dry-run",
    think: Annotated[bool, typer.Option("--think", help="Let the model write a thought before each action.")] = False,
    max_steps: Annotated[int, typer.Option("--max-steps", min=1, help="Actions in each turn of the user.")] = 10,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Tokens generated in all.")] = 4096,
    max_argument_tokens: _ArgumentTokensOption = _ARGUMENT_TOKENS,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0, max=100, help="0 takes the most likely token.")
    ] = 0.0,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=MAX_SEED, help="Seed of the draws, with a temperature.")
    ] = 0,
    bfcl: Annotated[
        Path | None, typer.Option("--bfcl", metavar="PATH", help="The BFCL package; by default it is fetched.")
    ] = None,
    record: _RecordOption = None,
    replay: _ReplayOption = None,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the model carry out a task: it chooses tools by their tokens, fills in arguments, reads results, and answers.

    Environments: dry-run records calls and executes nothing; simulated makes answers up from response schemas, and says so;
    recorded:FILE answers with the results of a run that --record wrote; python:FILE calls your functions; mcp:SERVER calls the
    tools of MCP servers (a command, an address or a client's file), mcp those that the catalog names, after asking;
    bfcl:TASK_ID is a task of BFCL in its simulated systems, judged by its rules (with a text of your own it only lends
    its initial state).
    """
    if replay is not None:
        _replay(replay, as_json)
        return
    from toolgen.checkpoint import Checkpoint

    options = DecodingOptions(
        argument_tokens=max_argument_tokens, sampling=Sampling(temperature=temperature, seed=seed)
    )
    catalog = select_tools(_catalog(checkpoint), include or (), exclude or ())
    prepared = _prepare(catalog, environment, task, bfcl)
    with ExitStack() as stack:
        stack.callback(prepared.environment.close)
        recorder = stack.enter_context(RunRecorder(record)) if record else None
        loaded = Checkpoint.load(checkpoint)
        trajectory = run_agent(
            GenerativePolicy(loaded, think=think, options=options),
            prepared.environment,
            prepared.task,
            budget=Budget(steps=max_steps, tokens=max_tokens),
            on_event=_listener(as_json, recorder),
        )
    score = _score(prepared, trajectory, catalog)
    judged = {"score": score.to_dict()} if score else {}
    emit(trajectory.to_dict() | judged, as_json, lambda: _summary(trajectory, score))
    if trajectory.outcome.status not in TURN_DONE:
        raise typer.Exit(1)


def _listener(as_json: bool, recorder: RunRecorder | None) -> OnEvent:
    """What hears of each step: it is written down before it is shown."""

    def hear(event: AgentEvent) -> None:
        if recorder:
            recorder(event)
        if not as_json:
            _show_event(event)

    return hear


def _replay(path: Path, as_json: bool) -> None:
    """Shows the steps of a recorded run."""
    events = read_run(path)
    if as_json:
        show_json([asdict(event) for event in events], indent=2)
        return
    for event in events:
        _show_event(event)
    ended = events[-1].text if events and events[-1].kind == "end" else "cut off"
    show(_line("outcome", ended.replace("_", " "), "dim"))


def _catalog(folder: Path) -> Catalog:
    if not has_weights(folder):
        raise UsageError(f"{folder} is a dataset; an agent needs a trained checkpoint folder")
    return load_catalog(folder)


def _prepare(catalog: Catalog, environment: str, text: str | None, bfcl: Path | None) -> _Prepared:
    """The task and environment that the options mean; UsageError if they do not fit."""
    kind, _, detail = environment.partition(":")
    if kind == "bfcl":
        return _bfcl_task(catalog, detail, text, bfcl)
    if not text or not text.strip():
        raise UsageError('give a task: toolgen run CKPT "what to do" (only bfcl:TASK_ID brings its own)')
    task = Task.from_text(text)
    if kind == "python" and detail:
        return _Prepared(task, _python_environment(catalog, detail))
    if kind == "mcp":
        return _Prepared(task, _mcp_environment(catalog, detail))
    if environment == "dry-run":
        return _Prepared(task, DryRunEnvironment(catalog))
    if environment == "simulated":
        return _Prepared(task, SimulatedEnvironment(catalog))
    if kind == "recorded" and detail:
        return _Prepared(task, RecordedEnvironment(recorded_results(read_run(Path(detail))), catalog))
    raise UsageError(f"unknown environment {environment!r}; expected {_ENVIRONMENTS}")


def _python_environment(catalog: Catalog, source: str) -> Environment:
    """The functions of a file that the model has tokens for."""
    environment = PythonEnvironment(source, catalog=catalog)
    if not environment.tools:
        environment.close()
        raise UsageError(
            f"the checkpoint knows no function of {source} (it has {environment.definitions[0].id}); build a catalog from "
            f"it with: toolgen catalog build {shlex.quote(f'python:{source}')} -o DATASET; then train on that"
        )
    if unknown := environment.unknown:
        message(f"{len(unknown)} functions of {source} are not in the checkpoint's catalog, such as {unknown[0]}")
    return environment


def _mcp_environment(catalog: Catalog, place: str) -> Environment:
    """The servers of a place, or those of the catalog with the user's consent."""
    if place:
        environment = McpEnvironment(catalog, servers=[place])
        for loss in environment.losses:
            message(f"{loss.name}: {loss.reason}")
        if not environment.tools:
            raise UsageError(
                f"the checkpoint knows no tool of {place}; build a catalog from it with 'toolgen catalog build "
                f'"mcp:{place}" -o DATASET\' and train on that'
            )
        return environment
    environment = McpEnvironment(catalog, approve=_agrees)
    if not environment.tools:
        raise UsageError("the checkpoint knows no tool of an MCP server")
    if not sys.stdin.isatty():
        raise UsageError(
            "a catalog's MCP servers are started only if somebody agrees, and there is no terminal to ask; name them: "
            "--environment 'mcp:COMMAND ...', mcp:URL or mcp:SERVERS.json"
        )
    return environment


def _agrees(shown: str) -> bool:
    message(f"the catalog names an MCP server: {shown}")
    return typer.confirm("Start or reach it?", err=True)


def _bfcl_task(catalog: Catalog, task_id: str, text: str | None, package: Path | None) -> _Prepared:
    package = package or fetch_dataset("bfcl", on_message=message)
    environment = BfclEnvironment(package, catalog)
    if not task_id:
        if not text:
            raise UsageError("give a task, or choose one of BFCL's with --environment bfcl:TASK_ID")
        return _Prepared(Task.from_text(text), environment)
    found = (task for tasks in import_bfcl(package).tasks.values() for task in tasks)
    tasks = {task.id: task for task in found if task.kind == "multi_turn"}
    if task_id not in tasks:
        raise UsageError(f"BFCL has no multi-turn task {task_id!r}; they are named like {next(iter(tasks))}")
    if text:
        return _Prepared(replace(tasks[task_id], turns=(Turn(text=text),)), environment)
    return _Prepared(tasks[task_id], environment, {"bfcl": package})


def _score(prepared: _Prepared, trajectory: Trajectory, catalog: Catalog) -> Score | None:
    """The benchmark's judgement of one of its own tasks."""
    scorer = scorer_for(prepared.task, catalog, prepared.packages)
    return scorer.score(prepared.task, trajectory) if scorer else None


# --- on the screen ------------------------------------------------------------------------------------------------


def _show_event(event: AgentEvent) -> None:
    if event.kind == "user":
        show(_line("request", event.text, "bold"))
    elif event.action and event.kind == "action":
        _show_action(event.action)
    elif event.result and event.kind == "result":
        show(_line("result", event.result.content, "red" if event.result.is_error else "green"))


def _show_action(action: Action) -> None:
    if action.thought:
        show(_line("thought", action.thought, "italic"))
    if action.stuck:
        show(_line("not called", f"{action.tool}: {action.fault}" if action.tool else action.fault, "red"))
    elif action.is_finish:
        show(_line("gave up" if action.arguments.get("gave_up") else "answer", str(action.arguments["answer"]), "bold"))
    elif action.is_decline:
        show(_line("declined", "no tool of the catalog fits", "yellow"))
    else:
        arguments = ", ".join(f"{name}={value!r}" for name, value in action.arguments.items())
        show(_line("tool", action.tool, "bold cyan"))
        show(_line("arguments", arguments or "none", "cyan"))


def _line(label: str, content: str, style: str) -> Text:
    shown = " ".join(content.split())
    if len(shown) > _SHOWN:
        shown = f"{shown[:_SHOWN]} … ({len(shown) - _SHOWN:,} more characters)"
    return Text.assemble((f"{label:>10}  ", "dim"), (shown, style))


def _summary(trajectory: Trajectory, score: Score | None) -> Text:
    outcome = trajectory.outcome
    parts = [
        outcome.status.replace("_", " "),
        f"{outcome.calls} calls",
        f"{outcome.tool_errors} errors",
        f"{outcome.tokens} tokens",
        f"{outcome.seconds:.1f} s",
    ]
    if score:
        parts.append("judged right" if score.correct else f"judged wrong: {score.reason.replace('_', ' ')}")
    return _line("outcome", ", ".join(parts), "dim")
