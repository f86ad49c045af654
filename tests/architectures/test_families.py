"""Every family of models either works in every part, with the numbers of plain transformers, or is refused in one line."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel
from typer.testing import CliRunner

from toolgen.checkpoint import Checkpoint
from toolgen.cli.app import make_app
from toolgen.datasets import save_dataset
from toolgen.decoding import DecodingOptions, Session, ToolDecoder
from toolgen.inference.engine import Engine, Work
from toolgen.inference.passes import Passes
from toolgen.retrieval.generative import GenerativeRetriever
from toolgen.testing import tiny_dataset
from toolgen.training import PAPER_STAGES, StageConfig
from toolgen.training.collate import collate
from toolgen.training.examples import TrainingExample, conversation_example
from toolgen.training.model import TrainableModel, check_logits, probe_batch
from toolgen.training.run import run_stage
from toolgen.virtualization.vocabulary import TURN_END

from .conftest import Built, opened, plain_logits, virtualized
from .families import FAMILIES, REFUSED, WINDOW, Family

DOCS = Path(__file__).parents[2] / "docs" / "architectures.md"

REQUESTS = ["a taxi", "weather in Oslo, and then a letter to my aunt about it", "please " * 30]
TOOLS = ("mail&&send", "weather&&get_forecast", "clock&&now")


def close(found: Tensor | None, expected: Tensor | None) -> None:
    assert found is not None and expected is not None
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def examples_for(checkpoint: Checkpoint) -> list[TrainingExample]:
    """A choice among several tools, a conversation, and a tool's token among the input; two are longer than a window."""
    protocol, vocabulary = checkpoint.protocol, checkpoint.vocabulary
    prompt = protocol.prompt([{"role": "user", "content": REQUESTS[0]}])
    tools = tuple(vocabulary.token_id(tool) for tool in TOOLS)
    conversation = protocol.supervised(tiny_dataset().trajectories["train"][0].messages)
    return [
        TrainingExample(tuple(prompt), choices=((len(prompt) - 1, tools),)),
        conversation_example(*conversation, vocabulary.action_token_ids),
        TrainingExample(tuple(prompt[-3:]), text=(0, 1)),
    ]


def plain_loss(model: PreTrainedModel, examples: list[TrainingExample], stop: int) -> Tensor:
    """Cross-entropy of each example alone, choices and text together."""
    total = torch.zeros(())
    for example in examples:
        shares = model(input_ids=torch.tensor([example.ids])).logits[0, :, :stop].log_softmax(-1)
        total = total - sum(shares[place, list(targets)].mean() for place, targets in example.choices)
        total = total - sum(shares[place, example.ids[place + 1]] for place in example.text)
    return total


def test_the_loss_and_its_gradients_are_those_of_plain_transformers(built: Built) -> None:
    checkpoint, plain = built.fresh(), built.plain
    examples, ids = examples_for(checkpoint), checkpoint.vocabulary.new_token_ids
    assert sorted(len(example.ids) > WINDOW for example in examples) == [False, True, True]
    trainable = TrainableModel(checkpoint)
    check_logits(checkpoint, trainable)
    losses = trainable(collate(examples))
    torch.autograd.backward(losses.choice + losses.text)
    plain.zero_grad()
    expected = plain_loss(plain, examples, ids.stop)
    torch.autograd.backward(expected)
    close((losses.choice + losses.text).detach(), expected.detach())
    close(trainable.output_rows.grad, plain.get_output_embeddings().weight.grad[ids.start : ids.stop])
    layers = {name: parameter.grad for name, parameter in plain.base_model.named_parameters()}
    compared = 0
    for name, parameter in trainable.trunk.named_parameters():
        if parameter.grad is not None and "bias" not in name:  # of keys' biases, which change nothing, rounding is left
            close(parameter.grad, layers[name])
            compared += 1
    assert compared > 10


