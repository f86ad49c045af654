"""Log probabilities of a chat: those of the model among what was legal, whole and streamed, beside the text they came to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import openai
import pytest
import torch
from tests.serving.conftest import served, wire

from toolgen.agent import Action, GenerativePolicy
from toolgen.checkpoint import Checkpoint
from toolgen.datasets.messages import FINISH
from toolgen.inference.passes import Runner
from toolgen.inference.sampling import Sampling
from toolgen.inference.session import Draw
from toolgen.serving.app import make_app
from toolgen.serving.assistant import Assistant
from toolgen.serving.likelihoods import Likelihoods
from toolgen.serving.service import Service
from toolgen.serving.steps import Piece, Writing
from toolgen.testing import tiny_checkpoint

MESSAGES: list[Any] = [{"role": "user", "content": "storms?"}]


@pytest.fixture(scope="module")
def client(checkpoint: Checkpoint) -> Iterator[Any]:
    assistant = Assistant(checkpoint)
    service = Service("tiny", checkpoint.catalog, assistant.retriever(), assistant)
    with served(make_app(service), assistant.close) as url:
        yield openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def ask(client: Any, **options: Any) -> Any:
    settings = {"model": "tiny", "messages": MESSAGES, "logprobs": True, "max_tokens": 60, **options}
    return client.chat.completions.create(**settings)


def test_a_call_s_first_token_is_its_tool_as_likely_as_the_model_has_it(client: Any, checkpoint: Checkpoint) -> None:
    (choice,) = ask(client, top_logprobs=20, tool_choice="required").choices
    first, *rest = choice.logprobs.content
    session = GenerativePolicy(checkpoint).decoder.session()
    session.sync(checkpoint.protocol.prompt(MESSAGES))
    tools = checkpoint.catalog.ids
    legal = session.logits_V[[checkpoint.vocabulary.token_id(tool) for tool in tools]].log_softmax(0)
    expected = {wire(checkpoint, tool): float(score) for tool, score in zip(tools, legal, strict=True)}
    assert first.token == max(expected, key=lambda name: expected[name])
    assert first.logprob == pytest.approx(expected[first.token], abs=1e-3)
    told = {one.token: one.logprob for one in first.top_logprobs}
    assert told == {name: pytest.approx(expected[name], abs=1e-3) for name in told}
    assert len(told) == min(20, len(tools)) and [*told.values()] == sorted(told.values(), reverse=True)
    assert rest and all(one.logprob <= 0 and len(one.top_logprobs) <= 20 for one in rest)


@pytest.mark.parametrize("tools", ["required", "none"])
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_the_tokens_add_up_to_what_was_written_streamed_and_whole(client: Any, tools: str, temperature: float) -> None:
    options = {"tool_choice": tools, "temperature": temperature, "seed": 4, "top_logprobs": 2}
    whole = ask(client, **options).choices[0]
    chunks = [chunk.choices[0] for chunk in ask(client, stream=True, **options) if chunk.choices]
    streamed = [one for chunk in chunks if chunk.logprobs for one in chunk.logprobs.content]
    assert [one.token for one in streamed] == [one.token for one in whole.logprobs.content]
    written = "".join(one.token for one in streamed)
    if tools == "none":
        assert written == (whole.message.content or "") and whole.message.content == "".join(
            chunk.delta.content or "" for chunk in chunks
        )
    else:
        calls = [chunk.delta.tool_calls[0].function for chunk in chunks if chunk.delta.tool_calls]
        assert written == calls[0].name + "".join(call.arguments for call in calls)
    for one in streamed:
        assert bytes(one.bytes).decode() == one.token


def test_without_asking_there_are_none(client: Any) -> None:
    assert ask(client, logprobs=False).choices[0].logprobs is None
    assert all(chunk.choices[0].logprobs is None for chunk in ask(client, logprobs=None, stream=True))


def test_a_tool_of_several_tokens_is_as_likely_as_all_of_them() -> None:
    checkpoint = tiny_checkpoint(indexing="numeric", max_position_embeddings=2048)
    policy = GenerativePolicy(checkpoint)
    likelihoods = Likelihoods(policy)
    own = policy.conversation(Runner(checkpoint.model), on_draw=likelihoods.hear, likeliest=3)
    writing = Writing((), lambda _: None, likelihoods)
    action = own.act(MESSAGES, required=True, tokens=20, on_text=writing.hear, verbatim=True)
    first = writing.reply(action, 1).likelihoods[0]  # type: ignore[index]
    assert action.diagnostics is not None and action.diagnostics.probability is not None
    assert np.exp(first.log_probability) == pytest.approx(action.diagnostics.probability, abs=1e-3)
    assert first.text == action.tool and first.likeliest == ()


def scripted(stop: tuple[str, ...] = ()) -> tuple[Writing, Likelihoods, list[Piece]]:
    decoder = SimpleNamespace(token_text=str)
    likelihoods = Likelihoods(
        cast(Any, SimpleNamespace(decoder=decoder, checkpoint=SimpleNamespace(vocabulary=SimpleNamespace(tool_id=str))))
    )
    pieces: list[Piece] = []
    return Writing(stop, pieces.append, likelihoods), likelihoods, pieces


def drawn(token: int, log_probability: float) -> Draw:
    return Draw([], token, None, log_probability, "")


def test_what_a_stop_text_takes_back_is_not_told() -> None:
    writing, likelihoods, pieces = scripted(("END",))
    likelihoods.hear(drawn(1, -0.5))
    assert not writing.hear(0, FINISH, "")
    for place, text in enumerate(("Hello E", "Hello EN", "Hello END of it"), 2):
        likelihoods.hear(drawn(place, -place))
        ends = writing.hear(0, FINISH, json.dumps({"answer": text})[:-2])
    assert ends
    reply = writing.reply(Action(tool=FINISH, stuck="arguments_cut"), 1)
    assert reply.text == "Hello " == "".join(piece.text for piece in pieces)
    assert reply.likelihoods is not None
    assert [one.text for one in reply.likelihoods] == [FINISH, "Hello "]
    assert [one for piece in pieces for one in piece.likelihoods] == [*reply.likelihoods]


def test_half_a_character_waits_for_its_other_half() -> None:
    writing, likelihoods, pieces = scripted()
    writing.hear(0, FINISH, "")
    for place, text in enumerate(("caf\ufffd", "café", "café!")):
        likelihoods.hear(drawn(place, -1.0))
        writing.hear(0, FINISH, json.dumps({"answer": text}, ensure_ascii=False)[:-2])
    reply = writing.reply(Action(tool=FINISH, arguments={"answer": "café!"}), 1)
    assert "".join(piece.text for piece in pieces) == reply.text == "café!"
    assert reply.likelihoods is not None
    assert [one.text for one in reply.likelihoods[1:]] == ["caf", "é", "!"]


def test_what_left_no_choice_is_certain() -> None:
    writing, likelihoods, _ = scripted()
    likelihoods.hear(drawn(7, -0.1))
    writing.hear(0, "tool", "")
    writing.hear(0, "tool", '{"city": "')
    likelihoods.hear(drawn(9, -2.0))
    writing.hear(0, "tool", '{"city": "Oslo')
    kept = [(one.text, one.log_probability) for one in writing.reply(Action(tool="tool"), 1).likelihoods or ()]
    assert kept == [("tool", -0.1), ('{"city": "', 0.0), ("Oslo", -2.0)]


def test_the_likeliest_are_those_of_the_draw() -> None:
    checkpoint = tiny_checkpoint()
    draws: list[Draw] = []
    session = GenerativePolicy(checkpoint).decoder.session(on_draw=draws.append, likeliest=3)
    session.sync(checkpoint.protocol.prompt(MESSAGES))
    ids = np.array([5, 9, 2, 7])
    session.draw(Sampling(), ids)
    mask = np.zeros(12, dtype=bool)
    mask[ids] = True
    session.draw(Sampling(temperature=1e-40), mask)
    shares = session.logits_V[torch.from_numpy(ids)].log_softmax(0)
    best = sorted(zip(shares.tolist(), ids.tolist(), strict=True), reverse=True)[:3]
    for draw in draws:
        assert [token for token, _ in draw.likeliest] == [token for _, token in best]
        assert [share for _, share in draw.likeliest] == pytest.approx([share for share, _ in best], abs=1e-5)
