"""What a finished quickstart says: the comparison, the agent's figures, the times, and what to try next.

Reads result files; knows neither steps nor models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from toolgen.cli.quickstart_plan import AGENT_RESULT, FINAL, REPORT, RESULTS, Plan
from toolgen.cli.subcommand import shown_command
from toolgen.cli.training_progress import duration
from toolgen.errors import InputError
from toolgen.evaluation import AgentResult, RetrievalResult, load_result
from toolgen.evaluation.metrics import Interval
from toolgen.evaluation.validity import Validity
from toolgen.foreign.typed import typed

METRICS = {"ndcg@1": "NDCG@1", "recall@5": "recall@5", "comp@5": "COMP@5"}
GROUPS = {"all": "all requests", "asked": "asked tools", "unasked": "unasked tools"}
AGENT_FIGURES = (
    ("single_turn", "accuracy", "single-turn requests answered with the right calls"),
    ("single_turn", "tool_accuracy", "... with the right tools"),
    ("irrelevance", "declined", "requests that no tool fits, declined"),
    ("multi_turn", "task_success", "multi-turn tasks solved"),
    ("multi_turn", "turn_success", "... turns of them"),
)
REQUEST = "Convert 150 euros to Japanese yen."


def summary(plan: Plan, seconds: float, training_seconds: float) -> dict[str, Any]:
    """The whole answer as data; what was not evaluated is left out."""
    agent = _agent_result(plan)
    return {
        "folder": str(plan.folder),
        "checkpoint": str(plan.folder / FINAL),
        "retrieval": {
            name: {
                group: {metric: metrics[metric].to_dict() for metric in METRICS if metric in metrics}
                for group in GROUPS
                if (metrics := result.metrics.get(group))
            }
            for name, result in _retrieval_results(plan).items()
        },
        "agent": agent.figures() if agent else {},
        "agent_tasks": len(agent.records) if agent else 0,
        "report": str(plan.folder / REPORT) if (plan.folder / REPORT).is_file() else None,
        "seconds": round(seconds, 1),
        "training_seconds": round(training_seconds, 1),
        "try_next": try_next(plan, agent),
    }


def render(answer: Mapping[str, Any]) -> Group:
    """The answer for people."""
    parts: list[Table | Text] = []
    if answer["retrieval"]:
        parts += [Text(), _retrieval_table(answer["retrieval"])]
    if answer["agent"]:
        parts += [Text(), _agent_table(answer)]
    times = f"time       {duration(answer['seconds'])}, of which training {duration(answer['training_seconds'])}"
    report = f"report     {answer['report'] or 'not written yet'}"
    lines = [
        "",
        f"model      {answer['checkpoint']}",
        report,
        times,
        "",
        "try next",
        *(f"  {c}" for c in answer["try_next"]),
    ]
    return Group(*parts, *(Text(line, no_wrap=True, overflow="ignore") for line in lines))


def try_next(plan: Plan, agent: AgentResult | None) -> list[str]:
    """Three commands. The task is one of the test split, if possible one that the agent was seen to solve."""
    model = str(plan.folder / FINAL)
    tasks = [record for record in agent.records if record.kind == "multi_turn"] if agent else []
    solved = [record for record in tasks if record.score.correct] or tasks
    run = ["run", model, "--environment", f"bfcl:{solved[0].id}"] if solved else ["run", model, REQUEST]
    return [
        shown_command(["search", model, REQUEST]),
        shown_command(run),
        shown_command(["catalog", "build", "openai:my_tools.json", "-o", "my-tools"]),
    ]


def _retrieval_results(plan: Plan) -> dict[str, RetrievalResult]:
    found = {}
    for spec in plan.retrievers:
        path = plan.folder / RESULTS / f"{spec.name}.json"
        if path.is_file() and isinstance(result := load_result(path), RetrievalResult):
            found[spec.name] = result
    return found


def _agent_result(plan: Plan) -> AgentResult | None:
    path = plan.folder / AGENT_RESULT
    if not path.is_file():
        return None
    result = load_result(path)
    if not isinstance(result, AgentResult):
        raise InputError(
            f"{path} is a result of retrieval, not of an agent; repeat the step with --only evaluate-agent"
        )
    return result


def _retrieval_table(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    table = Table(title="finding tools, in % with 95% intervals", title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for label in METRICS.values():
        table.add_column(label, justify="right")
    for group, label in GROUPS.items():
        rows = {name: groups[group] for name, groups in results.items() if group in groups}
        if rows:
            table.add_row(Text(f"{label} ({_count(rows)})", style="dim"))
        for name, metrics in rows.items():
            table.add_row(f"  {name}", *(_cell(metrics, metric, rows) for metric in METRICS))
    return table


def _count(rows: Mapping[str, Mapping[str, Any]]) -> int:
    metrics = next(iter(rows.values()))
    return int(next(iter(metrics.values()))["count"])


def _cell(metrics: Mapping[str, Any], metric: str, rows: Mapping[str, Mapping[str, Any]]) -> Text:
    if metric not in metrics:
        return Text("-")
    best = max(row[metric]["mean"] for row in rows.values() if metric in row)
    return Text(_shown(metrics[metric]), style="bold" if metrics[metric]["mean"] == best else "")


def _shown(interval: Mapping[str, Any]) -> str:
    value = Interval(**interval)
    return f"{100 * value.mean:.1f} ({100 * value.low:.1f}–{100 * value.high:.1f})"


def _agent_table(answer: Mapping[str, Any]) -> Table:
    title = f"carrying out {answer['agent_tasks']} tasks of the test split, drawn by seed"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("")
    metrics = answer["agent"]["metrics"]
    for kind, metric, label in AGENT_FIGURES:
        figure = metrics.get(kind, {}).get("all", {}).get(metric)
        if figure:
            table.add_row(f"  {label}", _shown(figure), f"of {figure['count']}")
    # Emitted violations, which the decoding makes impossible, beside what the unconstrained model would have done.
    counts = typed(Validity, answer["agent"]["validity"])
    for label, emitted, rate in (
        ("calls of tools that do not exist", counts.nonexistent_tools, counts.unconstrained_no_such_tool),
        ("argument objects that break their schema", counts.invalid_arguments, counts.unconstrained_invalid_arguments),
    ):
        free = "" if rate is None else f"; unconstrained it would have been {100 * rate:.1f}%"
        table.add_row(f"  {label}", str(emitted), f"of {counts.actions}{free}")
    return table
