"""Which tokens attend to which, chosen by each pass with the keyword `attend` of the model's forward.

`share_passes` sets the model's attention once, to a function that looks for that keyword. Without it the function is PyTorch's
attention with the masks that transformers makes, as if nothing had been set. Nothing is exchanged for a pass and taken
back afterwards, so passes of any kind can run at the same time on one model.

`Packed` and `Cached` take sequences that stand one after another in one row, so that no token is computed for padding: only
attention sees that there are several. The idea is that of variable-length FlashAttention (arXiv 2205.14135); here it needs
nothing but PyTorch's own attention. Knows no loss and no scheduling.
Shapes: as everywhere in transformers: queries, keys and values are (1, heads, T, size), the result is (1, T, heads, size).
N new tokens of one sequence, C tokens that they may look at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from threading import Lock
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from toolgen.inference.cache import KeyValues
from toolgen.inference.machine import product_dtype
from toolgen.inference.written_attention import written_attention
from toolgen.virtualization import check_architecture

NAME = "toolgen"
LONGEST_WRITTEN_OUT = 1024
"""Tokens; see `_slow_backwards`."""
_SHARING = Lock()


class Attend(Protocol):
    """What a pass gives as `attend`: attention of a whole row, within its own rules."""

    def __call__(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        """What each token of the row takes from those that it may look at."""


def share_passes(model: PreTrainedModel) -> None:
    """From now on the passes of this model may choose how they attend. Once is enough, a second time does nothing.

    CheckpointError if the architecture's layers see other tokens in a way of their own.
    """
    with _SHARING:  # the check makes a pass of its own
        if model.config._attn_implementation == NAME:
            return
        check_architecture(model)
        AttentionInterface.register(NAME, chosen_attention)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)


def chosen_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """The attention of all layers: by `attend` if the pass has chosen, else with the model's own mask."""
    attend: Attend | None = options.pop("attend", None)
    if attend is None:
        return plain_attention(module, query, key, value, attention_mask, **options), None
    return attend(module, query, key, value, **options), None


def pass_options(attend: Attend, device: torch.device) -> dict[str, Any]:
    """The keywords of a forward that attends by `attend`. The mask is a placeholder: transformers hands on one of four
    dimensions as it is, and would otherwise make one of T * T for nothing."""
    return {"attend": attend, "attention_mask": torch.zeros(1, 1, 1, 1, device=device)}


def plain_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any
) -> Tensor:
    """PyTorch's attention; written out for the models that bound its scores (`softcap`, Gemma 2), and where that is faster."""
    if options.get("softcap"):
        return _bounded(module, query, key, value, mask, **options)
    if mask is None and query.shape[2] == key.shape[2] and _slow_backwards(query, options):
        scaling = options.get("scaling") or query.shape[-1] ** -0.5
        return written_attention(query, key, value, scaling).transpose(1, 2)
    attended: Tensor = sdpa_attention_forward(module, query, key, value, mask, **options)[0]
    return attended


def _slow_backwards(query: Tensor, options: Mapping[str, Any]) -> bool:
    """Whether PyTorch's own attention would be slow: see `written_attention.py`. Longer sequences would need much memory for
    their scores."""
    return (
        query.requires_grad
        and query.device.type == "cpu"
        and product_dtype(query) == torch.bfloat16
        and query.shape[2] <= LONGEST_WRITTEN_OUT
        and options.get("is_causal") is not False
        and not options.get("dropout")
    )


def _bounded(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, softcap: float, **options: Any
) -> Tensor:
    """With bounded scores. The query heads of a key head stand below each other, so that nothing is repeated."""
    batch, heads, new, size = query.shape
    shared, seen = key.shape[1:3]
    scaling = options.get("scaling") or size**-0.5
    scores = query.reshape(batch, shared, -1, size) @ key.transpose(2, 3) * scaling
    scores = torch.tanh(scores.view(batch, heads, new, seen) / softcap) * softcap
    if mask is None:
        mask = causal_mask(new, seen, None, query.device)
    scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    shares = scores.softmax(-1, dtype=torch.float32).to(query.dtype)  # in fp32 as in Gemma 2's own code
    shares = nn.functional.dropout(shares, options.get("dropout", 0.0), training=module.training)
    taken = shares.view(batch, shared, -1, seen) @ value
    return taken.view(batch, heads, new, size).transpose(1, 2).contiguous()


