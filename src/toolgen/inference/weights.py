"""Smaller weights for the products of a pass: a pass over a few tokens takes as long as reading all weights does.

A view of the model (`views.py`) makes its products with weights that are packed once for FBGEMM, PyTorch's kernels for short
inputs on x86; the model itself stays as it is. Two kinds:

`half`  weights in fp16, sums in fp32; passes of LONG tokens or more in bf16 where the processor multiplies it natively: they
        are bound by arithmetic, of which FBGEMM's kernels do as much as fp32's do.
`int8`  weights in 8 bits with a scale for each output; inputs in 16 bits as two numbers of 8 bits, with a scale for each token,
        sums in 32-bit integers. So a product does not depend on which other tokens are in the pass, not even in its last bit.

With `half` the default base ranks and writes as with full weights (BFCL: the first tool the same for 200 of 200 requests, 1,112
of 1,113 greedy argument tokens; with long passes in bf16 for 285 of 286); with `int8` 198 and 98.9 %, so it is never chosen by
itself. The output matrix stays as it is where chosen rows are scored.

Knows modules and tensors; no token and no sequence.
Shapes: M rows of states, I inputs, O outputs.
"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from dataclasses import replace
from threading import Lock
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from toolgen.errors import UsageError
from toolgen.inference.heads import Head
from toolgen.inference.machine import native_bf16
from toolgen.inference.views import replaced

Weights = Literal["auto", "full", "half", "int8"]
Kind = Literal["full", "half", "int8"]

MEBIBYTES = 16
"""What the products' weights must take at least: smaller ones stay in the processor's cache, and nothing is gained."""
LONG = 64
"""Tokens of a pass from which on bf16 is faster than FBGEMM (Zen 4: 1.5 times at 64, twice at 512)."""
# The step of FBGEMM's 8-bit numbers over the range from -1 to 1, which the last row of every input spans.
_STEP = 2 / 255
_LOW = 254


def is_large(model: PreTrainedModel) -> bool:
    """Whether the weights of the products are more than a processor's cache holds (MEBIBYTES)."""
    products = (part for part in model.base_model.modules() if isinstance(part, (nn.Linear, Conv1D)))
    return sum(part.weight.nbytes for part in products) >= MEBIBYTES * 2**20


def quick_reading(model: PreTrainedModel) -> AbstractContextManager[Any]:
    """Passes over many tokens, for texts that only have to be understood: with products in bf16 for a large fp32 model where
    they are native, 1.8 times as fast on Zen 4. On the default base the states keep a cosine of 0.9995, and BFCL's figures."""
    wanted = model.dtype == torch.float32 and native_bf16(model.device) and is_large(model)
    return torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=wanted)


def kind_of(model: PreTrainedModel, weights: Weights = "auto") -> Kind:
    """The weights that a model's passes are made with. `auto` takes fp16 where FBGEMM has kernels, for fp32 models on a
    CPU that are large enough to gain. UsageError for packed weights elsewhere."""
    if weights in ("half", "int8") and model.device.type != "cpu":
        raise UsageError(
            f"weights {weights!r} are for models on a CPU, and this one is on {model.device.type}; take weights='full', and "
            "dtype=torch.bfloat16 for a smaller model"
        )
    if weights != "auto":
        return weights
    fits = model.device.type == "cpu" and model.dtype == torch.float32 and is_large(model)
    return "half" if fits and "fbgemm" in torch.backends.quantized.supported_engines else "full"


class PackedWeights:
    """A model with packed products, made at the first use and again when its weights have changed."""

    def __init__(self, model: PreTrainedModel, kind: Kind) -> None:
        self._model, self._kind = model, kind
        self._owners = [part for part in model.base_model.modules() if part._parameters]
        self._lock = Lock()
        self._trunk: tuple[tuple[tuple[int, int], ...], nn.Module] | None = None
        self._head: tuple[tuple[int, int], Head] | None = None

    @property
    def version(self) -> tuple[int, ...]:
        """Another one after each change of the model's weights in place."""
        return tuple(one._version for one in (*self._parameters(), Head.of(self._model).rows_VD))

    def parts(self) -> tuple[nn.Module, Head]:
        """The trunk and the head to make a pass with; the model's own for `full`."""
        trunk, head = self._model.base_model, Head.of(self._model)
        if self._kind == "full":
            return trunk, head
        # Rows of tokens change while a server runs, and the trunk's products are not made of them.
        inputs = self._model.get_input_embeddings().weight
        state = tuple((id(one), 0 if one is inputs else one._version) for one in self._parameters())
        rows = id(head.rows_VD), head.rows_VD._version
        with self._lock:
            if self._trunk is None or self._trunk[0] != state:
                self._trunk = state, packed(trunk, self._kind)
            if self._head is None or self._head[0] != rows:
                every = HalfProduct(head.rows_VD.detach(), None if head.bias_V is None else head.bias_V.detach())
                self._head = rows, replace(head, every=every)
            return self._trunk[1], self._head[1]

    def _parameters(self) -> list[nn.Parameter]:
        """The trunk's. Every pass asks for them, and `Module.parameters` takes several times as long."""
        return [one for owner in self._owners for one in owner._parameters.values() if one is not None]


