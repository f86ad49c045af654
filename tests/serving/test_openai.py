"""OpenAI's own client against the server: chat, streams, responses with tool search, errors. A scripted model decides."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from tests.serving.conftest import ALERTS, LETTER, Script, answer, call, calls, said, served, wire

from toolgen.agent import Action
from toolgen.checkpoint import Checkpoint
from toolgen.datasets.messages import FINISH, NO_TOOL
from toolgen.serving.app import make_app
from toolgen.serving.assistant import Assistant
from toolgen.serving.guard import hashed
from toolgen.serving.service import Service


@pytest.fixture
def client(address: str, script: Script) -> Iterator[Any]:
    script.actions, script.asked = [], []
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as made:
        yield made


def _function(name: str, parameters: dict[str, Any], description: str = "") -> dict[str, Any]:
    """A tool as a chat request lists it."""
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def _called(arguments: str) -> dict[str, Any]:
    """An assistant's message with one call."""
    function = {"name": "x", "arguments": arguments}
    return {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": function}]}


def ask(client: Any, **options: Any) -> Any:
    settings = {"model": "tiny", "messages": [{"role": "user", "content": "storms?"}], **options}
    return client.chat.completions.create(**settings)


# --- chat --------------------------------------------------------------------------------------------------------------


def test_the_served_model_is_listed(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]


def test_a_call_comes_with_wire_name_arguments_and_usage(client: Any, script: Script, checkpoint: Checkpoint) -> None:
    script.actions = [call()]
    done = ask(client)
    (made,) = done.choices[0].message.tool_calls
    assert (made.function.name, json.loads(made.function.arguments)) == (wire(checkpoint), {"region": "Oslo"})
    assert done.choices[0].finish_reason == "tool_calls"
    assert (done.usage.completion_tokens, done.usage.total_tokens) == (7, done.usage.prompt_tokens + 7)
    assert done.usage.prompt_tokens == len(checkpoint.protocol.prompt([{"role": "user", "content": "storms?"}]))
    assert script.asked[0]["tools"] is None  # the catalog needs no listing


def test_an_answer_and_declining_are_texts(client: Any, script: Script) -> None:
    script.actions = [answer(), Action(tool=NO_TOOL, tokens=1)]
    assert ask(client).choices[0].message.content == LETTER
    assert ask(client).choices[0].message.content.startswith("No tool")


def test_a_conversation_comes_back_as_it_was(client: Any, script: Script, checkpoint: Checkpoint) -> None:
    name = wire(checkpoint)
    calls = [
        {"id": i, "type": "function", "function": {"name": name, "arguments": json.dumps({"region": i})}} for i in "ab"
    ]
    script.actions = [answer()]
    ask(
        client,
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "first"}]},
            {"role": "assistant", "content": "An answer."},
            {"role": "user", "content": "storms in a and b?"},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "b", "content": "calm"},
            {"role": "tool", "tool_call_id": "a", "content": "storm"},
        ],
    )
    told = said(script.asked[0]["messages"])
    assert told == [
        ("system", "Be brief."),
        ("user", "first"),
        (FINISH, {"answer": "An answer."}),
        ("user", "storms in a and b?"),
        (ALERTS, {"region": "a"}),
        (ALERTS, {"region": "b"}),
        ("tool", "storm"),
        ("tool", "calm"),
    ]


def test_ids_of_calls_may_come_again_in_later_turns(client: Any, script: Script, checkpoint: Checkpoint) -> None:
    messages: list[dict[str, Any]] = []
    for region, result in (("a", "calm"), ("b", "storm")):
        function = {"name": wire(checkpoint), "arguments": json.dumps({"region": region})}
        made = [{"id": "call_0", "type": "function", "function": function}]
        messages += [
            {"role": "user", "content": f"storms in {region}?"},
            {"role": "assistant", "content": None, "tool_calls": made},
            {"role": "tool", "tool_call_id": "call_0", "content": result},
        ]
    script.actions = [answer()]
    ask(client, messages=messages)
    told = said(script.asked[0]["messages"])
    assert told[1:3] == [(ALERTS, {"region": "a"}), ("tool", "calm")]
    assert told[4:] == [(ALERTS, {"region": "b"}), ("tool", "storm")]


