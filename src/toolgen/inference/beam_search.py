"""Constrained beam search over a trie of token sequences, for many prompts at once.

The score of a sequence is the sum of the logarithms of its tokens' probabilities, each *among the tokens that are allowed
there*. So a forced token costs nothing, long sequences are not worse than short ones (the length bias that ToolGen, arXiv
2410.03439, reports of multi-token indexings), and the probabilities of all sequences sum to one. With a beam as wide as there
are sequences nothing is cut off, and the ranking is exact. A node that only one sequence goes through needs no further pass.

The prompt is encoded once, whatever the width: the nodes of all beams follow it in one row, and a mask lets each see the
prompt and its own ancestors (tree attention, SpecInfer, arXiv 2305.09781). No cache is copied or reordered.
Knows integers and what makes passes of a model; no tool and no message.
Shapes: P prompts, F open nodes of all prompts, E their children, L levels above them, T positions of the cache, D hidden
size, U tokens that some child stands for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from toolgen.inference.cache import KeyValues
from toolgen.inference.heads import Head
from toolgen.inference.passes import Part, Passes
from toolgen.inference.trie import Ints, Trie

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
    passes: Passes, head: Head, trie: Trie, prompts: Sequence[Sequence[int]], width: int, *, pass_tokens: int = 1024
) -> list[Found]:
    """The best sequences after each prompt, at most `width`, which is also how many beginnings are kept at each step.

    `pass_tokens` bounds the nodes that one pass of the model reads. Equal scores keep the order of the sequences.
    """
    start, forced = trie.forced()
    if trie.rows_M[start] >= 0:
        return [Found(trie.rows_M[[start]], np.zeros(1)) for _ in prompts]
    every_P = np.arange(len(prompts))
    reader = _Reader(passes, [[*prompt, *forced] for prompt in prompts], pass_tokens)
    hidden_FD = reader.prompts()
    open_nodes = _Open(
        np.full(len(prompts), start), every_P, np.zeros(len(prompts)), np.zeros((len(prompts), 0), dtype=np.int64)
    )
    done_rows, done_prompts, done_scores = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0)
    while len(open_nodes.nodes_F):
        owners_E, children_E = trie.children_of_all(open_nodes.nodes_F)
        shares_E = _log_shares(head, hidden_FD, owners_E, trie.tokens_M[children_E])
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


def _log_shares(head: Head, hidden_FD: Tensor, owners_E: Ints, tokens_E: Ints) -> Floats:
    """Log-probability of each child among its siblings (E); `owners_E` rises."""
    tokens_U, inverse_E = np.unique(tokens_E, return_inverse=True)
    logits_FU = head.scores(hidden_FD, torch.from_numpy(tokens_U).to(hidden_FD.device))
    logits_E = logits_FU.float().cpu().numpy()[owners_E, inverse_E].astype(np.float64)
    starts_F = np.searchsorted(owners_E, np.arange(len(hidden_FD)))
    logits_E -= np.maximum.reduceat(logits_E, starts_F)[owners_E]
    shares: Floats = logits_E - np.log(np.add.reduceat(np.exp(logits_E), starts_F))[owners_E]
    return shares


class _Reader:
    """Passes over the prompts, then over nodes behind them. What is read of a prompt is in its cache."""

    def __init__(self, passes: Passes, prompts: Sequence[Sequence[int]], pass_tokens: int) -> None:
        self._passes = passes
        self._prompts = prompts
        self._caches = [KeyValues() for _ in prompts]
        self._size = max(1, pass_tokens // len(prompts))

    def prompts(self) -> Tensor:
        """Hidden states of the last token of each prompt (P, D)."""
        read = zip(self._prompts, self._caches, strict=True)
        return torch.cat(self._passes.run([Part(ids=ids, cache=cache, rows=None, stays=True) for ids, cache in read]))

    def nodes(self, tokens_F: Ints, prompts_F: Ints, ancestors_FL: Ints) -> tuple[Tensor, Ints]:
        """Hidden states of nodes (F, D), and their positions in their caches (F). `prompts_F` rises."""
        rank_F = np.arange(len(prompts_F)) - np.searchsorted(prompts_F, prompts_F)
        hidden: list[Tensor] = []
        chosen: list[Ints] = []
        positions_F = np.zeros_like(tokens_F)
        for first in range(0, int(rank_F.max()) + 1, self._size):
            now_F = (rank_F >= first) & (rank_F < first + self._size)
            groups = [np.flatnonzero(now_F & (prompts_F == prompt)) for prompt in np.unique(prompts_F[now_F])]
            for group in groups:
                positions_F[group] = len(self._caches[prompts_F[group[0]]]) + np.arange(len(group))
            chosen += groups
            parts = [self._part(prompts_F[group[0]], tokens_F[group], ancestors_FL[group]) for group in groups]
            hidden += self._passes.run(parts)
        order = np.argsort(np.concatenate(chosen))
        return torch.cat(hidden)[torch.from_numpy(order)], positions_F

    def _part(self, prompt: int, tokens_N: Ints, ancestors_NL: Ints) -> Part:
        """Nodes behind one prompt: each sees the prompt, its ancestors and itself."""
        cache, length = self._caches[prompt], len(self._prompts[prompt])
        seen_NC = torch.zeros((len(tokens_N), len(cache) + len(tokens_N)), dtype=torch.bool)
        seen_NC[:, :length] = True
        seen_NC.scatter_(1, torch.from_numpy(ancestors_NL), True)
        seen_NC[:, len(cache) :].fill_diagonal_(True)
        return Part(
            ids=tokens_N.tolist(),
            cache=cache,
            keep=len(tokens_N),
            rows=None,
            stays=True,
            seen_NC=seen_NC,
            places=[length + ancestors_NL.shape[1]] * len(tokens_N),
        )
