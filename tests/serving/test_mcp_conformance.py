"""The gateway against the Model Context Protocol's requirements, one test each, in plain JSON-RPC: no client's library helps.

The requirements are those of `mcp_conformance.yaml`, where each is tied to its test, both ways.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("mcp")

import httpx2
from jsonschema import Draft202012Validator
from tests.serving.conftest import served
from tests.serving.test_gateway import FORECAST, MAIL, Recorder, gateway_over

from toolgen import __version__
from toolgen.datasets import save_dataset
from toolgen.serving.mcp_gateway import http_app
from toolgen.testing import tiny_dataset

TABLE: Mapping[str, Mapping[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("mcp_conformance.yaml").read_text(encoding="utf-8")
)
META = "io.modelcontextprotocol/"
NEW, OLD = "2026-07-28", "2025-11-25"
CLIENT = {"name": "plain", "version": "1"}
SEARCH = {"name": "search_tools", "arguments": {"query": "forecast of the weather"}}


def test_every_requirement_has_its_test_and_every_test_its_requirement() -> None:
    named = [name for tests in TABLE.values() for name in tests]
    own = [name for name in globals() if name.startswith("test_") and not name.startswith("test_every_requirement")]
    assert sorted(named) == sorted(own)
    assert {level for tests in TABLE.values() for level, *_ in tests.values()} == {"MUST", "SHOULD"}


class Plain:
    """A client that sends what it is told to, in the form of an era."""

    def __init__(self, url: str, era: str) -> None:
        self.url, self.era, self.session = url, era, ""
        if era == OLD:
            hello = self.hello(OLD)
            self.session = hello.headers["mcp-session-id"]

    def hello(self, version: str) -> httpx2.Response:
        return self.post(body("initialize", {"protocolVersion": version, "capabilities": {}, "clientInfo": CLIENT}))

    def post(self, given: Any, **headers: str) -> httpx2.Response:
        content = given if isinstance(given, str) else json.dumps(given)
        session = {"Mcp-Session-Id": self.session, "MCP-Protocol-Version": OLD} if self.session else {}
        basic = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        return httpx2.post(self.url, content=content, headers={**basic, **session, **headers}, timeout=30)

    def send(self, method: str, params: Mapping[str, Any] | None = None, version: str = NEW, **more: Any) -> Any:
        """The answer's message; `more` are headers."""
        if self.era == OLD:
            return message(self.post(body(method, params)))
        meta = {f"{META}protocolVersion": version, f"{META}clientCapabilities": more.pop("capabilities", {})}
        named = {"Mcp-Name": params["name"]} if params and "name" in params else {}
        headers = {"MCP-Protocol-Version": version, "Mcp-Method": method, **named, **more}
        return message(self.post(body(method, {**(params or {}), "_meta": meta}), **headers))