@pytest.mark.parametrize("name", [FINISH, NO_TOOL])
def test_a_tool_of_the_request_may_have_the_name_of_an_action(client: Any, script: Script, name: str) -> None:
    script.actions = [Action(tool=f"{name}#", arguments={"city": "Oslo"}, tokens=7)]
    tool = _function(name, {"type": "object", "properties": {"city": {"type": "string"}}}, "Ends the order of a city")
    (made,) = ask(client, tools=[tool]).choices[0].message.tool_calls
    assert (made.function.name, json.loads(made.function.arguments)) == (name, {"city": "Oslo"})


@pytest.mark.parametrize(
    ("choice", "listed", "tools", "required"),
    [
        (None, False, None, False),
        ("auto", True, (ALERTS,), False),
        ("none", True, (), False),
        ("required", True, (ALERTS,), True),
        ("required", False, None, True),
        ("function", False, (ALERTS,), True),
        ("allowed", True, (ALERTS,), True),
    ],
)
def test_tools_and_tool_choice_say_what_may_be_called(
    client: Any,
    script: Script,
    checkpoint: Checkpoint,
    choice: Any,
    listed: bool,
    tools: tuple[str, ...] | None,
    required: bool,
) -> None:
    script.actions = [call()]
    function = {"type": "function", "function": {"name": wire(checkpoint)}}
    choices = {
        "function": function,
        "allowed": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [function]}},
    }
    options = {"tools": [function]} if listed else {}
    ask(client, **options, **({"tool_choice": choices.get(choice, choice)} if choice else {}))
    assert (script.asked[0]["tools"], script.asked[0]["required"]) == (tools, required)


def test_a_stream_of_a_call_adds_up(client: Any, script: Script, checkpoint: Checkpoint) -> None:
    script.actions = [call(region="Bergen")]
    with client.chat.completions.stream(
        model="tiny", messages=[{"role": "user", "content": "x"}], stream_options={"include_usage": True}
    ) as stream:
        kinds = [event.type for event in stream]
        done = stream.get_final_completion()
    (made,) = done.choices[0].message.tool_calls
    assert (made.function.name, json.loads(made.function.arguments)) == (wire(checkpoint), {"region": "Bergen"})
    assert kinds.count("tool_calls.function.arguments.delta") == 2, (
        "the tool is told at once, its arguments when they are complete"
    )
    assert done.usage.completion_tokens == 7
    assert done.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("stream", [False, True], ids=["at once", "streamed"])
def test_independent_calls_come_together(client: Any, script: Script, checkpoint: Checkpoint, stream: bool) -> None:
    script.actions = [calls("Oslo", "Bergen")]
    if stream:
        with client.chat.completions.stream(model="tiny", messages=[{"role": "user", "content": "x"}]) as chunks:
            done = chunks.get_final_completion()
    else:
        done = ask(client)
    made = done.choices[0].message.tool_calls
    told = [(one.function.name, json.loads(one.function.arguments)) for one in made]
    assert told == [(wire(checkpoint), {"region": region}) for region in ("Oslo", "Bergen")]
    assert len({one.id for one in made}) == 2 and done.choices[0].finish_reason == "tool_calls"


def test_a_client_may_want_one_call_at_a_time(client: Any, script: Script) -> None:
    script.actions = [call(), call(), call()]
    ask(client)
    ask(client, parallel_tool_calls=False)
    done = client.responses.create(model="tiny", input="x", parallel_tool_calls=False)
    assert [asked["parallel"] for asked in script.asked] == [True, False, False] and not done.parallel_tool_calls


