"""A teacher: what another retriever thinks of all tools, mixed into the targets of requests.

A label says which tool a request was written for; a retriever's probabilities also say which other tools would do. They matter
most for tools that no user's request asks for. Source: Hinton et al., "Distilling the knowledge in a neural network", arXiv
1503.02531, at temperature 1. Knows scores, not whose they are.
Shapes: B examples of a batch, N tools of the catalog, K tools that a target distribution names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from toolgen.errors import UsageError
from toolgen.training.examples import TrainingExample
from toolgen.virtualization import ToolVocabulary

LogitsOfAll = Callable[[Sequence[str]], npt.NDArray[np.floating[Any]]]
"""Requests to logits of all tools, in the order of the catalog (B, N)."""

KEPT = 32
"""Tools that a target distribution names beside its labels: on BFCL 98.7% of the probability of a request, on the average."""


class Teacher:
    """Callable: a batch to the same batch, where each example that has a request gets the distribution `share` * teacher +
    (1 - `share`) * label, unless the teacher says the same of all tools. Such an example is weighed against every tool: the
    teacher says what those that no training request asks for are worth. UsageError where a tool is several tokens."""

    def __init__(self, logits_of_all: LogitsOfAll, vocabulary: ToolVocabulary, share: float) -> None:
        if not vocabulary.is_atomic:
            raise UsageError(
                f"a teacher needs tools of one token each; this checkpoint has {vocabulary.indexing} indexing. Set teacher to "
                "nothing"
            )
        self._logits_of_all, self._share = logits_of_all, share
        self._token_ids = [token_id for (token_id,) in vocabulary.sequences]

    def __call__(self, batch: Sequence[TrainingExample]) -> list[TrainingExample]:
        texts = list(dict.fromkeys(example.request for example in batch if example.request))
        if not texts:
            return list(batch)
        logits_BN = torch.from_numpy(np.asarray(self._logits_of_all(texts), dtype=np.float32))
        kept = logits_BN.softmax(1).topk(min(KEPT, logits_BN.shape[1]))
        says_something_B = logits_BN.amax(1) > logits_BN.amin(1)
        known = {
            text: (tools, probabilities)
            for text, tools, probabilities, said in zip(
                texts, kept.indices.tolist(), kept.values.tolist(), says_something_B.tolist(), strict=True
            )
            if said
        }
        return [self._taught(one, *known[one.request]) if one.request in known else one for one in batch]

    def _taught(
        self, example: TrainingExample, tools: Sequence[int], probabilities: Sequence[float]
    ) -> TrainingExample:
        ((position, labels),) = example.choices
        total = sum(probabilities)
        target = {self._token_ids[tool]: self._share * p / total for tool, p in zip(tools, probabilities, strict=True)}
        for label in labels:
            target[label] = target.get(label, 0.0) + (1 - self._share) / len(labels)
        choice, weights = (position, tuple(target)), tuple(target.values())
        return replace(example, choices=(choice,), weights=(weights,), among_asked=False)
