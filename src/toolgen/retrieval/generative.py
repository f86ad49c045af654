"""GenerativeRetriever: the model itself as retriever.

Under atomic indexing one forward pass is the search: a tool is as good as the logit of its token where the assistant would
choose, and the exact top k is one pass over the prompt and one product with the tool rows. Source: ToolGen, arXiv 2410.03439,
which runs a constrained beam search for the same ranking. Where a tool is several tokens, `inference/beam_search.py` searches.
What a ranking shows is the probability of a tool among all tools and `no_tool`: how the model decides here if it has to name a
tool or decline.
Shapes: Q queries, B of them in one pass, T tokens, D hidden size, N tools, V rows of the whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.tool import Tool
from toolgen.checkpoint import Checkpoint
from toolgen.checkpoint.changes import check_definitions
from toolgen.datasets.messages import NO_TOOL
from toolgen.errors import UsageError
from toolgen.inference.beam_search import Found, beam_search
from toolgen.inference.engine import Engine
from toolgen.inference.heads import Head
from toolgen.inference.late_tools import add_tools, remove_tools, update_tools
from toolgen.inference.passes import Part
from toolgen.inference.trie import Trie
from toolgen.retrieval.protocol import BEAM, Ranking, count_of, texts_of, top_ranking

AT_ONCE = 128
"""Queries whose scores are in memory at once."""
LONGEST_TOKEN = 128
"""Characters; what stands behind so many for each token that is read is not even looked at."""
MAX_TOKENS = 1024
"""Of a prompt."""
BEAMS_AT_ONCE = 16
"""Queries whose beams go through the model together."""


class GenerativeRetriever:
    """Ranks the tools of a checkpoint's catalog. An `engine` of the checkpoint's model makes the passes; without one the
    retriever makes its own, whose passes take at most `batch_tokens`. Searches of several threads share passes.

    Without `constrained` a tool competes with every token of the vocabulary, also for its probability, and what is no tool
    leaves its place in the ranking empty: the difference tells how much of the recall is the constraint's and how much the
    model has internalized.
    `beam` (at least k are kept, by default BEAM) is for indexings of several tokens a tool, which are always constrained.
    """

    unit = "probability"

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        constrained: bool = True,
        beam: int | None = None,
        batch_tokens: int = 1024,
        engine: Engine | None = None,
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
        self._max_tokens = min(MAX_TOKENS, checkpoint.context_length - max(map(len, vocabulary.sequences)) + 1)
        self.batch_tokens = batch_tokens
        self._take(vocabulary.tool_ids)
        self._given_engine = engine

    @cached_property
    def engine(self) -> Engine:
        """What makes the passes."""
        return self._given_engine or Engine(self._checkpoint.model, pass_tokens=self.batch_tokens, prefix_mebibytes=0)

    @property
    def config(self) -> dict[str, Any]:
        """What a result file records of this retriever."""
        vocabulary = self._checkpoint.vocabulary
        beam = {} if vocabulary.is_atomic else {"beam": self._beam}
        return {"indexing": vocabulary.indexing, "tokens_per_tool": round(vocabulary.tokens_per_tool, 2), **beam}

    def index(self, catalog: Catalog) -> None:
        """Nothing to build: the rows are the index. `catalog` is the checkpoint's, or a part of it: then only its tools are
        found. UsageError for a tool that the checkpoint does not have, or has otherwise."""
        difference = self._checkpoint.catalog.diff(catalog)
        if difference.added or difference.changed:
            raise UsageError(
                f"this checkpoint was made for another catalog: {len(difference.added)} tools are new to it, "
                f"{len(difference.changed)} changed; run `toolgen tools add` or `toolgen tools update`, or virtualize again"
            )
        self._take(catalog.ids)

    def change(self, added: Sequence[Tool], changed: Sequence[Tool], removed: Collection[str]) -> None:
        """Changes the checkpoint's tools in place, as `inference.late_tools` does: whoever shares the model or an index with
        this retriever must not search meanwhile. All tools can be found then. Where an error is raised nothing was changed."""
        checkpoint = self._checkpoint
        check_definitions(changed)
        if added:
            checkpoint = add_tools(checkpoint, added)
        if removed:
            checkpoint = remove_tools(checkpoint, removed)
        if changed:
            checkpoint = update_tools(checkpoint, changed)
        self._checkpoint = checkpoint
        self._take(checkpoint.vocabulary.tool_ids)

    def _take(self, tool_ids: Sequence[str]) -> None:
        """These are the tools that can be found."""
        vocabulary = self._checkpoint.vocabulary
        self._ids = tool_ids
        self._rows_N: slice | npt.NDArray[np.intp] = slice(len(vocabulary))
        self.__dict__.pop("_trie", None)
        if vocabulary.is_atomic and not (tool_ids == vocabulary.tool_ids and isinstance(vocabulary.rows, range)):
            rows = dict(zip(vocabulary.tool_ids, vocabulary.rows, strict=True))
            self._rows_N = np.array([rows[tool] for tool in tool_ids], dtype=np.intp)

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """The k best tools of each query, best first, and their probabilities; the exact ones under atomic indexing.
        Unconstrained: the tools among the best k tokens."""
        count, texts = count_of(k), texts_of(queries)
        if self._checkpoint.vocabulary.is_atomic:
            return [self._ranking(scores_R, count) for scores_R in self._scored(texts)]
        return [self._of_beam(found).first(count) for found in self._beams(texts, count)]

    def score_all(self, queries: Sequence[str]) -> npt.NDArray[np.float32]:
        """The logit of every tool, or the logarithm of its probability where a tool is several tokens, which takes a beam as
        wide as the catalog; see `Scorer`."""
        return self.score_all_and_no_tool(queries)[0]

    def score_all_and_no_tool(self, queries: Sequence[str]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """See `Declines`; of no_tool it is not known where a tool is several tokens."""
        texts = texts_of(queries)
        scores_QN = np.empty((len(texts), len(self._ids)), dtype=np.float32)
        no_tool_Q = np.full(len(texts), np.nan, dtype=np.float32)
        if self._checkpoint.vocabulary.is_atomic:
            for place, scores_R in enumerate(self._scored(texts)):
                scores_QN[place] = self._of_tools(scores_R)
                no_tool_Q[place] = scores_R[self._tools_from(scores_R) - 1]
        else:
            for scores_N, found in zip(scores_QN, self._beams(texts, len(self._ids)), strict=True):
                tools = found.rows < len(self._ids)
                scores_N[found.rows[tools]] = found.scores[tools]
        return scores_QN, no_tool_Q

    def hidden_states(self, queries: Sequence[str]) -> Tensor:
        """The hidden state of each request at which its tool is chosen (Q, D)."""
        model = self._checkpoint.model
        groups = self._groups(texts_of(queries))
        with Engine(model, weights="full", pass_tokens=self.batch_tokens, prefix_mebibytes=0) as passes:
            states = [passes.run([Part(ids=ids, rows=None) for ids in part]) for part in groups]
        return (
            torch.cat([*chain.from_iterable(states)]).float().cpu()
            if states
            else torch.empty(0, model.config.hidden_size)
        )

    def _prompts(self, queries: Sequence[str]) -> list[list[int]]:
        protocol = self._checkpoint.protocol
        begins = [query[: LONGEST_TOKEN * self._max_tokens] for query in queries]
        return [protocol.prompt([{"role": "user", "content": text}], max_tokens=self._max_tokens) for text in begins]

    def _scored(self, queries: Sequence[str]) -> Iterator[npt.NDArray[np.float32]]:
        """The logits of no_tool and of all rows of tools after each query; unconstrained those of the whole vocabulary, which
        end with them."""
        vocabulary = self._checkpoint.vocabulary
        rows = (vocabulary.no_tool_id if self._constrained else 0, vocabulary.tool_token_ids.stop)
        for prompts in self._groups(queries):
            for scores_1R in self.engine.run([Part(ids=prompt, rows=rows) for prompt in prompts]):
                yield scores_1R[0].cpu().numpy()

    def _groups(self, queries: Sequence[str]) -> Iterator[list[list[int]]]:
        return (self._prompts(queries[start : start + AT_ONCE]) for start in range(0, len(queries), AT_ONCE))

    def _beams(self, queries: Sequence[str], k: int) -> Iterator[Found]:
        """At least the best k tools of each query by their places; the place behind them is that of no_tool, which is missing
        where the beam dropped it."""
        prompts, width = self._prompts(queries), min(max(k, self._beam), len(self._ids)) + 1
        head = Head.of(self._checkpoint.model)
        for start in range(0, len(prompts), BEAMS_AT_ONCE):
            part = prompts[start : start + BEAMS_AT_ONCE]
            yield from beam_search(self.engine, head, self._trie, part, width, pass_tokens=self.batch_tokens)

    @cached_property
    def _trie(self) -> Trie:
        return Trie.build([self._checkpoint.vocabulary.sequence(name) for name in (*self._ids, NO_TOOL)])

    def _of_tools(self, scores_R: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The scores of the tools that can be found (N), from what `_scored` gives."""
        return scores_R[self._tools_from(scores_R) :][self._rows_N]

    def _tools_from(self, scores_R: npt.NDArray[np.float32]) -> int:
        """Where the rows of tools begin; no_tool stands before them."""
        return len(scores_R) - len(self._checkpoint.vocabulary.new_tokens)

    def _ranking(self, scores_R: npt.NDArray[np.float32], k: int) -> Ranking:
        """From what `_scored` gives."""
        scores_N, others = self._of_tools(scores_R), scores_R[: self._tools_from(scores_R)]
        best = top_ranking(self._ids, scores_N, k)
        if not self._constrained:
            places = [place + int((others > score).sum()) for place, score in enumerate(best.scores)]
            best = best.first(sum(place < k for place in places))
        largest = max(others.max(), scores_N.max(initial=-np.inf))
        total = sum(np.exp(scores - largest).sum(dtype=np.float64) for scores in (others, scores_N))
        *shares, declines = np.exp(np.array([*best.scores, others[-1]], dtype=np.float64) - largest) / total
        log_total = float(largest + np.log(total))
        return Ranking(best.tools, tuple(map(float, shares)), float(declines), log_total)

    def _of_beam(self, found: Found) -> Ranking:
        probabilities, tools = np.exp(found.scores), found.rows < len(self._ids)
        return Ranking(
            tuple(self._ids[row] for row in found.rows[tools]),
            tuple(probabilities[tools].tolist()),
            next(iter(probabilities[~tools].tolist()), None),
        )
