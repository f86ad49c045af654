"""The three operations over a catalog, and the same through the protocol's own client."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from tests.serving.conftest import served

from toolgen.agent import Environment, ToolResult
from toolgen.catalog import Catalog, Tool
from toolgen.datasets import Task, Turn
from toolgen.errors import InputError
from toolgen.retrieval import Ranking, make_retriever
from toolgen.serving import Gateway

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FORECAST = Tool(
    id="weather.example&&GET /forecast",
    provider="weather.example",
    name="GET /forecast",
    description="Weather forecast of a city",
    parameters=CITY,
    returns={"type": "object"},
    endpoint={"kind": "http", "method": "GET"},
)
MAIL = Tool(
    id="mail&&send",
    provider="mail",
    name="send",
    description="Send an e-mail\nto somebody. " + "Long. " * 100,
    endpoint={"kind": "mcp", "annotations": {"title": "Send", "readOnlyHint": False}},
)


class Recorder:
    """Answers with what it was asked; `broken` fails."""

    name = "recorder"
    tools = (FORECAST.id, MAIL.id)

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.closed = False

    def reset(self, task: Task) -> None:
        self.calls = []

    def start_turn(self, turn: Turn) -> None:
        pass

    def call(self, tool_id: str, arguments: Mapping[str, Any], *, within: float = 60) -> ToolResult:
        self.calls.append((tool_id, dict(arguments)))
        if arguments.get("city") == "Atlantis":
            return ToolResult(content='{"error": "no such city"}', status="error")
        return ToolResult(content=json.dumps(dict(arguments)))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def gateway_of(catalog: Catalog, environment: Environment, **options: Any) -> Gateway:
    retriever = make_retriever("bm25")
    retriever.index(catalog)
    return Gateway(catalog, retriever, environment, **options)


def gateway_over(recorder: Recorder, **options: Any) -> Gateway:
    return gateway_of(Catalog([FORECAST, MAIL]), recorder, **options)


@pytest.fixture
def gateway(recorder: Recorder) -> Iterator[Gateway]:
    made = gateway_over(recorder)
    yield made
    made.close()
    assert recorder.closed


def test_a_search_gives_names_and_short_descriptions(gateway: Gateway) -> None:
    first = gateway.search("send an e-mail", 1).tools[0]
    assert first.name == MAIL.id
    assert first.description.startswith("Send an e-mail to somebody. Long.")
    assert len(first.description) <= 240


def test_a_search_says_when_no_tool_fits(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = gateway_over(recorder)
    for no_tool, expected in ((0.5, True), (0.3, False), (None, False)):
        ranking = Ranking((MAIL.id, FORECAST.id), (0.4, 0.1), no_tool)
        monkeypatch.setattr(gateway._retriever, "search", lambda _texts, _k, one=ranking: [one])
        assert gateway.search("a poem", 2).is_declined is expected


@pytest.mark.parametrize(("text", "limit"), [("", 5), (" \n", 5), ("mail", 0), ("mail", 51)])
def test_a_search_needs_words_and_a_sensible_limit(gateway: Gateway, text: str, limit: int) -> None:
    with pytest.raises(InputError):
        gateway.search(text, limit)


def test_a_definition_is_written_as_the_protocol_asks(gateway: Gateway) -> None:
    forecast, mail = gateway.details([FORECAST.id, MAIL.id])
    assert forecast["inputSchema"] == CITY
    assert forecast["outputSchema"] == {"type": "object"}
    assert forecast["annotations"] == {"readOnlyHint": True}
    assert mail["annotations"] == {"title": "Send", "readOnlyHint": False}


def test_a_tool_is_called_by_id_and_by_wire_name(gateway: Gateway, recorder: Recorder) -> None:
    from toolgen.catalog.naming import wire_name

    for name in (FORECAST.id, wire_name(FORECAST)):
        assert gateway.call(name, {"city": "Oslo"}).content == '{"city": "Oslo"}'
    assert recorder.calls == [(FORECAST.id, {"city": "Oslo"})] * 2


def test_unknown_tools_and_invalid_arguments_reach_no_environment(gateway: Gateway, recorder: Recorder) -> None:
    assert "search for one" in gateway.call("nothing", {}).content
    found = gateway.call(FORECAST.id, {"city": 5})
    assert found.is_error
    assert "invalid arguments" in found.content
    assert recorder.calls == []


def test_only_reading_refuses_what_does_not_say_that_it_reads(recorder: Recorder) -> None:
    gateway = gateway_over(recorder, read_only=True)
    assert not gateway.call(FORECAST.id, {"city": "Oslo"}).is_error
    assert gateway.call(MAIL.id, {}).is_error
    assert [tool for tool, _ in recorder.calls] == [FORECAST.id]


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ({"kind": "http", "method": "get"}, None),
        ({"kind": "http", "method": "POST"}, "may change something"),
        ({"kind": "http", "method": "DELETE"}, "delete"),
        ({"kind": "mcp", "annotations": {"readOnlyHint": True}}, None),
        ({"kind": "mcp", "annotations": {"destructiveHint": False}}, "adds something"),
        ({"kind": "mcp", "annotations": {"destructiveHint": True}}, "delete"),
        ({"kind": "mcp", "annotations": {"readOnlyHint": "yes"}}, "delete"),
        ({"kind": "mcp"}, "delete"),
        ({"kind": "python"}, "delete"),
        (None, "delete"),
    ],
)
def test_a_question_says_what_a_call_may_do_and_with_what(
    recorder: Recorder, endpoint: dict[str, Any] | None, expected: str | None
) -> None:
    tool = replace(MAIL, endpoint=endpoint)
    question = gateway_of(Catalog([tool]), recorder).question(tool.id, {"to": "a\u202eb\n"})
    if expected is None:
        assert question is None
    else:
        assert question is not None
        assert expected in question
        assert tool.id in question
        assert "\u202e" not in question


def test_what_is_refused_anyway_is_not_asked(recorder: Recorder) -> None:
    assert gateway_over(recorder).question("nothing", {}) is None
    assert gateway_over(recorder).question(FORECAST.id, {"city": 5}) is None
    assert gateway_over(recorder, read_only=True).question(MAIL.id, {}) is None


def test_a_log_that_cannot_be_written_is_said_before_anything_is_served(recorder: Recorder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing can be logged"):
        gateway_over(recorder, log=tmp_path / "no folder" / "calls.jsonl")


def test_a_log_that_fails_later_fails_no_call(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    gateway = gateway_over(recorder, log=Path("/dev/full"))
    assert gateway.search("send an e-mail", 1).tools
    assert gateway.call(FORECAST.id, {"city": "Oslo"}).status == "ok"
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == ["what happens is not logged: /dev/full: No space left on device"]


def test_calls_are_logged_without_what_users_said_unless_asked(recorder: Recorder, tmp_path: Path) -> None:
    quiet, whole = tmp_path / "quiet.jsonl", tmp_path / "whole.jsonl"
    gateway_over(recorder, log=quiet).call(FORECAST.id, {"city": "Atlantis"})
    gateway_over(recorder, log=whole, log_contents=True).call("\udc80", {"city": "Oslo"})
    line = json.loads(quiet.read_text("utf-8"))
    assert (line["operation"], line["tools"], line["status"]) == ("call", [FORECAST.id], "error")
    assert "Atlantis" not in quiet.read_text("utf-8")
    assert json.loads(whole.read_text("utf-8"))["arguments"] == {"city": "Oslo"}


# --- through the protocol --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_client_of_either_era_searches_reads_and_calls(gateway: Gateway, mode: Any) -> None:
    pytest.importorskip("mcp")
    from mcp import Client

    from toolgen.serving.mcp_gateway import mcp_server

    async def work() -> None:
        async with Client(mcp_server(gateway), mode=mode) as client:
            tools = (await client.list_tools()).tools
            assert [tool.name for tool in tools] == ["search_tools", "get_tool_details", "call_tool"]
            found = await client.call_tool("search_tools", {"query": "forecast of the weather"})
            name = found.structured_content["tools"][0]["name"]
            assert name == FORECAST.id
            assert found.content[0].text.startswith(f"{FORECAST.id}: Weather forecast")  # type: ignore[union-attr]
            definition = await client.call_tool("get_tool_details", {"name": name})
            assert definition.structured_content["inputSchema"] == CITY
            called = await client.call_tool("call_tool", {"name": name, "arguments": {"city": "Oslo"}})
            assert (called.is_error, called.content[0].text) == (False, '{"city": "Oslo"}')  # type: ignore[union-attr]
            failed = await client.call_tool("call_tool", {"name": name, "arguments": {"city": "Atlantis"}})
            assert failed.is_error

    anyio.run(work)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("search_tools", {}),
        ("search_tools", {"query": "x", "limit": 0}),
        ("search_tools", {"query": 5}),
        ("get_tool_details", {"name": "nothing"}),
        ("call_tool", {"name": "nothing"}),
        ("call_tool", {"name": FORECAST.id, "arguments": []}),
        ("call_tool", {"name": FORECAST.id}),
        ("call_tool", {"name": FORECAST.id, "extra": 1}),
    ],
)
def test_what_a_model_can_mend_is_an_error_result(gateway: Gateway, tool: str, arguments: dict[str, Any]) -> None:
    pytest.importorskip("mcp")
    from mcp import Client

    from toolgen.serving.mcp_gateway import mcp_server

    async def work() -> None:
        async with Client(mcp_server(gateway)) as client:
            found = await client.call_tool(tool, arguments)
            assert found.is_error
            assert found.content

    anyio.run(work)


def confirmed(gateway: Gateway, confirm: Any, mode: Any, answer: str | None, arguments: dict[str, Any]) -> Any:
    """The result of sending a mail with a client whose user gives `answer` (None: it cannot ask), and what it was asked."""
    from mcp import Client
    from mcp_types import ElicitResult

    from toolgen.serving.mcp_gateway import mcp_server

    asked: list[str] = []

    async def ask(context: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action=cast(Any, answer))

    async def work() -> Any:
        callback = None if answer is None else ask
        async with Client(mcp_server(gateway, confirm), mode=mode, elicitation_callback=callback) as client:
            for _ in range(2):  # consent to one call is none to the next
                found = await client.call_tool("call_tool", {"name": MAIL.id, "arguments": arguments})
            await client.call_tool("call_tool", {"name": FORECAST.id, "arguments": {"city": "Oslo"}})
            return found

    return anyio.run(work), asked


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(
    ("confirm", "answer", "questions", "sent"),
    [
        ("always", "accept", 2, 2),
        ("always", "decline", 2, 0),
        ("always", "cancel", 2, 0),
        ("always", None, 0, 0),
        ("where possible", None, 0, 2),
        ("where possible", "decline", 2, 0),
        ("never", "decline", 0, 2),
    ],
)
def test_a_person_confirms_what_may_change_something(
    gateway: Gateway, recorder: Recorder, mode: Any, confirm: Any, answer: str | None, questions: int, sent: int
) -> None:
    pytest.importorskip("mcp")
    found, asked = confirmed(gateway, confirm, mode, answer, {"to": "ada"})
    assert len(asked) == questions
    assert all(MAIL.id in question and '"ada"' in question for question in asked)
    assert [tool for tool, _ in recorder.calls] == [MAIL.id] * sent + [FORECAST.id]
    assert found.is_error is (sent == 0)


def test_an_answer_to_another_call_is_no_consent(gateway: Gateway, recorder: Recorder) -> None:
    pytest.importorskip("mcp")
    from mcp import Client
    from mcp_types import ElicitResult, InputRequiredResult

    from toolgen.serving.mcp_gateway import mcp_server

    async def no(context: Any, params: Any) -> ElicitResult:
        raise AssertionError("the session is driven by hand")

    async def work() -> None:
        async with Client(mcp_server(gateway, "always"), elicitation_callback=no) as client:

            async def call(to: str, answers: Any = None) -> Any:
                given = {"name": MAIL.id, "arguments": {"to": to}}
                return await client.session.call_tool(
                    "call_tool", given, input_responses=answers, allow_input_required=True
                )

            asked = await call("ada")
            assert isinstance(asked, InputRequiredResult)
            yes = {key: ElicitResult(action="accept") for key in asked.input_requests or {}}
            assert isinstance(await call("eve", yes), InputRequiredResult)
            assert recorder.calls == []
            assert not (await call("ada", yes)).is_error

    anyio.run(work)


def test_a_person_confirms_over_http_too(gateway: Gateway, recorder: Recorder) -> None:
    pytest.importorskip("mcp")
    from mcp import Client
    from mcp_types import ElicitResult

    from toolgen.serving.mcp_gateway import http_app

    async def yes(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="accept")

    async def work(url: str, mode: Any) -> None:
        async with Client(f"{url}/mcp", mode=mode, elicitation_callback=yes) as client:
            assert not (await client.call_tool("call_tool", {"name": MAIL.id, "arguments": {}})).is_error

    with served(http_app(gateway, confirm="always")) as url:
        for mode in ("auto", "legacy"):
            anyio.run(work, url, mode)
    assert len(recorder.calls) == 2


def test_a_tool_that_the_gateway_does_not_have_is_a_protocol_error(gateway: Gateway) -> None:
    pytest.importorskip("mcp")
    from mcp import Client
    from mcp.shared.exceptions import MCPError

    from toolgen.serving.mcp_gateway import mcp_server

    async def work() -> None:
        async with Client(mcp_server(gateway)) as client:
            with pytest.raises(MCPError, match="there is no tool 'other'"):
                await client.call_tool("other", {})

    anyio.run(work)
