"""Learning from pairs: what is read is what would be decoded, the better run becomes likelier, and a stopped run goes on."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from toolgen.checkpoint import Checkpoint
from toolgen.datasets import Dataset
from toolgen.datasets.messages import call_message, calls_message, user_message
from toolgen.decoding import ToolDecoder
from toolgen.decoding.choices import choices
from toolgen.errors import DatasetError, UsageError
from toolgen.reinforcement.config import PREFERENCE_DEFAULTS, PreferenceConfig
from toolgen.reinforcement.objective import chosen_loss, preference_loss
from toolgen.reinforcement.preference import REFERENCE, learn_preferences, read_pairs
from toolgen.reinforcement.rollouts import Recorder
from toolgen.testing import tiny_checkpoint

from .conftest import DOOR, LAMP, NOW, TINY_PAIRS, done
from .test_policy import rollouts

GOLDEN = Path(__file__).parents[1] / "golden" / "tiny_preference.json"


def tiny_config(**settings: Any) -> PreferenceConfig:
    return PreferenceConfig(**{**PREFERENCE_DEFAULTS, **TINY_PAIRS, **settings})


@pytest.fixture
def learn(paired: Dataset, tmp_path: Path) -> Callable[..., Checkpoint]:
    def run(output: str = "out", *, on_step: Any = None, **settings: Any) -> Checkpoint:
        checkpoint = tiny_checkpoint(catalog=paired.catalog)
        return learn_preferences(checkpoint, paired, tiny_config(**settings), tmp_path / output, on_step=on_step)

    return run


@pytest.mark.parametrize("settings", [{}, {"indexing": "hierarchical"}], ids=["atomic", "hierarchical"])
def test_a_conversation_is_read_with_the_choices_that_drew_it(dataset: Dataset, settings: dict[str, Any]) -> None:
    checkpoint = tiny_checkpoint(catalog=dataset.catalog, **settings)
    decoder, size = ToolDecoder(checkpoint), checkpoint.vocabulary.new_token_ids.stop
    same = 0
    for rollout in (one for seed in "01" for one in rollouts(checkpoint, dataset, seed=seed)):
        ids, written = checkpoint.protocol.supervised(rollout.trajectory.messages)
        recorder = Recorder(size)
        for draw in choices(decoder, ids, written, None):
            recorder(draw)
        read = {(one.place, one.token, one.allowed) for passage in recorder.passages for one in passage.drawn}
        # What is written in other tokens, or was not carried out, does not stand in the conversation.
        drawn = [
            (one.place, one.token, one.allowed)
            for passage in rollout.passages
            for one in passage.drawn
            if [*passage.ids[: one.place], one.token] == ids[: one.place + 1]
        ]
        assert read.issuperset(drawn)
        same += len(drawn)
    assert same > 20


def test_words_and_text_that_no_decoding_would_write_are_no_choice(checkpoint: Checkpoint, dataset: Dataset) -> None:
    decoder, protocol = ToolDecoder(checkpoint), checkpoint.protocol
    odd = call_message(LAMP, {}, "1")
    odd["tool_calls"][0]["function"]["arguments"] = '{  "on": true}'
    asked, spoken = user_message("light"), {"role": "assistant", "content": "Which lamp?"}
    found = {
        name: [draw.token for draw in choices(decoder, *protocol.supervised([asked, message]), None)]
        for name, message in {"odd": odd, "words": spoken, "finish": done()}.items()
    }
    tokens = checkpoint.vocabulary
    assert found == {"odd": [tokens.sequence(LAMP)[0]], "words": [], "finish": [tokens.sequence("finish")[0]]}


def test_a_choice_is_among_the_tools_that_were_offered(checkpoint: Checkpoint) -> None:
    decoder, vocabulary = ToolDecoder(checkpoint), checkpoint.vocabulary
    both = calls_message([(NOW, {}, "1"), (DOOR, {}, "2")])
    ids, written = checkpoint.protocol.supervised([user_message("now"), both])
    offered = [NOW, DOOR]
    first, second, end = choices(decoder, ids, written, offered)
    actions = [vocabulary.sequence(name)[0] for name in ("finish", "no_tool", *offered)]
    assert first.allowed is not None and second.allowed is not None and end.allowed is not None
    assert sorted(first.allowed.tolist()) == sorted(actions)
    assert sorted(second.allowed.tolist()) == sorted(end.allowed.tolist())
    assert sorted(end.allowed.tolist()) == sorted([*actions[2:], checkpoint.protocol.end_id])
    assert end.token == checkpoint.protocol.end_id


def test_the_loss_is_that_of_the_paper() -> None:
    gained_K2 = torch.tensor([[0.0, 0.0], [1.0, -1.0], [-3.0, 1.0]])
    expected = [-math.log(1 / (1 + math.exp(-0.5 * (chosen - rejected)))) for chosen, rejected in gained_K2.tolist()]
    assert preference_loss(gained_K2, 0.5).tolist() == pytest.approx(expected)


def test_a_long_chosen_run_weighs_no_more_than_a_short_one() -> None:
    log_K = torch.tensor([2 * math.log(0.5), 6 * math.log(0.5)])
    assert chosen_loss(log_K, torch.tensor([2.0, 6.0])).tolist() == pytest.approx([math.log(2)] * 2)


def test_what_was_better_becomes_likelier(learn: Callable[..., Checkpoint]) -> None:
    first, *_, last = learn().metrics
    assert first["loss"] == pytest.approx(math.log(2)), "at first the model is its own reference"
    assert (first["chosen"], first["rejected"]) == pytest.approx((0, 0), abs=1e-4)
    assert last["loss"] < 0.5 * first["loss"] and last["accuracy"] == 1
    assert last["chosen"] > last["rejected"] + 1


def test_a_small_beta_lets_the_model_go_further(learn: Callable[..., Checkpoint]) -> None:
    near, far = (learn(f"out-{beta}", beta=beta, steps=24).metrics[-1] for beta in (2.0, 0.1))
    assert far["chosen"] - far["rejected"] > near["chosen"] - near["rejected"] > 0


def test_with_a_weight_of_its_own_the_chosen_run_becomes_likelier_than_without(
    learn: Callable[..., Checkpoint],
) -> None:
    plain, weighed = (learn(f"out-{weight}", chosen_weight=weight).metrics for weight in (0.0, 2.0))
    assert weighed[-1]["chosen"] > plain[-1]["chosen"]
    assert weighed[0]["loss"] > plain[0]["loss"]


def test_the_curve_of_a_tiny_run_is_the_golden_one(learn: Callable[..., Checkpoint]) -> None:
    """`make golden` writes the file anew; the change should say why."""
    keys = ("step", "loss", "accuracy", "chosen", "rejected", "gradient_norm", "tokens")
    records = [{key: record[key] for key in keys} for record in learn(steps=5, batch_size=3).metrics]
    if os.environ.get("TOOLGEN_UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    for found, expected in zip(records, json.loads(GOLDEN.read_text(encoding="utf-8")), strict=True):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(learn: Callable[..., Checkpoint], tmp_path: Path) -> None:
    def curve(checkpoint: Checkpoint) -> list[dict[str, Any]]:
        return [{key: value for key, value in one.items() if key != "seconds"} for one in checkpoint.metrics]

    def interrupt(record: Mapping[str, Any]) -> None:
        if record["step"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    whole = learn("whole", steps=5)
    for name, damage in {"kept": None, "damaged": b"nonsense", "lost": b""}.items():
        with pytest.raises(KeyboardInterrupt):
            learn(name, steps=5, on_step=interrupt)
        kept = tmp_path / f"{name}.unfinished" / REFERENCE
        assert kept.exists()
        if damage is None:
            resumed = learn(name, steps=5)
            assert curve(resumed) == curve(whole)
            for weight, value in whole.model.state_dict().items():
                assert torch.equal(resumed.model.state_dict()[weight], value), weight
            continue
        kept.write_bytes(damage)
        assert curve(learn(name, steps=5)) == curve(whole), (
            "the reference is computed again from what the run began with"
        )


def test_the_checkpoint_says_what_made_it(learn: Callable[..., Checkpoint], tmp_path: Path) -> None:
    learn()
    (entry,) = Checkpoint.load(tmp_path / "out").stages
    assert (entry.stage, entry.examples) == ("preference", {"pairs": 4, "too_long": 0, "no_choice": 0})
    assert entry.config == tiny_config().model_dump(mode="json")
    assert not (tmp_path / "out.unfinished").exists()


def test_pairs_that_cannot_be_learned_from_are_counted_apart(checkpoint: Checkpoint, paired: Dataset) -> None:
    spoken = {"role": "assistant", "content": "Hello."}
    words = replace(paired.preferences["train"][0], id="words", chosen=(spoken,))
    long = replace(words, id="long", chosen=({"role": "assistant", "content": "word " * 2000}, done()))
    found = read_pairs(
        checkpoint, replace(paired, preferences={"train": (words, *paired.preferences["train"], long)}), tiny_config()
    )
    assert [pair.place for pair in found["pairs"]] == [0, 1, 2, 3]
    assert (found["too_long"], found["no_choice"]) == (["long"], ["words"])
    with pytest.raises(
        DatasetError, match=r"none of the 2 training preferences of house .* 1 are longer than 512 tokens"
    ):
        read_pairs(checkpoint, replace(paired, preferences={"train": (words, long)}), tiny_config())


def test_what_does_not_fit_is_refused_in_a_line(
    checkpoint: Checkpoint, dataset: Dataset, paired: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="house has no training preferences; make some with toolgen sample"):
        learn_preferences(checkpoint, dataset, tiny_config(), tmp_path / "out")
    unknown = replace(paired.preferences["train"][0], rejected=(call_message("gone", {}, "1"),))
    with pytest.raises(DatasetError, match="preference 'tool' names the tool 'gone', which the catalog does not have"):
        learn_preferences(
            checkpoint, replace(paired, preferences={"train": (unknown,)}), tiny_config(), tmp_path / "out"
        )
    with pytest.raises(UsageError, match="max_tokens is 999999; this model reads at most"):
        learn_preferences(checkpoint, paired, tiny_config(max_tokens=999_999), tmp_path / "out")
