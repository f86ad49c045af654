"""What a stage minimizes. Imports no torch, so that stages can be listed without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from toolgen.training.collate import MicroBatch
    from toolgen.training.model import Losses, TrainableModel


class Loss(Protocol):
    """Sums over the supervised positions of a micro-batch: of the choices of tools, of the text, and of the text that is
    replayed. The loop divides each by what choices and text weigh in the whole batch, and weights both kinds of text by
    `StageConfig.text_weight`."""

    def __call__(self, model: TrainableModel, batch: MicroBatch, /) -> Losses:
        """Is called inside the model's `forward`, around which processes that share the model meet."""


def set_cross_entropy(model: TrainableModel, batch: MicroBatch, /) -> Losses:
    """Cross-entropy against each position's distribution over its targets: several relevant tools are one set."""
    return model.cross_entropy(batch)
