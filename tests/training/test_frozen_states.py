"""Kept states of frozen layers: the same numbers with less work, within the memory given, and only where it is right."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from toolgen.checkpoint import Checkpoint
from toolgen.testing import ARCHITECTURES, Architecture, tiny_checkpoint
from toolgen.training.collate import MicroBatch, collate
from toolgen.training.examples import TrainingExample, choice_example, repeats
from toolgen.training.frozen_states import FrozenStates
from toolgen.training.model import TrainableModel, probe_batch

from .conftest import Runner

WITHOUT_DROPOUT = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
MIB = 2**20


def make_checkpoint(architecture: Architecture, **settings: Any) -> Checkpoint:
    dropout: dict[str, Any] = WITHOUT_DROPOUT if architecture == "gpt2" else {}
    checkpoint = tiny_checkpoint(architecture=architecture, num_hidden_layers=4, **dropout, **settings)
    checkpoint.model.train()
    return checkpoint


def requests(checkpoint: Checkpoint, count: int) -> list[TrainingExample]:
    """Examples of different lengths without tokens of tools in them."""
    tools = checkpoint.vocabulary.tool_token_ids
    texts = ["please " * (1 + i % 4) + f"number {i}" for i in range(count)]
    prompts = [checkpoint.protocol.prompt([{"role": "user", "content": text}]) for text in texts]
    return [choice_example(prompt, [tools[i % len(tools)]]) for i, prompt in enumerate(prompts)]


def counted(trainable: TrainableModel, layer: int) -> list[int]:
    """Grows by the tokens of each run of a layer."""
    tokens: list[int] = []
    layers = next(module for module in trainable.trunk.modules() if isinstance(module, torch.nn.ModuleList))
    # The attention, since a layer that is passed over is called all the same.
    attention = next(part for name, part in layers[layer].named_children() if "attn" in name)
    attention.register_forward_pre_hook(
        lambda _module, args, kwargs: tokens.append((args[0] if args else kwargs["hidden_states"]).shape[1]),
        with_kwargs=True,
    )
    return tokens


def gradients(trainable: TrainableModel, batch: MicroBatch) -> dict[str, torch.Tensor]:
    trainable.zero_grad()
    loss = trainable(batch).choice
    loss.backward()
    return {name: p.grad.clone() for name, p in trainable.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_loss_and_gradients_are_those_of_the_whole_trunk(architecture: Architecture, tied: bool) -> None:
    checkpoint = make_checkpoint(architecture, tied=tied)
    examples = requests(checkpoint, 9)
    trainable = TrainableModel(checkpoint, frozen_layers=2)
    batches = [collate(part) for part in (examples[:5], examples[3:], examples)]  # new, partly known, all known
    expected = [(trainable(batch).choice.detach(), gradients(trainable, batch)) for batch in batches]
    assert trainable.keep_frozen_states(1, probe_batch(checkpoint))
    lower, upper = counted(trainable, 1), counted(trainable, 2)
    for batch, (loss, before) in zip(batches, expected, strict=True):
        after = gradients(trainable, batch)
        torch.testing.assert_close(trainable(batch).choice, loss, rtol=1e-5, atol=0)
        assert after.keys() == before.keys()
        for name, gradient in before.items():
            torch.testing.assert_close(after[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    new = [sum(map(len, part)) for part in (examples[:5], examples[5:])]
    assert lower == new  # each example went through the lower layers once,
    assert sum(upper) == 2 * sum(len(batch.ids_T) for batch in batches)  # and through the upper ones every time


def test_the_curve_of_a_run_is_the_same_with_and_without(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, keep = list[bool](), TrainableModel.keep_frozen_states

    def spy(self: TrainableModel, *arguments: Any) -> bool:
        kept.append(keep(self, *arguments))
        return kept[-1]

    monkeypatch.setattr(TrainableModel, "keep_frozen_states", spy)
    settings: dict[str, Any] = {"steps": 8, "batch_size": 16, "frozen_share": 0.5, "micro_batch_tokens": 200}
    without, with_states = (
        run("retrieval", make_checkpoint("llama"), f"out{mib}", frozen_states_mib=mib, **settings).metrics
        for mib in (0, 64)
    )
    assert kept == [False, True]
    for one, other in zip(without, with_states, strict=True):
        for key in ("loss", "choice_loss", "gradient_norm", "tokens"):
            assert other[key] == pytest.approx(one[key], rel=1e-5)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_rows_in_training_are_read_anew_where_the_input_shares_them(tied: bool) -> None:
    checkpoint = make_checkpoint("llama", tied=tied)
    batch = probe_batch(checkpoint)  # its second example holds a token of ours
    trainable = TrainableModel(checkpoint, frozen_layers=2)
    assert trainable.keep_frozen_states(1, batch)
    with torch.no_grad():
        before = trainable.hidden(batch)
        trainable.output_rows.add_(1)
        found, again = trainable.hidden(batch), trainable.frozen_states
        trainable.frozen_states = None
        expected = trainable.hidden(batch)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    short, long = batch.lengths
    assert torch.equal(found[short:], before[short:]) == (not tied)
    assert again is not None and again.found == (short if tied else short + long)


def test_the_states_used_longest_ago_go_first_and_the_budget_is_kept() -> None:
    width, length = 8, 4
    trunk = torch.nn.Module()
    trunk.layers = torch.nn.ModuleList([torch.nn.Identity(), torch.nn.Identity()])
    trunk.config = SimpleNamespace(num_hidden_layers=2)  # type: ignore[assignment]

    def run(trunk: Any, ids_T: torch.Tensor, places_T: torch.Tensor, lengths: Any) -> torch.Tensor:
        states = ids_T[None, :, None].expand(1, -1, width).float()
        for layer in trunk.layers:
            states = layer(states)
        return states[0]

    states = FrozenStates(trunk, 1, budget=2 * length * width * 4)

    def ask(*numbers: int) -> int:
        """Runs the examples with these ids; how many of them were computed."""
        before = states.computed
        ids = torch.tensor(numbers).repeat_interleave(length)
        places = torch.arange(length).repeat(len(numbers))
        found = states.hidden(run, ids, places, [length] * len(numbers))
        assert torch.equal(found, ids[:, None].expand(-1, width).float())
        return (states.computed - before) // length

    assert [ask(1), ask(2), ask(1), ask(3)] == [1, 1, 0, 1]  # 2 was used longest ago and went
    assert [ask(1), ask(3), ask(2)] == [0, 0, 1]
    assert ask(4, 5, 6) == 3 and ask(6) == 0 and ask(5) == 0 and ask(4) == 1
    assert ask(7, 7) == 2 and ask(7) == 0  # twice in one batch, kept once


def test_dropout_switches_it_off_with_one_line_and_leaves_random_numbers_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    checkpoint = tiny_checkpoint(architecture="gpt2")
    checkpoint.model.train()
    trainable = TrainableModel(checkpoint, frozen_layers=1)
    before = torch.get_rng_state()
    with caplog.at_level(logging.WARNING):
        assert not trainable.keep_frozen_states(1, probe_batch(checkpoint))
    assert torch.equal(torch.get_rng_state(), before)
    assert trainable.frozen_states is None
    (line,) = caplog.messages
    assert "those of this gpt2 model do not repeat" in line and "\n" not in line


def test_layers_that_return_more_than_their_states_switch_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = make_checkpoint("llama")
    first, second = checkpoint.model.model.layers[:2]
    forwards: list[Callable[..., torch.Tensor]] = [first.forward, second.forward]
    monkeypatch.setattr(first, "forward", lambda *args, **kwargs: (forwards[0](*args, **kwargs),))
    monkeypatch.setattr(second, "forward", lambda states, *args, **kwargs: forwards[1](states[0], *args, **kwargs))
    assert not TrainableModel(checkpoint, frozen_layers=1).keep_frozen_states(1, probe_batch(checkpoint))
    # Where only a tensor passes the border, what the layers below it do is theirs.
    assert not TrainableModel(checkpoint, frozen_layers=3).keep_frozen_states(0, probe_batch(checkpoint))


@pytest.mark.parametrize(("frozen", "mebibytes"), [(0, 64.0), (2, 0.0)])
def test_without_frozen_layers_or_memory_nothing_is_kept(frozen: int, mebibytes: float) -> None:
    checkpoint = make_checkpoint("llama")
    trainable = TrainableModel(checkpoint, frozen_layers=frozen)
    assert not trainable.keep_frozen_states(mebibytes, probe_batch(checkpoint))
    assert trainable.frozen_states is None


def test_a_run_that_sees_nothing_twice_keeps_nothing() -> None:
    example = TrainingExample((1, 2))
    sources = {"few": [example] * 10, "many": [example] * 1000, "none": []}
    assert not repeats(sources, {"few": 0.1, "many": 0.9, "none": 3.0}, 100)
    assert repeats(sources, {"few": 0.1, "many": 0.9, "none": 3.0}, 110)
    assert not repeats(sources, {"few": 0.0, "many": 1.0}, 1000)
