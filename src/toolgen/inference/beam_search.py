"""Constrained beam search over a trie of token sequences, for many prompts at once.

The score of a sequence is the sum of the logarithms of its tokens' probabilities, each *among the tokens that are allowed
there*. So a forced token costs nothing, long sequences are not worse than short ones (the length bias that ToolGen, arXiv
2410.03439, reports of multi-token indexings), and the probabilities of all sequences sum to one. With a beam as wide as there
are sequences nothing is cut off, and the ranking is exact. A node that only one sequence goes through needs no further pass.

The prompt is encoded once, whatever the width: the nodes of all beams stand behind it in one row, and a mask lets each see the
prompt and its own ancestors (tree attention, SpecInfer, arXiv 2305.09781). No cache is copied or reordered.
Knows a Hugging Face causal language model and integers; no tool and no message.
Shapes: P prompts, F open nodes of all prompts, E their children, L levels above them, T positions of the cache, D hidden
size, U tokens that some child stands for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import DynamicCache

from toolgen.inference.attention import Tree, pass_options, share_passes
from toolgen.inference.heads import Head
from toolgen.inference.trie import Ints, Trie

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Found:
    """Sequences by their place in the trie's order, best first, with the logarithms of their probabilities."""

    rows: Ints
    scores: Floats


@dataclass(frozen=True, eq=False)
class _Open:
    """Nodes that are still to be gone through: where they are, of which prompt, their score, and the cached positions of
    their ancestors."""

    nodes_F: Ints
    prompts_F: Ints
    scores_F: Floats
    ancestors_FL: Ints


@torch.inference_mode()
def beam_search(
    model: PreTrainedModel, trie: Trie, prompts: Sequence[Sequence[int]], width: int, *, pass_tokens: int = 1024
) -> list[Found]:
    """The best sequences after each prompt, at most `width`, which is also how many beginnings are kept at each step.

    `pass_tokens` bounds the nodes that one pass of the model reads. Equal scores keep the order of the sequences.
    """
    start, forced = trie.forced()
    if trie.rows_M[start] >= 0:
        return [Found(trie.rows_M[[start]], np.zeros(1)) for _ in prompts]
    every_P = np.arange(len(prompts))
    reader = _Reader(model, [[*prompt, *forced] for prompt in prompts], pass_tokens)
    hidden_FD = reader.prompts()
    open_nodes = _Open(
        np.full(len(prompts), start), every_P, np.zeros(len(prompts)), np.zeros((len(prompts), 0), dtype=np.int64)
    )
    done_rows, done_prompts, done_scores = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0)
    while len(open_nodes.nodes_F):
        owners_E, children_E = trie.children_of_all(open_nodes.nodes_F)
        shares_E = _log_shares(model, hidden_FD, owners_E, trie.tokens_M[children_E])
        # Finished sequences and the children of open nodes compete for the places in the beam.
        rows = np.concatenate([done_rows, trie.rows_M[children_E]])
        prompt = np.concatenate([done_prompts, open_nodes.prompts_F[owners_E]])
        score = np.concatenate([done_scores, open_nodes.scores_F[owners_E] + shares_E])
        kept = _best(prompt, score, width)
        finished = kept[rows[kept] >= 0]
        done_rows, done_prompts, done_scores = rows[finished], prompt[finished], score[finished]
        going_on = kept[rows[kept] < 0] - (len(rows) - len(children_E))
        nodes_F, owners_F = children_E[going_on], owners_E[going_on]
        open_nodes = _Open(
            nodes_F,
            open_nodes.prompts_F[owners_F],
            open_nodes.scores_F[owners_F] + shares_E[going_on],
            open_nodes.ancestors_FL[owners_F],
        )
        if len(nodes_F):
            hidden_FD, own_F = reader.nodes(trie.tokens_M[nodes_F], open_nodes.prompts_F, open_nodes.ancestors_FL)
            ancestors_FL = np.concatenate([open_nodes.ancestors_FL, own_F[:, None]], axis=1)
            open_nodes = _Open(nodes_F, open_nodes.prompts_F, open_nodes.scores_F, ancestors_FL)
    order = np.lexsort((done_rows, -done_scores, done_prompts))
    found = np.split(order, np.searchsorted(done_prompts[order], every_P[1:]))
    return [Found(done_rows[one], done_scores[one]) for one in found]


