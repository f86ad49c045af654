"""What a loader says about its work: how much was loaded, what was lost and why, what was changed on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Loss:
    """One record that could not be loaded, and the reason in one line."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """The account of one source. `loaded` counts tools; `losses` are records that are not in the catalog; `notes` are
    repairs that kept the record. `counts` holds further figures of the source."""

    source: str
    loaded: int
    losses: tuple[Loss, ...] = ()
    notes: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """A record for JSON."""
        return {
            "source": self.source,
            "loaded": self.loaded,
            "losses": [{"name": loss.name, "reason": loss.reason} for loss in self.losses],
            "notes": list(self.notes),
            "counts": dict(self.counts),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> LoadReport:
        """Reads what `to_dict` wrote."""
        return cls(
            source=record["source"],
            loaded=record["loaded"],
            losses=tuple(Loss(loss["name"], loss["reason"]) for loss in record["losses"]),
            notes=tuple(record["notes"]),
            counts=record["counts"],
        )
