"""How a catalog keeps an MCP server: enough to reach it again, and no secret."""

from __future__ import annotations

import json
import os

import pytest

from toolgen.catalog.loaders.mcp_endpoint import McpServer, endpoint_of, filled_in, server_of, unfilled
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
        McpServer(
            "a", command=("run", "--db", "mongodb+srv://me:hunter2@h.example/x", "redis://:hunter2@h.example:6379")
        ),
        McpServer("a", command=("run", "--config", '{"apiKey":"hunter2"}', "--header=Authorization: Bearer hunter2")),
        McpServer("a", command=("docker", "run", "--env=A=hunter2", "-eB=hunter2", "-HX: hunter2", "-ume:hunter2")),
        McpServer("a", command=("run", "--url=https://h.example/?a=hunter2", "--db", "Server=h;Password=hunter2")),
        McpServer("a", command=("sh", "-c", "API_KEY=hunter2 npx server")),
        McpServer("a", command=("sh", "-c", "npx mcp-remote https://h.example/mcp?a=hunter2")),
        McpServer("a", command=("env", "A=hunter2", "npx", "-u", "me:hunter2", "--password", "hunter2 hunter2")),
        McpServer("a", command=("run", "--token", "hunter2=x", "--token", "HUNTER=hunter2", "--password", "-hunter2=")),
        McpServer("a", command=("run", "--token=${OTHER:-hunter2}", "redis://:${OTHER:-hunter2}@h.example")),
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


def test_arguments_that_hold_no_secret_are_kept() -> None:
    command = (
        "run",
        "--port=8080",
        "--dir=/a/b",
        "--max-tokens",
        "40",
        "-u",
        "1000:1000",
        "C:\\a",
        "http://h.example:80/@x",
    )
    script = (
        "sh",
        "-c",
        "npx -y server --url https://h.example/a | tee /tmp/log",
        "--set",
        "QUJD==",
        "git+https://h.example/a@v1#subdirectory=b",
    )
    variables = ("--token=${OTHER}", "redis://:${OTHER}@h.example", '{"apiKey":"${OTHER}"}', "--key", "$OTHER")
    kept = endpoint_of(McpServer("a", command=command + script + variables))
    assert kept.record["command"] == [*command, *script, *variables] and kept.variables == ()


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


def test_a_bare_variable_is_filled_in_where_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER", "v$UNSET")
    monkeypatch.delenv("UNSET", raising=False)
    server = McpServer(
        "a", ("run", "$OTHER/x", "$OWN", "$Other $UNSET"), {"OWN": "${OTHER}", "X": "pa$UNSET", "Y": "p$OTHER"}
    )
    ready = filled_in(server)
    assert ready.command == ("run", "v$UNSET/x", "v$UNSET", "$Other $UNSET")
    assert ready.env == {"OWN": "v$UNSET", "X": "pa$UNSET", "Y": "pv$UNSET"}
    assert unfilled(server) == ["command", "X"]
    web = McpServer("a", url="https://x.example/?key=$OTHER", headers={"Authorization": "Bearer $OTHER"})
    assert filled_in(web).headers == {"Authorization": "Bearer v$UNSET"} and filled_in(web).url.endswith("?key=v$UNSET")
    assert endpoint_of(web).record == {"url": web.url, "headers": web.headers}


@pytest.mark.parametrize(
    "record", [{}, {"command": []}, {"command": "rm -rf"}, {"command": ["x", 3]}, {"url": 3}, {"url": "", "headers": 4}]
)
def test_a_record_that_says_neither_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(CatalogError, match="does not say how to start or reach the MCP server 'a'"):
        server_of("a", record)