def _best(prompts: Ints, scores: Floats, width: int) -> Ints:
    """The places of the best `width` entries of each prompt."""
    order = np.lexsort((-scores, prompts))
    ordered = prompts[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return np.asarray(order[rank < width])


def _log_shares(model: PreTrainedModel, hidden_FD: Tensor, owners_E: Ints, tokens_E: Ints) -> Floats:
    """Log-probability of each child among its siblings (E); `owners_E` rises."""
    tokens_U, inverse_E = np.unique(tokens_E, return_inverse=True)
    logits_FU = Head.of(model).scores(hidden_FD, torch.from_numpy(tokens_U).to(hidden_FD.device))
    logits_E = logits_FU.float().cpu().numpy()[owners_E, inverse_E].astype(np.float64)
    starts_F = np.searchsorted(owners_E, np.arange(len(hidden_FD)))
    logits_E -= np.maximum.reduceat(logits_E, starts_F)[owners_E]
    shares: Floats = logits_E - np.log(np.add.reduceat(np.exp(logits_E), starts_F))[owners_E]
    return shares


class _Reader:
    """The model's passes: over the prompts, then over nodes behind them. All positions stay in one cache."""

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], pass_tokens: int) -> None:
        share_passes(model)
        self._model = model
        self._prompts = prompts
        self._lengths_P = torch.tensor([len(prompt) for prompt in prompts])
        self._size = max(1, pass_tokens // len(prompts))
        self._cache = DynamicCache()  # of whole sequences: a node far down still needs what a window would have dropped
        self._places = torch.zeros((len(prompts), 0), dtype=torch.long)  # of what is in the cache

    def prompts(self) -> Tensor:
        """Hidden states of the last token of each prompt (P, D). Right padding: the model is causal, so it needs no mask here,
        and nodes do not look at it."""
        ids_PT = torch.zeros((len(self._prompts), int(self._lengths_P.max())), dtype=torch.long)
        for row, prompt in enumerate(self._prompts):
            ids_PT[row, : len(prompt)] = torch.tensor(prompt)
        hidden_PTD = self._pass(ids_PT, torch.arange(ids_PT.shape[1]).expand_as(ids_PT))
        return hidden_PTD[torch.arange(len(self._prompts)), self._lengths_P - 1]

    def nodes(self, tokens_F: Ints, prompts_F: Ints, ancestors_FL: Ints) -> tuple[Tensor, Ints]:
        """Hidden states of nodes (F, D), and their positions in the cache (F). `prompts_F` rises."""
        rank_F = np.arange(len(prompts_F)) - np.searchsorted(prompts_F, prompts_F)
        parts = [
            self._part(tokens_F, prompts_F, ancestors_FL, rank_F, first)
            for first in range(0, int(rank_F.max()) + 1, self._size)
        ]
        order = np.argsort(np.concatenate([chosen for chosen, _, _ in parts]))
        hidden_FD = torch.cat([hidden for _, hidden, _ in parts])[torch.from_numpy(order)]
        return hidden_FD, np.concatenate([columns for _, _, columns in parts])[order]

    def _part(
        self, tokens_F: Ints, prompts_F: Ints, ancestors_FL: Ints, rank_F: Ints, first: int
    ) -> tuple[Ints, Tensor, Ints]:
        """One pass over the nodes whose rank within their prompt is from `first`: which ones, hidden states, positions."""
        chosen = np.flatnonzero((rank_F >= first) & (rank_F < first + self._size))
        row, place = torch.from_numpy(prompts_F[chosen]), torch.from_numpy(rank_F[chosen] - first)
        count, before = int(place.max()) + 1, self._cache.get_seq_length()
        ids = torch.zeros((len(self._prompts), count), dtype=torch.long)
        ids[row, place] = torch.from_numpy(tokens_F[chosen])
        # Everyone sees the prompt and itself, also the gaps of prompts with fewer nodes, whose results nobody reads.
        seen = (torch.arange(before + count) < self._lengths_P[:, None])[:, None].repeat(1, count, 1)
        seen[row[:, None], place[:, None], torch.from_numpy(ancestors_FL[chosen])] = True
        seen[:, torch.arange(count), before + torch.arange(count)] = True
        depth_P1 = (self._lengths_P + ancestors_FL.shape[1])[:, None]
        hidden = self._pass(ids, depth_P1.expand(-1, count), seen)
        return chosen, hidden[row, place], before + place.numpy()

    def _pass(self, ids: Tensor, places: Tensor, seen: Tensor | None = None) -> Tensor:
        """Hidden states of new tokens (P, N, D) at these places in their sequences; `seen` says what they may look at, by
        default all before them."""
        device = self._model.device
        self._places = torch.cat([self._places, places], dim=1)
        options: dict[str, Any] = {}
        if seen is not None:
            distances = places[:, :, None] - self._places[:, None]
            options = pass_options(Tree(seen[:, None].to(device), distances[:, None].to(device)), device)
        output = self._model.base_model(
            input_ids=ids.to(device),
            position_ids=places.to(device),
            past_key_values=self._cache,
            use_cache=True,
            **options,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden
