"""Results of agents side by side: what they did right, by kind of task, what it took, and differences on the same tasks.

Knows results, not how they are made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from toolgen.errors import UsageError
from toolgen.evaluation.agent_results import AgentResult, groups_of
from toolgen.evaluation.metrics import Difference, paired_bootstrap
from toolgen.evaluation.tables import BOLD, shown, signed
from toolgen.foreign.shown import markdown_table

Results = Mapping[str, AgentResult]
"""By the names of agents."""


def agent_tables(results: Results, groups: Sequence[str], against: str | None = None) -> list[str]:
    """A table for each kind of task with the measures of these groups, each followed by the differences to the agent `against`
    on the same tasks; last what a task took."""
    parts = []
    for kind in dict.fromkeys(kind for result in results.values() for kind in result.metrics):
        known = {name: result for name, result in results.items() if kind in result.metrics}
        names = list(
            dict.fromkeys(
                name for result in known.values() for found in result.metrics[kind].values() for name in found
            )
        )
        header = ("tasks", "agent", *(name.replace("_", " ") for name in names))
        parts += [f"### {kind.replace('_', ' ')}\n", markdown_table(header, _rows(known, kind, groups, names))]
        if against in known and len(known) > 1:
            rows = list(_differences(known, against, kind, groups, names))
            parts += [f"Difference to {against} on the same tasks ({BOLD}):\n", markdown_table(header, rows)]
    parts += ["### what a task took\n", markdown_table(("agent", *_EFFORT, *_VALIDITY), _effort(results))]
    return parts


def paired_measure(first: AgentResult, second: AgentResult, kind: str, group: str, measure: str) -> Difference | None:
    """The mean of `first - second` over the tasks of a group, with the interval of a paired bootstrap; None where one of them
    lacks the measure. UsageError if they did not carry out the same tasks of this kind."""
    ours, theirs = ({one.id: one for one in result.records if one.kind == kind} for result in (first, second))
    if ours.keys() != theirs.keys():
        raise UsageError(
            f"the results of {first.name} and {second.name} are of different tasks; evaluate both on the same dataset, split, "
            "limits and seed"
        )
    pairs = [(one.score.measures, theirs[one.id].score.measures) for one in ours.values() if group in groups_of(one)]
    if not pairs or any(measure not in measures for pair in pairs for measures in pair):
        return None
    return paired_bootstrap([one[measure] for one, _ in pairs], [other[measure] for _, other in pairs])


def _rows(results: Results, kind: str, groups: Sequence[str], names: Sequence[str]) -> Iterator[list[str]]:
    for group in groups:
        for agent, result in results.items():
            if measures := result.metrics[kind].get(group):
                count = max(interval.count for interval in measures.values())
                cells = [shown(measures[name]) if name in measures else "" for name in names]
                yield [f"{group} ({count:,})", agent, *cells]


def _differences(
    results: Results, against: str, kind: str, groups: Sequence[str], names: Sequence[str]
) -> Iterator[list[str]]:
    for group in groups:
        for agent, result in results.items():
            if agent != against and group in result.metrics[kind]:
                found = [paired_measure(result, results[against], kind, group, name) for name in names]
                yield [group, agent, *(signed(one) if one else "" for one in found)]


_EFFORT = ("steps", "tokens", "prompt tokens", "seconds")
_VALIDITY = ("calls", "invented tools", "invalid arguments")


def _effort(results: Results) -> Iterator[list[str]]:
    for agent, result in results.items():
        effort, counts = result.effort, result.validity
        means = (effort.steps, effort.tokens, effort.prompt_tokens, effort.seconds)
        whole = (counts.actions, counts.nonexistent_tools, counts.invalid_arguments)
        yield [agent, *(f"{mean:,.1f}" for mean in means), *(f"{count:,}" for count in whole)]
