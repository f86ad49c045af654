"""`toolgen run`: the agent at work on one task, its steps shown as they happen."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from toolgen.agent import Budget, GenerativePolicy, RunRecorder, acting_policy, read_run, run_agent
from toolgen.agent.loop import AgentEvent, OnEvent
from toolgen.catalog import Catalog
from toolgen.catalog.transforms import select_tools
from toolgen.cli.agent_policies import (
    AddedOption,
    AgentDeclineRateOption,
    AloneOption,
    SearchOption,
    ThoughtOption,
    thought_tokens,
)
from toolgen.cli.calling import (
    AllowHostOption,
    AllowPrivateOption,
    Calling,
    CallWithinOption,
    HeaderOption,
    McpServerOption,
    PythonOption,
    ReadOnlyOption,
    ServerOption,
)
from toolgen.cli.console import MAX_SEED, JsonOption, emit, show, show_json
from toolgen.cli.run_places import ENVIRONMENTS, Place, Wanted, place_for
from toolgen.cli.run_steps import line, show_event, summary
from toolgen.cli.searching import has_weights, load_catalog
from toolgen.cli.tool_sources import ExcludeOption, IncludeOption
from toolgen.datasets import Trajectory
from toolgen.datasets.trajectory import TURN_DONE
from toolgen.decoding import DecodingOptions, Sampling
from toolgen.errors import UsageError
from toolgen.evaluation.scorers import Score, scorer_for

_BUDGET = Budget()
_ARGUMENT_TOKENS = DecodingOptions().argument_tokens
_EnvironmentOption = Annotated[
    str | None,
    typer.Option(
        "--environment",
        "-e",
        metavar="ENV",
        help=f"Where calls are executed: {ENVIRONMENTS}. By default endpoints if an option says where calls may go, else "
        "dry-run.",
    ),
]
_StepsOption = Annotated[int, typer.Option("--max-steps", min=1, help="Actions in each turn of the user.")]
_TokensOption = Annotated[int, typer.Option("--max-tokens", min=1, help="Tokens generated in all.")]
_SecondsOption = Annotated[float, typer.Option("--max-seconds", min=0.1, help="Seconds in all.")]
_ArgumentTokensOption = Annotated[
    int,
    typer.Option(
        "--max-argument-tokens", min=1, help="Tokens of one call's arguments; longer ones are not carried out."
    ),
]
_TemperatureOption = Annotated[
    float, typer.Option("--temperature", min=0, max=100, help="0 takes the most likely token.")
]
_SeedOption = Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="Seed of the draws, with a temperature.")]
_YesOption = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask before a tool is called that may change something.")
]
_RecordOption = Annotated[
    Path | None, typer.Option("--record", metavar="FILE", help="A new file for every step, written as it happens.")
]
_ReplayOption = Annotated[
    Path | None, typer.Option("--replay", metavar="FILE", help="Show a recorded run again; nothing is called.")
]
_ResumeOption = Annotated[
    Path | None,
    typer.Option(
        "--resume", metavar="FILE", help="Go on with a recorded run that was broken off, and write to its file."
    ),
]
_BfclOption = Annotated[
    Path | None, typer.Option("--bfcl", metavar="PATH", help="The BFCL package; by default it is fetched.")
]


def register(app: typer.Typer) -> None:
    """Adds `run`."""
    app.command("run", epilog='Example: toolgen run CKPT "Is there rain in Oslo tomorrow?" --python my_tools.py')(run)


def run(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help="A trained checkpoint.")],
    task: Annotated[str | None, typer.Argument(help="The request. Not needed with a benchmark's task.")] = None,
    environment: _EnvironmentOption = None,
    allow_host: AllowHostOption = None,
    header: HeaderOption = None,
    server: ServerOption = None,
    allow_private: AllowPrivateOption = False,
    mcp_server: McpServerOption = None,
    python: PythonOption = None,
    read_only: ReadOnlyOption = False,
    yes: _YesOption = False,
    call_within: CallWithinOption = _BUDGET.call_within,
    thought: ThoughtOption = "off",
    max_steps: _StepsOption = _BUDGET.steps,
    max_tokens: _TokensOption = _BUDGET.tokens,
    max_seconds: _SecondsOption = _BUDGET.seconds,
    max_argument_tokens: _ArgumentTokensOption = _ARGUMENT_TOKENS,
    temperature: _TemperatureOption = 0.0,
    seed: _SeedOption = 0,
    search: SearchOption = "chain",
    add: AddedOption = None,
    alone: AloneOption = False,
    decline_rate: AgentDeclineRateOption = None,
    bfcl: _BfclOption = None,
    record: _RecordOption = None,
    replay: _ReplayOption = None,
    resume: _ResumeOption = None,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the model carry out a task: it chooses tools by their tokens, fills in arguments, reads results, and answers.

    Environments: endpoints really calls HTTP tools on hosts that --allow-host names, MCP tools on servers that --mcp-server
    names or that you agree to, and functions of files that --python names, and asks before a tool that may change something;
    dry-run only records calls; simulated makes answers up from response schemas; recorded:FILE answers as a recorded run did;
    virtual:URL asks StableToolBench's virtual server (key in TOOLBENCH_KEY); bfcl:TASK_ID, agentdojo:SUITE/TASK and
    tau2:DOMAIN/TASK are a benchmark's task in its world, judged by its rules (with a text of your own it only lends its state).
    """
    if replay is not None:
        _replay(replay, as_json)
        return
    given = (allow_host or (), header or (), server or (), allow_private, mcp_server or (), python or ())
    wanted = Wanted(task, resume, environment, Calling(False, read_only, *given), yes, bfcl, search)
    options = _options(max_argument_tokens, thought, temperature, seed)
    catalog = select_tools(_catalog(checkpoint), include or (), exclude or ())
    place = place_for(catalog, wanted)
    with closing(place.environment), _recorder(record, resume) as recorder:
        trajectory = run_agent(
            _policy(checkpoint, add or (), alone, decline_rate, options),
            place.environment,
            place.task,
            budget=Budget(steps=max_steps, tokens=max_tokens, seconds=max_seconds, call_within=call_within),
            on_event=_listener(as_json, recorder),
            confirm=place.confirm,
            past=place.past,
            search=search,
        )
    _tell(trajectory, _score(place, trajectory, catalog), as_json)


