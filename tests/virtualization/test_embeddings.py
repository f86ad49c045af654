"""First values of the new rows: each method, tied and untied, beside a base that is padded or not."""

from __future__ import annotations

import pytest
import torch
from transformers import PhiConfig, PhiForCausalLM, PreTrainedTokenizerFast

from toolgen.catalog import Catalog, Tool
from toolgen.checkpoint import Checkpoint
from toolgen.testing import tiny_catalog, tiny_checkpoint, tiny_model, tiny_tokenizer
from toolgen.virtualization import INITIALIZATIONS, Initialization, output_rows, resize_rows
from toolgen.virtualization.vocabulary import TURN_END, TURN_START

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


@ties
@pytest.mark.parametrize("extra", [0, 100], ids=["fitting", "padded"])
@pytest.mark.parametrize("bos", ["<s>", None])
def test_turn_markers_that_the_base_lacks_start_as_its_own_beginning_and_end_of_a_text(
    tied: bool, extra: int, bos: str | None
) -> None:
    tokenizer = tiny_tokenizer(chatml=False)
    if bos:
        tokenizer.add_special_tokens({"bos_token": bos})
    model = tiny_model(tied=tied, rows=len(tokenizer) + extra)
    checkpoint = Checkpoint.from_model(model, tokenizer, tiny_catalog(), base="tiny")
    markers = checkpoint.vocabulary.marker_token_ids
    assert (
        [*markers.values()] == [*checkpoint.vocabulary.new_token_ids[:2]] == tokenizer.convert_tokens_to_ids([*markers])
    )
    eos = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    for rows in (model.get_input_embeddings().weight, output_rows(model)):
        assert torch.equal(rows[markers[TURN_START]], rows[tokenizer.bos_token_id if bos else eos])
        assert torch.equal(rows[markers[TURN_END]], rows[eos])


def test_a_base_with_turn_markers_keeps_their_rows() -> None:
    checkpoint = tiny_checkpoint()
    assert checkpoint.vocabulary.markers == ()
    assert checkpoint.vocabulary.new_token_ids == checkpoint.vocabulary.action_token_ids


def test_without_a_token_of_beginning_or_end_a_marker_starts_as_the_mean_of_all_rows() -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer(chatml=False).backend_tokenizer)
    model = tiny_model(tied=True, rows=len(tokenizer))
    mean = output_rows(model).mean(0)
    checkpoint = Checkpoint.from_model(model, tokenizer, tiny_catalog(), base="tiny")
    for token_id in checkpoint.vocabulary.marker_token_ids.values():
        torch.testing.assert_close(output_rows(model)[token_id], mean)


def test_a_bias_of_the_output_matrix_favours_no_tool_whatever_a_padded_base_had_there() -> None:
    tokenizer = tiny_tokenizer(chatml=False)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    model = PhiForCausalLM(PhiConfig(vocab_size=len(tokenizer) + 8, eos_token_id=None, bos_token_id=None, **shape))
    bias = model.get_output_embeddings().bias
    with torch.no_grad():
        bias.copy_(torch.linspace(-1, 1, len(bias)))
        bias[len(tokenizer) :] = -1e4  # padding that must never be predicted
    usual, of_the_end = bias[: len(tokenizer)].mean(), bias[tokenizer.eos_token_id].clone()
    checkpoint = Checkpoint.from_model(model, tokenizer, tiny_catalog(), base="tiny")
    ids, bias = checkpoint.vocabulary.action_token_ids, model.get_output_embeddings().bias
    torch.testing.assert_close(bias[ids.start : ids.stop], usual.expand(len(ids)))
    assert bias[checkpoint.vocabulary.marker_token_ids[TURN_END]] == of_the_end


def test_rows_are_never_taken_away() -> None:
    model = tiny_model(rows=64)
    resize_rows(model, 10)
    assert output_rows(model).shape[0] == 64
