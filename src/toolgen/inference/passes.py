"""Passes of the model over sequences that stand one after another in one row, without padding.

`Passes` is what sessions and searches ask; `Runner` makes them at once in the calling thread, `Engine` (`engine.py`)
schedules those of many callers. Knows token ids, hidden states and scores; no tool and no message.
Shapes: B sequences, T tokens of all of them, N new ones of one sequence, C tokens of it with these, K of which something
is kept, D hidden size, R rows of the output matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from toolgen.errors import CheckpointError
from toolgen.inference.attention import Attend, Cached, Packed, pass_options, share_passes
from toolgen.inference.cache import KeyValues
from toolgen.inference.heads import Head
from toolgen.inference.weights import PackedWeights, Weights, kind_of

PROBE = (5, 12)
"""Lengths of the sequences that `check_passes` compares."""
Rows = tuple[int, int | None]
ALL: Rows = (0, None)
"""All rows of the output matrix."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """What one sequence adds to a pass: `ids`, which join its `cache`. The result is the scores of the output `rows`
    (first, stop) after the last `keep` of them (K, R), or, without `rows`, the hidden states (K, D). With `stays` the
    sequence will ask again.

    `seen_NC` is for branches of a tree: what each new token may look at, at these `places` in the sequence.
    """

    ids: Sequence[int]
    cache: KeyValues = field(default_factory=KeyValues)
    keep: int = 1
    rows: Rows | None = ALL
    stays: bool = False
    seen_NC: Tensor | None = None
    places: Sequence[int] | None = None


class Passes(Protocol):
    """What makes passes of one model."""

    device: torch.device
    limit: int
    """Positions that the model was made for."""

    def run(self, parts: Sequence[Part]) -> list[Tensor]:
        """The result of each part, in their order; the parts' caches then hold their tokens."""


def context_length(model: PreTrainedModel) -> int:
    """Positions that a model was made for."""
    return int(getattr(model.config, "max_position_embeddings", None) or 1 << 30)


class Runner:
    """Makes passes at once, all parts in one; several threads may do so at the same time. `weights`: see `weights.py`.

    CheckpointError for a model whose sequences cannot share a pass.
    """

    def __init__(self, model: PreTrainedModel, *, weights: Weights = "auto") -> None:
        share_passes(model)
        self.device: torch.device = model.device
        self.limit = context_length(model)
        self.weights = kind_of(model, weights)
        self._packed = PackedWeights(model, self.weights)

    @property
    def version(self) -> tuple[int, ...]:
        """Another one after each change of the model's weights in place."""
        return self._packed.version

    @torch.inference_mode()
    def run(self, parts: Sequence[Part]) -> list[Tensor]:
        """See `Passes`. If it fails, the caches are as they were."""
        lengths = [len(part.ids) for part in parts]
        places = [*map(_places, parts)]
        seen = {number: part.seen_NC for number, part in enumerate(parts) if part.seen_NC is not None}
        row_places = [*chain.from_iterable(places)]
        trunk, head = self._packed.parts()
        hidden_TD = row_states(
            trunk,
            Cached([part.cache for part in parts], lengths, row_places, seen),
            torch.tensor(row_places, device=self.device),
            ids_T=torch.tensor([*chain.from_iterable(part.ids for part in parts)], device=self.device),
        )
        made = self._kept(parts, hidden_TD, head)
        for part, own in zip(parts, places, strict=True):
            part.cache.commit(part.ids, own)
        return made

    @staticmethod
    def _kept(parts: Sequence[Part], hidden_TD: Tensor, head: Head) -> list[Tensor]:
        """What is asked of each part; parts that ask for the same rows are scored together."""
        ends = [*accumulate(len(part.ids) for part in parts)]
        made: list[Tensor] = [hidden_TD.new_empty(0)] * len(parts)
        for kind in {part.rows for part in parts if part.keep}:
            own = [i for i, part in enumerate(parts) if part.rows == kind and part.keep]
            kept = [*chain.from_iterable(range(ends[i] - parts[i].keep, ends[i]) for i in own)]
            found = hidden_TD[kept] if kind is None else head.scores(hidden_TD[kept], slice(*kind)).float()
            for i, one in zip(own, torch.split(found, [parts[i].keep for i in own]), strict=True):
                made[i] = one
        return made


def _places(part: Part) -> Sequence[int]:
    return range(len(part.cache), len(part.cache) + len(part.ids)) if part.places is None else part.places


def row_states(
    trunk: nn.Module,
    attend: Attend,
    places_T: Tensor,
    *,
    ids_T: Tensor | None = None,
    embedded_TD: Tensor | None = None,
) -> Tensor:
    """The hidden states after the last norm (T, D) of tokens, or of their embeddings, at these places in their sequences. The
    model's passes must be shared (`share_passes`)."""
    states: Tensor = trunk(
        input_ids=None if ids_T is None else ids_T[None],
        inputs_embeds=None if embedded_TD is None else embedded_TD[None],
        position_ids=places_T[None],
        use_cache=False,
        **pass_options(attend, places_T.device),
    ).last_hidden_state
    return states[0]


@torch.inference_mode()
def check_passes(model: PreTrainedModel) -> None:
    """CheckpointError for an architecture of whose logits our passes make something else: of sequences that share a row, or of
    tokens that come behind a cache. For a base, before anything is built on it."""
    ids = torch.arange(max(PROBE), device=model.device)
    expected = torch.cat([model(input_ids=ids[None, :length], use_cache=False).logits[0] for length in PROBE]).float()
    share_passes(model)
    runner, cache = Runner(model, weights="full"), KeyValues()
    places = torch.cat([ids[:length] for length in PROBE])
    packed = Head.of(model).scores(row_states(model.base_model, Packed(PROBE), places, ids_T=places)).float()
    shared = runner.run([Part(ids=ids[:length].tolist(), keep=length) for length in PROBE])
    parts = [part.tolist() for part in torch.split(ids, [7, 1, len(ids) - 8])]
    cached = [runner.run([Part(ids=part, cache=cache, keep=len(part))])[0] for part in parts]
    for found, logits in (
        (packed, expected),
        (torch.cat(shared), expected),
        (torch.cat(cached), expected[-len(ids) :]),
    ):
        if found.shape != logits.shape or not _alike(found, logits):
            raise CheckpointError(
                f"toolgen cannot run {model.config.model_type} models: what it computes are not the model's own logits; take "
                "another architecture (Llama, Qwen, SmolLM, Gemma, Granite, GPT-2, ...)"
            )


def _alike(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@torch.inference_mode()
def last_states(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> Tensor:
    """The hidden state after each prompt (B, D), all in one pass with the model's own weights; nothing is kept."""
    lengths = [len(prompt) for prompt in prompts]
    places = torch.tensor([*chain.from_iterable(map(range, lengths))], device=model.device)
    ids = torch.tensor([*chain.from_iterable(prompts)], device=model.device)
    last = torch.tensor([*accumulate(lengths)], device=model.device) - 1
    return row_states(model.base_model, Packed(lengths), places, ids_T=ids)[last]
