"""Passes of every kind on one model give what each sequence gets alone, also at the same time; windows count everywhere."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel

from toolgen.errors import CheckpointError
from toolgen.inference import attention
from toolgen.inference.attention import NAME, Packed, plain_attention, share_passes
from toolgen.inference.cache import KeyValues
from toolgen.inference.passes import Part, Runner, row_states
from toolgen.inference.written_attention import BLOCK, written_attention
from toolgen.testing import tiny_model

SLIDING: dict[str, Any] = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
GEMMA: dict[str, Any] = {"sliding_window": 8, "attn_logit_softcapping": 0.5, "head_dim": 16}
MODELS = ("llama", "qwen2", "gpt2", "sliding", "bounded")


def model_of(kind: str) -> PreTrainedModel:
    """A random model; `sliding` attends through a window in one of its layers, `bounded` bounds its scores as well."""
    if kind == "sliding":
        return tiny_model("qwen2", **SLIDING)
    if kind != "bounded":
        return tiny_model(kind)  # type: ignore[arg-type]
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 512}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "pad_token_id": 0, "initializer_range": 0.3}
    model: PreTrainedModel = transformers.Gemma2ForCausalLM(transformers.Gemma2Config(**shape, **heads, **GEMMA))
    return model.eval()


def sequences(seed: int, lengths: tuple[int, ...] = (5, 20, 20, 1, 33)) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(512) for _ in range(length)] for length in lengths]


def alone(model: PreTrainedModel, ids: list[int]) -> Tensor:
    with torch.inference_mode():
        states: Tensor = model.base_model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0]
    return states


def packed(model: PreTrainedModel, given: list[list[int]]) -> list[Tensor]:
    places = torch.cat([torch.arange(len(ids)) for ids in given])
    ids_T = torch.tensor([token for ids in given for token in ids])
    with torch.inference_mode():
        states = row_states(model.base_model, Packed([*map(len, given)]), places, ids_T=ids_T)
    return [*torch.split(states, [*map(len, given)])]


def cached(model: PreTrainedModel, given: list[list[int]]) -> list[Tensor]:
    """All sequences in four passes that take a part of each, with caches of their own."""
    runner, caches = Runner(model, weights="full"), [KeyValues() for _ in given]
    states: list[list[Tensor]] = [[] for _ in given]
    for part in range(4):
        chosen = [(i, ids[part * len(ids) // 4 : (part + 1) * len(ids) // 4]) for i, ids in enumerate(given)]
        chosen = [(i, new) for i, new in chosen if new]
        found = runner.run([Part(ids=new, cache=caches[i], keep=len(new), rows=None) for i, new in chosen])
        for (i, _), one in zip(chosen, found, strict=True):
            states[i].append(one)
    return [torch.cat(parts) for parts in states]


@pytest.mark.parametrize("kind", MODELS)
def test_each_sequence_gets_what_it_gets_alone(kind: str) -> None:
    model, given = model_of(kind), sequences(1)
    expected = [alone(model, ids) for ids in given]
    share_passes(model)
    for found in ([alone(model, ids) for ids in given], packed(model, given), cached(model, given)):
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_passes_of_all_kinds_run_at_the_same_time_on_one_model() -> None:
    model = model_of("sliding")
    share_passes(model)
    given = [sequences(seed) for seed in range(12)]
    expected = [[alone(model, ids) for ids in one] for one in given]

    def run(number: int) -> list[Tensor]:
        if number % 3 == 2:
            return [alone(model, ids) for ids in given[number]]
        return (packed if number % 3 else cached)(model, given[number])

    with ThreadPoolExecutor(6) as pool:
        for found, one in zip(pool.map(run, range(12)), expected, strict=True):
            for states, other in zip(found, one, strict=True):
                torch.testing.assert_close(states, other, rtol=1e-4, atol=1e-5)


def test_transformers_own_generation_goes_on_as_before() -> None:
    model, ids = tiny_model(), torch.tensor([sequences(3)[1]])
    options: dict[str, Any] = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    before = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    share_passes(model)
    assert torch.equal(model.generate(ids, attention_mask=torch.ones_like(ids), **options), before)


def test_what_is_saved_does_not_know_of_it(tmp_path: Any) -> None:
    model = tiny_model()
    share_passes(model)
    model.save_pretrained(tmp_path)
    assert NAME not in (tmp_path / "config.json").read_text(encoding="utf-8")


def test_a_model_that_attends_in_a_way_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    monkeypatch.setattr(type(model), "_supports_sdpa", False)
    with pytest.raises(CheckpointError, match="cannot run llama models, which do not attend by PyTorch's"):
        share_passes(model)
    monkeypatch.undo()
    monkeypatch.setattr(type(model), "_can_set_attn_implementation", lambda _self: False)
    with pytest.raises(CheckpointError, match="llama models, which bring an attention of their own"):
        share_passes(model)


def test_a_recurrent_model_is_refused() -> None:
    config = transformers.MambaConfig(hidden_size=16, num_hidden_layers=1, vocab_size=64)
    with pytest.raises(CheckpointError, match="mamba models, which have recurrent"):
        share_passes(transformers.MambaForCausalLM(config))


@pytest.mark.parametrize("shared", [1, 2, 6])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bf16", "autocast"])
def test_attention_that_is_written_out_for_training_in_bf16_has_the_states_and_gradients_of_pytorchs(
    monkeypatch: pytest.MonkeyPatch, shared: int, dtype: torch.dtype
) -> None:
    given = [torch.randn(3, heads, 17, 8, dtype=dtype) for heads in (6, shared, shared)]
    wanted = torch.randn(3, 17, 6, 8)
    module, found = torch.nn.Module(), []
    module.num_key_value_groups = 6 // shared  # type: ignore[assignment]
    for longest in (attention.LONGEST_WRITTEN_OUT, 0):  # written out, and PyTorch's own
        monkeypatch.setattr(attention, "LONGEST_WRITTEN_OUT", longest)
        inputs = [one.clone().requires_grad_() for one in given]
        query, key, value = inputs
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.float32):
            states = plain_attention(module, query, key, value, None, scaling=0.3, is_causal=True)
        (states.float() * wanted).sum().backward()  # type: ignore[no-untyped-call]
        found.append([states.float(), *(one.grad.float() for one in inputs if one.grad is not None)])
    written_out, own = found
    assert not torch.equal(written_out[0], own[0])  # two ways, in bf16
    for one, other in zip(written_out, own, strict=True):
        assert (one - other).norm() < 0.02 * other.norm()


@pytest.mark.parametrize("tokens", [1, BLOCK - 1, BLOCK, 2 * BLOCK + 3])
def test_written_attention_is_pytorchs_in_every_digit_whatever_the_blocks(tokens: int) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(2, heads, tokens, 8, dtype=torch.float64, requires_grad=True) for heads in (6, 2, 2)]
    wanted = torch.randn(2, 6, tokens, 8, dtype=torch.float64)
    ways: list[Callable[[Tensor, Tensor, Tensor], Tensor]] = [
        lambda query, key, value: written_attention(query, key, value, 0.3),
        lambda query, key, value: scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=0.3, enable_gqa=True
        ),
    ]
    (states, gradients), (own_states, own_gradients) = (
        (taken, torch.autograd.grad((taken * wanted).sum(), inputs)) for taken in (way(*inputs) for way in ways)
    )
    torch.testing.assert_close(states, own_states)
    torch.testing.assert_close(gradients, own_gradients)
