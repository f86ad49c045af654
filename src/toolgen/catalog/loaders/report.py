"""What a loader says about its work: how much was loaded, what was lost and why, what was changed on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from toolgen.foreign.typed import typed


@dataclass(frozen=True)
class Loss:
    """One record that could not be loaded, or one whose arguments could not, and the reason in one line."""

    name: str
    reason: str


def lines_lost(file: str, losses: list[Loss]) -> Callable[[str, str], None]:
    """Takes the lines of a file that were lost, as `foreign/data.py` tells them, into `losses`."""
    return lambda line, reason: losses.append(Loss(f"{file}, {line}", reason))


@dataclass(frozen=True)
class Reason:
    """How often a reason occurs, as the first record says it; `examples` are the names of the first records."""

    reason: str
    count: int
    examples: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """A record for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """The account of one source. `loaded` counts tools; `losses` are records that are not in the catalog, and arguments that
    their tools lack; `notes` are repairs that kept the record. `counts` holds further figures of the source."""

    source: str
    loaded: int
    losses: tuple[Loss, ...] = ()
    notes: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)

    def loss_reasons(self) -> tuple[Reason, ...]:
        """The losses by reason, the most frequent first."""
        return _by_reason((loss.name, loss.reason) for loss in self.losses)

    def note_reasons(self) -> tuple[Reason, ...]:
        """The notes by what they say after `name: `, the most frequent first."""
        parted = (note.partition(": ") for note in self.notes)
        return _by_reason((name, text) if colon else ("", name) for name, colon, text in parted)

    def to_dict(self) -> dict[str, Any]:
        """A record for JSON. `reasons` is a summary of `losses`."""
        return {
            "source": self.source,
            "loaded": self.loaded,
            "lost": len(self.losses),
            "reasons": [reason.to_dict() for reason in self.loss_reasons()],
            "losses": [{"name": loss.name, "reason": loss.reason} for loss in self.losses],
            "notes": list(self.notes),
            "counts": dict(self.counts),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> LoadReport:
        """Reads what `to_dict` wrote; ValueError says what is of another type."""
        return typed(cls, record)


EXAMPLES = 4
"""Names that a reason keeps."""

# What differs between two records that have the same fault: quoted text, numbers.
_VARIABLE = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")


def _by_reason(lines: Iterable[tuple[str, str]]) -> tuple[Reason, ...]:
    found: dict[str, tuple[str, list[str]]] = {}
    for name, text in lines:
        found.setdefault(_VARIABLE.sub("*", text), (text, []))[1].append(name)
    reasons = [Reason(text, len(names), tuple(names[:EXAMPLES])) for text, names in found.values()]
    return tuple(sorted(reasons, key=lambda reason: -reason.count))
