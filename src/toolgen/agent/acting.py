"""How a checkpoint acts unless something else is asked for: what commands, servers and `Agent` have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolgen.agent.policy import GenerativePolicy
from toolgen.checkpoint.layout import added_to_searches, is_only_indexed
from toolgen.errors import UsageError
from toolgen.retrieval import Resources, make_sum

if TYPE_CHECKING:
    from toolgen.checkpoint import Checkpoint
    from toolgen.decoding import DecodingOptions

ADDED = "bm25"
"""What is added to a trained checkpoint by default: it measured better on BFCL's development split (`docs/experiments.md`)."""


def acting_policy(
    checkpoint: Checkpoint,
    add: Sequence[str] = (),
    *,
    alone: bool = False,
    encoder: Path | None = None,
    options: DecodingOptions | None = None,
) -> GenerativePolicy:
    """The checkpoint's own policy. Unless the model acts `alone`, the logits of other retrievers are added where it chooses a
    tool for a request, and optional arguments that nobody said are left out.

    Those retrievers are `add` (names of `retrieval.LOGIT_SCALES`; `encoder` is that of toolretriever), by default BM25, and for
    an index that nothing has trained what its searches add; none where a tool is several tokens. UsageError for an `add` that
    cannot be added.
    """
    is_atomic = checkpoint.vocabulary.is_atomic
    if add and alone:
        raise UsageError("an agent that acts alone (--alone) adds nothing; leave out --add")
    if add and not is_atomic:
        raise UsageError("logits can be added (--add) where each tool is one token; here a tool is several")
    if alone or not is_atomic:
        return GenerativePolicy(checkpoint, options=options, only_said=not alone)
    resources = Resources(checkpoint=checkpoint, encoder=encoder)
    added = make_sum(add or _by_default(checkpoint), resources, beside=("generative",))
    added.index(checkpoint.catalog)
    return GenerativePolicy(checkpoint, options=options, added=added, only_said=True)


def _by_default(checkpoint: Checkpoint) -> Sequence[str]:
    metadata = checkpoint.metadata
    return added_to_searches(metadata) if is_only_indexed(metadata) else (ADDED,)
