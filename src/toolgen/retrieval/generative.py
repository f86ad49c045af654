"""GenerativeRetriever: the model itself as retriever. One forward pass is the search.

Under atomic indexing the score of a tool is the logit of its token where the assistant would choose; the exact top k is
one pass over the prompt and one product with the tool rows. Source: ToolGen, arXiv 2410.03439, which runs a constrained
beam search for the same ranking.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from toolgen.catalog.catalog import Catalog
from toolgen.checkpoint import Checkpoint
from toolgen.errors import UsageError
from toolgen.retrieval.protocol import Ranking, top_ranking


class GenerativeRetriever:
    """Ranks the tools of a checkpoint's catalog. `batch_tokens` bounds the padded tokens of one pass."""

    name = "generative"

    def __init__(self, checkpoint: Checkpoint, *, max_tokens: int = 1024, batch_tokens: int = 1024) -> None:
        self._checkpoint = checkpoint
        self._max_tokens = min(max_tokens, checkpoint.context_length)
        self._batch_tokens = batch_tokens

    def index(self, catalog: Catalog) -> None:
        """Nothing to build: the rows are the index. UsageError for another catalog than the checkpoint's."""
        if difference := self._checkpoint.catalog.diff(catalog):
            raise UsageError(
                f"this checkpoint was made for another catalog: {len(difference.added)} tools are new to it, "
                f"{len(difference.removed)} are gone, {len(difference.changed)} changed; run `toolgen virtualize`"
            )

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """The exact k best tools of each query, best first; a score is a logit."""
        protocol = self._checkpoint.protocol
        prompts = [
            protocol.prompt([{"role": "user", "content": query}], max_tokens=self._max_tokens) for query in queries
        ]
        rankings: list[Ranking] = [Ranking((), ())] * len(prompts)
        with torch.inference_mode():
            for part in self._parts(prompts):
                scores_BN = self._scores([prompts[i] for i in part]).cpu().numpy()
                for i, scores_N in zip(part, scores_BN, strict=True):
                    rankings[i] = top_ranking(self._checkpoint.vocabulary.tool_ids, scores_N, k)
        return rankings

    def _parts(self, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        """Positions of prompts of like length, each part within the token budget."""
        parts: list[list[int]] = []
        for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i])):
            if parts and (len(parts[-1]) + 1) * len(prompts[i]) <= self._batch_tokens:
                parts[-1].append(i)
            else:
                parts.append([i])
        return parts

    def _scores(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Logits of the tool tokens after each prompt (B, N). Right padding: the model is causal, so it needs no mask."""
        model, ids = self._checkpoint.model, self._checkpoint.vocabulary.tool_token_ids
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        ids_BT = torch.zeros((len(prompts), int(lengths.max())), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids_BT[row, : len(prompt)] = torch.tensor(prompt)
        hidden_BTD = model.base_model(input_ids=ids_BT.to(model.device), use_cache=False).last_hidden_state
        last_BD = hidden_BTD[torch.arange(len(prompts)), lengths - 1]
        bias = getattr(model.get_output_embeddings(), "bias", None)
        own_bias = None if bias is None else bias[ids.start : ids.stop]
        return functional.linear(last_BD, self._checkpoint.tool_rows, own_bias).float()
