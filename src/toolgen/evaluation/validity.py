"""Validity: whether what an agent emitted is legal, checked again, and what the decoding had to prevent.

Knows trajectories and a catalog; no model and no benchmark.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.schema import schema_errors
from toolgen.datasets.messages import FINISH, FINISH_SCHEMA, NO_TOOL, actions_of
from toolgen.datasets.trajectory import Trajectory


@dataclass(frozen=True, kw_only=True)
class Validity:
    """Counts over one run or many.

    Of the calls that were `executed`, `failed` came back with an error or not in time. Of the `actions` that were emitted,
    `nonexistent_tools` and `invalid_arguments` are found by looking up and validating each; `not_emitted` could not be
    completed, `cut` of these because their arguments came to a limit. The rest is the decoder's own account: of its
    `decisions`, in `would_not_call` the model's first choice was no tool token; of the `argument_objects`, in
    `would_be_invalid` it would have left the grammar, and `relaxed` had a looser one than their schema.
    """

    executed: int = 0
    failed: int = 0
    actions: int = 0
    nonexistent_tools: int = 0
    invalid_arguments: int = 0
    not_emitted: int = 0
    cut: int = 0
    decisions: int = 0
    would_not_call: int = 0
    argument_objects: int = 0
    would_be_invalid: int = 0
    relaxed: int = 0

    @property
    def unconstrained_no_such_tool(self) -> float | None:
        """The share of decisions in which the unconstrained model would not have named a tool; None without decisions."""
        return self.would_not_call / self.decisions if self.decisions else None

    @property
    def unconstrained_invalid_arguments(self) -> float | None:
        """The share of argument objects that the unconstrained model would have broken; None without any."""
        return self.would_be_invalid / self.argument_objects if self.argument_objects else None

    def to_dict(self) -> dict[str, int]:
        """The counts for JSON."""
        return asdict(self)

    @classmethod
    def total(cls, parts: Iterable[Validity]) -> Validity:
        """The counts of all parts together."""
        every = list(parts)
        return cls(**{field.name: sum(getattr(part, field.name) for part in every) for field in fields(cls)})


def count_validity(trajectory: Trajectory, catalog: Catalog) -> Validity:
    """The counts of one run."""
    schemas = {FINISH: FINISH_SCHEMA, NO_TOOL: {"type": "object"}}
    actions = [action for message in trajectory.messages for action in actions_of(message)]
    known = [(tool, arguments) for tool, arguments in actions if tool in schemas or tool in catalog]
    invalid = [tool for tool, given in known if schema_errors(given, schemas.get(tool) or catalog.get(tool).parameters)]
    decisions = [one.diagnostics for one in trajectory.outcome.decisions if one.diagnostics]
    objects = [decision for decision in decisions if decision.argument_tokens]
    return Validity(
        executed=trajectory.outcome.calls,
        failed=trajectory.outcome.tool_errors + trajectory.outcome.timeouts,
        actions=len(actions),
        nonexistent_tools=len(actions) - len(known),
        invalid_arguments=len(invalid),
        not_emitted=sum(bool(decision.stuck) for decision in trajectory.outcome.decisions),
        cut=sum(decision.stuck == "arguments_cut" for decision in trajectory.outcome.decisions),
        decisions=len(decisions),
        would_not_call=sum(not decision.tool_exists for decision in decisions),
        argument_objects=len(objects),
        would_be_invalid=sum(decision.masked > 0 for decision in objects),
        relaxed=sum(decision.relaxed for decision in objects),
    )
