"""Training where a tool is several tokens: teacher forcing over each tool's sequence, in every stage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from toolgen.checkpoint import Checkpoint
from toolgen.datasets import Dataset
from toolgen.retrieval.generative import GenerativeRetriever
from toolgen.testing import tiny_checkpoint
from toolgen.training import STAGES, StageConfig
from toolgen.training.collate import collate
from toolgen.training.examples import sequence_example, targets_of
from toolgen.training.model import TrainableModel
from toolgen.training.run import _unasked
from toolgen.training.sources import keywords, recall, requests, trajectories, view_source
from toolgen.virtualization import INDEXINGS, Indexing

from .conftest import Runner

SEVERAL: list[Indexing] = [one for one in INDEXINGS if one != "atomic"]
several = pytest.mark.parametrize("indexing", SEVERAL)
CONFIG = StageConfig(max_tokens=320)


@pytest.mark.parametrize("indexing", INDEXINGS)
def test_every_indexing_goes_through_all_stages_and_finds_tools(
    indexing: Indexing, run: Runner, dataset: Dataset, tmp_path: Path
) -> None:
    checkpoint = tiny_checkpoint(indexing=indexing)
    for stage in STAGES:
        checkpoint = run(stage, checkpoint, stage, steps=2)
    loaded = Checkpoint.load(tmp_path / stage)
    assert loaded.vocabulary == checkpoint.vocabulary and len(loaded.stages) == len(STAGES)
    ranking, again = (GenerativeRetriever(one).search(["a taxi"], k=5)[0] for one in (checkpoint, loaded))
    assert ranking.tools == again.tools and len(set(ranking.tools)) == 5


@several
def test_training_teaches_a_tool_its_whole_sequence(indexing: Indexing, run: Runner, dataset: Dataset) -> None:
    trained = run(
        "retrieval", tiny_checkpoint(indexing=indexing), steps=80, batch_size=16, shares={"requests": 1.0}, blend=1.0
    )
    queries = [query for query in dataset.queries["train"] if len(query.tools) == 1]
    found = GenerativeRetriever(trained).search([query.text for query in queries], k=1)
    right = [query.tools == ranking.tools for query, ranking in zip(queries, found, strict=True)]
    assert sum(right) > 0.9 * len(right)


def test_each_token_of_a_sequence_is_a_choice_behind_those_before_it() -> None:
    example = sequence_example([5, 6], [100, 101, 102], among_asked=True)
    assert example.ids == (5, 6, 100, 101) and example.among_asked
    assert example.choices == ((1, (100,)), (2, (101,)), (3, (102,)))
    assert sequence_example([5, 6], [100]).choices == ((1, (100,)),)


@several
def test_a_request_for_two_tools_is_one_example_a_tool(indexing: Indexing, dataset: Dataset) -> None:
    checkpoint = tiny_checkpoint(indexing=indexing)
    examples = requests(checkpoint, dataset, CONFIG)
    asked = [(query, tool) for query in dataset.queries["train"] for tool in query.tools]
    assert len(examples) == len(asked) > len([query for query in dataset.queries["train"] if query.tools])
    for (query, tool), example in zip(asked, examples, strict=True):
        prompt = checkpoint.protocol.prompt([{"role": "user", "content": query.text}])
        sequence = checkpoint.vocabulary.sequence(tool)
        assert example == sequence_example(prompt, sequence, among_asked=True, request=query.text)
    assert targets_of(examples) == targets_of(list(examples))


@several
def test_documentation_conversations_and_recall_use_the_sequences(indexing: Indexing, dataset: Dataset) -> None:
    checkpoint = tiny_checkpoint(indexing=indexing)
    vocabulary, read = checkpoint.vocabulary, checkpoint.tokenizer.decode
    tool = dataset.catalog[1]
    sequence = vocabulary.sequence(tool.id)
    for source in (view_source("description"), keywords):
        chosen = {tuple(token for _, (token,) in example.choices) for example in source(checkpoint, dataset, CONFIG)}
        assert chosen == {*vocabulary.sequences}
    example = recall(checkpoint, dataset, CONFIG)[1]
    start = example.ids.index(sequence[0])
    assert example.ids[start : start + len(sequence)] == sequence
    assert example.text[0] == start + len(sequence) - 1
    written = read([example.ids[i + 1] for i in example.text])
    assert written.startswith("<|im_end|>\n<|im_start|>documentation\n") and written.endswith("<|im_end|>\n")
    conversation = trajectories(checkpoint, dataset, CONFIG)[0]
    new = [token for _, (token,) in conversation.choices]
    assert new == [
        token
        for name in ("weather&&get_forecast", "finish")
        for token in vocabulary.sequence(name)
        if token in vocabulary.action_token_ids
    ]


@several
def test_only_tokens_that_no_asked_tool_uses_are_left_out(indexing: Indexing, dataset: Dataset) -> None:
    from dataclasses import replace

    checkpoint, keep = tiny_checkpoint(indexing=indexing), {"weather&&get_forecast", "mail&&send"}
    asked = tuple(query for query in dataset.queries["train"] if {*query.tools} <= keep)
    few = replace(dataset, queries={"train": asked}, trajectories={})
    left_out = set(_unasked(checkpoint, few))
    used = {token for tool in keep for token in checkpoint.vocabulary.sequence(tool)}
    assert left_out == {*checkpoint.vocabulary.tool_token_ids} - used
    trainable = TrainableModel(checkpoint, unasked=sorted(left_out))
    example = requests(checkpoint, few, CONFIG)[0]
    assert torch.isfinite(trainable(collate([example])).choice)