def test_a_stream_of_an_answer_adds_up(client: Any, script: Script) -> None:
    script.actions = [answer()]
    chunks = [chunk.choices[0].delta.content or "" for chunk in ask(client, stream=True)]
    assert "".join(chunks) == LETTER
    assert sum(map(bool, chunks)) > 3


def test_arguments_that_a_limit_cut_are_no_call(client: Any, script: Script) -> None:
    script.actions = [Action(tool=ALERTS, stuck="arguments_cut", fault="cut after 9 tokens", tokens=9)]
    done = ask(client, max_tokens=9)
    assert (done.choices[0].finish_reason, done.choices[0].message.tool_calls) == ("length", None)
    assert script.asked[0]["tokens"] == 9


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"n": 2}, "n"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"stop": 5}, "stop.str"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "me last"}]}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0]"),
        ({"tools": [{"type": "function", "function": {"description": "nameless"}}]}, "tools[0]"),
        ({"tools": [_function("a", {}), _function("a", {})]}, "tools[1]"),
        ({"tools": [_function(f"t{i}", {}) for i in range(5)]}, "tools"),
        ({"tools": [_function("a", {})], "tool_choice": {"type": "function", "name": "b"}}, "tool_choice"),
        ({"tools": [_function("a", {})], "tool_choice": {"type": "function", "name": ALERTS}}, "tool_choice"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"messages": [{"role": "assistant", "tool_calls": 5}]}, "messages[0]"),
        ({"messages": [_called("[" * 100_000)]}, "messages[0]"),
        ({"tools": [{"type": "function", "function": 5}]}, "tools[0]"),
        ({"tool_choice": {"type": "function", "function": 5}}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": 5}}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": 5}}}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": []}}}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "mode": "required", "tools": []}}, "tool_choice"),
        ({"temperature": 9}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_what_does_not_fit_is_said_as_openai_says_it(client: Any, options: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, **options)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


def test_a_conversation_that_does_not_fit_the_model_has_the_known_code(client: Any, script: Script) -> None:
    script.actions = [Action(tool="", stuck="context_full", fault="too long")]
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client)
    assert caught.value.code == "context_length_exceeded"


def test_the_asynchronous_client_gets_the_same(
    address: str, client: Any, script: Script, checkpoint: Checkpoint
) -> None:
    script.actions = [call(), answer(), call()]

    async def each() -> tuple[Any, str, Any]:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as made:
            first = await ask(made)
            chunks = [chunk.choices[0].delta.content or "" async for chunk in await ask(made, stream=True)]
            found = await made.responses.create(model="tiny", input="storms?", tools=[{"type": "tool_search"}])
            return first, "".join(chunks), found

    first, text, found = asyncio.run(each())
    assert first.choices[0].message.tool_calls[0].function.name == wire(checkpoint)
    assert text == LETTER
    assert [item.type for item in found.output] == ["tool_search_call", "tool_search_output", "function_call"]


def test_a_stop_text_ends_an_answer_before_it(client: Any, script: Script) -> None:
    script.actions = [answer("one, two, three") for _ in range(3)]
    done = ask(client, stop=[", tw", "three"])
    assert (done.choices[0].message.content, done.choices[0].finish_reason) == ("one", "stop")
    chunks = [chunk.choices[0].delta.content or "" for chunk in ask(client, stop="three", stream=True)]
    assert "".join(chunks) == "one, two, "
    assert ask(client, stop="four").choices[0].message.content == "one, two, three"


def test_draws_are_those_of_the_seed_and_differ_without_one(client: Any, script: Script) -> None:
    script.actions = [answer() for _ in range(4)]
    for options in ({"seed": 3}, {"seed": 3}, {}, {}):
        ask(client, temperature=0.7, top_p=0.9, **options)
    first, second, third, fourth = (asked["options"].sampling for asked in script.asked)
    assert (first.temperature, first.top_p, first.seed) == (0.7, 0.9, 3)
    assert first == second and third.seed != fourth.seed


