"""Pretrainer: the three losses of pretraining, each added to the gradient on its own.

*Choice*: requests against the rows that `RowMaker` makes of an episode's tools. *Calls*: conversations in which made rows stand
for tools' tokens; loss on what the assistant writes. *Replay*: texts that the untouched base wrote, on which the model is held
near it by the Kullback-Leibler divergence.
The states of an episode that needs several passes are computed twice, so that only one pass at a time keeps its graph
(GradCache, arXiv 2101.06983).
Shapes: B texts of a pass, T tokens of all of them, D hidden size, Q requests, N tools, P supervised positions, V vocabulary,
A actions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from toolgen.inference.attention import Packed, share_passes
from toolgen.inference.passes import row_states
from toolgen.inference.row_maker import RowMaker
from toolgen.inference.views import from_states, watched
from toolgen.training.collate import PackedRow
from toolgen.training.pretraining.episodes import Episode
from toolgen.training.pretraining.low_rank import attach
from toolgen.training.pretraining.slots import Conversation
from toolgen.virtualization.vocabulary import ACTIONS

Texts = Sequence[Sequence[int]]
"""Token ids."""
FIRST_LOGIT = 20.0
"""The largest logit of a tool before training: large enough to prefer one, small enough to change one's mind."""
AS_GOOD = 2.0
"""A tool that the teacher takes for so nearly as good as a hidden one, in logits, is hidden, too."""


@dataclass(frozen=True, kw_only=True)
class Pass(PackedRow):
    """A row of texts. `chosen` are their places among all texts, `last_B` the places of their last tokens in the row."""

    chosen: list[int]
    last_B: Tensor

    @classmethod
    def of(cls, texts: Texts, chosen: list[int], device: torch.device) -> Self:
        """The pass of the chosen texts."""
        lengths = tuple(len(texts[i]) for i in chosen)
        made = cls(
            ids_T=torch.tensor([token for i in chosen for token in texts[i]]),
            places_T=torch.cat([torch.arange(length) for length in lengths]),
            lengths=lengths,
            chosen=chosen,
            last_B=torch.tensor([*accumulate(lengths)]) - 1,
        )
        return made.to(device)

    def states(self, trunk: nn.Module, embedded_TD: Tensor | None = None) -> Tensor:
        """Hidden states (T, D) of its tokens, or of what is given for them."""
        ids_T = self.ids_T if embedded_TD is None else None
        return row_states(trunk, Packed(self.lengths), self.places_T, ids_T=ids_T, embedded_TD=embedded_TD)