def _options(argument_tokens: int, thought: str, temperature: float, seed: int) -> DecodingOptions:
    return DecodingOptions(
        argument_tokens=argument_tokens,
        thought_tokens=thought_tokens(thought),
        sampling=Sampling(temperature=temperature, seed=seed),
    )


def _recorder(record: Path | None, resume: Path | None) -> AbstractContextManager[RunRecorder | None]:
    if record and resume:
        raise UsageError("--resume writes to the file that it goes on with; leave out --record")
    if resume:
        return RunRecorder(resume, resume=True)
    return RunRecorder(record) if record else nullcontext()


def _tell(trajectory: Trajectory, score: Score | None, as_json: bool) -> None:
    judged = {"score": score.to_dict()} if score else {}
    emit(trajectory.to_dict() | judged, as_json, lambda: summary(trajectory, score))
    if trajectory.outcome.status not in TURN_DONE:
        raise typer.Exit(1)


def _policy(
    folder: Path, add: Sequence[str], alone: bool, decline_rate: float | None, options: DecodingOptions
) -> GenerativePolicy:
    from toolgen.checkpoint import Checkpoint

    return acting_policy(Checkpoint.load(folder), add, alone=alone, decline_rate=decline_rate, options=options)


def _listener(as_json: bool, recorder: RunRecorder | None) -> OnEvent:
    """What hears of each step: it is written down before it is shown."""

    def hear(event: AgentEvent) -> None:
        if recorder:
            recorder(event)
        if not as_json:
            show_event(event)

    return hear


def _replay(path: Path, as_json: bool) -> None:
    """Shows the steps of a recorded run."""
    events = read_run(path)
    if as_json:
        show_json([asdict(event) for event in events], indent=2)
        return
    for event in events:
        show_event(event)
    ended = events[-1].text if events and events[-1].kind == "end" else "cut off"
    show(line("outcome", ended.replace("_", " "), "dim"))


def _catalog(folder: Path) -> Catalog:
    if not has_weights(folder):
        raise UsageError(f"{folder} is a dataset; an agent needs a trained checkpoint folder")
    return load_catalog(folder)


def _score(place: Place, trajectory: Trajectory, catalog: Catalog) -> Score | None:
    """The benchmark's judgement of one of its own tasks."""
    scorer = scorer_for(place.task, catalog, place.packages)
    return scorer.score(place.task, trajectory) if scorer else None
