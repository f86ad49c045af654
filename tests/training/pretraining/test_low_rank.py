"""The low-rank difference: nothing at first, and the same model when it is added to another copy."""

from __future__ import annotations

import pytest
import torch

from toolgen.errors import CheckpointError
from toolgen.testing import tiny_model
from toolgen.training.pretraining.low_rank import add, attach, factors_of, linear_layers


def ids() -> torch.Tensor:
    return torch.arange(12)[None]


def test_a_new_difference_changes_nothing_and_the_rest_is_frozen() -> None:
    model = tiny_model()
    before = model(input_ids=ids()).logits
    factors = attach(model.base_model, 2)
    assert torch.equal(model(input_ids=ids()).logits, before)
    trained = [parameter for parameter in model.base_model.parameters() if parameter.requires_grad]
    assert {id(one) for one in trained} == {id(one) for one in factors}
    assert len(factors) == 2 * sum(1 for _ in linear_layers(model.base_model))


def test_a_saved_difference_added_to_another_copy_gives_the_trained_model() -> None:
    trained, other = tiny_model(), tiny_model()
    for factor in attach(trained.base_model, 3):
        torch.nn.init.normal_(factor, std=0.1)
    add(other.base_model, factors_of(trained.base_model))
    torch.testing.assert_close(other(input_ids=ids()).logits, trained(input_ids=ids()).logits)
    assert not torch.allclose(other(input_ids=ids()).logits, tiny_model()(input_ids=ids()).logits)


def test_the_difference_of_another_base_is_refused() -> None:
    trained, other = tiny_model(), tiny_model("qwen2")
    attach(trained.base_model, 2)
    factors = factors_of(trained.base_model)
    factors.popitem()
    with pytest.raises(CheckpointError, match="take the base that it was trained from"):
        add(other.base_model, factors)
