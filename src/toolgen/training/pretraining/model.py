"""Pretrainer: the three losses of pretraining, each added to the gradient on its own.

*Choice*: requests against the rows that `RowMaker` makes of an episode's tools. *Calls*: conversations in which made rows stand
for tools' tokens; loss on what the assistant writes. *Replay*: texts that the untouched base wrote, on which the model is held
near it by the Kullback-Leibler divergence.
The states of an episode are computed twice, so that only one pass at a time keeps its graph (GradCache, arXiv 2101.06983).
Shapes: B texts of a pass, T tokens, D hidden size, Q requests, N tools, P supervised positions, V vocabulary, A actions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from toolgen.inference.row_maker import RowMaker
from toolgen.inference.views import from_states, watched
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
MULTIPLE = 16
"""Texts are padded to a multiple of so many tokens, so that few shapes occur."""


class Pretrainer(nn.Module):
    """What is trained: a low-rank difference of the trunk above its `frozen` lowest layers, and the row maker. `pass_tokens`
    bounds the padded tokens of a pass.

    Gradients of `choice`, `calls` and `replay` add up until the caller's optimizer takes them.
    """

    def __init__(self, model: PreTrainedModel, rank: int, pass_tokens: int, frozen: int = 0) -> None:
        super().__init__()
        self.factors = attach(model.base_model, rank, frozen)
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

    @torch.no_grad()
    def encode(self, texts: Texts) -> Tensor:
        """The hidden state after each text (Q, D), float32."""
        return self._encode(self._passes(texts))[0]

    def choice(
        self, episode: Episode, documents: Texts, requests: Texts, bags_ND: Tensor, soft_QN: Tensor, share: float
    ) -> tuple[float, float]:
        """Loss and top-1 accuracy of an episode. `soft_QN` are a teacher's logits, `share` what its distribution counts."""
        passes = self._passes([*documents, *requests])
        states, lower = self._encode(passes)
        states.requires_grad_()
        rows = torch.cat(
            [self.maker(states[: len(documents)], bags_ND), self.maker.actions_AD[-1:]]
        )  # the last: no tool
        loss, right = choice_loss(states[len(documents) :] @ rows.T, episode, soft_QN, share)
        loss.backward()  # type: ignore[no-untyped-call]
        assert states.grad is not None
        for (places, ids_BT, last_B), known_BTD in zip(passes, lower, strict=True):
            trunk = self.trunk if known_BTD is None else from_states(self.trunk, self._frozen, known_BTD)
            (_states(trunk, ids_BT, last_B) * states.grad[places]).sum().backward()  # type: ignore[no-untyped-call]
        return float(loss.detach()), right

    def calls(self, conversations: Sequence[Conversation], rows: Mapping[str, Tensor], weight: float) -> float:
        """Mean loss of what the assistant writes. `rows` are those of the tools by id, taken as given."""
        names = [*ACTIONS, *rows]
        numbers = {name: self._words + i for i, name in enumerate(names)}
        count = sum(len(one.written) for one in conversations)
        total = 0.0
        for part in parts([len(one.ids) for one in conversations], self._pass_tokens):
            group = [conversations[i] for i in part]
            ids = [[numbers[one.names[i]] if i in one.names else i for i in one.ids] for one in group]
            ids_BT, _ = padded(ids, self.device)
            table = torch.cat([self._rows_VD.float(), self.maker.actions_AD, *(row[None] for row in rows.values())])
            # Below frozen layers nothing learns: rows of actions then learn as outputs only.
            inputs = table.detach() if self._frozen else table
            embedded = functional.embedding(ids_BT, inputs).to(self._rows_VD.dtype)
            hidden_BTD = self.trunk(inputs_embeds=embedded, use_cache=False).last_hidden_state
            rows_P = torch.tensor([b for b, one in enumerate(group) for _ in one.written], device=self.device)
            columns_P = torch.tensor([t for one in group for t in one.written], device=self.device)
            logits = hidden_BTD[rows_P, columns_P] @ table.to(hidden_BTD.dtype).T
            loss = functional.cross_entropy(logits.float(), ids_BT[rows_P, columns_P + 1], reduction="sum") / count
            (weight * loss).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total

    def replay(self, texts: Texts, base: PreTrainedModel, weight: float) -> float:
        """Mean divergence from `base` at each token of the texts."""
        count, total = sum(map(len, texts)), 0.0
        for part in parts([len(text) for text in texts], self._pass_tokens // 4):
            ids_BT, last_B = padded([texts[i] for i in part], self.device)
            seen_BT = torch.arange(ids_BT.shape[1], device=self.device) <= last_B[:, None]
            with torch.no_grad():
                known_PV = base(input_ids=ids_BT, use_cache=False).logits[seen_BT].float().log_softmax(-1)
            hidden_PD = self.trunk(input_ids=ids_BT, use_cache=False).last_hidden_state[seen_BT]
            found_PV = (hidden_PD @ self._rows_VD.T).float().log_softmax(-1)
            loss = functional.kl_div(found_PV, known_PV, log_target=True, reduction="sum") / count
            (weight * loss).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total

    def _passes(self, texts: Texts) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Places of texts that go through one pass, their padded ids (B, T) and the place of each last token (B)."""
        return [
            (torch.tensor(part, device=self.device), *padded([texts[i] for i in part], self.device))
            for part in parts([len(text) for text in texts], self._pass_tokens)
        ]

    @torch.no_grad()
    def _encode(self, passes: Sequence[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, list[Tensor | None]]:
        """The states after each text (Q, D), and those that leave the frozen layers in each pass (B, T, D)."""
        states = torch.empty(sum(len(places) for places, _, _ in passes), self._rows_VD.shape[1], device=self.device)
        lower: list[Tensor | None] = []
        for places, ids_BT, last_B in passes:
            trunk, last = watched(self.trunk, self._frozen) if self._frozen else (self.trunk, None)
            states[places] = _states(trunk, ids_BT, last_B)
            lower.append(last.states if last else None)
        return states, lower


def _states(trunk: nn.Module, ids_BT: Tensor, last_B: Tensor) -> Tensor:
    hidden_BTD: Tensor = trunk(input_ids=ids_BT, use_cache=False).last_hidden_state
    return hidden_BTD[torch.arange(len(last_B), device=ids_BT.device), last_B].float()


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


def padded(texts: Texts, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids (B, T), filled on the right, where a causal model does not look; and the place of each last token (B)."""
    lengths = np.array([len(text) for text in texts])
    width = -(-int(lengths.max()) // MULTIPLE) * MULTIPLE
    ids_BT = np.zeros((len(texts), width), dtype=np.int64)
    ids_BT[np.arange(width) < lengths[:, None]] = np.fromiter(chain.from_iterable(texts), np.int64, int(lengths.sum()))
    return torch.from_numpy(ids_BT).to(device, non_blocking=True), torch.from_numpy(lengths - 1).to(device)


def parts(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Places by rising length, as many at a time as fit `tokens` when padded to the longest."""
    part: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        width = -(-lengths[i] // MULTIPLE) * MULTIPLE
        if part and (len(part) + 1) * width > tokens:
            yield part
            part = []
        part.append(i)
    if part:
        yield part
