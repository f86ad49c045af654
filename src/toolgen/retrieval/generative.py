"""GenerativeRetriever: the model itself as retriever.

Under atomic indexing one forward pass is the search: the score of a tool is the logit of its token where the assistant would
choose, and the exact top k is one pass over the prompt and one product with the tool rows. Source: ToolGen, arXiv 2410.03439,
which runs a constrained beam search for the same ranking. Where a tool is several tokens, `decoding/beam_search.py` searches.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from toolgen.catalog.catalog import Catalog
from toolgen.checkpoint import Checkpoint
from toolgen.decoding.beam_search import beam_search
from toolgen.decoding.trie import Trie
from toolgen.errors import UsageError
from toolgen.retrieval.protocol import Ranking, top_ranking

BEAM = 32
"""Beginnings of tools that the beam search keeps at each step; ToolGen keeps 5."""


class GenerativeRetriever:
    """Ranks the tools of a checkpoint's catalog. `batch_tokens` bounds the padded tokens of one pass.

    Without `constrained` a tool competes with every token of the vocabulary, and what is no tool leaves its place in the
    ranking empty: the difference tells how much of the recall is the constraint's and how much the model has internalized.
    `beam` (at least k are kept, by default BEAM) is for indexings of several tokens a tool, which are always constrained.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        constrained: bool = True,
        beam: int | None = None,
        max_tokens: int = 1024,
        batch_tokens: int = 1024,
    ) -> None:
        vocabulary = checkpoint.vocabulary
        if vocabulary.is_atomic and beam is not None:
            raise UsageError("a beam is for indexings of several tokens a tool; atomic search is exact without one")
        if not vocabulary.is_atomic and not constrained:
            raise UsageError(
                f"unconstrained search needs one token a tool; this checkpoint has {vocabulary.indexing} indexing; "
                "take --retriever generative"
            )
        self.name = "generative" if constrained else "generative-unconstrained"
        self._constrained = constrained
        self._checkpoint = checkpoint
        self._beam = beam or BEAM
        self._max_tokens = min(max_tokens, checkpoint.context_length - max(map(len, vocabulary.sequences)) + 1)
        self._batch_tokens = batch_tokens

    @property
    def config(self) -> dict[str, Any]:
        """What a result file records of this retriever."""
        vocabulary = self._checkpoint.vocabulary
        beam = {} if vocabulary.is_atomic else {"beam": self._beam}
        return {"indexing": vocabulary.indexing, "tokens_per_tool": round(vocabulary.tokens_per_tool, 2), **beam}

    def index(self, catalog: Catalog) -> None:
        """Nothing to build: the rows are the index. UsageError for another catalog than the checkpoint's."""
        if difference := self._checkpoint.catalog.diff(catalog):
            raise UsageError(
                f"this checkpoint was made for another catalog: {len(difference.added)} tools are new to it, "
                f"{len(difference.removed)} are gone, {len(difference.changed)} changed; run `toolgen virtualize`"
            )

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """The k best tools of each query, best first: the exact ones, and their logits, under atomic indexing. Where a tool is
        several tokens, a score is the logarithm of a probability. Unconstrained: the tools among the best k tokens."""
        protocol, atomic = self._checkpoint.protocol, self._checkpoint.vocabulary.is_atomic
        prompts = [
            protocol.prompt([{"role": "user", "content": query}], max_tokens=self._max_tokens) for query in queries
        ]
        rankings: list[Ranking] = [Ranking((), ())] * len(prompts)
        width = 0 if atomic else min(max(k, self._beam), len(self._checkpoint.catalog))
        with torch.inference_mode():
            for part in self._parts(prompts, width):
                chosen = [prompts[i] for i in part]
                found = self._search_once(chosen, k) if atomic else self._search_beam(chosen, k, width)
                for i, ranking in zip(part, found, strict=True):
                    rankings[i] = ranking
        return rankings

    def _search_once(self, prompts: Sequence[Sequence[int]], k: int) -> list[Ranking]:
        return [self._ranking(scores_N, k) for scores_N in self._scores(prompts).cpu().numpy()]

    def _search_beam(self, prompts: Sequence[Sequence[int]], k: int, width: int) -> list[Ranking]:
        ids = self._checkpoint.vocabulary.tool_ids
        passes = beam_search(self._checkpoint.model, self._trie, prompts, width, pass_tokens=self._batch_tokens)
        return [
            Ranking(tuple(ids[row] for row in found.rows[:k]), tuple(map(float, found.scores[:k]))) for found in passes
        ]

    @cached_property
    def _trie(self) -> Trie:
        return Trie.build(self._checkpoint.vocabulary.sequences)

    def _ranking(self, scores: npt.NDArray[np.float32], k: int) -> Ranking:
        """From the scores of all tools, or of the whole vocabulary."""
        vocabulary = self._checkpoint.vocabulary
        if self._constrained:
            return top_ranking(vocabulary.tool_ids, scores, k)
        ids = vocabulary.tool_token_ids
        beaten = scores[: ids.start]
        ranking = top_ranking(vocabulary.tool_ids, scores[ids.start : ids.stop], k)
        places = [place + int((beaten > score).sum()) for place, score in enumerate(ranking.scores)]
        count = sum(place < k for place in places)
        return Ranking(ranking.tools[:count], ranking.scores[:count])

    def _parts(self, prompts: Sequence[Sequence[int]], width: int) -> list[list[int]]:
        """Positions of prompts of like length, each part with its beams within the token budget."""
        parts: list[list[int]] = []
        for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i])):
            if parts and (len(parts[-1]) + 1) * (len(prompts[i]) + width) <= self._batch_tokens:
                parts[-1].append(i)
            else:
                parts.append([i])
        return parts

    def _scores(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Logits of the tool tokens after each prompt (B, N), unconstrained those of the whole vocabulary.

        Right padding: the model is causal, so it needs no mask.
        """
        model, ids = self._checkpoint.model, self._checkpoint.vocabulary.tool_token_ids
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        ids_BT = torch.zeros((len(prompts), int(lengths.max())), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids_BT[row, : len(prompt)] = torch.tensor(prompt)
        hidden_BTD = model.base_model(input_ids=ids_BT.to(model.device), use_cache=False).last_hidden_state
        last_BD = hidden_BTD[torch.arange(len(prompts)), lengths - 1]
        if not self._constrained:
            logits: Tensor = model.get_output_embeddings()(last_BD)
            return logits[:, : ids.stop].float()
        bias = getattr(model.get_output_embeddings(), "bias", None)
        own_bias = None if bias is None else bias[ids.start : ids.stop]
        return functional.linear(last_BD, self._checkpoint.tool_rows, own_bias).float()
