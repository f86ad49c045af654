"""Anthropic's own client against the server: messages, streams, tool search, results, errors. A scripted model decides."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from tests.serving.conftest import ALERTS, LETTER, Script, answer, call, calls, said, served, wire

from toolgen.agent import Action
from toolgen.checkpoint import Checkpoint
from toolgen.datasets.messages import FINISH, NO_TOOL
from toolgen.serving.app import make_app
from toolgen.serving.assistant import Assistant
from toolgen.serving.guard import hashed
from toolgen.serving.service import Service

SEARCH = {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}
REQUEST = {"model": "tiny", "max_tokens": 100, "messages": [{"role": "user", "content": "storms?"}]}


@pytest.fixture
def client(address: str, script: Script) -> Iterator[Any]:
    script.actions, script.asked = [], []
    with anthropic.Anthropic(base_url=address, api_key="none", max_retries=0) as made:
        yield made


def ask(client: Any, **options: Any) -> Any:
    return client.messages.create(**{**REQUEST, **options})


def test_a_call_comes_with_wire_name_input_and_usage(client: Any, script: Script, checkpoint: Checkpoint) -> None:
    script.actions = [call()]
    done = ask(client)
    (made,) = done.content
    assert (made.type, made.name, made.input) == ("tool_use", wire(checkpoint), {"region": "Oslo"})
    assert (done.stop_reason, done.stop_sequence) == ("tool_use", None)
    read = len(checkpoint.protocol.prompt([{"role": "user", "content": "storms?"}]))
    assert (done.usage.input_tokens, done.usage.output_tokens) == (read, 7)
    assert (script.asked[0]["tools"], script.asked[0]["tokens"]) == (None, 100)


def test_an_answer_and_declining_are_texts(client: Any, script: Script) -> None:
    script.actions = [answer(), Action(tool=NO_TOOL, tokens=1)]
    done = ask(client)
    assert (done.content[0].text, done.stop_reason) == (LETTER, "end_turn")
    assert ask(client).content[0].text.startswith("No tool")


@pytest.mark.parametrize(
    ("action", "reason", "content"),
    [
        (Action(tool=ALERTS, stuck="arguments_cut", fault="cut", tokens=9), "max_tokens", 0),
        (Action(tool=FINISH, stuck="arguments_cut", fault="cut", tokens=9), "max_tokens", 1),
    ],
    ids=["call", "answer"],
)
def test_what_a_limit_cut_says_so(client: Any, script: Script, action: Action, reason: str, content: int) -> None:
    script.actions = [action]
    done = ask(client, max_tokens=9)
    assert (done.stop_reason, len(done.content)) == (reason, content)


def test_a_stop_sequence_ends_an_answer_before_it(client: Any, script: Script) -> None:
    script.actions = [answer("one, two, three") for _ in range(2)]
    done = ask(client, stop_sequences=["three", ", tw"])
    assert (done.content[0].text, done.stop_reason, done.stop_sequence) == ("one", "stop_sequence", ", tw")
    with client.messages.stream(**REQUEST, stop_sequences=["three", ", tw"]) as stream:
        assert "".join(stream.text_stream) == "one"
        assert stream.get_final_message().stop_sequence == ", tw"


def test_a_conversation_comes_back_as_it_was(client: Any, script: Script, checkpoint: Checkpoint) -> None:
    name = wire(checkpoint)
    calls = [{"type": "tool_use", "id": i, "name": name, "input": {"region": i}} for i in "ab"]
    found = [{"type": "text", "text": "st"}, {"type": "text", "text": "orm"}]
    script.actions = [answer()]
    ask(
        client,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "first"}]},
            {"role": "assistant", "content": "An answer."},
            {"role": "user", "content": "storms in a and b?"},
            {"role": "assistant", "content": [{"type": "text", "text": "I look."}, *calls]},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "b", "content": "calm"},
                    {"type": "tool_result", "tool_use_id": "a", "content": found, "is_error": False},
                    {"type": "text", "text": "and now?"},
                ],
            },
        ],
    )
    assert said(script.asked[0]["messages"]) == [
        ("system", "Be brief."),
        ("user", "first"),
        (FINISH, {"answer": "An answer."}),
        ("user", "storms in a and b?"),
        (ALERTS, {"region": "a"}),
        (ALERTS, {"region": "b"}),
        ("tool", "storm"),
        ("tool", "calm"),
        ("user", "and now?"),
    ]


@pytest.mark.parametrize(
    ("choice", "listed", "tools", "required"),
    [
        (None, False, None, False),
        ({"type": "auto"}, True, (ALERTS,), False),
        ({"type": "none"}, True, (), False),
        ({"type": "any", "disable_parallel_tool_use": True}, True, (ALERTS,), True),
        ({"type": "any"}, False, None, True),
        ({"type": "tool"}, False, (ALERTS,), True),
    ],
    ids=str,
)
def test_tools_and_tool_choice_say_what_may_be_called(
    client: Any, script: Script, checkpoint: Checkpoint, choice: Any, listed: bool, tools: Any, required: bool
) -> None:
    script.actions = [call()]
    options: dict[str, Any] = (
        {"tools": [{"name": wire(checkpoint), "input_schema": {"type": "object"}}]} if listed else {}
    )
    if choice:
        options["tool_choice"] = {**choice, **({"name": wire(checkpoint)} if choice["type"] == "tool" else {})}
    ask(client, **options)
    assert (script.asked[0]["tools"], script.asked[0]["required"]) == (tools, required)
    assert script.asked[0]["parallel"] is not bool((choice or {}).get("disable_parallel_tool_use"))


@pytest.mark.parametrize(("kind", "given"), [("bm25", {"query": "storms?"}), ("regex", "pattern")])
def test_tool_search_is_carried_out_here(
    client: Any, script: Script, checkpoint: Checkpoint, kind: str, given: Any
) -> None:
    script.actions = [call(), answer("Stay in.")]
    tool = {"type": f"tool_search_tool_{kind}_20251119", "name": f"tool_search_tool_{kind}"}
    first = ask(client, tools=[tool])
    search, found, made = first.content
    assert (search.type, search.name) == ("server_tool_use", f"tool_search_tool_{kind}")
    assert search.input == (given if isinstance(given, dict) else {"pattern": made.name})
    assert (found.type, found.tool_use_id) == ("tool_search_tool_result", search.id)
    assert [reference.tool_name for reference in found.content.tool_references] == [made.name] == [wire(checkpoint)]
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": made.id, "content": "storm"}]}
    done = ask(client, tools=[tool], messages=[*REQUEST["messages"], first.to_param(), result])  # type: ignore[misc]
    assert done.content[0].text == "Stay in."
    told = said(script.asked[1]["messages"])
    assert told == [("user", "storms?"), (ALERTS, {"region": "Oslo"}), ("tool", "storm")]


def test_a_tool_that_the_request_lists_needs_no_search(client: Any, script: Script, checkpoint: Checkpoint) -> None:
    script.actions = [call()]
    listed = {"name": wire(checkpoint), "input_schema": {"type": "object"}}
    assert [block.type for block in ask(client, tools=[SEARCH, listed]).content] == ["tool_use"]
    assert script.asked[0]["tools"] is None


@pytest.mark.parametrize(
    "action", [call(region="Bergen"), answer(), calls("Oslo", "Bergen")], ids=["call", "answer", "calls"]
)
def test_a_stream_adds_up_to_what_comes_at_once(client: Any, script: Script, action: Action) -> None:
    script.actions = [action, action]
    with client.messages.stream(**REQUEST, tools=[SEARCH]) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_message()
    whole = ask(client, tools=[SEARCH])
    assert [block.model_dump(exclude={"id", "tool_use_id"}) for block in streamed.content] == [
        block.model_dump(exclude={"id", "tool_use_id"}) for block in whole.content
    ]
    assert (streamed.stop_reason, streamed.usage) == (whole.stop_reason, whole.usage)
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == len(whole.content)
    assert not action.is_finish or kinds.count("content_block_delta") > 3
    inputs = [block.input["region"] for block in whole.content if block.type == "tool_use"]
    assert inputs == [one.arguments["region"] for one in (action, *action.parallel) if one.is_call]


def test_the_asynchronous_client_gets_the_same(
    address: str, client: Any, script: Script, checkpoint: Checkpoint
) -> None:
    script.actions = [call(), answer()]

    async def both() -> tuple[Any, str]:
        async with anthropic.AsyncAnthropic(base_url=address, api_key="none", max_retries=0) as made:
            first = await made.messages.create(**REQUEST)  # type: ignore[call-overload]
            async with made.messages.stream(**REQUEST) as stream:  # type: ignore[arg-type]
                return first, await stream.get_final_text()

    first, text = asyncio.run(both())
    assert (first.content[0].name, text) == (wire(checkpoint), LETTER)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"messages": []}, "messages"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": [{"role": "assistant", "content": "me last"}]}, "end with a user's"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role 'robot'"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "'image'"),
        ({"messages": [{"role": "user", "content": 5}]}, "list of blocks"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}]},
            "no message before it",
        ),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search_20250305"),
        ({"tool_choice": {"type": "perhaps"}}, "tool_choice is auto, any, tool or none"),
        ({"extra_body": {"output_config": {"format": {"type": "json_schema"}}}}, "plain text"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_said_as_anthropic_says_it(client: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match=said) as caught:
        ask(client, **options)
    body: Any = caught.value.body
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")


def test_a_fault_in_a_stream_reaches_the_client(client: Any, script: Script) -> None:
    script.actions = [Action(tool="", stuck="context_full", fault="too long")]
    with pytest.raises(anthropic.APIStatusError, match="too long"), client.messages.stream(**REQUEST) as stream:
        stream.get_final_message()


def test_only_who_has_a_key_is_answered(checkpoint: Checkpoint) -> None:
    assistant = Assistant(checkpoint)
    service = Service("tiny", checkpoint.catalog, assistant.retriever(), assistant)
    with served(make_app(service, keys={"somebody": hashed("right")}), assistant.close) as url:
        wrong = anthropic.Anthropic(base_url=url, api_key="wrong", max_retries=0)
        with wrong, pytest.raises(anthropic.AuthenticationError):
            ask(wrong)
        with anthropic.Anthropic(base_url=url, api_key="right", max_retries=0) as client:
            done = ask(client, max_tokens=3)
    assert done.usage.output_tokens <= 3


def test_a_dataset_cannot_answer(checkpoint: Checkpoint) -> None:
    assistant = Assistant(checkpoint)
    app = make_app(Service("data", checkpoint.catalog, assistant.retriever(), None))
    raised = pytest.raises(anthropic.InternalServerError, match="can only be searched")
    with (
        served(app, assistant.close) as url,
        anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client,
        raised,
    ):
        ask(client)


def test_tokens_are_counted_as_the_answer_s_usage_counts_them(client: Any, script: Script) -> None:
    used = {"type": "tool_use", "id": "a", "name": "tea", "input": {"cups": 2}}
    result = {"type": "tool_result", "tool_use_id": "a", "content": "done"}
    own = {"name": "tea", "description": "Makes tea", "input_schema": {"type": "object", "properties": {}}}
    longer: Any = {
        "system": "Be brief.",
        "messages": [
            *REQUEST["messages"],  # type: ignore[misc]
            {"role": "assistant", "content": [used]},
            {"role": "user", "content": [result]},
        ],
        "tools": [own],
    }
    plain: dict[str, Any] = {}
    for options in (plain, longer):
        script.actions = [answer()]
        counted = client.messages.count_tokens(**{"model": "tiny", "messages": REQUEST["messages"], **options})
        assert counted.input_tokens == ask(client, **options).usage.input_tokens
    with pytest.raises(anthropic.BadRequestError, match="neither the catalog nor"):
        client.messages.count_tokens(model="tiny", messages=longer["messages"])
