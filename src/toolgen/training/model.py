"""TrainableModel: a checkpoint's model arranged for training, with the new rows apart from the base's vocabulary.

The base's rows are frozen, so neither their gradient nor their optimizer state exists; logits are computed only at
supervised positions. Works for any Hugging Face causal language model whose logits are `trunk(inputs_embeds) @ rows`
(Llama, Qwen, SmolLM, GPT-2, ... tied or not); `check_logits` refuses the others instead of training something else.
Shapes: T tokens of packed examples, D hidden size, P supervised positions, K targets, V base vocabulary, R new rows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolgen.checkpoint import Checkpoint
from toolgen.errors import CheckpointError, UsageError
from toolgen.training.collate import MicroBatch, collate
from toolgen.training.examples import TrainingExample
from toolgen.training.frozen_states import FrozenStates
from toolgen.training.packing import packing
from toolgen.virtualization import output_rows

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Losses:
    """Sums over positions, to be divided by the counts of the whole step."""

    choice: Tensor
    text: Tensor


class TrainableModel(nn.Module):
    """`frozen_layers` lower transformer layers keep their weights: they cost a forward pass only. `unasked` are the token ids
    of tools that no training request asks for; examples that spare them do not push them down. `silent` token ids are right
    nowhere in this stage, and nothing pushes them down. `blend` is the share of the trained weights in the result; the rest is
    what the stage began with (WiSE-FT, arXiv 2109.01903)."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        frozen_layers: int = 0,
        unasked: Sequence[int] = (),
        silent: Sequence[int] = (),
        blend: float = 1.0,
    ) -> None:
        super().__init__()
        self.first = checkpoint.vocabulary.first_id
        self.stop = checkpoint.vocabulary.action_token_ids.stop
        model = checkpoint.model
        inputs, outputs = model.get_input_embeddings().weight, output_rows(model)
        self.tied = inputs is outputs
        self.trunk = model.base_model
        self._model = (model,)  # a tuple, so that its head is not a part of this module
        self._matrices = (inputs, outputs)  # a tuple for the same reason: they are frozen
        self.input_rows = nn.Parameter(inputs[self.first : self.stop].detach().clone())
        self.frozen_layers = frozen_layers
        self.frozen_states: FrozenStates | None = None
        if not self.tied:
            self.untied_output_rows = nn.Parameter(outputs[self.first : self.stop].detach().clone())
            self.input_rows.requires_grad_(not frozen_layers)
        self._unasked = torch.tensor(list(unasked), dtype=torch.long, device=inputs.device)
        self._silent = torch.tensor(list(silent), dtype=torch.long, device=inputs.device)
        self._bias = getattr(model.get_output_embeddings(), "bias", None)
        self._flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        model.requires_grad_(False)
        self.trunk.requires_grad_(True)
        for parameter in (inputs, outputs, *self._embeddings(), *self._lower_layers(frozen_layers)):
            parameter.requires_grad_(False)
        self._blend = blend
        self._start = [parameter.detach().clone() for parameter in self._trained()] if blend < 1 else []

    def _embeddings(self) -> Iterator[nn.Parameter]:
        """Token and (GPT-2) position embeddings: training them would send the backward pass through frozen layers."""
        for module in self.trunk.modules():
            if isinstance(module, nn.Embedding):
                yield from module.parameters()

    def _lower_layers(self, count: int) -> Iterator[nn.Parameter]:
        total = self.trunk.config.num_hidden_layers
        if not 0 <= count <= total:
            raise UsageError(f"frozen_layers is {count}; this model has {total} layers")
        for layer in islice(self._layers(), count):
            yield from layer.parameters()

    def _layers(self) -> nn.ModuleList:
        """The transformer layers from below; empty where the architecture does not list them."""
        total = self.trunk.config.num_hidden_layers
        lists = (
            module for module in self.trunk.modules() if isinstance(module, nn.ModuleList) and len(module) == total
        )
        return next(lists, nn.ModuleList())

    def trunk_parameters(self) -> list[nn.Parameter]:
        """Trainable parameters that the base brought."""
        return [parameter for parameter in self.trunk.parameters() if parameter.requires_grad]

    def _trained(self) -> list[nn.Parameter]:
        return [*self.trunk_parameters(), *self.row_parameters()]

    @property
    def output_rows(self) -> nn.Parameter:
        """The rows that score tools; the input rows themselves in a tied model, and then one parameter, not two of a name."""
        return self.input_rows if self.tied else self.untied_output_rows

    def row_parameters(self) -> list[nn.Parameter]:
        """The rows of tools and actions that are trained."""
        rows = [self.input_rows] if self.tied else [self.input_rows, self.output_rows]
        return [row for row in rows if row.requires_grad]

    def embed(self, ids_T: Tensor) -> Tensor:
        """Input embeddings (T, D); tool tokens take the rows in training. Below frozen layers the rows learn as outputs
        only: their gradient as inputs would cost the backward pass that freezing saves."""
        own_T = (ids_T >= self.first) & (ids_T < self.stop)
        embedded = functional.embedding(ids_T.masked_fill(own_T, 0), self._matrices[0])
        if not own_T.any():
            if self.tied or self.frozen_layers:
                return embedded  # no gradient enters here, so the backward pass stops at the lowest trainable layer
            return embedded + 0 * self.input_rows[0]  # several processes wait for the gradient of every parameter
        rows = self.input_rows.detach() if self.frozen_layers else self.input_rows
        own = functional.embedding((ids_T - self.first).clamp(0, self.stop - self.first - 1), rows)
        return torch.where(own_T[..., None], own.to(embedded.dtype), embedded)

    def hidden(self, batch: MicroBatch) -> Tensor:
        """Hidden states after the last norm (T, D)."""
        run = self._run_trunk if self.frozen_states is None else self.frozen_states.through(self._run_trunk)
        with packing(self._model[0]):
            return run(batch.ids_T, batch.places_T, batch.lengths)

    def _run_trunk(self, ids_T: Tensor, places_T: Tensor, lengths: Sequence[int]) -> Tensor:
        states: Tensor = self.trunk(
            inputs_embeds=self.embed(ids_T)[None],
            position_ids=places_T[None],
            use_cache=False,
            packed_lengths=lengths,
        ).last_hidden_state
        return states[0]

    def keep_frozen_states(self, mebibytes: float, probe: MicroBatch) -> bool:
        """From now on an example that comes again skips the frozen layers (see `FrozenStates`). Returns whether it does: not
        where no layer is frozen, nor, with a line in the log, where the states of `probe` do not repeat (dropout)."""
        layers = self._layers()
        if not self.frozen_layers or not layers or not mebibytes:
            return False
        changing = range(self.first, self.stop) if self.tied else range(0)
        states = FrozenStates(layers, self.frozen_layers, budget=int(mebibytes * 2**20), changing=changing)
        with packing(self._model[0]):
            if states.hold(probe.ids_T, probe.places_T, probe.lengths, self._run_trunk):
                self.frozen_states = states
                return True
        LOGGER.warning(
            "the states of frozen layers are computed anew each time: those of this %s model do not repeat (has it dropout?)",
            self.trunk.config.model_type,
        )
        return False

    def logits(self, hidden_PD: Tensor) -> Tensor:
        """Logits over the base's vocabulary up to `first`, then over the new rows (P, V + R)."""
        base, rows = self._matrices[1][: self.first], self.output_rows
        logits = torch.cat([functional.linear(hidden_PD, base), functional.linear(hidden_PD, rows)], dim=-1)
        return logits if self._bias is None else logits + self._bias[: self.stop]

    def forward(self, batch: MicroBatch) -> Losses:
        """Cross-entropy against the uniform distribution over each position's target set, summed."""
        hidden_PD = self.hidden(batch)[batch.positions_P]
        logits = self.logits(hidden_PD).float()
        if len(self._unasked):
            spared_PU = batch.spares_P[:, None].expand(-1, len(self._unasked))
            logits[:, self._unasked] = logits[:, self._unasked].masked_fill(spared_PU, float("-inf"))
        if len(self._silent):
            logits[:, self._silent] = float("-inf")
        known_PK = batch.targets_PK >= 0
        target_PK = logits.gather(1, batch.targets_PK.clamp_min(0)).masked_fill(~known_PK, 0.0)
        loss_P = logits.logsumexp(1) - target_PK.sum(1) / known_PK.sum(1)
        return Losses(choice=loss_P[batch.is_choice_P].sum(), text=loss_P[~batch.is_choice_P].sum())

    @torch.no_grad()
    def write_back(self) -> None:
        """Blends the trained weights with the first ones, and copies the rows into the model's matrices."""
        for parameter, start in zip(self._trained(), self._start, strict=bool(self._start)):
            parameter.lerp_(start, 1 - self._blend)
        inputs, outputs = self._matrices
        inputs[self.first : self.stop] = self.input_rows.to(inputs.dtype)
        outputs[self.first : self.stop] = self.output_rows.to(outputs.dtype)

    def release(self) -> None:
        """Leaves the checkpoint's model as it was found: the same parameters trainable, no gradients."""
        for parameter, trainable in self._flags:
            parameter.requires_grad_(trainable)
            parameter.grad = None


