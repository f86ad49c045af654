"""`toolgen evaluate judge`: SoPR and SoWR of agents' results, by a language model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from toolgen.cli.agent_policies import PromptLlmOption
from toolgen.cli.console import JsonOption, emit, message, progress
from toolgen.cli.outputs import file_output
from toolgen.cli.searching import EndpointOption, ModelOption, given_llm
from toolgen.errors import UsageError
from toolgen.evaluation import AgentResult, load_result
from toolgen.evaluation.judging import VOTES, Judge, Judgement
from toolgen.evaluation.tables import shown
from toolgen.files import write_json

AgainstOption = Annotated[
    Path | None,
    typer.Option("--against", metavar="RESULT", help="Another result of the same tasks: which runs are better? (SoWR)"),
]
VotesOption = Annotated[
    int, typer.Option("--votes", min=1, help="How often each question is asked; an even number for pairs.")
]
CacheOption = Annotated[
    Path | None, typer.Option("--cache", metavar="FILE", help="Keep the judge's answers here, and do not ask again.")
]


def judge(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="A file that `toolgen evaluate agent -o` wrote.")],
    against: AgainstOption = None,
    llm: PromptLlmOption = None,
    endpoint: EndpointOption = None,
    model: ModelOption = None,
    votes: VotesOption = VOTES,
    cache: CacheOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write the judgement.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Let a language model judge whether an agent's tasks were solved (SoPR), and whose runs are better (SoWR).

    As StableToolBench defines them: a run is solved, unsure or unsolved; of two runs the solved one wins, of equal ones the
    better one, asked in both orders. A judge errs: its name and the date belong to the figures.
    """
    file_output(output, result, *([against] if against else ()))
    asked = given_llm(llm, endpoint, model)
    if asked is None:
        raise UsageError("a judge is a language model: give --endpoint URL and --model NAME, or --llm BASE")
    own, other = _agents(result), _agents(against) if against else None
    with progress("judging") as on_progress:
        found = Judge(asked, votes=votes, cache=cache).judge(own, other, on_progress=on_progress)
    if output:
        write_json(output, found.to_dict())
        message(f"wrote {output}")
    emit(found.to_dict(), as_json, lambda: Text(_line(found)))


def _agents(path: Path) -> AgentResult:
    result = load_result(path)
    if not isinstance(result, AgentResult):
        raise UsageError(f"{path} is a result of retrieval; a judge reads those of `toolgen evaluate agent -o`")
    return result


def _line(found: Judgement) -> str:
    won = f", SoWR against {found.against} {shown(found.sowr)}" if found.sowr else ""
    unread = f"; {found.unread} answers could not be read" if found.unread else ""
    return f"SoPR {shown(found.sopr)}{won}, by {found.judge} on {found.at}{unread}"