def body(method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": "seven", "method": method, "params": dict(params or {})}


def message(answer: httpx2.Response) -> Any:
    """The message of an answer, whole or in a stream."""
    lines = [line[5:] for line in answer.text.splitlines() if line.startswith("data:") and line[5:].strip()]
    return json.loads(lines[-1] if lines else answer.text)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(http_app(gateway_over(Recorder()))) as address:
        yield f"{address}/mcp"


@pytest.fixture(params=[NEW, OLD])
def client(url: str, request: pytest.FixtureRequest) -> Plain:
    return Plain(url, request.param)


@pytest.fixture
def new(url: str) -> Plain:
    return Plain(url, NEW)


@pytest.fixture
def old(url: str) -> Plain:
    return Plain(url, OLD)


# --- both eras ---------------------------------------------------------------------------------------------------------


def test_the_tools_capability_is_declared(client: Plain) -> None:
    hello = client.send("server/discover") if client.era == NEW else message(client.hello(OLD))
    assert "tools" in hello["result"]["capabilities"]


def test_an_answer_has_the_id_of_its_request(client: Plain) -> None:
    for found in (client.send("tools/list"), client.send("nonsense")):
        assert (found["jsonrpc"], found["id"]) == ("2.0", "seven")
        assert ("result" in found) != ("error" in found)


def test_an_unknown_method_is_minus_32601(client: Plain) -> None:
    assert client.send("nonsense")["error"]["code"] == -32601


def test_an_unknown_tool_is_minus_32602(client: Plain) -> None:
    assert client.send("tools/call", {"name": "nonsense", "arguments": {}})["error"]["code"] == -32602


def test_what_a_model_can_mend_is_a_result(client: Plain) -> None:
    for arguments in ({}, {"query": 5}, {"query": "x", "more": 1}):
        found = client.send("tools/call", {"name": "search_tools", "arguments": arguments})
        assert found["result"]["isError"] is True and found["result"]["content"][0]["text"]
    failing = {"name": FORECAST.id, "arguments": {"city": "Atlantis"}}
    assert client.send("tools/call", {"name": "call_tool", "arguments": failing})["result"]["isError"] is True


def tools(client: Plain) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.send("tools/list")["result"]["tools"]
    return found


def test_names_are_legal(client: Plain) -> None:
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", tool["name"]) for tool in tools(client))


def test_schemas_of_tools_are_schemas_of_objects(client: Plain) -> None:
    for tool in tools(client):
        assert tool["inputSchema"]["type"] == "object"
        Draft202012Validator.check_schema(tool["inputSchema"])
        Draft202012Validator.check_schema(tool.get("outputSchema", {}))


def test_structured_content_fits_and_is_repeated_as_text(client: Plain) -> None:
    (schema,) = [tool["outputSchema"] for tool in tools(client) if tool["name"] == "search_tools"]
    found = client.send("tools/call", SEARCH)["result"]
    Draft202012Validator(schema).validate(found["structuredContent"])
    assert found["structuredContent"]["tools"][0]["name"] in found["content"][0]["text"]


def test_the_list_of_tools_is_always_the_same(client: Plain, url: str) -> None:
    before = tools(client)
    client.send("tools/call", SEARCH)
    assert tools(client) == before == tools(Plain(url, client.era))


def test_text_that_is_no_json_is_minus_32700(client: Plain) -> None:
    headers = {"MCP-Protocol-Version": NEW, "Mcp-Method": "tools/list"} if client.era == NEW else {}
    found = client.post("{no json", **headers)
    assert found.status_code == 400 and message(found)["error"]["code"] == -32700


def test_a_foreign_origin_is_forbidden(client: Plain) -> None:
    assert client.post(body("tools/list"), Origin="http://evil.example").status_code == 403


def test_a_foreign_host_is_refused(client: Plain) -> None:
    assert client.post(body("tools/list"), Host="evil.example").status_code == 421


@pytest.fixture
def spoken(tmp_path: Path) -> Iterator[tuple[list[str], subprocess.CompletedProcess[str]]]:
    """What a gateway over stdio answers to requests of both eras, and how it ends."""
    save_dataset(tiny_dataset(), tmp_path / "data")
    meta = {"_meta": {f"{META}protocolVersion": NEW, f"{META}clientCapabilities": {}}}
    asked = [body("server/discover", meta), body("tools/list", meta), body("tools/call", {**SEARCH, **meta})]
    command = [sys.executable, "-m", "toolgen", "mcp", str(tmp_path / "data"), "--dry-run"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdin and process.stdout
        lines = []
        for one in asked:
            process.stdin.write(json.dumps(one) + "\n")
            process.stdin.flush()
            lines.append(process.stdout.readline())
        rest, errors = process.communicate(timeout=60)
    yield [*lines, *rest.splitlines()], subprocess.CompletedProcess(command, process.returncode, rest, errors)


def test_standard_output_holds_messages_alone(
    spoken: tuple[list[str], subprocess.CompletedProcess[str]],
) -> None:
    lines, _ = spoken
    assert len(lines) == 3
    assert all("result" in json.loads(line) for line in lines)


def test_the_server_ends_with_its_input(spoken: tuple[list[str], subprocess.CompletedProcess[str]]) -> None:
    _, ended = spoken
    assert ended.returncode == 0, ended.stderr


# --- from 2025-11-25 back ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [OLD, "2025-06-18", "2025-03-26"])
def test_the_version_that_the_client_asks_for_is_spoken(old: Plain, version: str) -> None:
    assert message(old.hello(version))["result"]["protocolVersion"] == version


def test_another_version_is_offered_for_an_unknown_one(old: Plain) -> None:
    assert message(old.hello("1999-01-01"))["result"]["protocolVersion"] == OLD


def test_the_handshake_names_the_server(old: Plain) -> None:
    assert message(old.hello(OLD))["result"]["serverInfo"] == {"name": "toolgen", "version": __version__}


def test_a_ping_is_answered(old: Plain) -> None:
    assert old.send("ping")["result"] == {}


def test_a_notification_is_accepted_without_an_answer(old: Plain) -> None:
    found = old.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert (found.status_code, found.text) == (202, "")


def test_a_session_that_is_gone_is_404(old: Plain) -> None:
    assert httpx2.delete(old.url, headers={"Mcp-Session-Id": old.session}).status_code == 200
    assert old.post(body("tools/list")).status_code == 404


def test_an_unknown_version_in_the_header_is_400(old: Plain) -> None:
    assert old.post(body("tools/list"), **{"MCP-Protocol-Version": "1999-01-01"}).status_code == 400


def test_a_client_that_takes_no_stream_gets_none(old: Plain) -> None:
    assert httpx2.get(old.url, headers={"Accept": "text/html", "Mcp-Session-Id": old.session}).status_code in (405, 406)


# --- since 2026-07-28 --------------------------------------------------------------------------------------------------


def test_a_server_can_be_discovered(new: Plain) -> None:
    found = new.send("server/discover")["result"]
    assert NEW in found["supportedVersions"] and found["_meta"][f"{META}serverInfo"]["name"] == "toolgen"


def test_every_result_has_its_type(new: Plain) -> None:
    for found in (new.send("server/discover"), new.send("tools/list"), new.send("tools/call", SEARCH)):
        assert found["result"]["resultType"] == "complete"


def test_lists_say_how_long_they_hold(new: Plain) -> None:
    found = new.send("tools/list")["result"]
    assert found["cacheScope"] == "public" and found["ttlMs"] > 0


def test_there_is_no_session(new: Plain) -> None:
    headers = {"MCP-Protocol-Version": NEW, "Mcp-Method": "tools/list"}
    meta = {f"{META}protocolVersion": NEW, f"{META}clientCapabilities": {}}
    found = new.post(body("tools/list", {"_meta": meta}), **headers)
    assert found.status_code == 200 and "mcp-session-id" not in found.headers


def test_the_handshake_is_gone(new: Plain) -> None:
    for method in ("initialize", "ping"):
        assert new.send(method)["error"]["code"] == -32601


def test_an_unknown_version_is_minus_32022(new: Plain) -> None:
    found = new.send("tools/list", version="2099-01-01")["error"]
    assert found["code"] == -32022 and NEW in found["data"]["supported"]


def test_headers_and_body_say_the_same(new: Plain) -> None:
    other: dict[str, Any] = {"Mcp-Method": "tools/call"}
    assert new.send("tools/list", None, **other)["error"]["code"] == -32020


@pytest.mark.parametrize("missing", ["protocolVersion", "clientCapabilities"])
def test_requests_without_version_or_capabilities_are_refused(new: Plain, missing: str) -> None:
    meta = {f"{META}protocolVersion": NEW, f"{META}clientCapabilities": {}}
    del meta[f"{META}{missing}"]
    headers = {"MCP-Protocol-Version": NEW, "Mcp-Method": "tools/list"}
    found = new.post(body("tools/list", {"_meta": meta}), **headers)
    assert found.status_code == 400 and "error" in message(found)


def test_a_question_is_a_result(new: Plain) -> None:
    given = {"name": "call_tool", "arguments": {"name": MAIL.id, "arguments": {}}}
    with served(http_app(gateway_over(Recorder()), confirm="always")) as address:
        asking = Plain(f"{address}/mcp", NEW)
        found = asking.send("tools/call", given, capabilities={"elicitation": {"form": {}}})["result"]
    assert found["resultType"] == "input_required"
    assert [one["method"] for one in found["inputRequests"].values()] == ["elicitation/create"]
