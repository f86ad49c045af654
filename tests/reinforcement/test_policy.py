"""What training computes of a rollout is what was drawn: the same tokens, masks and probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from toolgen.agent import Budget, GenerativePolicy
from toolgen.agent.environments import environment_for
from toolgen.checkpoint import Checkpoint
from toolgen.datasets import Dataset
from toolgen.decoding import DecodingOptions, Sampling
from toolgen.inference.engine import Engine
from toolgen.reinforcement.policy import PolicyExample, holding, log_probabilities, policy_batch, unpacked
from toolgen.reinforcement.rollouts import Passage, Rollout, RolloutMaker
from toolgen.testing import tiny_checkpoint
from toolgen.training.model import TrainableModel

TEMPERATURE = 1.3


def rollouts(
    checkpoint: Checkpoint,
    dataset: Dataset,
    *,
    concurrency: int = 4,
    seed: str = "0",
    thought: int = 0,
    given: bool = False,
) -> list[Rollout]:
    sampling = Sampling(temperature=TEMPERATURE, seed=1)
    options = DecodingOptions(argument_tokens=8, thought_tokens=thought, sampling=sampling)
    maker = RolloutMaker(
        policy=GenerativePolicy(checkpoint, options=options),
        environment=partial(environment_for, catalog=dataset.catalog),
        budget=Budget(steps=3, tokens=40),
        concurrency=concurrency,
        given_tools=given,
    )
    every = dataset.all_tasks("train")
    tasks = [task for task in every if task.calls] if given else [*dataset.tasks["train"], *every[-2:]]
    with Engine(checkpoint.model, weights="full") as engine:
        return [one for group in maker.groups(engine, tasks, 3, seed) for one in group]


def passages(found: Sequence[Rollout]) -> list[Passage]:
    return [passage for rollout in found for passage in rollout.passages]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tied": False, "architecture": "qwen2"},
        {"architecture": "gpt2", "chatml": False},
        {"indexing": "hierarchical"},
        {"thought": 4},
    ],
    ids=["llama", "qwen2", "gpt2", "hierarchical", "thought"],
)
def test_before_the_first_update_every_probability_is_that_of_its_draw(
    dataset: Dataset, settings: dict[str, Any]
) -> None:
    made = {name: value for name, value in settings.items() if name != "thought"}
    checkpoint = tiny_checkpoint(catalog=dataset.catalog, **made)
    found = passages(rollouts(checkpoint, dataset, thought=settings.get("thought", 0)))
    trainable = TrainableModel(checkpoint, frozen_layers=1).eval()
    batch = policy_batch([PolicyExample(passage, 1.0) for passage in found])
    log_P = log_probabilities(trainable, batch, temperature=TEMPERATURE)
    assert len(log_P) == sum(len(passage.drawn) for passage in found) > 20
    assert float(batch.drawn_P.std()) > 0.3, "some are likely, others are not"
    torch.testing.assert_close(log_P.detach(), batch.drawn_P, rtol=0, atol=2e-5)
    trained = [parameter for parameter in trainable.parameters() if parameter.requires_grad]
    assert all(gradient.any() for gradient in torch.autograd.grad(log_P.sum(), trained))


def test_a_probability_is_that_of_the_model_itself_among_what_was_allowed(
    checkpoint: Checkpoint, dataset: Dataset
) -> None:
    for passage in passages(rollouts(checkpoint, dataset))[:4]:
        logits = checkpoint.model(input_ids=torch.tensor([passage.ids])).logits[0].detach() / TEMPERATURE
        for one in passage.drawn:
            allowed = np.unpackbits(np.frombuffer(one.allowed, dtype=np.uint8)).nonzero()[0]
            assert one.token in allowed and len(allowed) > 1
            scores = logits[one.place - 1]
            expected = scores[one.token] - scores[torch.from_numpy(allowed)].logsumexp(0)
            assert one.log_probability == pytest.approx(float(expected), abs=1e-4)


def test_tools_are_drawn_among_tools_and_arguments_among_text(checkpoint: Checkpoint, dataset: Dataset) -> None:
    actions = checkpoint.vocabulary.action_token_ids
    kinds = set()
    for passage in passages(rollouts(checkpoint, dataset)):
        for one in passage.drawn:
            allowed = {*np.unpackbits(np.frombuffer(one.allowed, dtype=np.uint8)).nonzero()[0].tolist()}
            behind = checkpoint.tokenizer.decode(passage.ids[: one.place])
            if allowed <= {*actions}:
                assert behind.endswith("<|im_start|>assistant\n")
                kinds.add("tool")
            elif allowed & {*actions}:
                assert allowed == {*actions[2:], checkpoint.protocol.end_id}, (
                    "a further call, or the end of the message"
                )
                kinds.add("further")
            else:
                assert "{" in behind[-20:]
                kinds.add("argument")
    assert kinds == {"tool", "further", "argument"}


@pytest.mark.parametrize("indexing", ["atomic", "hierarchical"])
def test_a_tool_that_is_given_is_no_choice_of_the_model(dataset: Dataset, indexing: Any) -> None:
    checkpoint = tiny_checkpoint(catalog=dataset.catalog, indexing=indexing)
    found = passages([one for seed in "012" for one in rollouts(checkpoint, dataset, seed=seed, given=True)])
    batch = policy_batch([PolicyExample(passage, 1.0) for passage in found])
    log_P = log_probabilities(TrainableModel(checkpoint).eval(), batch, temperature=TEMPERATURE)
    torch.testing.assert_close(log_P.detach(), batch.drawn_P, rtol=0, atol=2e-5)
    new = checkpoint.vocabulary.new_token_ids
    assert len(log_P) and not unpacked(batch.allowed_PB)[:, new.start : new.stop].any(), "arguments alone"


def test_a_passage_is_as_long_as_the_conversation_goes_on_in_the_same_tokens(
    checkpoint: Checkpoint, dataset: Dataset
) -> None:
    found = [one for seed in "0123" for one in rollouts(checkpoint, dataset, seed=seed)]
    for rollout in found:
        for before, after in zip(rollout.passages, rollout.passages[1:], strict=False):
            assert after.ids[: len(before)] != before.ids
        for passage in rollout.passages:
            assert [one.place for one in passage.drawn] == sorted(one.place for one in passage.drawn)
            assert passage.drawn[-1].place == len(passage)
    assert any(len(one.passages) == 1 and one.trajectory.outcome.calls > 1 for one in found)


def test_what_is_drawn_depends_on_the_seed_and_not_on_what_runs_beside_it(
    checkpoint: Checkpoint, dataset: Dataset
) -> None:
    def drawn(**settings: Any) -> list[list[int]]:
        return [[one.token for one in passage.drawn] for passage in passages(rollouts(checkpoint, dataset, **settings))]

    alone = drawn(concurrency=1)
    assert alone == drawn(concurrency=8) != drawn(seed="1")


def test_bits_are_unpacked_as_they_were_packed() -> None:
    masks = np.random.default_rng(0).random((5, 43)) < 0.5
    packed = torch.from_numpy(np.packbits(masks, axis=1))
    assert (unpacked(packed)[:, :43].numpy() == masks).all()


def test_other_weights_are_held_for_a_while_only() -> None:
    layer = torch.nn.Linear(2, 2)
    parameters, before = dict(layer.named_parameters()), layer.weight.clone()
    with holding(parameters, {name: torch.zeros_like(one) for name, one in parameters.items()}):
        assert not layer.weight.any()
    assert torch.equal(layer.weight, before)
