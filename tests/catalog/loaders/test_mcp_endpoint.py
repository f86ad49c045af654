"""How a catalog keeps an MCP server: enough to reach it again, and no secret."""

from __future__ import annotations

import json
import os

import pytest

from toolgen.catalog.loaders.mcp_endpoint import McpServer, endpoint_of, filled_in, server_of
from toolgen.errors import CatalogError

KEY = "sk-" + "0123456789abcdefghij"


@pytest.mark.parametrize(
    "server",
    [
        McpServer("a", command=("npx", "-y", "@scope/server", "/data", "--port=8080", "-v")),
        McpServer("a", command=("run",), env={"K": "hunter2", "L": "${env:OTHER}"}, cwd="sub"),
        McpServer("a", command=("run", "--api-key", KEY, "--token=" + KEY, KEY)),
        McpServer("a", command=("docker", "run", "-e", "PASS=hunter2", "-e", "TOKEN", "--env", "X=${OTHER}", "image")),
        McpServer("a", command=("npx", "mcp-remote", "https://me:hunter2@x.example/sse", "--header", f"Auth: {KEY}")),
        McpServer("a", url="https://me:hunter2@x.example/mcp?profile=x&key=hunter2#part"),
        McpServer("a", url="https://x.example/s/zN8x2kqLmP0aRt5vWyB3/mcp", sse=True),
        McpServer(
            "a", url="https://x.example/mcp", headers={"Authorization": "Bearer hunter2", "X": "Bearer ${OTHER}"}
        ),
        McpServer("a", url="https://x.example/mcp", headers={"A": "${OTHER:-hunter2}", "B": "hunter2${OTHER}"}),
    ],
)
def test_a_catalog_holds_the_server_and_no_secret(server: McpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = endpoint_of(server)
    text = json.dumps(dict(kept.record))
    for secret in ("hunter2", KEY, "zN8x2kqLmP0aRt5vWyB3"):
        assert secret not in text
    again = server_of("a", json.loads(text))
    assert endpoint_of(again) == type(kept)(kept.record, ())  # nothing is left to hide
    for variable in (*kept.variables, "OTHER"):
        monkeypatch.setenv(variable, "v")
    ready = filled_in(again)
    assert "${" not in repr(ready) and len(ready.command) == len(server.command) and ready.sse == server.sse


def test_the_variables_are_named_for_server_and_place() -> None:
    server = McpServer("my files", command=("run", "--token=" + KEY), env={"ROOT": "/x"})
    assert endpoint_of(server).record == {
        "command": ["run", "--token=${MCP_MY_FILES_TOKEN}"],
        "env": {"ROOT": "${ROOT}"},
    }
    assert endpoint_of(server).variables == ("MCP_MY_FILES_TOKEN", "ROOT")


def test_a_value_comes_back_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    given = McpServer("a", url="https://x.example/mcp?key=1", headers={"Authorization": "Bearer abc"})
    kept = endpoint_of(given)
    for variable, value in zip(kept.variables, ("1", "Bearer abc"), strict=True):
        monkeypatch.setenv(variable, value)
    assert filled_in(server_of("a", kept.record)) == given
    monkeypatch.delenv(kept.variables[1])
    assert kept.variables[1] not in os.environ
    with pytest.raises(CatalogError, match=f"MCP server a needs the environment variable {kept.variables[1]}"):
        filled_in(server_of("a", kept.record))


def test_a_header_takes_a_variable_without_space_around_it_and_refuses_one_that_it_cannot_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = McpServer("a", url="https://x.example/mcp", headers={"X": "Bearer ${K}!", "Y": "$K"}, env={"E": "${K}"})
    monkeypatch.setenv("K", " abc\r")
    ready = filled_in(given)
    assert (ready.headers, ready.env) == ({"X": "Bearer abc!", "Y": "abc"}, {"E": " abc\r"})
    for value in ("s3cret\rx", "s3cret\u2019"):
        monkeypatch.setenv("K", value)
        with pytest.raises(CatalogError, match=r"the header X for MCP server a cannot hold the .* K:") as raised:
            filled_in(given)
        assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    "record", [{}, {"command": []}, {"command": "rm -rf"}, {"command": ["x", 3]}, {"url": 3}, {"url": "", "headers": 4}]
)
def test_a_record_that_says_neither_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(CatalogError, match="does not say how to start or reach the MCP server 'a'"):
        server_of("a", record)
