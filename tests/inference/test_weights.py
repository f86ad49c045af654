"""Packed weights change what a pass makes by their rounding only, and leave the model as it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from toolgen.inference import weights
from toolgen.inference.passes import Part, Runner
from toolgen.inference.weights import Kind, kind_of, packed
from toolgen.testing import ARCHITECTURES, Architecture, tiny_model

PROMPTS = ([5], [1, 7, 3, 9], [8, 6, 4, 2, 1, 3, 5, 7, 9, 11, 13])
ROUNDING: dict[Kind, float] = {"half": 2**-11, "int8": 1 / 254}

needs_kernels = pytest.mark.skipif(
    "fbgemm" not in torch.backends.quantized.supported_engines, reason="this PyTorch has no kernels of FBGEMM"
)


def rounded(weight_OI: Tensor, kind: str) -> Tensor:
    """What the packed weights stand for."""
    if kind == "half":
        return weight_OI.half().float()
    scale_O1 = weight_OI.abs().amax(1, keepdim=True) / 127
    return (weight_OI / scale_O1).round() * scale_O1


@needs_kernels
@pytest.mark.parametrize("kind", ["half", "int8"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_pass_is_that_of_the_rounded_model(architecture: Architecture, kind: Any) -> None:
    model, other = tiny_model(architecture), tiny_model(architecture)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = Runner(model, weights=kind).run([Part(ids=ids) for ids in PROMPTS])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    with torch.no_grad():
        for part in other.base_model.modules():
            if isinstance(part, nn.Linear):
                part.weight.copy_(rounded(part.weight, kind))
            elif type(part).__name__ == "Conv1D":
                part.weight.copy_(rounded(part.weight.T, kind).T)
    expected, full = (
        Runner(each, weights="full").run([Part(ids=ids) for ids in PROMPTS])
        for each in (other, tiny_model(architecture))
    )
    for one, right, exact in zip(found, expected, full, strict=True):
        torch.testing.assert_close(one, right, rtol=5e-3, atol=5e-3)
        assert not torch.equal(one, exact)


@needs_kernels
def test_with_eight_bits_a_token_gets_the_same_bits_whatever_stands_beside_it() -> None:
    layer = packed(nn.Sequential(nn.Linear(64, 48)), "int8")
    states = torch.randn(9, 64, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 9)[:, None]
    with torch.inference_mode():
        together = layer(states)
        for row in range(9):
            assert torch.equal(layer(states[row : row + 1].clone())[0], together[row])


@needs_kernels
@pytest.mark.parametrize("native", [True, False])
def test_a_long_pass_is_in_bf16_where_that_is_native_and_a_short_one_never(
    native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "native_bf16", lambda _device: native)
    linear = nn.Linear(48, 32)
    layer, whole = packed(nn.Sequential(linear), "half"), linear.weight.detach()
    states = torch.randn(weights.LONG, 48, generator=torch.Generator().manual_seed(0))
    in_bf16 = (states.bfloat16() @ whole.bfloat16().T).float() + linear.bias
    in_fp16 = states @ rounded(whole, "half").T + linear.bias
    with torch.inference_mode():
        long, short = layer(states), layer(states[1:])
    assert not torch.allclose(in_bf16, in_fp16, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(long, in_bf16 if native else in_fp16, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(short, in_fp16[1:], rtol=1e-4, atol=1e-4)


@needs_kernels
def test_weights_that_change_are_packed_anew() -> None:
    model = tiny_model()
    runner = Runner(model, weights="half")
    (before,) = runner.run([Part(ids=PROMPTS[2])])
    with torch.no_grad():
        for parameter in model.base_model.parameters():
            parameter.mul_(1.5)
    (after,) = runner.run([Part(ids=PROMPTS[2])])
    (expected,) = Runner(model, weights="half").run([Part(ids=PROMPTS[2])])
    assert torch.equal(after, expected) and not torch.allclose(after, before)


def test_small_models_and_other_precisions_keep_their_weights() -> None:
    assert kind_of(tiny_model()) == "full"
    assert kind_of(tiny_model(hidden_size=1024, intermediate_size=4096).to(torch.bfloat16)) == "full"
    assert kind_of(tiny_model(), "half") == "half"