# --- many at once ------------------------------------------------------------------------------------------------------


def test_more_than_can_wait_are_told_to_come_again(client: Any, script: Script) -> None:
    script.hold.clear()
    script.actions = [answer() for _ in range(3)]
    done: list[Any] = []
    threads = [threading.Thread(target=lambda: done.append(ask(client))) for _ in range(3)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 10
    while _load(client) < 3 and time.monotonic() < until:
        time.sleep(0.02)
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client)
    script.hold.set()
    for thread in threads:
        thread.join(10)
    assert caught.value.response.headers["retry-after"] == "1"
    assert len(done) == 3


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_leaves_no_work_behind(client: Any, script: Script, stream: bool) -> None:
    script.hold.clear()
    script.cancelled.clear()
    script.actions = [answer()]
    with pytest.raises(openai.APITimeoutError):
        list(ask(client.with_options(timeout=0.5), stream=stream))
    assert script.cancelled.wait(5)
    script.hold.set()
    until = time.monotonic() + 5
    while _load(client) and time.monotonic() < until:
        time.sleep(0.02)
    assert _load(client) == 0


def _load(client: Any) -> int:
    return int(client.get(f"{str(client.base_url).removesuffix('/v1/')}/ready", cast_to=object)["load"])


# --- responses ---------------------------------------------------------------------------------------------------------


def test_tool_search_is_carried_out_here(client: Any, script: Script, checkpoint: Checkpoint) -> None:
    script.actions = [call()]
    done = client.responses.create(model="tiny", input="storms?", tools=[{"type": "tool_search"}])
    search, found, made = done.output
    assert [item.type for item in done.output] == ["tool_search_call", "tool_search_output", "function_call"]
    assert (search.execution, search.arguments) == ("server", {"query": "storms?"})
    assert [tool.name for tool in found.tools] == [made.name] == [wire(checkpoint)]
    assert json.loads(made.arguments) == {"region": "Oslo"}
    assert done.status == "completed"


def test_a_function_of_the_request_needs_no_search(client: Any, script: Script, checkpoint: Checkpoint) -> None:
    script.actions = [call()]
    function = {"type": "function", "name": wire(checkpoint), "parameters": {}, "strict": False}
    done = client.responses.create(model="tiny", input="storms?", tools=[function])
    assert [item.type for item in done.output] == ["function_call"]
    assert script.asked[0]["tools"] == (ALERTS,)


@pytest.mark.parametrize(
    "action", [call(region="Bergen"), answer(), calls("Oslo", "Bergen")], ids=["call", "answer", "calls"]
)
def test_a_stream_of_a_response_adds_up(client: Any, script: Script, action: Action) -> None:
    script.actions = [action]
    with client.responses.stream(model="tiny", input="x", tools=[{"type": "tool_search"}]) as stream:
        events = list(stream)
        done = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    if action.is_finish:
        assert done.output_text == LETTER
    else:
        assert json.loads(done.output[-1].arguments) == {"region": "Bergen"}
        assert len(done.output) == 3 * (1 + len(action.parallel)), "each call is found before it is made"
    added = [event.item.id for event in events if event.type == "response.output_item.added"]
    ended = [event.item for event in events if event.type == "response.output_item.done"]
    assert added == [item.id for item in ended] == [item.id for item in done.output]
    assert {item.status for item in done.output} == {"completed"}


