"""How a checkpoint acts unless something else is asked for: what commands, servers and `Agent` have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolgen.agent.policy import Declining, GenerativePolicy
from toolgen.checkpoint.layout import added_to_searches, is_only_indexed
from toolgen.errors import UsageError
from toolgen.retrieval import Resources, RetrieverSpec, make_sum

if TYPE_CHECKING:
    from toolgen.checkpoint import Checkpoint
    from toolgen.decoding import DecodingOptions

ADDED = "bm25"
"""What is added to a trained checkpoint by default: it measured better on BFCL's development split (`docs/experiments.md`)."""

DECLINE_RATE = 0.02
"""Share of answerable requests that an index may decline: on two lists of MCP servers, whose requests are unlike those of its
calibration, that costs none of the right first tools (`docs/results/agent.md`)."""


def acting_policy(
    checkpoint: Checkpoint,
    add: Sequence[str] = (),
    *,
    alone: bool = False,
    encoder: Path | None = None,
    decline_rate: float | None = None,
    options: DecodingOptions | None = None,
) -> GenerativePolicy:
    """The checkpoint's own policy. Unless the model acts `alone`, the logits of other retrievers are added where it chooses a
    tool for a request, and what nobody asked for is left out: optional arguments, further calls.

    Those retrievers are `add` (names of `retrieval.LOGIT_SCALES`; `encoder` is that of toolretriever), by default BM25, and for
    an index that nothing has trained what its searches add; none where a tool is several tokens. A first request is declined
    where the choice of its tool is too unsure: at most the share `decline_rate` of those that a tool answers are, where the
    checkpoint is calibrated for that (by default DECLINE_RATE for such an index, which does not learn to decline, and none for
    others). UsageError for an `add` that cannot be added, or a rate without a calibration.
    """
    if add and alone:
        raise UsageError("an agent that acts alone (--alone) adds nothing; leave out --add")
    if (add or decline_rate) and not checkpoint.vocabulary.is_atomic:
        raise UsageError("--add and --decline-rate are for tools of one token each; here a tool is several")
    spec = chooser(checkpoint, add, alone=alone)
    declining, added = _declining(checkpoint, spec, decline_rate), None
    if spec.add:
        added = make_sum(spec.add, Resources(checkpoint=checkpoint, encoder=encoder), beside=(spec.method,))
        added.index(checkpoint.catalog)
    return GenerativePolicy(
        checkpoint,
        options=options,
        added=added,
        only_said=not alone,
        further_by_text=not alone and is_only_indexed(checkpoint.metadata),
        declining=declining,
    )


def chooser(checkpoint: Checkpoint, add: Sequence[str] = (), *, alone: bool = False) -> RetrieverSpec:
    """What such a policy chooses a tool for a request with, as calibrations know it by its name."""
    if alone or not checkpoint.vocabulary.is_atomic:
        return RetrieverSpec(method="generative")
    metadata = checkpoint.metadata
    added = add or (added_to_searches(metadata) if is_only_indexed(metadata) else (ADDED,))
    return RetrieverSpec(method="generative", add=tuple(added))


def _declining(checkpoint: Checkpoint, spec: RetrieverSpec, rate: float | None) -> Declining | None:
    calibration = checkpoint.calibrations.get(spec.name)
    if rate and calibration is None:
        raise UsageError(
            f"--decline-rate: the checkpoint is not calibrated for {spec.name}; run `toolgen calibrate CKPT DATASET` with the "
            "same --add"
        )
    if rate is None:
        rate = DECLINE_RATE if spec.add and is_only_indexed(checkpoint.metadata) else 0.0
    return Declining(calibration, rate) if calibration and rate else None
