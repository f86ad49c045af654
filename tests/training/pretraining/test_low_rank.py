"""The low-rank difference: nothing at first, and the same model when it is added to another copy."""

from __future__ import annotations

import pytest
import torch

from toolgen.errors import CheckpointError
from toolgen.testing import tiny_model
from toolgen.training.pretraining.low_rank import LowRank, add, attach, factors_of, linear_layers, put_back


def ids() -> torch.Tensor:
    return torch.arange(12)[None]


def test_a_new_difference_changes_nothing_and_the_rest_is_frozen() -> None:
    model = tiny_model()
    before = model(input_ids=ids()).logits
    differences = attach(model.base_model, 2)
    assert torch.equal(model(input_ids=ids()).logits, before)
    trained = [parameter for parameter in model.base_model.parameters() if parameter.requires_grad]
    assert {id(one) for one in trained} == {id(one) for each in differences for one in each.parameters()}
    assert len(differences) == sum(1 for _ in linear_layers(model.base_model))


def test_factors_get_the_gradient_that_autograd_gives_them_and_the_sum_is_made_anew() -> None:
    difference = LowRank(torch.zeros(4, 3), rank=2)
    torch.nn.init.normal_(difference.left_OK)
    weight_OI, inputs_TI, wanted_TO = torch.randn(4, 3), torch.randn(5, 3), torch.randn(5, 4)
    for part in (slice(0, 2), slice(2, 5)):  # two passes
        (inputs_TI[part] @ difference(weight_OI).T * wanted_TO[part]).sum().backward()
    difference.settle()
    left_OK, right_KI = (one.detach().clone().requires_grad_() for one in (difference.left_OK, difference.right_KI))
    (inputs_TI @ (weight_OI + left_OK @ right_KI).T * wanted_TO).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(difference.left_OK.grad, left_OK.grad)
    torch.testing.assert_close(difference.right_KI.grad, right_KI.grad)
    with torch.no_grad():
        difference.left_OK.zero_()
    assert torch.equal(difference(weight_OI), weight_OI)


def test_a_saved_difference_added_to_another_copy_gives_the_trained_model() -> None:
    trained, other = tiny_model(), tiny_model()
    for difference in attach(trained.base_model, 3):
        torch.nn.init.normal_(difference.left_OK, std=0.1)
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


def test_a_saved_difference_is_put_back_where_it_fits() -> None:
    trained, other = tiny_model(), tiny_model()
    for difference in attach(trained.base_model, 2):
        torch.nn.init.normal_(difference.left_OK, std=0.1)
    attach(other.base_model, 2)
    put_back(other.base_model, factors_of(trained.base_model))
    torch.testing.assert_close(other(input_ids=ids()).logits, trained(input_ids=ids()).logits)
    narrow = tiny_model()
    attach(narrow.base_model, 1)
    with pytest.raises(CheckpointError, match="take the base, `rank` and `frozen_share`"):
        put_back(narrow.base_model, factors_of(trained.base_model))