def causal_mask(new: int, seen: int, window: int | None, device: torch.device) -> Tensor:
    """Which of a sequence's last C tokens each of its N newest may look at (N, C)."""
    every_NC = torch.ones(new, seen, dtype=torch.bool, device=device).tril(seen - new)
    return every_NC if window is None else every_NC.triu(seen - new - window + 1)


@dataclass(frozen=True)
class Packed:
    """Whole sequences of these lengths, which add up to the row: causal attention within each. Equal lengths that stand
    together attend as one batch. Nothing is kept."""

    lengths: Sequence[int]

    def __call__(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        runs = [(length, sum(1 for _ in same)) for length, same in groupby(self.lengths)]
        sizes = [length * count for length, count in runs]
        window = options.get("sliding_window")
        parts = []
        for (length, _), *states in zip(
            runs, *(torch.split(each, sizes, dim=2) for each in (query, key, value)), strict=True
        ):
            # (1, heads, sequences * length, size) to (sequences, heads, length, size), without a copy
            one, keys, values = (each[0].unflatten(1, (-1, length)).transpose(0, 1) for each in states)
            mask = causal_mask(length, length, window, query.device) if window and length > window else None
            attended = plain_attention(module, one, keys, values, mask, **{**options, "is_causal": True})
            parts.append(attended.flatten(0, 1))
        return torch.cat(parts)[None]


class Cached:
    """New tokens of several sequences, which join their caches: each looks at its own sequence up to itself.

    `seen` is for branches behind a sequence (tree attention, SpecInfer, arXiv 2305.09781): which of the sequence's C tokens
    each of its N new ones may look at (N, C), by the number of the sequence. In a layer with a window they look only at
    what is near enough, too, by the `places` of all T new tokens and those of the caches.
    """

    def __init__(
        self,
        caches: Sequence[KeyValues],
        lengths: Sequence[int],
        places: Sequence[int],
        seen: Mapping[int, Tensor] | None = None,
    ) -> None:
        self._caches, self._lengths, self._places = caches, list(lengths), places
        self._seen = seen or {}
        self._masks: dict[tuple[int, int | None], Tensor | None] = {}

    def __call__(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        attended = []
        layer: Any = module.layer_idx
        parts = zip(*(torch.split(each, self._lengths, dim=2) for each in (query, key, value)), strict=True)
        for number, (one, *new) in enumerate(parts):
            keys, values = self._caches[number].update(new[0], new[1], layer)
            mask = self._mask(number, options.get("sliding_window"), query.device)
            attended.append(plain_attention(module, one, keys, values, mask, **{**options, "is_causal": True}))
        return torch.cat(attended, dim=1)

    def _mask(self, number: int, window: int | None, device: torch.device) -> Tensor | None:
        """None where attention knows without a mask; made once for all layers of a kind."""
        if (number, window) not in self._masks:
            self._masks[number, window] = self._made(number, window, device)
        return self._masks[number, window]

    def _made(self, number: int, window: int | None, device: torch.device) -> Tensor | None:
        new, cache = self._lengths[number], self._caches[number]
        whole = new + len(cache)
        if number not in self._seen:
            if new in (1, whole) and whole <= (window or whole):
                return None
            return causal_mask(new, whole, window, device)[None, None]
        seen_NC = self._seen[number].to(device)
        if window is not None:
            first = sum(self._lengths[:number])
            own_N = torch.tensor(self._places[first : first + new], device=device)
            places_C = torch.cat([torch.tensor(cache.places, dtype=torch.long, device=device), own_N])
            seen_NC = seen_NC & (own_N[:, None] - places_C < window)
        return seen_NC[None, None]