@torch.no_grad()
def check_logits(checkpoint: Checkpoint, trainable: TrainableModel) -> None:
    """Our logits are the model's own; CheckpointError for an architecture that transforms them on the way."""
    # A soft cap changes large values only, and an untrained model has none.
    caps = ("final_logit_softcapping", "attn_logit_softcapping")
    capped = any(getattr(checkpoint.model.config, cap, None) is not None for cap in caps)
    if capped or not _agrees(checkpoint, trainable):
        raise CheckpointError(
            f"{checkpoint.model.config.model_type} models scale their embeddings or logits; training supports models whose "
            "logits are the last hidden state times the output rows (Llama, Qwen, SmolLM, GPT-2, ...)"
        )


def probe_batch(checkpoint: Checkpoint) -> MicroBatch:
    """A short example and a long one with a token of ours in its middle: what checks at the start look at."""
    prompt = checkpoint.protocol.prompt([{"role": "user", "content": "ok"}])
    short, long = TrainingExample(tuple(prompt)), TrainingExample((*prompt, checkpoint.vocabulary.finish_id, *prompt))
    return collate([short, long]).to(checkpoint.model.device)


def _agrees(checkpoint: Checkpoint, trainable: TrainableModel) -> bool:
    """Whether a packed example gets the logits that the model gives it alone."""
    batch = probe_batch(checkpoint)
    short, _ = batch.lengths
    expected = checkpoint.model(input_ids=batch.ids_T[None, short:]).logits[0, :, : trainable.stop].float()
    found = trainable.logits(trainable.hidden(batch)[short:]).float()
    return torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
