"""The loss and its gradients, against plain transformers; what is frozen stays frozen; which models are refused."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from toolgen.checkpoint import Checkpoint
from toolgen.errors import CheckpointError, UsageError
from toolgen.testing import ARCHITECTURES, Architecture, tiny_catalog, tiny_checkpoint, tiny_tokenizer
from toolgen.training.collate import collate, micro_batches
from toolgen.training.examples import TrainingExample, choice_example, conversation_example
from toolgen.training.model import TrainableModel, check_logits
from toolgen.virtualization import output_rows

architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)
ties = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])


def examples_for(checkpoint: Checkpoint) -> list[TrainingExample]:
    """Single targets, target sets, text, tool tokens in the input, of very different lengths."""
    vocabulary, protocol = checkpoint.vocabulary, checkpoint.protocol
    tokens = [*vocabulary.action_token_ids]
    examples = []
    for i, tool in enumerate(tiny_catalog()):
        prompt = protocol.prompt([{"role": "user", "content": tool.description * (1 + i % 3)}])
        ids = [*prompt, vocabulary.token_id(tool.id), *protocol.after_tool(tool.id)[: 3 * i]]
        mask = [position >= len(prompt) for position in range(len(ids))]
        examples.append(conversation_example(ids, mask, vocabulary.action_token_ids))
        examples.append(TrainingExample(tuple(prompt), choices=((len(prompt) - 1, tuple(tokens[i : i + 1 + i % 3])),)))
    return examples


def losses(trainable: TrainableModel, parts: list[list[TrainingExample]]) -> torch.Tensor:
    total = torch.zeros(())
    for part in parts:
        found = trainable(collate(part))
        total = total + found.choice + 0.5 * found.text
    return total


def backward(loss: torch.Tensor) -> None:
    torch.autograd.backward(loss)


def gradients(trainable: TrainableModel) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in trainable.named_parameters() if p.grad is not None}


@architectures
@ties
@pytest.mark.parametrize("extra_rows", [0, 100], ids=["fitting", "padded"])
def test_the_loss_is_cross_entropy_against_the_uniform_distribution_over_the_targets(
    architecture: Architecture, tied: bool, extra_rows: int
) -> None:
    checkpoint = tiny_checkpoint(architecture=architecture, tied=tied, extra_rows=extra_rows)
    examples, stop = examples_for(checkpoint)[::4], checkpoint.vocabulary.action_token_ids.stop
    choice = text = 0.0
    with torch.no_grad():
        for example in examples:
            logits = checkpoint.model(input_ids=torch.tensor([example.ids])).logits[0, :, :stop]
            for position, targets in example.choices:
                uniform = torch.zeros(stop)
                uniform[list(targets)] = 1 / len(targets)
                choice += float(torch.nn.functional.cross_entropy(logits[position], uniform))
            for position in example.text:
                text += float(
                    torch.nn.functional.cross_entropy(logits[position], torch.tensor(example.ids[position + 1]))
                )
        found = TrainableModel(checkpoint)(collate(examples))
    assert float(found.choice) == pytest.approx(choice, rel=1e-4)
    assert float(found.text) == pytest.approx(text, rel=1e-4)


def test_gradients_are_those_of_the_plain_loss_through_the_whole_model() -> None:
    checkpoint = tiny_checkpoint(tied=True)
    example, first = examples_for(checkpoint)[4], checkpoint.vocabulary.first_id
    stop = checkpoint.vocabulary.action_token_ids.stop
    trainable = TrainableModel(checkpoint)
    backward(losses(trainable, [[example]]))
    ours = gradients(trainable)
    trainable.release()

    logits = checkpoint.model(input_ids=torch.tensor([example.ids])).logits[0].log_softmax(-1)
    plain = -sum(logits[position, list(targets)].mean() for position, targets in example.choices)
    plain = plain - 0.5 * sum(logits[position, example.ids[position + 1]] for position in example.text)
    backward(plain)
    rows = checkpoint.model.get_input_embeddings().weight.grad[first:stop]
    torch.testing.assert_close(ours["input_rows"], rows, rtol=1e-3, atol=1e-5)
    layer = checkpoint.model.model.layers[0].mlp.up_proj.weight.grad
    torch.testing.assert_close(ours["trunk.layers.0.mlp.up_proj.weight"], layer, rtol=1e-3, atol=1e-5)


@ties
def test_many_small_micro_batches_give_the_gradients_of_one_large_one(tied: bool) -> None:
    checkpoint = tiny_checkpoint(architecture="qwen2", tied=tied)
    examples, trainable = examples_for(checkpoint), TrainableModel(checkpoint)
    found = []
    for budget in (16, 300, 10**6):
        trainable.zero_grad()
        parts = micro_batches(examples, budget)
        for part in parts:  # each part's backward pass adds to the same gradients
            backward(losses(trainable, [part]))
        found.append((len(parts), gradients(trainable)))
    assert [count for count, _ in found] == sorted({count for count, _ in found}, reverse=True)
    for _, other in found[1:]:
        assert other.keys() == found[0][1].keys()
        for name, gradient in other.items():
            torch.testing.assert_close(gradient, found[0][1][name], rtol=1e-4, atol=1e-5, msg=name)


@architectures
def test_packed_examples_do_not_see_each_other(architecture: Architecture) -> None:
    checkpoint = tiny_checkpoint(architecture=architecture)
    examples, trainable = examples_for(checkpoint), TrainableModel(checkpoint)
    batch = collate(examples)
    with torch.no_grad():
        packed = torch.split(trainable.hidden(batch), list(batch.lengths))
        for states, ids in zip(packed, torch.split(batch.ids_T, list(batch.lengths)), strict=True):
            alone = checkpoint.model.base_model(input_ids=ids[None]).last_hidden_state[0]
            torch.testing.assert_close(states, alone, rtol=1e-4, atol=1e-5)


def test_an_attention_that_cannot_be_exchanged_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = tiny_checkpoint()
    monkeypatch.setattr(type(checkpoint.model), "_can_set_attn_implementation", lambda _self: False)
    with pytest.raises(CheckpointError, match="llama models, which bring an attention of their own"):
        TrainableModel(checkpoint)


def test_what_is_right_nowhere_in_a_stage_is_left_out_everywhere() -> None:
    checkpoint = tiny_checkpoint(tied=False)
    untargeted, stop = checkpoint.vocabulary.tool_token_ids[3], checkpoint.vocabulary.action_token_ids.stop
    trainable = TrainableModel(checkpoint, untargeted=[untargeted])
    batch = collate(examples_for(checkpoint)[1:2])
    assert untargeted not in batch.targets_PK
    with torch.no_grad():
        logits = trainable.logits(trainable.hidden(batch)[batch.positions_P])[0]
        kept = logits[[i for i in range(stop) if i != untargeted]]
        (targets,) = batch.targets_PK
        expected = kept.logsumexp(0) - logits[targets].mean()
        torch.testing.assert_close(trainable(batch).choice, expected)


@architectures
@ties
@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_frozen_layers_and_the_bases_rows_get_no_gradient(architecture: Architecture, tied: bool, frozen: int) -> None:
    checkpoint = tiny_checkpoint(architecture=architecture, tied=tied)
    trainable = TrainableModel(checkpoint, frozen_layers=frozen)
    backward(losses(trainable, [examples_for(checkpoint)]))
    layers = next(m for m in checkpoint.model.modules() if isinstance(m, torch.nn.ModuleList))
    moved = [any(p.grad is not None for p in layer.parameters()) for layer in layers]
    assert moved == [i >= frozen for i in range(2)]
    assert checkpoint.model.get_input_embeddings().weight.grad is None
    assert output_rows(checkpoint.model).grad is None
    # Input rows that no output shares learn only where nothing is frozen.
    assert trainable.output_rows.grad is not None
    assert (trainable.input_rows.grad is not None) == (tied or not frozen)


def test_more_frozen_layers_than_there_are_is_an_error() -> None:
    with pytest.raises(UsageError, match="frozen_layers is 3; this model has 2 layers"):
        TrainableModel(tiny_checkpoint(), frozen_layers=3)


def test_choices_among_asked_tools_have_no_unasked_negatives() -> None:
    checkpoint = tiny_checkpoint(tied=False)
    ids, stop = checkpoint.vocabulary.tool_token_ids, checkpoint.vocabulary.action_token_ids.stop
    unasked = [ids[2], ids[5]]
    plain = choice_example(checkpoint.protocol.prompt([{"role": "user", "content": "a taxi"}]), [ids[0], ids[7]])
    trainable = TrainableModel(checkpoint, unasked=unasked)
    with torch.no_grad():
        logits = checkpoint.model(input_ids=torch.tensor([plain.ids])).logits[0, -1, :stop]
        kept = logits[[i for i in range(stop) if i not in unasked]]
        for example, among in ((plain, logits), (replace(plain, among_asked=True), kept)):
            expected = among.logsumexp(0) - logits[[ids[0], ids[7]]].mean()
            torch.testing.assert_close(trainable(collate([example])).choice, expected)
    backward(losses(trainable, [[replace(plain, among_asked=True)]]))
    gradient = trainable.output_rows.grad
    assert gradient is not None
    untargeted = [checkpoint.vocabulary.first_id + row for row in range(len(gradient)) if not gradient[row].any()]
    assert untargeted == unasked


@ties
def test_the_models_own_flags_come_back(tied: bool) -> None:
    checkpoint = tiny_checkpoint(tied=tied)
    checkpoint.model.model.norm.weight.requires_grad_(False)
    before = {name: p.requires_grad for name, p in checkpoint.model.named_parameters()}
    trainable = TrainableModel(checkpoint, frozen_layers=1)
    backward(losses(trainable, [examples_for(checkpoint)]))
    trainable.release()
    assert {name: p.requires_grad for name, p in checkpoint.model.named_parameters()} == before
    assert all(p.grad is None for p in checkpoint.model.parameters())


@architectures
@ties
def test_the_supported_architectures_pass_the_check_of_their_logits(architecture: Architecture, tied: bool) -> None:
    checkpoint = tiny_checkpoint(architecture=architecture, tied=tied, extra_rows=5)
    check_logits(checkpoint, TrainableModel(checkpoint))


def test_a_bias_of_the_output_matrix_counts() -> None:
    checkpoint = foreign("Phi", num_key_value_heads=2)
    with torch.no_grad():
        checkpoint.model.get_output_embeddings().bias.normal_()
    trainable = TrainableModel(checkpoint)
    check_logits(checkpoint, trainable)
    assert not checkpoint.model.get_output_embeddings().bias.requires_grad


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        (
            "Gemma2",
            {"head_dim": 16, "final_logit_softcapping": 1.0, "attn_logit_softcapping": 0.5, "sliding_window": 8},
        ),
        ("Gemma3Text", {"head_dim": 16, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}),
        ("Granite", {"logits_scaling": 8.0, "embedding_multiplier": 3.0}),
        ("Cohere", {"logit_scale": 0.0625}),
        ("Mistral", {"sliding_window": 8}),
    ],
)
def test_the_loss_of_an_architecture_that_scales_or_bounds_is_that_of_its_own_logits(
    name: str, settings: dict[str, Any]
) -> None:
    checkpoint = foreign(name, num_key_value_heads=1, initializer_range=0.3, **settings)
    example, stop = examples_for(checkpoint)[8], checkpoint.vocabulary.action_token_ids.stop
    logits = checkpoint.model(input_ids=torch.tensor([example.ids])).logits[0, :, :stop].log_softmax(-1)
    plain = -sum(logits[position, list(targets)].mean() for position, targets in example.choices)
    plain = plain - 0.5 * sum(logits[position, example.ids[position + 1]] for position in example.text)
    (expected,) = torch.autograd.grad(plain, checkpoint.model.model.layers[0].mlp.up_proj.weight)
    trainable = TrainableModel(checkpoint)
    check_logits(checkpoint, trainable)
    found = losses(trainable, [[example]])
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-5)
    backward(found)
    torch.testing.assert_close(
        gradients(trainable)["trunk.layers.0.mlp.up_proj.weight"], expected, rtol=1e-3, atol=1e-5
    )


def test_an_architecture_with_logits_of_its_own_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = tiny_checkpoint()
    monkeypatch.setattr(checkpoint.model.model, "norm", torch.nn.Identity())
    forward = checkpoint.model.forward
    monkeypatch.setattr(
        checkpoint.model, "forward", lambda **given: SimpleNamespace(logits=3 * forward(**given).logits)
    )
    with pytest.raises(CheckpointError, match="make their embeddings or logits in a way of their own") as caught:
        check_logits(checkpoint, TrainableModel(checkpoint))
    assert "\n" not in str(caught.value)


def foreign(name: str, **settings: Any) -> Checkpoint:
    tokenizer = tiny_tokenizer()
    config = getattr(transformers, f"{name}Config")(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
        **settings,
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
    return Checkpoint.from_model(model, tokenizer, tiny_catalog(), base="foreign")


@ties
@pytest.mark.parametrize("frozen", [0, 1])
def test_rows_that_stay_have_no_gradient_and_the_layers_learn_as_before(tied: bool, frozen: int) -> None:
    found = []
    for rows_stay in (False, True):
        checkpoint = tiny_checkpoint(tied=tied)
        trainable = TrainableModel(checkpoint, frozen_layers=frozen, rows_stay=rows_stay)
        assert bool(trainable.row_parameters()) is not rows_stay
        backward(losses(trainable, [examples_for(checkpoint)]))
        found.append(gradients(trainable))
    learning, staying = found
    assert {name for name in learning if not name.startswith("trunk.")} and staying.keys() == {
        name for name in learning if name.startswith("trunk.")
    }
    for name, gradient in staying.items():
        torch.testing.assert_close(gradient, learning[name], msg=name)
