"""GenerativeRetriever: the model itself as retriever. One forward pass is the search.

Under atomic indexing the score of a tool is the logit of its token where the assistant would choose; the exact top k is
one pass over the prompt and one product with the tool rows. Source: ToolGen, arXiv 2410.03439, which runs a constrained
beam search for the same ranking.
Shapes: Q queries, B of them in one pass, T tokens, D hidden size, N tools, V rows of the whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from toolgen.catalog.catalog import Catalog
from toolgen.checkpoint import Checkpoint
from toolgen.errors import UsageError
from toolgen.retrieval.protocol import Ranking, top_ranking


class GenerativeRetriever:
    """Ranks the tools of a checkpoint's catalog. `batch_tokens` bounds the padded tokens of one pass.

    `half_weights` is for many single requests, one after another: on a CPU, with a Llama-like model, each is about 1.4 times as
    fast. It copies the layers' weights, rounded to fp16, when the retriever is made (a second and 0.2 GiB for 135M parameters),
    and scores change by some thousandths; elsewhere it does nothing.

    Without `constrained` a tool competes with every token of the vocabulary, and what is no tool leaves its place in the
    ranking empty: the difference tells how much of the recall is the constraint's and how much the model has internalized.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        constrained: bool = True,
        max_tokens: int = 1024,
        batch_tokens: int = 1024,
        half_weights: bool = False,
    ) -> None:
        self.name = "generative" if constrained else "generative-unconstrained"
        self._constrained = constrained
        self._checkpoint = checkpoint
        self._max_tokens = min(max_tokens, checkpoint.context_length)
        self.batch_tokens = batch_tokens
        self._order_N: slice | npt.NDArray[np.intp] = slice(None)
        self._last_hidden: Callable[[Sequence[Sequence[int]]], Tensor] = self._padded_pass
        if half_weights:
            from toolgen.retrieval.lean_pass import LeanPass, fits_lean_pass  # imports the training package

            if fits_lean_pass(checkpoint.model):
                self._last_hidden = LeanPass(checkpoint.model)

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
        """The exact k best tools of each query, best first; a score is a logit. Unconstrained: those of the best k tokens."""
        rankings: list[Ranking] = [Ranking((), ())] * len(queries)
        for part, scores_BN in self._scored(queries):
            for i, scores_N in zip(part, scores_BN, strict=True):
                rankings[i] = self._ranking(scores_N, k)
        return rankings

    def score_all(self, queries: Sequence[str]) -> npt.NDArray[np.float32]:
        """The logit of every tool; see `Scorer`."""
        count = len(self._checkpoint.vocabulary)
        scores_QN = np.empty((len(queries), count), dtype=np.float32)
        for part, scores_BN in self._scored(queries):
            scores_QN[part] = scores_BN[:, -count:][:, self._order_N]
        return scores_QN

    def _scored(self, queries: Sequence[str]) -> Iterator[tuple[list[int], npt.NDArray[np.float32]]]:
        """Positions of queries that went through one pass, and what `_scores` gave them."""
        protocol = self._checkpoint.protocol
        prompts = [
            protocol.prompt([{"role": "user", "content": query}], max_tokens=self._max_tokens) for query in queries
        ]
        for part in self._parts(prompts):
            with torch.inference_mode():
                scores_BN = self._scores([prompts[i] for i in part])
            yield part, scores_BN.cpu().numpy()

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

    def _parts(self, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        """Positions of prompts of like length, each part within the token budget."""
        parts: list[list[int]] = []
        for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i])):
            if parts and (len(parts[-1]) + 1) * len(prompts[i]) <= self.batch_tokens:
                parts[-1].append(i)
            else:
                parts.append([i])
        return parts

    def _scores(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Logits of the tool tokens after each prompt (B, N), unconstrained those of the whole vocabulary (B, V)."""
        model, ids = self._checkpoint.model, self._checkpoint.vocabulary.tool_token_ids
        last_BD = self._last_hidden(prompts)
        if not self._constrained:
            logits: Tensor = model.get_output_embeddings()(last_BD)
            return logits[:, : ids.stop].float()
        bias = getattr(model.get_output_embeddings(), "bias", None)
        own_bias = None if bias is None else bias[ids.start : ids.stop]
        return functional.linear(last_BD, self._checkpoint.tool_rows, own_bias).float()

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
