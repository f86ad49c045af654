"""The losses of pretraining against their definitions, and gradients of many passes against one graph."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional

from toolgen.testing import tiny_model
from toolgen.training.pretraining.episodes import Episode
from toolgen.training.pretraining.low_rank import factors_of
from toolgen.training.pretraining.model import Pass, Pretrainer, choice_loss, parts
from toolgen.training.pretraining.slots import Conversation

DOCUMENTS = [[1, 2, 3], [4, 5, 6, 7, 8], [9, 10]]
REQUESTS = [[11, 12], [13, 14, 15], [16, 17, 18, 19]]


@pytest.fixture(params=[0, 1], ids=["whole", "upper"])
def pretrainer(request: pytest.FixtureRequest) -> Iterator[Pretrainer]:
    torch.manual_seed(0)
    made = Pretrainer(tiny_model(), rank=2, pass_tokens=32, frozen=request.param)
    for factor in made.factors:
        torch.nn.init.normal_(factor, std=0.05)
    yield made


def episode(targets: list[list[int]], hidden: list[list[int]]) -> Episode:
    return Episode([0, 1, 2], ["", "", ""], targets, hidden)


def test_parts_cover_all_texts_within_the_tokens() -> None:
    lengths = [3, 40, 17, 16, 1, 33]
    found = list(parts(lengths, 64))
    assert sorted(i for part in found for i in part) == [*range(6)]
    assert all(sum(lengths[i] for i in part) <= 64 for part in found)
    assert [lengths[i] for part in found for i in part] == sorted(lengths)


def test_a_pass_holds_texts_without_padding_and_knows_their_ends() -> None:
    found = Pass.of(DOCUMENTS, [2, 0, 1], torch.device("cpu"))
    assert found.ids_T.tolist() == [9, 10, 1, 2, 3, 4, 5, 6, 7, 8]
    assert found.places_T.tolist() == [0, 1, 0, 1, 2, 0, 1, 2, 3, 4]
    assert found.ids_T[found.last_B].tolist() == [10, 3, 8]


def test_states_are_those_of_each_text_alone(pretrainer: Pretrainer) -> None:
    together = pretrainer.encode([*DOCUMENTS, *REQUESTS])
    for text, state in zip([*DOCUMENTS, *REQUESTS], together, strict=True):
        alone = pretrainer.trunk(input_ids=torch.tensor([text])).last_hidden_state[0, -1]
        torch.testing.assert_close(state, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tokens", [8, 64], ids=["many passes", "one pass"])
def test_gradients_are_those_of_one_graph(pretrainer: Pretrainer, tokens: int) -> None:
    pretrainer._pass_tokens = tokens
    shown, soft = episode([[0], [1, 2], []], [[], [], [2]]), torch.randn(3, 3)
    bags = torch.nn.functional.normalize(torch.randn(3, 32), dim=-1)
    loss, _ = pretrainer.choice(shown, DOCUMENTS, REQUESTS, bags, soft, 0.3)
    pretrainer.settle()
    found = [parameter.grad.clone() for parameter in pretrainer.parameters() if parameter.grad is not None]
    pretrainer.zero_grad()
    states = torch.cat(
        [pretrainer.trunk(input_ids=torch.tensor([text])).last_hidden_state[:, -1] for text in [*DOCUMENTS, *REQUESTS]]
    )
    rows = torch.cat([pretrainer.maker(states[:3], bags), pretrainer.maker.actions_AD[-1:]])
    expected, _ = choice_loss(states[3:] @ rows.T, shown, soft, 0.3)
    expected.backward()  # type: ignore[no-untyped-call]
    pretrainer.settle()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    wanted = [parameter.grad for parameter in pretrainer.parameters() if parameter.grad is not None]
    assert len(wanted) == len(found)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_frozen_layers_have_no_difference(pretrainer: Pretrainer) -> None:
    changed = {name.split(".")[1] for name in factors_of(pretrainer.trunk)}
    assert ("0" in changed) == (pretrainer._frozen == 0)
    assert "1" in changed


def test_the_loss_is_cross_entropy_against_the_tools_and_the_teacher() -> None:
    logits, soft = torch.randn(2, 4), torch.randn(2, 3)
    found, _ = choice_loss(logits, Episode([0, 1, 2], ["", ""], [[1], [0, 2]], [[], []]), soft, 0.25)
    label = torch.tensor([[0, 1, 0, 0], [0.5, 0, 0.5, 0]])
    target = 0.75 * label + 0.25 * functional.pad(soft.softmax(1), (0, 1))
    torch.testing.assert_close(found, functional.cross_entropy(logits, target))


def test_a_request_whose_tools_are_hidden_learns_that_no_tool_fits_among_the_others() -> None:
    logits, soft = torch.tensor([[9.0, 1.0, 1.0, 0.5]]), torch.tensor([[5.0, 4.0, 0.0]])
    found, right = choice_loss(logits, Episode([0, 1, 2], [""], [[]], [[0]]), soft, 0.25)
    # The second tool, as good in the teacher's eyes, is hidden with the first.
    torch.testing.assert_close(found, functional.cross_entropy(torch.tensor([[1.0, 0.5]]), torch.tensor([1])))
    assert right == 0


def test_a_tools_row_stands_for_its_token_in_conversations(pretrainer: Pretrainer) -> None:
    row, slot = torch.randn(32), 500
    conversation = Conversation((1, 2, slot, 3, 4), {slot: "a"}, {1: 1.0, 3: 0.5})
    found = pretrainer.calls([conversation], {"a": row}, 1.0)
    rows_VD = torch.cat([pretrainer._rows_VD, pretrainer.maker.actions_AD.detach(), row[None]])
    ids = torch.tensor([[1, 2, len(rows_VD) - 1, 3, 4]])
    hidden = pretrainer.trunk(inputs_embeds=functional.embedding(ids, rows_VD)).last_hidden_state[0]
    losses = functional.cross_entropy(hidden[[1, 3]] @ rows_VD.T, ids[0, [2, 4]], reduction="none")
    expected = (losses[0] + 0.5 * losses[1]) / 1.5
    assert found == pytest.approx(float(expected.detach()), rel=1e-5)


def test_the_untouched_base_diverges_from_itself_by_nothing() -> None:
    pretrainer, base = Pretrainer(tiny_model(), rank=2, pass_tokens=64), tiny_model()
    assert pretrainer.replay(REQUESTS, base, 1.0) == pytest.approx(0, abs=1e-6)
    pretrainer.settle()
    torch.nn.init.normal_(pretrainer.factors[0], std=0.5)
    assert pretrainer.replay(REQUESTS, base, 1.0) > 1e-5
