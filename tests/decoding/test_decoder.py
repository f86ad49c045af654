"""Whatever the weights are, a decoded call names a tool of the catalog and its arguments are valid."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from toolgen.catalog.schema import schema_errors
from toolgen.checkpoint import Checkpoint
from toolgen.decoding import ContextFullError, DecodingOptions, Sampling, Session, ToolDecoder
from toolgen.decoding.decoder import read_arguments
from toolgen.errors import UsageError
from toolgen.inference.session import Draw

REQUESTS = ("weather in Oslo", "store 5", "ping", "a set of letters")


def opened(decoder: ToolDecoder, text: str = "weather in Oslo") -> Session:
    session = decoder.session()
    session.sync(decoder.checkpoint.protocol.prompt([{"role": "user", "content": text}]))
    return session


def test_every_call_of_random_models_exists_and_validates(checkpoints: list[Checkpoint]) -> None:
    emitted = 0
    for seed, checkpoint in enumerate(checkpoints):
        sampling = Sampling(temperature=1.5 * (seed % 2), seed=seed)
        decoder = ToolDecoder(checkpoint, DecodingOptions(argument_tokens=40, sampling=sampling))
        for request in REQUESTS:
            session = opened(decoder, request)
            choice = decoder.choose(session)
            assert choice.tool in (*checkpoint.catalog.ids, "finish", "no_tool")
            for tool in (*checkpoint.catalog.ids, "finish"):
                session = opened(decoder, request)
                decoder.begin_call(session, tool)
                arguments = decoder.arguments(session, tool)
                if arguments.value is not None:
                    assert schema_errors(arguments.value, checkpoint.protocol.arguments_schema(tool)) == []
                    emitted += 1
                else:
                    assert arguments.status in ("cut", "invalid") and arguments.fault
    assert emitted > 30


def test_the_choice_is_the_best_of_the_action_rows(checkpoint: Checkpoint) -> None:
    decoder = ToolDecoder(checkpoint)
    session = opened(decoder)
    ids = checkpoint.vocabulary.action_token_ids
    best = max(ids, key=lambda token_id: float(session.logits_V[token_id]))
    choice = decoder.choose(session)
    assert choice.tool == checkpoint.vocabulary.tool_id(best)
    assert 0 < choice.probability <= 1


def test_the_candidates_are_the_likeliest_of_what_is_allowed(checkpoint: Checkpoint) -> None:
    decoder = ToolDecoder(checkpoint)
    session = opened(decoder)
    names = ["finish", "no_tool", *checkpoint.catalog.ids[1:]]
    scores = session.logits_V[[checkpoint.vocabulary.sequence(name)[0] for name in names]]
    shares = dict(zip(names, scores.softmax(0).tolist(), strict=True))
    choice = decoder.choose(session, checkpoint.catalog.ids[1:])
    best = sorted(shares, key=lambda name: -shares[name])[:8]
    assert [name for name, _ in choice.candidates] == best
    assert [share for _, share in choice.candidates] == pytest.approx([shares[name] for name in best])
    assert best[0] == choice.tool


def test_added_logits_share_out_among_the_tools_what_the_model_gives_them_together(checkpoint: Checkpoint) -> None:
    decoder = ToolDecoder(checkpoint)
    session = opened(decoder)
    tools, actions = checkpoint.catalog.ids[:4], ["finish", "no_tool"]
    scores = session.logits_V[[checkpoint.vocabulary.sequence(name)[0] for name in (*actions, *tools)]]
    alone = dict(zip((*actions, *tools), scores.softmax(0).tolist(), strict=True))
    added_N = np.array([1.0, 3.0, -1.0, -2.0])

    together = dict(decoder.choose(session, tools, added_N=added_N).candidates)

    products = {tool: alone[tool] * math.exp(logit) for tool, logit in zip(tools, added_N, strict=True)}
    of_tools = sum(alone[tool] for tool in tools)
    expected = {tool: of_tools * product / sum(products.values()) for tool, product in products.items()}
    assert together == pytest.approx({name: alone[name] for name in actions} | expected, abs=1e-5)
    sure = decoder.choose(session, tools, required=True, added_N=np.array([0.0, 0.0, 0.0, 100.0]))
    assert sure.tool == tools[3] and sure.probability == pytest.approx(1.0)


def test_a_subset_of_tools_restricts_the_choice_to_it_and_the_two_actions(checkpoint: Checkpoint) -> None:
    decoder = ToolDecoder(checkpoint, DecodingOptions(sampling=Sampling(temperature=50, seed=1)))
    session = opened(decoder)
    found = {decoder.choose(session, ["net&&ping"]).tool for _ in range(60)}
    assert found == {"net&&ping", "finish", "no_tool"}


def test_the_diagnosis_says_whether_the_whole_vocabulary_would_have_given_a_tool(checkpoints: list[Checkpoint]) -> None:
    for checkpoint in checkpoints:
        decoder = ToolDecoder(checkpoint)
        session = opened(decoder)
        best = int(session.logits_V.argmax())
        choice = decoder.choose(session, ["net&&ping"])
        assert choice.tool_exists == (checkpoint.vocabulary.tool_id(best) is not None)
        assert choice.tool_allowed == (checkpoint.vocabulary.tool_id(best) in ("net&&ping", "finish", "no_tool"))


def test_masked_steps_are_those_where_the_model_alone_leaves_the_grammar(checkpoints: list[Checkpoint]) -> None:
    for checkpoint in checkpoints:
        slow = ToolDecoder(checkpoint, DecodingOptions(argument_tokens=30, fast_forward=False))
        session = opened(slow)
        slow.begin_call(session, "weather&&forecast")
        start = len(session.ids)
        constrained = slow.arguments(session, "weather&&forecast")
        free = opened(slow)
        slow.begin_call(free, "weather&&forecast")
        legal = 0
        for token_id in session.ids[start:]:
            if int(free.logits_V.argmax()) == token_id:
                legal += 1
            free.extend([token_id])
        assert constrained.masked <= constrained.steps
        # Greedy decoding takes the model's own choice wherever it is legal; closing is the exception.
        if constrained.status == "ok":
            assert constrained.steps - constrained.masked >= legal


def test_text_that_is_forced_comes_out_the_same_with_and_without_fast_forward(checkpoint: Checkpoint) -> None:
    texts = []
    for fast in (True, False):
        decoder = ToolDecoder(checkpoint, DecodingOptions(fast_forward=fast))
        session = opened(decoder)
        decoder.begin_call(session, "net&&ping")
        texts.append(decoder.arguments(session, "net&&ping").text)
    assert texts == ["{}", "{}"]


@pytest.mark.parametrize("fast_forward", [True, False])
def test_an_object_that_a_limit_cuts_is_not_emitted(checkpoints: list[Checkpoint], fast_forward: bool) -> None:
    for checkpoint in checkpoints:
        decoder = ToolDecoder(checkpoint, DecodingOptions(argument_tokens=8, fast_forward=fast_forward))
        for tokens, steps in ((None, 8), (3, 3), (99, 8), (0, 0)):
            session = opened(decoder)
            decoder.begin_call(session, "weather&&forecast")
            arguments = decoder.arguments(session, "weather&&forecast", tokens=tokens)
            assert (arguments.value, arguments.status, arguments.steps) == (None, "cut", steps)
            assert arguments.fault == f"cut after {steps} tokens"


def test_an_object_that_the_end_of_the_context_cuts_is_not_emitted(checkpoint: Checkpoint) -> None:
    decoder = ToolDecoder(checkpoint)
    session = opened(decoder)
    decoder.begin_call(session, "weather&&forecast")
    session.extend([5] * (session.room - 7))
    arguments = decoder.arguments(session, "weather&&forecast")
    assert (arguments.value, arguments.status) == (None, "cut")
    assert session.room == 0


def test_what_the_grammar_cannot_say_is_checked_afterwards(checkpoints: list[Checkpoint]) -> None:
    statuses = set()
    for checkpoint in checkpoints:
        options = DecodingOptions(sampling=Sampling(temperature=1.0, seed=3))
        decoder = ToolDecoder(checkpoint, options)
        for request in REQUESTS:
            session = opened(decoder, request)
            decoder.begin_call(session, "set&&make")
            arguments = decoder.arguments(session, "set&&make")
            assert arguments.relaxed
            items = json.loads(arguments.text)["items"]
            assert (arguments.value is None) == (len(set(items)) < len(items))
            statuses.add(arguments.status)
    assert statuses == {"ok", "invalid"}


def test_no_tool_takes_no_arguments(checkpoint: Checkpoint) -> None:
    decoder = ToolDecoder(checkpoint)
    assert decoder.arguments(opened(decoder), "no_tool").value == {}


def test_free_text_holds_no_tool_token_and_ends_at_its_limit(checkpoints: list[Checkpoint]) -> None:
    for checkpoint in checkpoints:
        decoder = ToolDecoder(checkpoint, DecodingOptions(thought_tokens=10))
        session = opened(decoder)
        before = list(session.ids)
        written = decoder.text(session)
        assert 1 <= len(written) <= 10 and session.ids == before + written
        assert all(token_id < checkpoint.vocabulary.first_id for token_id in written)


def test_another_call_or_the_end_is_drawn_by_their_probabilities(checkpoint: Checkpoint) -> None:
    names = list(checkpoint.catalog.ids[:2])
    for allowed in (names, names[:1]):
        decoder = ToolDecoder(checkpoint, DecodingOptions(sampling=Sampling(temperature=4.0, seed=3)))
        session = opened(decoder)
        tokens = [checkpoint.vocabulary.token_id(name) for name in allowed] + [decoder.protocol.end_id]
        expected = dict(zip([*allowed, None], (session.logits_V[tokens] / 4).softmax(0).tolist(), strict=True))
        choices = [decoder.choose_another(session, allowed) for _ in range(600)]
        found = Counter(choice.tool if choice else None for choice in choices)
        for name, share in expected.items():
            assert found[name] / 600 == pytest.approx(share, abs=0.08), (name, expected)
        greedy = ToolDecoder(checkpoint).choose_another(opened(ToolDecoder(checkpoint)), allowed)
        assert (greedy.tool if greedy else None) == max(expected, key=lambda name: expected[name])


def test_each_draw_is_told_with_its_log_probability_among_what_was_allowed(checkpoint: Checkpoint) -> None:
    told: list[tuple[list[int], Draw]] = []
    decoder = ToolDecoder(checkpoint, DecodingOptions(argument_tokens=30, sampling=Sampling(temperature=1.5, seed=2)))
    session = decoder.session(on_draw=lambda draw: told.append(([*draw.ids], draw)))
    session.sync(decoder.protocol.prompt([{"role": "user", "content": "weather in Oslo"}]))
    tool = "weather&&forecast"
    decoder.choose(session)
    decoder.begin_call(session, tool)
    decoder.arguments(session, tool)
    assert len(told) > 3 and {draw.purpose for _, draw in told} == {"", tool}
    for ids, draw in told:
        logits = checkpoint.model(input_ids=torch.tensor([ids])).logits[0, -1].detach() / 1.5
        assert draw.allowed is not None
        places = draw.allowed.nonzero()[0] if draw.allowed.dtype == bool else draw.allowed
        assert draw.token in places
        expected = logits[draw.token] - logits[places.tolist()].logsumexp(0)
        assert draw.log_probability == pytest.approx(float(expected), abs=1e-4)


def test_sampling_is_repeatable_with_its_seed(checkpoint: Checkpoint) -> None:
    def run(seed: int) -> list[str]:
        decoder = ToolDecoder(checkpoint, DecodingOptions(sampling=Sampling(temperature=20, seed=seed)))
        session = opened(decoder)
        return [decoder.choose(session).tool for _ in range(20)]

    assert run(1) == run(1) != run(2)


def test_wrong_sampling_is_refused() -> None:
    with pytest.raises(UsageError, match="top_p"):
        Sampling(top_p=0)


def test_a_conversation_is_encoded_once(checkpoint: Checkpoint) -> None:
    session = ToolDecoder(checkpoint).session()
    first = checkpoint.protocol.prompt([{"role": "user", "content": "weather in Oslo"}])
    session.sync(first)
    session.sync([*first, 5, 6, 7])
    assert session.encoded == len(first) + 3
    session.sync([*first, 5, 9])
    assert session.encoded == len(first) + 4
    fresh = ToolDecoder(checkpoint).session()
    fresh.sync([*first, 5, 9])
    torch.testing.assert_close(session.logits_V, fresh.logits_V, rtol=1e-4, atol=1e-4)


def test_the_same_prompt_again_gives_the_same_scores(checkpoint: Checkpoint) -> None:
    session = ToolDecoder(checkpoint).session()
    session.sync([1, 2, 3])
    before = session.logits_V.clone()
    session.sync([1, 2, 3])
    torch.testing.assert_close(session.logits_V, before, rtol=1e-4, atol=1e-4)


def test_more_than_the_context_holds_is_one_clear_error(checkpoint: Checkpoint) -> None:
    session = ToolDecoder(checkpoint).session()
    with pytest.raises(ContextFullError, match="2048"):
        session.extend([1] * 2049)


@pytest.mark.parametrize("text", ['{"note": "\\ud800"}', '{"note": "x", "value": 1e999}', '{"value": 1}', "[1]", "{"])
def test_values_that_cannot_be_sent_or_break_the_schema_are_none(checkpoint: Checkpoint, text: str) -> None:
    value, fault = read_arguments(text, checkpoint.catalog.get("store&&put").parameters)
    assert value is None and fault and "\n" not in fault


def test_options_are_values() -> None:
    assert replace(DecodingOptions(), argument_tokens=5) == DecodingOptions(argument_tokens=5)
