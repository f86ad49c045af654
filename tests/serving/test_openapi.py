"""The server's OpenAPI document: whatever fits it, and what does not, is answered, never with a fault of the server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.generation.modes import GenerationMode
from starlette.testclient import TestClient
from tests.serving.conftest import Script, answer

from toolgen.agent import Action
from toolgen.checkpoint import Checkpoint
from toolgen.serving.app import make_app
from toolgen.serving.assistant import Assistant
from toolgen.serving.request_tools import RequestTools
from toolgen.serving.service import Service

EXAMPLES = 40
"""Requests of each kind to each operation; all of them take about twenty seconds."""
CONVERSATIONS = ("/v1/chat/completions", "/v1/responses", "/v1/messages")


class Brief(Script):
    """Answers every request at once."""

    def act(self, *_: Any, on_text: Callable[[int, str, str], bool | None], **__: Any) -> Action:
        action = answer("Yes.")
        on_text(0, action.tool, '{"answer": "Yes."}')
        return action


@pytest.fixture(scope="module")
def schema(checkpoint: Checkpoint) -> Iterator[Any]:
    assistant = Assistant(checkpoint)
    service = Service("tiny", checkpoint.catalog, assistant.retriever(), assistant)
    policy: Any = Brief(checkpoint)
    assistant._policy, assistant._own = policy, RequestTools(policy)
    yield schemathesis.openapi.from_asgi("/openapi.json", make_app(service, hosts=()))
    assistant.close()


def test_the_document_has_all_that_clients_ask(schema: Any) -> None:
    paths = {operation.ok().path for operation in schema.get_all_operations()}
    assert {*CONVERSATIONS, "/v1/tools/search", "/v1/models", "/health", "/ready", "/metrics"} <= paths


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
def test_no_request_makes_the_server_fail(schema: Any, mode: GenerationMode) -> None:
    asked: dict[int, int] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not operation.body:
            continue

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES if operation.body else 2,
            derandomize=True,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: Any) -> None:
            status = case.call().status_code
            asked[status] = asked.get(status, 0) + 1
            assert status < 500, case.as_curl_command()

        ask()
    assert asked[200 if mode is GenerationMode.POSITIVE else 400] > EXAMPLES // 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "\ud800", "{}", "weather&&get_alerts"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "type", "name"]), inner, max_size=2)
    ),
    max_leaves=4,
)
BLOCKS = ["text", "tool_use", "tool_result", "tool_reference", "thinking", "image", "message", "function_call"]
TYPES = ["function", "custom", "tool_search", "tool_search_tool_bm25", "auto", "any", "tool", "allowed_tools"]
KINDS = st.sampled_from([*BLOCKS, "function_call_output", *TYPES])


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects with the keys of the protocols, and values that mostly fit."""
    lists, texts = st.lists(inner, max_size=3), st.sampled_from(["a", "b", "tea", "weather_get_alerts_d5a99cd089"])
    fitting = {
        "role": st.sampled_from(["user", "assistant", "tool", "system"]),
        "type": KINDS,
        "content": texts | lists,
        "tool_calls": lists,
        "function": inner,
        "tools": lists,
        "arguments": st.just("{}"),
        "input": st.just({}),
        "parameters": inner,
        **{
            key: texts
            for key in ("name", "text", "id", "call_id", "tool_call_id", "tool_use_id", "tool_name", "output")
        },
    }
    return st.fixed_dictionaries({}, optional={key: one | JSON for key, one in fitting.items()})


THINGS = st.recursive(objects(JSON), objects, max_leaves=6)


@pytest.mark.parametrize("path", CONVERSATIONS)
def test_conversations_of_the_wrong_shape_are_told_so(schema: Any, path: str) -> None:
    fields = {"tools": st.lists(THINGS, max_size=3), "tool_choice": THINGS | JSON, "stream": st.booleans()}
    fields |= {"stop": JSON, "stop_sequences": JSON, "system": THINGS | JSON, "text": THINGS, "output_config": THINGS}
    bodies = st.fixed_dictionaries({"messages": st.lists(THINGS, min_size=1, max_size=4)}, optional=fields)
    statuses: set[int] = set()

    @given(body=bodies)
    @settings(
        max_examples=2 * EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def ask(body: dict[str, Any]) -> None:
        body |= {"max_tokens": 10, "input": body["messages"]}
        answered = client.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
        statuses.add(answered.status_code)
        assert answered.status_code < 500

    with TestClient(schema.app) as client:
        ask()
    assert 400 in statuses


USER = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/messages", {"tool_choice": {"type": ["any"]}}, 400),
        ("/v1/messages", {"messages": [{"role": "assistant", "content": [{"type": ["text"]}]}, USER]}, 400),
        ("/v1/messages", {"model": "\ud800", "stream": True}, 200),
        ("/v1/responses", {"model": "\ud800", "metadata": {"\ud800": "\ud800"}}, 200),
        ("/v1/responses", {"metadata": {"\ud800": 5}}, 400),
        ("/v1/chat/completions", {"tools": [{"type": "function", "function": {"name": "\ud800"}}]}, 200),
    ],
    ids=str,
)
def test_half_characters_and_lists_for_names_are_taken_or_told(
    schema: Any, path: str, body: dict[str, Any], status: int
) -> None:
    whole = {"messages": [USER], "input": "x", "max_tokens": 10, **body}
    with TestClient(schema.app) as client:
        answered = client.post(path, content=json.dumps(whole), headers={"Content-Type": "application/json"})
    assert answered.status_code == status
