"""Tools of several tokens under BPE, WordPiece and Unigram: the same tokens alone, in a conversation and after saving."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from toolgen.catalog import Catalog, Tool
from toolgen.checkpoint import Checkpoint
from toolgen.checkpoint.layout import METADATA
from toolgen.datasets.messages import FINISH, NO_TOOL
from toolgen.errors import CheckpointError
from toolgen.testing import TOKENIZER_KINDS, TokenizerKind, tiny_catalog, tiny_checkpoint, tiny_dataset
from toolgen.virtualization import INDEXINGS, Indexing, output_rows

several = pytest.mark.parametrize("indexing", [one for one in INDEXINGS if one != "atomic"])
kinds = pytest.mark.parametrize("kind", TOKENIZER_KINDS)


@several
@kinds
def test_the_tokenizer_cuts_every_tool_into_its_sequence_also_after_saving(
    indexing: Indexing, kind: TokenizerKind, tmp_path: Path
) -> None:
    checkpoint = tiny_checkpoint(indexing=indexing, tokenizer=kind)
    checkpoint.save(tmp_path / "checkpoint")
    loaded = Checkpoint.load(tmp_path / "checkpoint")
    assert loaded.vocabulary == checkpoint.vocabulary and loaded.metadata == checkpoint.metadata
    assert json.loads((tmp_path / "checkpoint" / METADATA).read_text())["vocabulary"]["indexing"] == indexing
    for tool_id in loaded.catalog.ids:
        text, sequence = loaded.vocabulary.token(tool_id), list(loaded.vocabulary.sequence(tool_id))
        assert loaded.tokenizer(text, add_special_tokens=False)["input_ids"] == sequence
        assert loaded.vocabulary.tool_id(*sequence) == tool_id


@several
@kinds
def test_a_conversation_is_the_same_put_together_and_rendered_whole(indexing: Indexing, kind: TokenizerKind) -> None:
    checkpoint = tiny_checkpoint(indexing=indexing, tokenizer=kind)
    protocol, vocabulary = checkpoint.protocol, checkpoint.vocabulary
    for run in tiny_dataset().trajectories["train"][::6]:
        user, call = run.messages[0], run.messages[1]
        tool = call["tool_calls"][0]["function"]["name"]
        whole, written = protocol.supervised([user, call])
        start = protocol.prompt([user])
        named = [*start, *vocabulary.sequence(tool), *protocol.after_tool(tool)]
        assert whole[: len(named)] == named
        assert all(written[len(start) : len(start) + len(vocabulary.sequence(tool))])
        assert not any(written[: len(start)])


@several
def test_rows_of_shared_tokens_are_as_long_as_the_bases_and_point_to_the_tools_that_use_them(
    indexing: Indexing,
) -> None:
    checkpoint, atomic = tiny_checkpoint(indexing=indexing), tiny_checkpoint()
    vocabulary, matrix = checkpoint.vocabulary, output_rows(checkpoint.model)
    length = matrix[: vocabulary.first_id].norm(dim=1).mean()
    assert checkpoint.action_rows.shape == (len(vocabulary.action_token_ids), 32)
    torch.testing.assert_close(
        checkpoint.action_rows.norm(dim=1), length.expand(len(checkpoint.action_rows)), rtol=1e-4, atol=0
    )
    unit = torch.nn.functional.normalize(atomic.tool_rows)
    for token in vocabulary.tool_token_ids:
        users = [i for i, sequence in enumerate(vocabulary.sequences) if token in sequence]
        assert torch.cosine_similarity(matrix[token], unit[users].mean(0), dim=0) > 0.999
    torch.testing.assert_close(checkpoint.action_rows[:2], atomic.action_rows[:2])


@several
def test_one_vector_a_tool_for_the_map(indexing: Indexing) -> None:
    assert tiny_checkpoint(indexing=indexing).tool_vectors().shape == (len(tiny_catalog()), 32)
    assert torch.equal(tiny_checkpoint().tool_vectors(), tiny_checkpoint().tool_rows)


def change_a_sequence(vocabulary: dict[str, Any]) -> None:
    vocabulary["sequences"]["mail&&send"][-1] = vocabulary["sequences"]["mail&&search"][-1] + 1


def swap_two(vocabulary: dict[str, Any]) -> None:
    found = vocabulary["sequences"]
    found["mail&&send"], found["mail&&search"] = found["mail&&search"], found["mail&&send"]


@pytest.mark.parametrize("damage", [change_a_sequence, swap_two])
def test_sequences_that_the_tokenizer_does_not_write_are_noticed(damage: Any, tmp_path: Path) -> None:
    tiny_checkpoint(indexing="numeric").save(tmp_path / "checkpoint")
    path = tmp_path / "checkpoint" / METADATA
    metadata = json.loads(path.read_text(encoding="utf-8"))
    damage(metadata["vocabulary"])
    path.write_text(json.dumps(metadata), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"do not round-trip|cannot be told apart"):
        Checkpoint.load(tmp_path / "checkpoint")


@several
def test_twins_one_tool_and_thousands_have_a_sequence_each(indexing: Indexing) -> None:
    twins = [Tool(id=f"a&&b#{i}", provider="a", name="b", description="The same.") for i in range(30)]
    many = [Tool(id=f"t{i}", provider=f"p{i % 50}", name=f"do {i}", description=f"word{i % 9}") for i in range(2000)]
    for tools in (twins, twins[:1], many):
        vocabulary = tiny_checkpoint(catalog=Catalog(tools), indexing=indexing).vocabulary
        assert len({*vocabulary.sequences}) == len(tools)
        assert all(len(sequence) >= 1 for sequence in vocabulary.sequences)


@several
def test_actions_stay_one_token_in_front(indexing: Indexing) -> None:
    vocabulary = tiny_checkpoint(indexing=indexing).vocabulary
    assert [vocabulary.sequence(name) for name in (FINISH, NO_TOOL)] == [
        (vocabulary.first_id,),
        (vocabulary.first_id + 1,),
    ]


def test_tools_that_requests_ask_for_together_share_codes_more_often() -> None:
    tools = [Tool(id=f"t{i}", provider="", name=f"n{i}", description=f"{i} word {i * i}") for i in range(60)]
    catalog, together = Catalog(tools), [(f"t{i}", f"t{59 - i}") for i in range(30)]

    def shared(tool_sets: list[tuple[str, str]]) -> int:
        from toolgen.testing import tiny_model, tiny_tokenizer

        tokenizer = tiny_tokenizer()
        model = tiny_model(rows=len(tokenizer))
        made = Checkpoint.from_model(model, tokenizer, catalog, base="tiny", indexing="codes", tool_sets=tool_sets)
        return sum(made.vocabulary.sequence(a)[0] == made.vocabulary.sequence(b)[0] for a, b in together)

    assert shared(together) > shared([])