@torch.no_grad()
def packed(trunk: nn.Module, kind: Kind) -> nn.Module:
    """A view of a trunk whose linear layers have packed weights; later changes of the trunk's are not seen."""
    if kind == "half":
        return replaced(
            trunk,
            lambda part: HalfProduct(*_matrix(part), long=True) if isinstance(part, (nn.Linear, Conv1D)) else None,
        )
    inputs = _Inputs()
    return replaced(
        trunk, lambda part: EightBitProduct(*_matrix(part), inputs) if isinstance(part, (nn.Linear, Conv1D)) else None
    )


def _matrix(layer: nn.Linear | Conv1D) -> tuple[Tensor, Tensor | None]:
    """Weights (O, I) and bias."""
    weight = layer.weight.detach()
    bias = None if layer.bias is None else layer.bias.detach()
    return (weight.T.contiguous() if isinstance(layer, Conv1D) else weight), bias


class HalfProduct(nn.Module):
    """A linear layer with weights in fp16, and in bf16 for `long` inputs where that is native."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None, *, long: bool = False) -> None:
        super().__init__()
        self._packed = torch.ops.quantized.linear_prepack_fp16(weight_OI, bias_O)
        self._long_OI = weight_OI.bfloat16() if long and native_bf16(weight_OI.device) else None
        self._bias_O = bias_O

    def forward(self, states: Tensor) -> Tensor:
        if self._long_OI is None or states.numel() < LONG * states.shape[-1]:
            made: Tensor = torch.ops.quantized.linear_dynamic_fp16(states, self._packed)
            return made
        made = linear(states.bfloat16(), self._long_OI).float()
        return made if self._bias_O is None else made.add_(self._bias_O)


class EightBitProduct(nn.Module):
    """A linear layer with weights in 8 bits. `inputs` is what layers that read the same states share."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None, inputs: _Inputs) -> None:
        super().__init__()
        scale_O = (weight_OI.abs().amax(1).double() / 127).clamp_min(1e-12)
        zero_O = torch.zeros(len(weight_OI), dtype=torch.long)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that PyTorch will make such tensors in another way one day
            eight = torch.quantize_per_channel(weight_OI, scale_O, zero_O, 0, torch.qint8)
        self._packed = torch.ops.quantized.linear_prepack(eight, None)
        self._bias_O, self._inputs = bias_O, inputs

    def forward(self, states: Tensor) -> Tensor:
        parts, scale_M1 = self._inputs.of(states)
        made = torch.ops.quantized.linear_dynamic(parts, self._packed)
        count = len(scale_M1)
        made_MO = torch.add(made[:count], made[count : 2 * count], alpha=1 / _LOW).mul_(scale_M1)
        if self._bias_O is not None:
            made_MO += self._bias_O
        return made_MO.view(*states.shape[:-1], -1)


class _Inputs:
    """States as numbers of 8 bits; those last asked for are kept, because several layers read the same ones."""

    def __init__(self) -> None:
        self._last: tuple[Tensor, tuple[Tensor, Tensor]] | None = None

    def of(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (2 * M + 1, I): the states in steps of 1/127 of each row's largest, what that leaves in steps of 1/254 of these,
        and a row that spans the whole range. And the scale of each row (M, 1)."""
        last = self._last
        if last is not None and last[0] is states:
            return last[1]
        states_MI = states.reshape(-1, states.shape[-1])
        count = len(states_MI)
        largest_M1 = states_MI.abs().amax(1, keepdim=True).clamp_min_(1e-30)
        steps_MI = states_MI * (127 / largest_M1)
        rows = states_MI.new_zeros(2 * count + 1, states_MI.shape[1])
        high_MI = torch.round(steps_MI, out=rows[:count])
        torch.round(steps_MI.sub_(high_MI).mul_(_LOW), out=rows[count : 2 * count])
        rows.mul_(_STEP)
        rows[-1, 0], rows[-1, 1] = 1, -1
        made = rows, largest_M1 / (127 * _STEP)
        self._last = states, made
        return made
