"""The steps of a run on the screen, a line each. Knows no command."""

from __future__ import annotations

from rich.text import Text

from toolgen.agent import Action, AgentEvent
from toolgen.cli.console import show
from toolgen.datasets import Trajectory
from toolgen.evaluation.scorers import Score

# A longer argument or result is cut on the screen; --json has the whole.
_SHOWN = 600


def show_event(event: AgentEvent) -> None:
    """One step."""
    if event.kind == "user":
        show(line("request", event.text, "bold"))
    elif event.action and event.kind == "action":
        for action in (event.action, *event.action.parallel):
            _show_action(action)
    elif event.result and event.kind == "result":
        name = f"{event.action.tool}: " if event.action and event.call else ""
        show(line("result", name + event.result.content, "red" if event.result.is_error else "green"))
    elif event.kind == "back":
        show(line("back", f"to step {event.step}; what came after it is undone: {event.text}", "yellow"))
    elif event.kind == "path":
        show(line("path", f"steps {', '.join(map(str, event.steps)) or 'none'}", "dim"))


def _show_action(action: Action) -> None:
    if action.thought:
        show(line("thought", action.thought, "italic"))
    if action.stuck:
        show(line("not called", f"{action.tool}: {action.fault}" if action.tool else action.fault, "red"))
    elif action.is_finish:
        show(
            line(
                "gave up" if action.arguments.get("gave_up") else "answer",
                str(action.arguments.get("answer", "")),
                "bold",
            )
        )
    elif action.is_decline:
        show(line("declined", "no tool of the catalog fits", "yellow"))
    else:
        arguments = ", ".join(f"{name}={value!r}" for name, value in action.arguments.items())
        show(line("tool", action.tool, "bold cyan"))
        show(line("arguments", arguments or "none", "cyan"))


def line(label: str, content: str, style: str) -> Text:
    """What is said of a step, after what it is."""
    shown = " ".join(content.split())
    if len(shown) > _SHOWN:
        shown = f"{shown[:_SHOWN]} … ({len(shown) - _SHOWN:,} more characters)"
    return Text.assemble((f"{label:>10}  ", "dim"), (shown, style))


def summary(trajectory: Trajectory, score: Score | None) -> Text:
    """How a run ended."""
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
    return line("outcome", ", ".join(parts), "dim")