def test_states_of_frozen_layers_that_are_kept_are_those_of_plain_transformers(built: Built) -> None:
    checkpoint = built.fresh()
    examples = [
        *examples_for(checkpoint),
        TrainingExample(tuple(range(WINDOW + 4))),
    ]  # the last one has no row that learns
    batch, trainable = collate(examples), TrainableModel(checkpoint, frozen_layers=1)
    assert trainable.keep_frozen_states(16, probe_batch(checkpoint)) and trainable.frozen_states
    with torch.no_grad():
        for _ in range(2):
            states = trainable.hidden(batch)
    assert trainable.frozen_states.found >= WINDOW + 4
    for found, ids in zip(
        torch.split(states, [*batch.lengths]), torch.split(batch.ids_T, [*batch.lengths]), strict=True
    ):
        with torch.no_grad():
            close(found, built.plain.base_model(input_ids=ids[None], use_cache=False).last_hidden_state[0])


def test_search_ranks_by_the_scores_of_plain_transformers(built: Built) -> None:
    checkpoint = built.checkpoint
    found = torch.from_numpy(GenerativeRetriever(checkpoint).score_all(REQUESTS))
    ids = checkpoint.vocabulary.tool_token_ids
    for scores, request in zip(found, REQUESTS, strict=True):
        prompt = checkpoint.protocol.prompt([{"role": "user", "content": request}])
        close(scores, plain_logits(built.plain, prompt)[-1, ids.start : ids.stop])


def test_search_in_several_tokens_a_tool_finds_the_probabilities_of_plain_transformers(built: Built) -> None:
    checkpoint = virtualized(built.family, "numeric")
    plain = virtualized(built.family, "numeric").model
    sequences = [*checkpoint.vocabulary.sequences, (checkpoint.vocabulary.no_tool_id,)]
    ranking = GenerativeRetriever(checkpoint).search(REQUESTS[1:2], k=13)[0].with_no_tool(14)
    prompt = checkpoint.protocol.prompt([{"role": "user", "content": REQUESTS[1]}])
    scores = dict(zip(ranking.tools, ranking.scores, strict=True))
    for tool, sequence in zip([*checkpoint.catalog.ids, "no_tool"], sequences, strict=True):
        logits = plain_logits(plain, [*prompt, *sequence])[len(prompt) - 1 :]
        expected = 0.0
        for place, token in enumerate(sequence):
            allowed = sorted({one[place] for one in sequences if len(one) > place and one[:place] == sequence[:place]})
            expected += float(logits[place, token] - logits[place, allowed].logsumexp(0))
        assert math.log(scores[tool]) == pytest.approx(expected, abs=1e-2)


def call(checkpoint: Checkpoint, request: str, passes: Passes | None = None) -> tuple[Session, list[Tensor], str]:
    """A tool is chosen for a request, a tool is called, and a result comes back: the session, its scores on the way, what the
    call says."""
    decoder = ToolDecoder(checkpoint, DecodingOptions(argument_tokens=12))
    session = decoder.session(passes=passes)
    session.sync(checkpoint.protocol.prompt([{"role": "user", "content": request}]))
    chosen, scores = decoder.choose(session).tool, [session.logits_V]
    decoder.begin_call(session, "weather&&get_forecast")
    text = decoder.arguments(session, "weather&&get_forecast").text
    scores.append(session.logits_V)
    # The beginning of a conversation is kept, its end is another one.
    session.sync([*session.ids[:-5], *checkpoint.protocol.tool_result("rain")])
    return session, [*scores, session.logits_V], f"{chosen} {text}"


@dataclass(frozen=True)
class _Call:
    checkpoint: Checkpoint
    request: str

    def run(self, work: Work) -> tuple[Session, list[Tensor], str]:
        return call(self.checkpoint, self.request, work)


