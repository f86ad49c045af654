"""GenerativeRetriever: the model itself as retriever.

Under atomic indexing one forward pass is the search: the score of a tool is the logit of its token where the assistant would
choose, and the exact top k is one pass over the prompt and one product with the tool rows. Source: ToolGen, arXiv 2410.03439,
which runs a constrained beam search for the same ranking. Where a tool is several tokens, `inference/beam_search.py` searches.
Shapes: Q queries, B of them in one pass, T tokens, D hidden size, N tools, V rows of the whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from toolgen.catalog.catalog import Catalog
from toolgen.checkpoint import Checkpoint
from toolgen.errors import UsageError
from toolgen.inference.beam_search import beam_search
from toolgen.inference.heads import Head
from toolgen.inference.lean_pass import LeanPass, fits_lean_pass
from toolgen.inference.trie import Trie
from toolgen.retrieval.protocol import BEAM, Ranking, top_ranking

# What a pass costs beside its tokens, in tokens: products of 40 rows run at two thirds of the rate of 1,000 rows (fp32, Zen 3).
_PASS_TOKENS = 25


class GenerativeRetriever:
    """Ranks the tools of a checkpoint's catalog. `batch_tokens` bounds the padded tokens of one pass.

    `half_weights` is for many single requests, one after another: on an x86 CPU, with a Llama-like model, each takes a third
    less processor time. It copies the layers' weights, rounded to fp16, when the retriever is made (a second and 0.2 GiB for
    135M parameters), and scores change by some thousandths; elsewhere it does nothing.

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
        half_weights: bool = False,
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
        self.batch_tokens = batch_tokens
        self._order_N: slice | npt.NDArray[np.intp] = slice(None)
        self._last_hidden: Callable[[Sequence[Sequence[int]]], Tensor] = self._padded_pass
        if half_weights and vocabulary.is_atomic and fits_lean_pass(checkpoint.model):
            self._last_hidden = LeanPass(checkpoint.model)

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
        same_order = catalog.ids == self._checkpoint.vocabulary.tool_ids
        position = self._checkpoint.catalog.position
        self._order_N = slice(None) if same_order else np.array([position(tool) for tool in catalog.ids])

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """The k best tools of each query, best first: the exact ones, and their logits, under atomic indexing. Where a tool is
        several tokens, a score is the logarithm of a probability. Unconstrained: the tools among the best k tokens."""
        if not self._checkpoint.vocabulary.is_atomic:
            return self._search_beams(queries, k)
        rankings: list[Ranking] = [Ranking((), ())] * len(queries)
        for part, scores_BN in self._scored(queries):
            for i, scores_N in zip(part, scores_BN, strict=True):
                rankings[i] = self._ranking(scores_N, k)
        return rankings

    def score_all(self, queries: Sequence[str]) -> npt.NDArray[np.float32]:
        """The score of every tool; see `Scorer`. Where a tool is several tokens, that takes a beam as wide as the catalog."""
        vocabulary = self._checkpoint.vocabulary
        scores_QN = np.empty((len(queries), len(vocabulary)), dtype=np.float32)
        if vocabulary.is_atomic:
            for part, scores_BN in self._scored(queries):
                scores_QN[part] = scores_BN[:, -len(vocabulary) :]
        else:
            position = self._checkpoint.catalog.position
            for scores_N, ranking in zip(scores_QN, self._search_beams(queries, len(vocabulary)), strict=True):
                scores_N[[position(tool) for tool in ranking.tools]] = ranking.scores
        return scores_QN[:, self._order_N]

    def hidden_states(self, queries: Sequence[str]) -> Tensor:
        """The hidden state of each request at which its tool is chosen (Q, D)."""
        states_QD = torch.empty((len(queries), self._checkpoint.model.config.hidden_size))
        for part, states_BD in self._passes(queries, self._last_hidden):
            states_QD[part] = states_BD.float().cpu()
        return states_QD

    def _prompts(self, queries: Sequence[str]) -> list[list[int]]:
        protocol = self._checkpoint.protocol
        return [protocol.prompt([{"role": "user", "content": query}], max_tokens=self._max_tokens) for query in queries]

    def _scored(self, queries: Sequence[str]) -> Iterator[tuple[list[int], npt.NDArray[np.float32]]]:
        """Positions of queries that went through one pass, and what `_scores` gave them."""
        for part, scores_BN in self._passes(queries, self._scores):
            yield part, scores_BN.cpu().numpy()

    def _passes(
        self, queries: Sequence[str], run: Callable[[Sequence[Sequence[int]]], Tensor]
    ) -> Iterator[tuple[list[int], Tensor]]:
        """Positions of queries that go through one pass, and what `run` makes of their prompts."""
        prompts = self._prompts(queries)
        for part in self._parts(prompts):
            with torch.inference_mode():
                made = run([prompts[i] for i in part])
            yield part, made

    def _search_beams(self, queries: Sequence[str], k: int) -> list[Ranking]:
        prompts, ids = self._prompts(queries), self._checkpoint.vocabulary.tool_ids
        rankings: list[Ranking] = [Ranking((), ())] * len(prompts)
        width = min(max(k, self._beam), len(ids))
        for part in self._parts(prompts, width):
            chosen = [prompts[i] for i in part]
            passes = beam_search(self._checkpoint.model, self._trie, chosen, width, pass_tokens=self.batch_tokens)
            for i, found in zip(part, passes, strict=True):
                rankings[i] = Ranking(tuple(ids[row] for row in found.rows[:k]), tuple(map(float, found.scores[:k])))
        return rankings

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

    def _parts(self, prompts: Sequence[Sequence[int]], width: int = 0) -> list[list[int]]:
        """Positions of prompts of like length, each part with its beams within the token budget.

        A longer prompt begins a part of its own if padding the shorter ones to it would cost more.
        """
        parts: list[list[int]] = []
        for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i])):
            shorter, length = parts[-1] if parts else [], len(prompts[i])
            padding = len(shorter) * (length - len(prompts[shorter[-1]])) if shorter else 0
            if shorter and padding <= _PASS_TOKENS and (len(shorter) + 1) * (length + width) <= self.batch_tokens:
                shorter.append(i)
            else:
                parts.append([i])
        return parts

    def _scores(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Logits of the tool tokens after each prompt (B, N), unconstrained those of the whole vocabulary (B, V)."""
        ids = self._checkpoint.vocabulary.tool_token_ids
        scored = slice(ids.start if self._constrained else 0, ids.stop)
        return Head.of(self._checkpoint.model).scores(self._last_hidden(prompts), scored).float()

    def _padded_pass(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """The hidden state after each prompt (B, D). Right padding: the model is causal, so it needs no mask."""
        model = self._checkpoint.model
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        ids_BT = torch.zeros((len(prompts), int(lengths.max())), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids_BT[row, : len(prompt)] = torch.tensor(prompt)
        hidden_BTD = model.base_model(input_ids=ids_BT.to(model.device), use_cache=False).last_hidden_state
        last_BD: Tensor = hidden_BTD[torch.arange(len(prompts)), lengths - 1]
        return last_BD
