"""The model as a policy: legal actions in a real loop, one encoding of a conversation, given tools."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from toolgen.agent import Action, BfclEnvironment, Budget, DryRunEnvironment, GenerativePolicy, GivenTools, run_agent
from toolgen.catalog import Catalog
from toolgen.catalog.schema import schema_errors
from toolgen.catalog.tool import Definition
from toolgen.checkpoint import Checkpoint
from toolgen.datasets import Task
from toolgen.datasets.messages import actions_of, call_message, calls_message, result_message, user_message
from toolgen.decoding import Arguments, DecodingOptions, Sampling, Session, ToolChoice, ToolDecoder
from toolgen.inference.passes import Runner
from toolgen.retrieval import BM25Retriever, SumRetriever
from toolgen.testing import tiny_checkpoint

CLOSED = {"additionalProperties": False}
OPTIONS = DecodingOptions(argument_tokens=16)
TASK = Task.from_text("Hi", id="one")


@pytest.fixture(scope="module")
def checkpoint(catalog: Catalog) -> Checkpoint:
    return tiny_checkpoint(catalog=catalog, initializer_range=1.0, max_position_embeddings=4096)


@pytest.mark.parametrize("thought", [0, 8])
def test_whatever_the_model_does_every_emitted_call_is_valid(
    checkpoint: Checkpoint, catalog: Catalog, package: Path, task: Task, thought: int
) -> None:
    environment = BfclEnvironment(package, catalog)
    for seed in range(3):
        sampling = Sampling(temperature=2, seed=seed)
        options = DecodingOptions(argument_tokens=16, thought_tokens=thought, sampling=sampling)
        policy = GenerativePolicy(checkpoint, options=options)
        trajectory = run_agent(policy, environment, task, budget=Budget(steps=4))
        assert trajectory.outcome.decisions
        for message in trajectory.messages:
            for tool, arguments in actions_of(message):
                assert tool in (*catalog.ids, "finish", "no_tool") and tool != "other&&tool"
                if tool in catalog:
                    assert schema_errors(arguments, catalog.get(tool).parameters) == []


def test_a_thought_is_written_within_its_budget_and_counted(checkpoint: Checkpoint, catalog: Catalog) -> None:
    asked = [{"role": "user", "content": "Close a ticket."}]
    tokens = {}
    for budget in (0, 1, 5):
        options = DecodingOptions(argument_tokens=16, thought_tokens=budget)
        action = GenerativePolicy(checkpoint, options=options).act(asked, ["TicketAPI&&titles"], required=True)
        assert action.tool == "TicketAPI&&titles" and bool(action.thought_tokens) == bool(budget)
        tokens[budget] = action.thought_tokens
        assert action.thought_tokens <= budget <= action.tokens
    assert tokens[0] == 0 < tokens[1] == 1
    policy = GenerativePolicy(checkpoint, options=DecodingOptions(argument_tokens=16, thought_tokens=3))
    run = run_agent(policy, DryRunEnvironment(catalog), TASK, budget=Budget(steps=3))
    thoughts = [message["content"] for message in run.messages if message["role"] == "assistant"]
    assert (
        0 < run.outcome.thought_tokens <= 3 * len(run.outcome.decisions)
        and run.outcome.thought_tokens < run.outcome.tokens
    )
    assert any(thoughts)


def test_another_retriever_is_heard_where_a_user_is_answered(checkpoint: Checkpoint, catalog: Catalog) -> None:
    added = SumRetriever([(BM25Retriever(), 1000.0)])
    added.index(catalog)
    asked = [{"role": "user", "content": "Close a ticket."}]
    (best,) = added.search([asked[0]["content"]], 1)[0].tools
    policy = GenerativePolicy(checkpoint, options=OPTIONS, added=added)
    assert policy.act(asked, required=True).tool == best
    results = [*asked, call_message(best, {}, "c"), {"role": "tool", "tool_call_id": "c", "content": "[]"}]
    alone = GenerativePolicy(checkpoint, options=OPTIONS)
    assert policy.act(results).tool == alone.act(results).tool


def test_for_a_further_call_it_is_heard_about_the_rest_of_the_request(
    checkpoint: Checkpoint, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[str, Collection[str] | None]] = []

    class Listening(SumRetriever):
        def scores_among(self, query: str, tools: Collection[str] | None) -> npt.NDArray[np.float64]:
            heard.append((query, tools))
            return super().scores_among(query, tools)

    added = Listening([(BM25Retriever(), 1000.0)])
    added.index(catalog)
    policy = GenerativePolicy(checkpoint, options=OPTIONS, added=added)
    written = Arguments(value={"title": "rain"}, text="", status="ok")
    monkeypatch.setattr(ToolDecoder, "arguments", lambda *_, **__: written)
    asked, whole = [{"role": "user", "content": "Create a ticket about rain. Close a ticket."}], None
    some = catalog.ids[:3]
    for tools in (whole, some):
        policy.act(asked, tools, required=True)
    assert heard == [(text, tools) for tools in (whole, some) for text in (asked[0]["content"], ". Close a ticket.")], (
        "what may be chosen is known where shares are made"
    )


def test_optional_arguments_that_nobody_said_are_left_out_where_that_is_asked_for(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = {"title": "rain", "priority": 7}
    monkeypatch.setattr(ToolDecoder, "arguments", lambda *_, **__: Arguments(value=written, text="", status="ok"))
    asked = [{"role": "user", "content": "Open a ticket about rain."}]
    tool = ("TicketAPI&&create_ticket",)
    policy = GenerativePolicy(checkpoint, only_said=True)
    assert policy.act(asked, given=tool).arguments == {"title": "rain"}
    assert GenerativePolicy(checkpoint).act(asked, given=tool).arguments == written
    texts: list[tuple[int, str, str]] = []
    policy.act(asked, given=tool, on_text=lambda *told: texts.append(told))
    assert texts == [(0, *tool, ""), (0, *tool, '{"title": "rain"}')], "what is heard is what is called"
    heard = policy.act(asked, given=tool, on_text=lambda *_: None, verbatim=True)
    assert heard.arguments == written


def test_the_conversation_is_encoded_once_over_its_steps(checkpoint: Checkpoint, catalog: Catalog) -> None:
    policy = GenerativePolicy(checkpoint, options=OPTIONS)
    task = Task.from_text("Open a ticket.")
    trajectory = run_agent(
        GivenTools(policy, ["TicketAPI&&titles"] * 3), DryRunEnvironment(catalog), task, budget=Budget(steps=9)
    )
    prompt = checkpoint.protocol.prompt(trajectory.messages[:-1])
    session = policy._session
    assert trajectory.outcome.calls == 3
    # `{}` may be one token when written and the cache holds it as such: a few tokens of slack, not conversations.
    assert session.encoded < len(prompt) + 20


def test_given_tools_are_called_in_order_and_end_their_turns(
    checkpoint: Checkpoint, catalog: Catalog, package: Path, task: Task
) -> None:
    tools = ["TicketAPI&&titles", "finish", "finish", "TicketAPI&&titles", "finish"]
    policy = GivenTools(GenerativePolicy(checkpoint, options=OPTIONS), tools)
    trajectory = run_agent(policy, BfclEnvironment(package, catalog), task)
    assert [name for message in trajectory.messages for name, _ in actions_of(message)] == tools
    assert [turn.status for turn in trajectory.outcome.turns] == ["finished"] * 3


def test_further_calls_of_the_message_are_made_until_the_model_ends_it_or_repeats_itself(
    checkpoint: Checkpoint, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]} | CLOSED
    names = ("TicketAPI&&titles", "TicketAPI&&get_ticket")
    definitions = [Definition(tool=name, description="Other.", parameters=own) for name in names]
    asked = [{"role": "user", "content": "Hi"}]
    counts = set()
    choose = ToolDecoder.choose
    for seed in range(8):
        left = iter([True, True])

        def another(
            decoder: ToolDecoder, session: Session, allowed: Any, left: Any = left, **_: Any
        ) -> ToolChoice | None:
            return choose(decoder, session, allowed, required=True) if next(left, False) else None

        monkeypatch.setattr(ToolDecoder, "choose_another", another)
        options = replace(OPTIONS, sampling=Sampling(temperature=2.0, seed=seed))
        policy = GenerativePolicy(checkpoint, options=options)
        policy = policy.for_task(replace(TASK, definitions=tuple(definitions)), Runner(checkpoint.model))
        told: list[tuple[int, str, str]] = []
        action = policy.act(asked, names, required=True, on_text=lambda *one, told=told: told.append(one))
        calls = [(one.tool, one.arguments["yes"]) for one in (action, *action.parallel)]
        assert len({*calls}) == len(calls) <= 3, "a call that is repeated ends the message"
        texts = [(place, tool, json.loads(text)["yes"]) for place, tool, text in told if text]
        assert texts == [(place, *call) for place, call in enumerate(calls)], "only what is called is told"
        assert action.tokens > sum(one.tokens for one in action.parallel)
        counts.add(len(calls))
    assert 3 in counts


def test_no_further_call_is_made_where_the_request_says_nothing_more(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = iter([{"title": name} for name in ("rain", "snow", "rain", "snow", "rain", "snow")])
    monkeypatch.setattr(ToolDecoder, "arguments", lambda *_, **__: Arguments(value=next(written), text="", status="ok"))
    first = "Open a ticket about rain"
    counts = {}
    for text, only_said in (
        (f"{first}!", True),
        (f"{first}, and one about snow in the mountains.", True),
        (f"{first}!", False),
    ):
        left = iter([True])

        def another(decoder: ToolDecoder, session: Session, *_: Any, left: Any = left, **__: Any) -> ToolChoice | None:
            return decoder.choose(session, required=True) if next(left, False) else None

        monkeypatch.setattr(ToolDecoder, "choose_another", another)
        policy = GenerativePolicy(checkpoint, options=OPTIONS, only_said=only_said)
        action = policy.act([{"role": "user", "content": text}], ["TicketAPI&&create_ticket"], required=True)
        counts[text, only_said] = 1 + len(action.parallel)
    assert list(counts.values()) == [1, 2, 2]


def test_the_words_left_of_a_request_decide_on_further_calls_where_that_is_asked_for(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ToolDecoder, "choose_another", lambda *_, **__: None)  # the model itself would end here
    first, tools = "Open a ticket about rain", ["TicketAPI&&create_ticket"]
    counts = []
    for rest in (
        ". It has been raining since Monday.",
        ", and one about snow.",
        ", which is due. Then one about snow.",
    ):
        written = iter([{"title": "rain"}, {"title": "snow"}, {"title": "never"}])

        def arguments(*_: Any, written: Any = written, **__: Any) -> Arguments:
            return Arguments(value=next(written), text="", status="ok")

        monkeypatch.setattr(ToolDecoder, "arguments", arguments)
        policy = GenerativePolicy(checkpoint, options=OPTIONS, only_said=True, further_by_text=True)
        action = policy.act([{"role": "user", "content": first + rest}], tools, required=True)
        counts.append([one.arguments["title"] for one in (action, *action.parallel)])
    assert counts == [["rain"], ["rain", "snow"], ["rain", "snow"]]


def test_results_are_answered_where_the_words_left_of_a_request_ask_for_nothing_more(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = GenerativePolicy(checkpoint, options=OPTIONS, only_said=True, further_by_text=True)
    done = call_message("TicketAPI&&create_ticket", {"title": "rain"}, "call_1")
    told, tools = [done, result_message("call_1", "ticket 7")], ["TicketAPI&&create_ticket"]
    allowed: list[Any] = []
    choose = ToolDecoder.choose

    def heard(decoder: ToolDecoder, session: Session, among: Any, **more: Any) -> ToolChoice:
        allowed.append(among)
        return choose(decoder, session, among, **more)

    monkeypatch.setattr(ToolDecoder, "choose", heard)

    def step(asked: str, **more: Any) -> Action:
        return policy.act([user_message(asked), *told], tools, **more)

    one, two = "Open a ticket about rain.", "Open a ticket about rain, and then one about snow."
    assert step(one).is_finish
    assert step(two).is_finish, "whatever it asks for was called at once"
    assert step(one, parallel=False).is_finish
    assert allowed == [()] * 3
    step(two, parallel=False)
    assert not step(one, required=True).is_finish, "a client may want a call all the same"
    assert allowed[3:] == [tools, tools]


def test_a_further_call_that_is_not_made_was_written_all_the_same(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [{"role": "user", "content": "Hi"}]
    left = iter([False, True])

    def another(decoder: ToolDecoder, session: Session, allowed: Any, **_: Any) -> ToolChoice | None:
        return decoder.choose(session, allowed, required=True) if next(left) else None

    monkeypatch.setattr(ToolDecoder, "choose_another", another)
    alone = GenerativePolicy(checkpoint, options=OPTIONS).act(asked, ["TicketAPI&&titles"], required=True)
    repeated = GenerativePolicy(checkpoint, options=OPTIONS).act(asked, ["TicketAPI&&titles"], required=True)
    assert (alone.parallel, repeated.parallel) == ((), ()), "titles() a second time is a repetition"
    assert repeated.tokens == 2 * alone.tokens


def test_what_a_further_attempt_draws_depends_on_the_seed_the_task_and_the_number(checkpoint: Checkpoint) -> None:
    def drawn(seed: int, task: str, number: int) -> int:
        policy = GenerativePolicy(checkpoint, options=replace(OPTIONS, sampling=Sampling(seed=seed, top_k=5)))
        attempt = policy.for_task(replace(TASK, id=task)).attempt(number, 1.0)
        assert attempt.decoder.options.sampling == Sampling(seed=seed, top_k=5, temperature=1.0)
        return attempt._session.generator.initial_seed()

    seeds = [drawn(*which) for which in ((0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2))]
    assert len({*seeds}) == 4 and drawn(0, "a", 1) == seeds[0]


def test_given_tools_are_called_in_one_message(checkpoint: Checkpoint) -> None:
    policy = GenerativePolicy(checkpoint, options=OPTIONS)
    asked = [{"role": "user", "content": "Hi"}]
    action = policy.act(asked, given=("TicketAPI&&titles",) * 3)
    assert [one.tool for one in (action, *action.parallel)] == ["TicketAPI&&titles"] * 3
    made = [(one.tool, one.arguments, "c") for one in (action, *action.parallel[:1])]
    whole = checkpoint.protocol.unfinished([*asked, calls_message(made)])
    assert policy._session.ids[: len(whole)] == whole, "the conversation as it is rendered later"


def test_a_long_conversation_is_shown_from_a_later_turn_on(checkpoint: Checkpoint, catalog: Catalog) -> None:
    small = tiny_checkpoint(catalog=catalog, max_position_embeddings=512)
    turns = [{"role": "user", "content": f"Say {number} " + "please " * 20} for number in range(20)]
    answer = call_message("finish", {"answer": "It is said."}, "a")
    messages = [one for turn in turns for one in (turn, answer)][:-1]
    policy = GenerativePolicy(small, options=OPTIONS)
    assert policy.act(messages, []).stuck != "context_full"
    text = small.tokenizer.decode(policy._session.ids)
    assert "Say 19 " in text and "Say 1 " not in text and len(policy._session.ids) < 512


def test_arguments_follow_the_definition_that_a_task_means(checkpoint: Checkpoint, catalog: Catalog) -> None:
    own = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}
    definition = Definition(tool="TicketAPI&&titles", description="Other.", parameters=own | CLOSED)
    policy = GenerativePolicy(checkpoint, options=OPTIONS)
    meant = policy.for_task(replace(TASK, definitions=(definition,)), Runner(checkpoint.model))
    asked = [{"role": "user", "content": "Hi"}]
    assert meant.act(asked, given=(definition.tool,)).arguments.keys() == {"yes"}
    assert policy.act(asked, given=(definition.tool,)).arguments == {}


def test_diagnostics_say_what_the_model_alone_would_have_done(checkpoint: Checkpoint) -> None:
    action = GenerativePolicy(checkpoint, options=OPTIONS).act([{"role": "user", "content": "Hi"}])
    noted = action.diagnostics
    assert noted is not None and (noted.tool, noted.tool_allowed) == (action.tool, noted.tool_exists)
    assert 0 < noted.probability <= 1 and 0 <= noted.masked <= noted.argument_tokens < action.tokens


def test_arguments_end_with_the_options_limit_or_the_tokens_that_are_left(checkpoint: Checkpoint) -> None:
    asked = [{"role": "user", "content": "Hi"}]
    policy = GenerativePolicy(checkpoint, options=DecodingOptions(argument_tokens=5))
    for tokens, most in ((None, 5), (4, 3), (1, 0)):
        action = policy.act(asked, tokens=tokens, given=("TicketAPI&&create_ticket",))
        assert (action.stuck, action.arguments, action.tokens) == ("arguments_cut", {}, most + 1)
        assert action.fault == f"cut after {most} tokens"
        assert action.diagnostics is not None and action.diagnostics.arguments == "cut"


def test_a_conversation_beyond_the_context_ends_with_the_token_limit(catalog: Catalog) -> None:
    small = tiny_checkpoint(catalog=catalog, max_position_embeddings=64)
    task = Task.from_text("word " * 200)
    trajectory = run_agent(GenerativePolicy(small), DryRunEnvironment(catalog), task)
    assert trajectory.outcome.status == "token_limit"
