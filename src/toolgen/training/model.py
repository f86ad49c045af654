"""TrainableModel: a checkpoint's model arranged for training, with the new rows apart from the base's vocabulary.

The base's rows are frozen, so neither their gradient nor their optimizer state exists; logits are computed only at
supervised positions. Works for any Hugging Face causal language model whose logits `inference.heads` computes (Llama, Qwen,
SmolLM, Gemma, Granite, GPT-2, ... tied or not); `check_logits` refuses the others instead of training something else.
Shapes: T tokens of packed examples, D hidden size, P supervised positions, K targets, V base vocabulary, R new rows.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolgen.checkpoint import Checkpoint
from toolgen.errors import CheckpointError, UsageError
from toolgen.inference.attention import Packed, share_passes
from toolgen.inference.heads import Head, input_scale
from toolgen.inference.machine import product_dtype
from toolgen.inference.passes import row_states
from toolgen.inference.views import layers_of
from toolgen.training.collate import MicroBatch, PackedRow, collate
from toolgen.training.examples import TrainingExample
from toolgen.training.frozen_states import FrozenStates
from toolgen.training.loss import set_cross_entropy as set_cross_entropy_loss
from toolgen.training.sharding import RowPeers, local, whole
from toolgen.training.softmax import Block, set_cross_entropy
from toolgen.virtualization import output_rows

LOGGER = logging.getLogger(__name__)


class Losses(NamedTuple):
    """Sums over positions, to be divided by the counts of the whole step. `replayed` is of text that has distributions as
    targets, the divergence from them: what is above the least. (A tuple: FSDP looks for the tensors in it.)"""

    choice: Tensor
    text: Tensor
    replayed: Tensor


class TrainableModel(nn.Module):
    """`frozen_layers` lower transformer layers keep their weights: they cost a forward pass only. `unasked` are the token ids
    of unasked tools; examples with `among_asked` do not push them down. `untargeted` token ids are targets nowhere in this
    stage, and nothing pushes them down. `blend` is the share of the trained weights in the result; the rest is
    what the stage began with (WiSE-FT, arXiv 2109.01903). `rows_stay`: the new rows are not trained."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        frozen_layers: int = 0,
        unasked: Sequence[int] = (),
        untargeted: Sequence[int] = (),
        blend: float = 1.0,
        rows_stay: bool = False,
    ) -> None:
        super().__init__()
        self.first = checkpoint.vocabulary.new_token_ids.start
        self.stop = checkpoint.vocabulary.new_token_ids.stop
        model = checkpoint.model
        share_passes(model)
        inputs, outputs = model.get_input_embeddings().weight, output_rows(model)
        self.tied = inputs is outputs
        self.trunk = model.base_model
        self._model = (model,)  # a tuple, so that its head is not a part of this module
        self._matrices: tuple[Tensor, Tensor] = (inputs, outputs)  # a tuple for the same reason: they are frozen
        self._cast = outputs.new_empty(0)
        self.input_rows = nn.Parameter(inputs[self.first : self.stop].detach().clone())
        self.frozen_layers = frozen_layers
        self.frozen_states: FrozenStates | None = None
        if not self.tied:
            self.untied_output_rows = nn.Parameter(outputs[self.first : self.stop].detach().clone())
            self.input_rows.requires_grad_(not frozen_layers)
        self._unasked_R, self._untargeted_R = self._mask(unasked), self._mask(untargeted)
        self._peers: RowPeers | None = None
        self._head, self._input_scale = Head.of(model), input_scale(model)
        self._bias = self._head.bias_V
        self._flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        model.requires_grad_(False)
        self.trunk.requires_grad_(True)
        for parameter in (inputs, outputs, *self._embeddings(), *self._lower_layers(frozen_layers)):
            parameter.requires_grad_(False)
        if rows_stay:
            self.input_rows.requires_grad_(False)
            self.output_rows.requires_grad_(False)
        self._blend = blend
        self.remember_start()

    def _mask(self, ids: Sequence[int]) -> Tensor | None:
        """Which of the new rows these token ids have; None for no ids."""
        if not ids:
            return None
        mask_R = torch.zeros(self.stop - self.first, dtype=torch.bool)
        mask_R[torch.tensor(list(ids)) - self.first] = True
        return mask_R.to(self._matrices[0].device)

    def remember_start(self) -> None:
        """Takes the present weights as those that the result is blended with."""
        self._start = [parameter.detach().clone() for parameter in self._trained()] if self._blend < 1 else []

    def shard_rows(self, peers: RowPeers) -> None:
        """Keeps a slice of the rows that score tools; `peers` have the others. UsageError if rows learn as inputs, too."""
        if not self.frozen_layers:
            raise UsageError(
                "shard_rows needs a frozen layer at the bottom, so that rows learn as outputs only; raise frozen_share until "
                f"one of the {self.trunk.config.num_hidden_layers} layers is frozen, or leave shard_rows out"
            )
        self._peers = peers
        name = "input_rows" if self.tied else "untied_output_rows"
        setattr(self, name, peers.shard(self.output_rows).requires_grad_(self.output_rows.requires_grad))
        self.remember_start()

    def copy_trunk(self, device: torch.device) -> set[nn.Parameter]:
        """Trains a copy of the trunk from here on, to be sharded over processes, with all else on `device`; the checkpoint's
        own stays whole where it is. Returns the parameters that both share, the frozen embeddings of tokens."""
        inputs, outputs = self._matrices
        shared: nn.Parameter = self._model[0].get_input_embeddings().weight
        self.trunk = copy.deepcopy(self.trunk, {id(shared): shared})
        placed = inputs.to(device)
        self._matrices = (placed, placed if self.tied else outputs.to(device))
        self._bias, self._untargeted_R, self._unasked_R = (
            None if each is None else each.to(device) for each in (self._bias, self._untargeted_R, self._unasked_R)
        )
        return {shared}

    def _embeddings(self) -> Iterator[nn.Parameter]:
        """Token and (GPT-2) position embeddings: training them would send the backward pass through frozen layers."""
        for module in self.trunk.modules():
            if isinstance(module, nn.Embedding):
                yield from module.parameters()

    def _lower_layers(self, count: int) -> Iterator[nn.Parameter]:
        total = self.trunk.config.num_hidden_layers
        if not 0 <= count <= total:
            raise UsageError(f"frozen_layers is {count}; this model has {total} layers")
        for layer in islice(self.layers(), count):
            yield from layer.parameters()

    def layers(self) -> nn.ModuleList:
        """The transformer layers from below; empty where the architecture does not list them."""
        return layers_of(self.trunk)

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
        embedded = self._looked_up(ids_T)
        return embedded if self._input_scale == 1 else embedded * self._input_scale

    def _looked_up(self, ids_T: Tensor) -> Tensor:
        own_T = (ids_T >= self.first) & (ids_T < self.stop)
        embedded = functional.embedding(ids_T.masked_fill(own_T, 0), self._matrices[0])
        if self._peers is not None and self.tied:
            embedded[own_T] = self._peers.lookup(ids_T[own_T] - self.first, self.input_rows)
            return embedded
        if not own_T.any():
            if self.tied or self.frozen_layers:
                return embedded  # no gradient enters here, so the backward pass stops at the lowest trainable layer
            return embedded + 0 * self.input_rows[0]  # several processes wait for the gradient of every parameter
        rows = self.input_rows.detach() if self.frozen_layers else self.input_rows
        own = functional.embedding((ids_T - self.first).clamp(0, self.stop - self.first - 1), rows)
        return torch.where(own_T[..., None], own.to(embedded.dtype), embedded)

    def hidden(self, batch: PackedRow) -> Tensor:
        """Hidden states after the last norm (T, D)."""
        if self.frozen_states is None:
            return self._run(self.trunk, batch.ids_T, batch.places_T, batch.lengths)
        return self.frozen_states.hidden(self._run, batch.ids_T, batch.places_T, batch.lengths)

    def _run(self, trunk: nn.Module, ids_T: Tensor, places_T: Tensor, lengths: Sequence[int]) -> Tensor:
        return row_states(trunk, Packed(lengths), places_T, embedded_TD=self.embed(ids_T))

    def keep_frozen_states(self, mebibytes: float, probe: MicroBatch) -> bool:
        """From now on an example that comes again skips the frozen layers (see `FrozenStates`). Returns whether it does: not
        where no layer is frozen, nor, with a line in the log, where the states of `probe` do not repeat (dropout)."""
        if not self.frozen_layers or not self.layers() or not mebibytes:
            return False
        changing = range(self.first, self.stop) if self.tied and self.input_rows.requires_grad else range(0)
        states = FrozenStates(self.trunk, self.frozen_layers, budget=int(mebibytes * 2**20), changing=changing)
        if states.hold(self._run, probe.ids_T, probe.places_T, probe.lengths):
            self.frozen_states = states
            return True
        LOGGER.warning(
            "the states of frozen layers are computed again each time: those of this %s model do not repeat (has it dropout?)",
            self.trunk.config.model_type,
        )
        return False

    def logits(self, hidden_PD: Tensor) -> Tensor:
        """Logits over the base's vocabulary up to `first`, then over the new rows (P, V + R)."""
        base, rows = self._matrices[1][: self.first], self.output_rows
        logits = torch.cat([functional.linear(hidden_PD, base), functional.linear(hidden_PD, rows)], dim=-1)
        return self._head.finish(logits if self._bias is None else logits + self._bias[: self.stop])

    def forward(self, batch: PackedRow, compute: Callable[[TrainableModel, Any], Any] = set_cross_entropy_loss) -> Any:
        """What `compute` makes of a row, a loss mostly. It is called in here because processes that share the model meet around
        `forward`."""
        return compute(self, batch)

    def cross_entropy(self, batch: MicroBatch) -> Losses:
        """Cross-entropy against each position's distribution over its targets, summed."""
        hidden_PD = self.hidden(batch)[batch.positions_P]
        if self._head.scale != 1:
            hidden_PD = hidden_PD * self._head.scale
        base, new = self._blocks()

        def loss(of_P: Tensor) -> Tensor:
            return set_cross_entropy(
                hidden_PD[of_P],
                base,
                new,
                batch.targets_PK[of_P],
                batch.weights_PK[of_P],
                batch.among_asked_P[of_P],
                softcap=self._head.softcap,
                peers=self._peers,
            )

        def unless_empty(of_P: Tensor) -> Tensor:
            """This saves a gradient of zeros for all rows; peers meet in every loss, whatever the positions."""
            return loss(of_P) if self._peers is not None or bool(of_P.any()) else hidden_PD.new_zeros(())

        return Losses(
            choice=loss(batch.is_choice_P),
            text=unless_empty(~batch.is_choice_P & ~batch.is_replayed_P),
            replayed=unless_empty(batch.is_replayed_P) - _least(batch.weights_PK[batch.is_replayed_P]),
        )

    def _blocks(self) -> tuple[Block, Block]:
        """The output rows that this process scores: the base's, and the new ones."""
        base, new = range(self.first), range(self.first, self.stop)
        rows: Tensor = self.output_rows
        if self._peers is not None:
            base, new, rows = self._peers.part(base), self._peers.part(new), local(rows)

        def at(ids: range, values: Tensor | None, offset: int = 0) -> Tensor | None:
            return None if values is None else values[ids.start - offset : ids.stop - offset]

        untargeted_C, unasked_C = at(new, self._untargeted_R, self.first), at(new, self._unasked_R, self.first)
        bias = None if self._bias is None else self._bias * self._head.scale
        return (
            Block(base.start, self._scoring(base), at(base, bias)),
            Block(new.start, rows, at(new, bias), untargeted_C, unasked_C),
        )

    def _scoring(self, base: range) -> Tensor:
        """The base's output rows in the dtype of products. They are frozen, so they are cast once, not in every pass."""
        rows = self._matrices[1][base.start : base.stop]
        dtype = product_dtype(rows)
        if (self._cast.shape, self._cast.dtype, self._cast.device) != (rows.shape, dtype, rows.device):
            self._cast = rows.detach().to(dtype)
        return self._cast

    @torch.no_grad()
    def write_back(self) -> None:
        """Blends the trained weights with the first ones, and writes them into the model."""
        for parameter, start in zip(self._trained(), self._start, strict=bool(self._start)):
            parameter.lerp_(start, 1 - self._blend)
        (model,) = self._model
        for target, trained in zip(model.base_model.parameters(), self.trunk.parameters(), strict=True):
            if trained.requires_grad and target is not trained:  # of `copy_trunk`
                target.copy_(whole(trained))
        self.write_rows()

    @torch.no_grad()
    def write_rows(self) -> None:
        """Copies the rows into the model's matrices, so that it runs with them."""
        (model,) = self._model
        inputs, outputs = model.get_input_embeddings().weight, output_rows(model)
        inputs[self.first : self.stop] = whole(self.input_rows).to(inputs.dtype)
        outputs[self.first : self.stop] = whole(self.output_rows).to(outputs.dtype)

    def release(self) -> None:
        """Leaves the checkpoint's model as it was found: the same parameters trainable, no gradients."""
        for parameter, trainable in self._flags:
            parameter.requires_grad_(trainable)
            parameter.grad = None


def _least(weights_PK: Tensor) -> Tensor:
    """The least that a cross-entropy against these weights can be, summed: their entropy, weighed."""
    mass_P1 = weights_PK.sum(1, keepdim=True)
    return -torch.xlogy(weights_PK, weights_PK / mass_P1.clamp_min(torch.finfo(weights_PK.dtype).tiny)).sum()


@torch.no_grad()
def check_logits(checkpoint: Checkpoint, trainable: TrainableModel) -> None:
    """Our logits are the model's own; CheckpointError for an architecture that makes them in a way of its own."""
    if not _agrees(checkpoint, trainable):
        raise CheckpointError(
            f"{checkpoint.model.config.model_type} models make their embeddings or logits in a way of their own; training "
            "supports those whose scores are the last hidden state times the output rows, scaled or bounded (Llama, Qwen, "
            "SmolLM, Gemma, Granite, GPT-2, ...)"
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
