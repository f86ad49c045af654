"""First values of the new rows: each method, tied and untied, beside a base that is padded or not."""

from __future__ import annotations

import pytest
import torch

from toolgen.catalog import Catalog, Tool
from toolgen.checkpoint import Checkpoint
from toolgen.testing import tiny_catalog, tiny_checkpoint, tiny_model, tiny_tokenizer
from toolgen.virtualization import INITIALIZATIONS, Initialization, output_rows, resize_rows

methods = pytest.mark.parametrize("method", INITIALIZATIONS)
ties = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])


def input_rows(checkpoint: Checkpoint) -> torch.Tensor:
    ids = checkpoint.vocabulary.action_token_ids
    rows: torch.Tensor = checkpoint.model.get_input_embeddings().weight[ids.start : ids.stop]
    return rows


@methods
@ties
def test_new_rows_are_as_long_as_the_bases_and_no_two_tools_start_alike(method: Initialization, tied: bool) -> None:
    checkpoint = tiny_checkpoint(tied=tied, initialization=method)
    for rows, matrix in (
        (input_rows(checkpoint), checkpoint.model.get_input_embeddings().weight),
        (checkpoint.action_rows, output_rows(checkpoint.model)),
    ):
        length = matrix[: checkpoint.vocabulary.first_id].norm(dim=1).mean()
        assert rows.shape == (2 + len(tiny_catalog()), 32)
        torch.testing.assert_close(rows.norm(dim=1), length.expand(len(rows)), rtol=1e-4, atol=0)
    # Two tools look the same by name; their descriptions tell them apart.
    alike = 1 if method == "name" else 0
    assert len({*map(tuple, checkpoint.tool_rows.tolist())}) >= len(tiny_catalog()) - alike


@ties
def test_by_name_a_row_points_to_the_mean_of_the_names_tokens_in_each_matrix(tied: bool) -> None:
    tokenizer = tiny_tokenizer()
    model = tiny_model(tied=tied, rows=len(tokenizer))
    inputs, outputs = model.get_input_embeddings().weight.clone(), output_rows(model).clone()
    checkpoint = Checkpoint.from_model(model, tokenizer, tiny_catalog(), base="tiny", initialization="name")
    position = checkpoint.catalog.position("weather&&get_alerts")
    ids = tiny_tokenizer()(" weather get alerts", add_special_tokens=False)["input_ids"]
    for rows, matrix in ((input_rows(checkpoint)[2:], inputs), (checkpoint.tool_rows, outputs)):
        cosine = torch.cosine_similarity(rows[position], matrix[ids].mean(0), dim=0)
        assert cosine > 0.9999


@ties
def test_the_bases_rows_stay_as_they_were(tied: bool) -> None:
    before = tiny_model(tied=tied, rows=len(tiny_tokenizer()))
    after = tiny_checkpoint(tied=tied)
    first = after.vocabulary.first_id
    assert torch.equal(before.get_input_embeddings().weight, after.model.get_input_embeddings().weight[:first])
    assert torch.equal(output_rows(before), output_rows(after.model)[:first])


@ties
def test_a_tie_stays_a_tie_and_untied_matrices_stay_two(tied: bool) -> None:
    model = tiny_checkpoint(tied=tied).model
    assert (model.get_input_embeddings().weight is output_rows(model)) is tied
    assert torch.equal(model.get_input_embeddings().weight, output_rows(model)) is tied


@ties
def test_by_documentation_tools_that_share_rare_words_start_close_together(tied: bool) -> None:
    tools = [
        Tool(id="a", provider="", name="open_umbrella", description="Opens the umbrella against rain"),
        Tool(id="b", provider="", name="umbrella_stand", description="Where the umbrella dries after rain"),
        Tool(id="c", provider="", name="play_piano", description="Plays a sonata on the piano"),
    ]
    rows = tiny_checkpoint(tied=tied, catalog=Catalog(tools), initialization="documentation").tool_rows
    related, unrelated = (torch.cosine_similarity(rows[0], rows[i], dim=0) for i in (1, 2))
    assert related > unrelated + 0.1


def test_random_rows_follow_the_seed() -> None:
    first, again, other = (tiny_checkpoint(initialization="random", seed=seed).tool_rows for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("extra", [0, 3, 500])
def test_a_base_that_is_padded_beyond_its_tokenizer_gives_its_spare_rows_first(extra: int) -> None:
    checkpoint = tiny_checkpoint(architecture="qwen2", tied=False, extra_rows=extra)
    base = len(tiny_tokenizer())
    assert checkpoint.vocabulary.first_id == base
    rows = checkpoint.model.get_input_embeddings().weight.shape[0]
    assert (
        rows == output_rows(checkpoint.model).shape[0] == max(base + extra, checkpoint.vocabulary.action_token_ids.stop)
    )
    assert checkpoint.model.config.vocab_size == rows


def test_rows_are_never_taken_away() -> None:
    model = tiny_model(rows=64)
    resize_rows(model, 10)
    assert output_rows(model).shape[0] == 64
