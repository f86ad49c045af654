"""Clients of other makers, as they are installed, against the servers: LangChain's model of OpenAI's API and fastmcp's client.

OpenAI's, Anthropic's and MCP's own clients have files of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.serving.conftest import ALERTS, LETTER, Script, answer, call, served, wire
from tests.serving.test_gateway import CITY, FORECAST, Recorder, gateway_over

from toolgen.checkpoint import Checkpoint
from toolgen.datasets import save_dataset
from toolgen.testing import tiny_dataset

WEATHER = {"name": "tea", "description": "Makes tea", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture
def chat(address: str, script: Script) -> Any:
    langchain_openai = pytest.importorskip("langchain_openai")
    script.actions, script.asked = [], []
    return langchain_openai.ChatOpenAI(base_url=f"{address}/v1", api_key="none", model="tiny", max_retries=0)


def test_langchain_calls_a_tool_of_the_catalog_and_answers_after_its_result(
    chat: Any, script: Script, checkpoint: Checkpoint
) -> None:
    from langchain_core.messages import HumanMessage, ToolMessage

    script.actions = [call(), answer()]
    asked: list[Any] = [HumanMessage("storms?")]
    made = chat.invoke(asked)
    (one,) = made.tool_calls
    assert (one["name"], one["args"]) == (wire(checkpoint), {"region": "Oslo"})
    assert made.usage_metadata["output_tokens"] == 7 and made.response_metadata["finish_reason"] == "tool_calls"
    final = chat.invoke([*asked, made, ToolMessage("storm", tool_call_id=one["id"])])
    assert final.content == LETTER
    assert [message["role"] for message in script.asked[1]["messages"]] == ["user", "assistant", "tool"]


def test_langchain_binds_tools_of_its_own_and_streams(chat: Any, script: Script) -> None:
    script.actions = [call("tea"), answer()]
    bound = chat.bind_tools([WEATHER], tool_choice="tea")
    whole = None
    for chunk in bound.stream("tea, please"):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None and [(one["name"], one["args"]) for one in whole.tool_calls] == [
        ("tea", {"region": "Oslo"})
    ]
    assert (script.asked[0]["tools"], script.asked[0]["required"]) == (("tea",), True)
    assert "".join(str(chunk.content) for chunk in chat.stream("hello")) == LETTER


def test_langchain_asks_for_answers_of_responses_asynchronously(
    chat: Any, script: Script, checkpoint: Checkpoint
) -> None:
    script.actions = [call()]

    async def ask() -> Any:
        async with chat.root_async_client:
            return await chat.bind_tools([{"type": "tool_search"}]).ainvoke("storms?")

    made = anyio.run(ask)
    assert [one["name"] for one in made.tool_calls] == [wire(checkpoint, ALERTS)]


@pytest.fixture
def gateway_address() -> Iterator[str]:
    pytest.importorskip("mcp")
    from toolgen.serving.mcp_gateway import http_app

    with served(http_app(gateway_over(Recorder()))) as url:
        yield f"{url}/mcp"


def test_fastmcp_searches_reads_and_calls_over_http(gateway_address: str) -> None:
    fastmcp = pytest.importorskip("fastmcp")

    async def work() -> None:
        async with fastmcp.Client(gateway_address) as client:
            assert [tool.name for tool in await client.list_tools()] == [
                "search_tools",
                "get_tool_details",
                "call_tool",
            ]
            found = await client.call_tool("search_tools", {"query": "forecast of the weather", "limit": 1})
            name = found.structured_content["tools"][0]["name"]
            assert name == FORECAST.id
            definition = await client.call_tool("get_tool_details", {"name": name})
            assert definition.structured_content["inputSchema"] == CITY
            called = await client.call_tool("call_tool", {"name": name, "arguments": {"city": "Oslo"}})
            assert called.content[0].text == '{"city": "Oslo"}'
            with pytest.raises(fastmcp.exceptions.ToolError, match="no such city"):
                await client.call_tool("call_tool", {"name": name, "arguments": {"city": "Atlantis"}})

    anyio.run(work)


def test_fastmcp_starts_the_gateway_itself(tmp_path: Path) -> None:
    fastmcp = pytest.importorskip("fastmcp")
    from fastmcp.client.transports import StdioTransport

    save_dataset(tiny_dataset(), tmp_path / "data")
    command = ["-m", "toolgen", "mcp", str(tmp_path / "data"), "--dry-run"]

    async def work() -> None:
        async with fastmcp.Client(StdioTransport(sys.executable, command, keep_alive=False)) as client:
            found = await client.call_tool("search_tools", {"query": "weather forecast for a city"})
            assert found.structured_content["tools"][0]["name"] == "weather&&get_forecast"

    anyio.run(work)