def test_a_response_goes_on_with_results(client: Any, script: Script, checkpoint: Checkpoint) -> None:
    script.actions = [call(), answer("Stay in.")]
    first = client.responses.create(model="tiny", input="storms?", tools=[{"type": "tool_search"}])
    made = first.output[-1]
    items = [{"role": "user", "content": "storms?"}, *(item.model_dump() for item in first.output)]
    items.append({"type": "function_call_output", "call_id": made.call_id, "output": "storm"})
    done = client.responses.create(model="tiny", input=items, tools=[{"type": "tool_search"}], instructions="Be kind.")
    assert done.output_text == "Stay in."
    told = said(script.asked[1]["messages"])
    assert told == [("system", "Be kind."), ("user", "storms?"), (ALERTS, {"region": "Oslo"}), ("tool", "storm")]


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"include": ["message.output_text.logprobs"]}, "top_logprobs"),
        ({"text": {"format": {"type": "json_object"}}}, "text"),
    ],
    ids=str,
)
def test_what_a_response_cannot_give_is_said(client: Any, options: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="tiny", input="x", **options)
    assert caught.value.param == param


def test_nothing_is_kept_between_responses(client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="whole conversation"):
        client.responses.create(model="tiny", input="x", previous_response_id="resp_1")


# --- search, and who may ask -------------------------------------------------------------------------------------------


def search(client: Any, **given: Any) -> Any:
    return client.post("/tools/search", body=given, cast_to=object)


def test_a_search_gives_tools_with_probabilities(client: Any, checkpoint: Checkpoint) -> None:
    found = search(client, query="storm warnings", limit=13)
    expected = {one.tool: one.probability for one in checkpoint.search("storm warnings", 14)}
    assert found["unit"] == "probability"
    assert found["no_tool"] == pytest.approx(expected.pop(NO_TOOL), abs=1e-3)
    assert {one["id"]: one["score"] for one in found["data"]} == pytest.approx(expected, abs=1e-3)


def test_a_search_keeps_to_its_part(client: Any) -> None:
    found = search(client, query="storm warnings", limit=10, include=["provider:mail"])["data"]
    assert {one["provider"] for one in found} == {"mail"}
    with pytest.raises(openai.BadRequestError):
        search(client, query="x", read_only=True)


@pytest.mark.parametrize("given", [{}, {"query": ""}, {"query": "x", "limit": 0}, {"query": "x", "limit": 51}])
def test_a_search_needs_a_query_and_a_sensible_limit(client: Any, given: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError):
        search(client, **given)


def test_only_who_has_a_key_is_answered(checkpoint: Checkpoint) -> None:
    assistant = Assistant(checkpoint)
    service = Service("tiny", checkpoint.catalog, assistant.retriever(), assistant)
    with served(make_app(service, keys={"somebody": hashed("right")}), assistant.close) as url:
        wrong = openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0)
        with wrong, pytest.raises(openai.AuthenticationError):
            wrong.models.list()
        with openai.OpenAI(base_url=f"{url}/v1", api_key="right", max_retries=0) as client:
            assert client.models.list().data


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://["}],
    ids=str,
)
def test_other_sites_cannot_reach_it_through_a_browser(client: Any, headers: dict[str, str]) -> None:
    with pytest.raises(openai.PermissionDeniedError):
        client.models.list(extra_headers=headers)


def test_a_request_has_a_largest_size(client: Any) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, messages=[{"role": "user", "content": "x" * 2_000_000}])
    assert caught.value.status_code == 413


def test_metrics_count_requests(client: Any) -> None:
    client.models.list()
    text = client.get(f"{str(client.base_url).removesuffix('/v1/')}/metrics", cast_to=str)
    assert 'toolgen_requests_total{path="/v1/models",status="200"}' in text
    assert "toolgen_load 0" in text


def test_the_model_itself_answers(checkpoint: Checkpoint) -> None:
    assistant = Assistant(checkpoint)
    service = Service("tiny", checkpoint.catalog, assistant.retriever(), assistant)
    name = wire(checkpoint)
    forced = {"type": "function", "function": {"name": name}}
    with served(make_app(service), assistant.close) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        with client:
            done = ask(client, tool_choice=forced, max_tokens=400, temperature=0.5)
    (choice,) = done.choices
    if choice.finish_reason == "tool_calls":
        assert set(json.loads(choice.message.tool_calls[0].function.arguments)) == {"region"}
    else:
        assert choice.finish_reason == "length"