def test_a_constrained_call_reads_the_scores_of_plain_transformers_alone_and_beside_others(built: Built) -> None:
    alone = [call(built.checkpoint, request) for request in REQUESTS]
    with Engine(built.checkpoint.model) as engine:
        found_by_place = dict(engine.each([_Call(built.checkpoint, request) for request in REQUESTS], len(REQUESTS)))
    together = [found_by_place[place] for place in range(len(REQUESTS))]
    for request, (session, scores, said), (other, others, same) in zip(REQUESTS, alone, together, strict=True):
        assert (other.ids, same) == (session.ids, said)
        expected = plain_logits(built.plain, session.ids)
        prompt = built.checkpoint.protocol.prompt([{"role": "user", "content": request}])
        for found in (scores, others):
            close(found[0], expected[len(prompt) - 1])
            close(found[-1], expected[-1])
        ids = built.checkpoint.vocabulary.action_token_ids
        best = ids[int(expected[len(prompt) - 1, ids.start : ids.stop].argmax())]
        assert said.startswith(f"{built.checkpoint.vocabulary.tool_id(best)} ")


def test_a_model_that_went_through_all_stages_is_saved_as_it_is(built: Built, tmp_path: Path) -> None:
    checkpoint, settings = built.fresh(), {"steps": 2, "batch_size": 4, "precision": "fp32", "max_tokens": 320}
    for stage in PAPER_STAGES:
        config = StageConfig(**{**stage.defaults, **settings})
        checkpoint = run_stage(stage, checkpoint, tiny_dataset(), config, tmp_path / stage.name)
    trained = Checkpoint.load(tmp_path / PAPER_STAGES[-1].name)
    assert [entry.stage for entry in trained.stages] == [stage.name for stage in PAPER_STAGES]
    rows = (each.model.get_output_embeddings().weight for each in (built.checkpoint, trained))
    changed = [*(~torch.isclose(*rows).all(1)).nonzero().flatten().tolist()]
    vocabulary = trained.vocabulary
    # The base's own rows are frozen; of the markers that it lacked, the one that the model writes has learned.
    assert [*vocabulary.action_token_ids] == [token for token in changed if token >= vocabulary.first_id]
    assert changed[: -len(vocabulary.action_token_ids)] == [
        token for marker, token in vocabulary.marker_token_ids.items() if marker == TURN_END
    ]
    plain = opened(tmp_path / PAPER_STAGES[-1].name)
    prompt = trained.protocol.prompt([{"role": "user", "content": REQUESTS[2]}])
    (scores,) = torch.from_numpy(GenerativeRetriever(trained).score_all(REQUESTS[2:]))
    tools = trained.vocabulary.tool_token_ids
    close(scores, plain_logits(plain, prompt)[-1, tools.start : tools.stop])


@pytest.mark.parametrize("family", REFUSED, ids=lambda family: family.name)
def test_what_cannot_work_is_refused_in_one_line_before_anything_is_written(family: Family, tmp_path: Path) -> None:
    base, dataset, output = tmp_path / "base", tmp_path / "dataset", tmp_path / "ckpt"
    tokenizer = family.tokenizer()
    family.model(len(tokenizer)).save_pretrained(base)
    tokenizer.save_pretrained(base)
    save_dataset(tiny_dataset(), dataset)
    before = sorted(tmp_path.rglob("*"))
    result = CliRunner().invoke(make_app(), ["virtualize", str(dataset), "--base", str(base), "-o", str(output)])
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert family.refused in line and "take " in line
    assert sorted(tmp_path.rglob("*")) == before


def test_the_table_in_the_docs_says_what_these_tests_say() -> None:
    """TOOLGEN_UPDATE_DOCS=1 writes it anew."""
    before, found, after = re.split(
        r"^(\|.*\|)$(?=\n\n)", DOCS.read_text(encoding="utf-8"), maxsplit=1, flags=re.M | re.S
    )
    if os.environ.get("TOOLGEN_UPDATE_DOCS"):
        DOCS.write_text(before + table() + after, encoding="utf-8")
    else:
        assert found == table()


def table() -> str:
    lines = ["| family | for instance | search | training | agent | several at once | note |", "| --- " * 7 + "|"]
    for family in FAMILIES:
        works = " | ".join(["yes" if family.works else "no"] * 4)
        note = (
            family.note if family.works else f"{family.refused.removeprefix('the scores of minicpm3 models are not')}"
        )
        lines.append(f"| {family.name} | {family.bases} | {works} | {note} |")
    return "\n".join(lines)
