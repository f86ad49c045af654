"""Teacher: which of an episode's tools fit a request, as logits: a sentence encoder's meaning and shared words, added.

A label names one tool where several would do. Mixed into the targets, the teacher keeps the model from learning that the others
are wrong. Source: distillation (arXiv 1503.02531); the words are counted as BM25 counts them.
Shapes: Q requests, N tools of the episode, V vocabulary, E size of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Embed = Callable[[Sequence[str]], npt.NDArray[np.float32]]
"""Texts to embeddings of length 1 (Q, E)."""
Words = Sequence[Sequence[int]]
"""The token ids of texts."""

MEANING, WORDS = 22.0, 8.0
"""Logits of a cosine of one, and of the request's best match of words."""
LENGTH, SATURATION = 0.5, 1.2
"""BM25's b and k1."""


class Teacher:
    """`vectors_NE` and `words` are those of all tools of the corpus, by place."""

    def __init__(self, embed: Embed, vectors_NE: Tensor, words: Words, vocabulary: int) -> None:
        self._embed, self._vectors_NE = embed, vectors_NE
        self._words = [sorted({*one}) for one in words]
        counts_V = np.bincount([word for one in self._words for word in one], minlength=vocabulary)
        rarity_V = np.log(1 + (len(words) - counts_V + 0.5) / (counts_V + 0.5))
        lengths_N = np.array([len(one) for one in self._words])
        norms_N = 1 / (1 + SATURATION * (1 - LENGTH + LENGTH * lengths_N / max(1.0, lengths_N.mean())))
        self._rarity_V, self._norms_N = (torch.from_numpy(one).to(vectors_NE) for one in (rarity_V, norms_N))

    def logits(self, texts: Sequence[str], words: Words, tools: Sequence[int]) -> Tensor:
        """How well each tool fits each request (Q, N)."""
        places = torch.tensor(list(tools), device=self._vectors_NE.device)
        meaning_QN = torch.from_numpy(self._embed(texts)).to(self._vectors_NE) @ self._vectors_NE[places].T
        documents_NV = self._marked([self._words[tool] for tool in tools]) * self._rarity_V
        shared_QN = (self._marked(words) @ documents_NV.T) * self._norms_N[places]
        return MEANING * meaning_QN + WORDS * shared_QN / shared_QN.amax(1, keepdim=True).clamp_min(1e-6)

    def _marked(self, words: Words) -> Tensor:
        """1 at each word of each text (Q, V)."""
        marked = torch.zeros(len(words), len(self._rarity_V), device=self._rarity_V.device)
        rows = torch.arange(len(words)).repeat_interleave(torch.tensor([len(one) for one in words]))
        marked[rows.to(marked.device), torch.tensor([word for one in words for word in one], device=marked.device)] = 1
        return marked