class Pretrainer(nn.Module):
    """What is trained: a low-rank difference of the trunk above its `frozen` lowest layers, and the row maker. `pass_tokens`
    bounds the tokens of a pass.

    Gradients of `choice`, `calls` and `replay` add up until `settle` hands them to what is trained, for the caller's optimizer.
    """

    def __init__(self, model: PreTrainedModel, rank: int, pass_tokens: int, frozen: int = 0) -> None:
        super().__init__()
        share_passes(model)
        self._differences = attach(model.base_model, rank, frozen)
        self.factors = [factor for each in self._differences for factor in (each.left_OK, each.right_KI)]
        self._frozen = frozen
        self.maker = RowMaker(model.config.hidden_size, len(ACTIONS)).to(model.device)
        self.trunk = model.base_model
        self._rows_VD = model.get_input_embeddings().weight.detach()
        self._words = self._rows_VD.shape[0]
        self._pass_tokens = pass_tokens

    @property
    def device(self) -> torch.device:
        """Where the passes are made."""
        device: torch.device = self._rows_VD.device
        return device

    @torch.no_grad()
    def set_scale(self, some: Texts) -> None:
        """Sets the first length of rows by the length of hidden states."""
        self.maker.log_scale.fill_(float(torch.log(FIRST_LOGIT / self.encode(some).norm(dim=-1).mean())))
        self.settle()  # a state that is resumed after this has other factors

    @torch.no_grad()
    def encode(self, texts: Texts) -> Tensor:
        """The hidden state after each text (Q, D), float32."""
        passes = self._passes(texts)
        return self._upper_of_all(passes, [self._lower(one) for one in passes])

    def settle(self) -> None:
        """Hands the gradients of all passes since the last time on to the factors."""
        for difference in self._differences:
            difference.settle()

    def choice(
        self, episode: Episode, documents: Texts, requests: Texts, bags_ND: Tensor, soft_QN: Tensor, share: float
    ) -> tuple[float, float]:
        """Loss and top-1 accuracy of an episode. `soft_QN` are a teacher's logits, `share` what its distribution counts."""
        passes = self._passes([*documents, *requests])
        lower = [self._lower(one) for one in passes]
        keeps_graph = len(passes) == 1
        with torch.set_grad_enabled(keeps_graph):
            states = self._upper_of_all(passes, lower)
        if not keeps_graph:
            states.requires_grad_()
        rows = torch.cat(
            [self.maker(states[: len(documents)], bags_ND), self.maker.actions_AD[-1:]]
        )  # the last: no tool
        loss, right = choice_loss(states[len(documents) :] @ rows.T, episode, soft_QN, share)
        loss.backward()  # type: ignore[no-untyped-call]
        if not keeps_graph:
            assert states.grad is not None
            for one, known in zip(passes, lower, strict=True):
                again_BD = self._upper(one, known)
                (again_BD * states.grad[one.chosen]).sum().backward()  # type: ignore[no-untyped-call]
        return float(loss.detach()), right

    def calls(self, conversations: Sequence[Conversation], rows: Mapping[str, Tensor], weight: float) -> float:
        """Mean loss of what the assistant writes, by weight. `rows` are those of the tools by id, taken as given."""
        names = [*ACTIONS, *rows]
        numbers = {name: self._words + i for i, name in enumerate(names)}
        whole = sum(sum(one.written.values()) for one in conversations)
        texts = [[numbers[one.names[i]] if i in one.names else i for i in one.ids] for one in conversations]
        total = 0.0
        for part in self._passes(texts):
            table = torch.cat([self._rows_VD.float(), self.maker.actions_AD, *(row[None] for row in rows.values())])
            # Below frozen layers nothing learns: rows of actions then learn as outputs only.
            inputs = table.detach() if self._frozen else table
            embedded_TD = functional.embedding(part.ids_T, inputs).to(self._rows_VD.dtype)
            starts = [0, *accumulate(part.lengths)]
            written = {starts[b] + t: w for b, i in enumerate(part.chosen) for t, w in conversations[i].written.items()}
            places_P = torch.tensor([*written], device=self.device)
            weights_P = torch.tensor([*written.values()], device=self.device)
            logits = part.states(self.trunk, embedded_TD)[places_P] @ table.to(embedded_TD.dtype).T
            losses_P = functional.cross_entropy(logits.float(), part.ids_T[places_P + 1], reduction="none")
            loss = losses_P @ weights_P / whole
            (weight * loss).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total

    def replay(self, texts: Texts, base: PreTrainedModel, weight: float) -> float:
        """Mean divergence from `base` at each token of the texts."""
        share_passes(base)
        count, total = sum(map(len, texts)), 0.0
        for part in self._passes(texts, self._pass_tokens // 4):
            with torch.no_grad():
                known_TV = (part.states(base.base_model) @ self._rows_VD.T).float().log_softmax(-1)
            found_TV = (part.states(self.trunk) @ self._rows_VD.T).float().log_softmax(-1)
            loss = functional.kl_div(found_TV, known_TV, log_target=True, reduction="sum") / count
            (weight * loss).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total

    def _passes(self, texts: Texts, tokens: int | None = None) -> list[Pass]:
        lengths = [len(text) for text in texts]
        return [Pass.of(texts, part, self.device) for part in parts(lengths, tokens or self._pass_tokens)]

    @torch.no_grad()
    def _lower(self, one: Pass) -> Tensor | None:
        """The states that leave the frozen layers (1, T, D), if there are such layers."""
        if not self._frozen:
            return None
        trunk, last = watched(self.trunk, self._frozen, above=False)
        one.states(trunk)
        return last.states

    def _upper(self, one: Pass, lower: Tensor | None) -> Tensor:
        """The states after the texts of a pass (B, D), float32."""
        trunk = self.trunk if lower is None else from_states(self.trunk, self._frozen, lower)
        return one.states(trunk)[one.last_B].float()

    def _upper_of_all(self, passes: Sequence[Pass], lower: Sequence[Tensor | None]) -> Tensor:
        """The state after each text (Q, D), float32."""
        found_QD = torch.cat([self._upper(one, known) for one, known in zip(passes, lower, strict=True)])
        chosen = torch.tensor([i for one in passes for i in one.chosen], device=self.device)
        return found_QD[chosen.argsort()]


def choice_loss(logits_QN: Tensor, episode: Episode, soft_QN: Tensor, share: float) -> tuple[Tensor, float]:
    """Cross-entropy against each request's tools, softened by a teacher, and top-1 accuracy. The last column is no tool.

    What is hidden from a request, and what the teacher takes for as good, does not count for it.
    """
    own, out = np.zeros(logits_QN.shape, dtype=np.float32), np.zeros(logits_QN.shape, dtype=bool)
    for i, (tools, hidden) in enumerate(zip(episode.targets, episode.hidden, strict=True)):
        own[i, tools or [-1]] = 1 / max(1, len(tools))
        out[i, hidden] = True
    label_QN, hidden_QN = (torch.from_numpy(one).to(logits_QN.device) for one in (own, out))
    declined_Q1 = torch.tensor([not tools for tools in episode.targets], device=logits_QN.device)[:, None]
    best_Q1 = soft_QN.masked_fill(~hidden_QN[:, :-1], float("-inf")).amax(1, keepdim=True)
    hidden_QN[:, :-1] |= declined_Q1 & hidden_QN.any(1, keepdim=True) & (soft_QN > best_Q1 - AS_GOOD)
    share_Q1 = share * (~declined_Q1).float()
    soft_QN = functional.pad(soft_QN, (0, 1), value=float("-inf")).softmax(1)
    target_QN = (1 - share_Q1) * label_QN + share_Q1 * soft_QN
    logits_QN = logits_QN.masked_fill(hidden_QN, float("-inf"))
    logarithms_QN = logits_QN.log_softmax(1).masked_fill(hidden_QN, 0.0)
    right = (label_QN.gather(1, logits_QN.argmax(1, keepdim=True)) > 0).float().mean()
    return -(target_QN * logarithms_QN).sum(1).mean(), float(right)


def parts(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Places by rising length, as many at a time as fit `tokens`."""
    part: list[int] = []
    size = 0
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if part and size + lengths[i] > tokens:
            yield part
            part, size = [], 0
        part.append(i)
        size += lengths[i]
    if part:
        yield part
