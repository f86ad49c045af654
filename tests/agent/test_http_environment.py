"""Calls over HTTP: what is sent, to whom, and what comes back, against a server on this machine."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.loopback import QuietHandler, serving

from toolgen.agent import Header, HttpEnvironment, HttpOptions
from toolgen.catalog import Catalog, Tool
from toolgen.errors import UsageError

SEEN: list[dict[str, Any]] = []


class Shop(QuietHandler):
    """Echoes what it is asked; /busy is busy once, /away points elsewhere, /slow takes a second, /silent less."""

    def _answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size).decode()
        SEEN.append({"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body})
        path = self.path.partition("?")[0]
        if path in ("/slow", "/silent"):
            time.sleep(1.0 if path == "/slow" else 0.3)
        if path == "/busy" and len(SEEN) == 1:
            self._send(503, b"later", {"Retry-After": "2"})
        elif path == "/away":
            self._send(302, b"", {"Location": "http://169.254.169.254/secret"})
        elif path == "/big":
            self._send(200, b"x" * 5_000_000)
        elif path == "/picture":
            self._send(200, b"\x89PNG\xff", {"Content-Type": "image/png"})
        elif path == "/missing":
            self._send(404, b'{"error": "no such item"}')
        else:
            self._send(200, json.dumps({"path": self.path, "body": body}).encode())

    do_GET = do_POST = do_DELETE = _answer

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        try:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            pass  # the client has gone


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(Shop) as address:
        yield address


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    SEEN.clear()


def tool(name: str, address: str, method: str = "GET", places: dict[str, str] | None = None, **endpoint: Any) -> Tool:
    parameters = {"type": "object", "properties": {"id": {"type": "string"}, "note": {"type": "string"}}}
    whole = {"kind": "http", "method": method, "server": address, "path": f"/{name}", "in": places or {}, **endpoint}
    return Tool(id=f"shop&&{name}", provider="shop", name=name, parameters=parameters, endpoint=whole)


def shop(*tools: Tool, waited: list[float] | None = None, **options: Any) -> HttpEnvironment:
    settings: dict[str, Any] = {"hosts": ["127.0.0.1"], "private": True, **options}
    wait = ([] if waited is None else waited).append
    variables = {"KEY": "s3cret", **settings.pop("variables", {})}
    return HttpEnvironment(Catalog(tools), HttpOptions(**settings), variables=variables, wait=wait)


def test_a_call_is_the_request_of_the_description(address: str) -> None:
    item = tool("items", address, path="/items/{id}", places={"id": "path", "note": "query"})
    found = shop(item).call("shop&&items", {"id": "a/b", "note": "x y"})
    assert (found.status, json.loads(found.content)["path"]) == ("ok", "/items/a%2Fb?note=x%20y")


def test_a_body_is_sent_in_its_media_type(address: str) -> None:
    made = tool("items", address, "POST", places={"note": "body"}, body={"type": "application/json"})
    assert not shop(made).call("shop&&items", {"note": "hello"}).is_error
    assert json.loads(SEEN[0]["body"]) == {"note": "hello"}
    assert SEEN[0]["headers"]["Content-Type"] == "application/json"


def test_secrets_come_from_variables_and_go_to_their_host_alone(address: str) -> None:
    texts = ["127.0.0.1: Authorization: Bearer ${KEY}", "*.example.com: X-Other: ${OTHER}"]
    shop(tool("a", address), headers=[Header.parse(text) for text in texts]).call("shop&&a", {})
    assert SEEN[0]["headers"]["Authorization"] == "Bearer s3cret"
    assert "X-Other" not in SEEN[0]["headers"]


@pytest.mark.parametrize("name", ["X-Key", "x-key"])
def test_a_credential_wins_over_an_argument_of_its_name(address: str, name: str) -> None:
    asked = tool("a", address, places={"note": "header"}, wire={"note": {"name": name}})
    shop(asked, headers=[Header.parse("127.0.0.1: X-Key: ${KEY}")]).call("shop&&a", {"note": "made up"})
    assert [value for key, value in SEEN[0]["headers"].items() if key.lower() == "x-key"] == ["s3cret"]


def test_no_argument_sets_a_header_of_the_connection(address: str) -> None:
    asked = tool("a", address, places={"note": "header"}, wire={"note": {"name": "HOST"}})
    found = shop(asked, headers=[Header.parse("127.0.0.1: X-Key: ${KEY}")]).call("shop&&a", {"note": "evil.example"})
    assert "'HOST' is one of the connection" in found.content and not SEEN


def test_a_variable_that_is_not_set_is_named_and_nothing_is_sent(address: str) -> None:
    found = shop(tool("a", address), headers=[Header.parse("127.0.0.1: X-Key: ${NOT_SET}")]).call("shop&&a", {})
    assert found.is_error
    assert "NOT_SET" in found.content
    assert not SEEN


def test_space_around_a_variable_is_not_sent(address: str) -> None:
    headers = [Header.parse("127.0.0.1: X-Key: key=${KEY}!")]
    shop(tool("a", address), headers=headers, variables={"KEY": " s3cret\r\n"}).call("shop&&a", {})
    assert SEEN[0]["headers"]["X-Key"] == "key=s3cret!"


@pytest.mark.parametrize("value", ["s3cret\rx", "s3cret\r\nX: 1", "s3\x00cret", "s3cret\u2019"])
def test_a_variable_that_no_header_can_hold_is_named_and_its_value_is_not_shown(address: str, value: str) -> None:
    headers = [Header.parse("127.0.0.1: X-Key: Bearer ${KEY}")]
    found = shop(tool("a", address), headers=headers, variables={"KEY": value}).call("shop&&a", {})
    assert found.is_error and not SEEN
    assert "the header X-Key for 127.0.0.1 cannot hold the value of the environment variable KEY" in found.content
    assert "cret" not in found.content
    with pytest.raises(UsageError, match="the header X-Key has a control character") as raised:
        Header.parse(f"127.0.0.1: X-Key: {value}")
    assert "cret" not in str(raised.value)


@pytest.mark.parametrize("named", [False, True])
def test_a_header_goes_to_a_public_address_over_plain_http_only_if_the_user_names_that(
    address: str, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    monkeypatch.setattr("toolgen.agent.environments.http.is_public", lambda found: found == "127.0.0.1")
    options: dict[str, Any] = {"servers": {"shop": address}} if named else {}
    assert shop(tool("a", address), **options).call("shop&&a", {}).status == "ok"
    SEEN.clear()
    found = shop(tool("a", address), headers=[Header.parse("127.0.0.1: X-Key: ${KEY}")], **options).call("shop&&a", {})
    assert (found.status, len(SEEN)) == (("ok", 1) if named else ("error", 0))
    assert named or "others could read the header X-Key" in found.content


@pytest.mark.parametrize("text", ["", "host", "host: name", "host: a b: c", "host: name: "])
def test_a_header_has_three_parts(text: str) -> None:
    with pytest.raises(UsageError, match="HOST: NAME: VALUE"):
        Header.parse(text)


@pytest.mark.parametrize("hosts", [[], ["*.example.com"]])
def test_a_host_that_nobody_allowed_is_not_asked(address: str, hosts: list[str]) -> None:
    found = shop(tool("a", address), hosts=hosts).call("shop&&a", {})
    assert found.is_error
    assert "not allowed" in found.content
    assert not SEEN


@pytest.mark.parametrize(
    ("pattern", "host"),
    [
        ("API.Example.com", "api.example.com"),
        ("api.example.com.", "api.example.com"),
        ("api.example.com", "API.example.com."),
        ("*.example.com", "api.example.com"),
        ("[::1]", "[::1]"),
        ("::1", "[::1]"),
    ],
)
def test_hosts_are_compared_without_case_brackets_and_last_dot(
    monkeypatch: pytest.MonkeyPatch, pattern: str, host: str
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", ("127.0.0.1", 0))])
    headers = [Header.parse(f"{pattern}: X-Key: ${{NOT_SET}}")]
    environment = shop(tool("a", f"http://{host}"), hosts=[pattern], headers=headers)
    assert environment.tools == ("shop&&a",)
    assert "NOT_SET" in environment.call("shop&&a", {}).content


@pytest.mark.parametrize(
    "text", ["localhost:8080", "[::1]:80", "*:443", "http://h", "a.example/v1", "https://me:s3cret@h"]
)
def test_a_pattern_that_is_more_than_a_host_is_refused_instead_of_fitting_none(text: str) -> None:
    for options in ({"hosts": [text]}, {"headers": [Header.parse(f"{text}: X-Key: x")]}):
        with pytest.raises(UsageError, match="leave out scheme, port and path") as raised:
            shop(**options)
        assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("login", ["me:s3cret@", "me@"])
def test_a_server_with_a_user_or_password_is_refused_without_showing_it(address: str, login: str) -> None:
    server = address.replace("//", f"//{login}")
    environment = shop(tool("a", server))
    found = environment.call("shop&&a", {}).content
    assert "a user or password, which is not sent" in found and "--header" in found
    assert "s3cret" not in found and not environment.tools and not SEEN
    with pytest.raises(UsageError, match="the server of 'shop' has a user or password") as raised:
        shop(tool("a", address), servers={"shop": server})
    assert "s3cret" not in str(raised.value)


def test_an_allowed_host_at_a_private_address_is_not_asked_unless_that_is_allowed_too(address: str) -> None:
    found = shop(tool("a", address), private=False).call("shop&&a", {})
    assert found.is_error
    assert "no public address" in found.content
    assert not SEEN


def test_a_redirect_is_told_and_not_followed(address: str) -> None:
    found = shop(tool("away", address)).call("shop&&away", {})
    assert found.is_error
    assert "not followed" in found.content
    assert len(SEEN) == 1


def test_reading_is_tried_again_after_the_pause_that_the_server_asks_for(address: str) -> None:
    waited: list[float] = []
    assert shop(tool("busy", address), waited=waited).call("shop&&busy", {}).status == "ok"
    assert waited == [2.0]


def test_writing_is_not_tried_again(address: str) -> None:
    found = shop(tool("busy", address, "POST")).call("shop&&busy", {})
    assert found.is_error
    assert "HTTP 503" in found.content
    assert len(SEEN) == 1


def test_only_reading_means_only_reading(address: str) -> None:
    environment = shop(tool("a", address), tool("b", address, "DELETE"), read_only=True)
    assert environment.call("shop&&a", {}).status == "ok"
    assert "was not sent" in environment.call("shop&&b", {}).content
    assert [one["method"] for one in SEEN] == ["GET"]


def test_answers_are_bounded_in_bytes_and_seconds(address: str) -> None:
    assert "more than" in shop(tool("big", address)).call("shop&&big", {}).content
    started = time.monotonic()
    assert shop(tool("slow", address, "POST")).call("shop&&slow", {}, within=0.3).status == "timeout"
    assert time.monotonic() - started < 0.9


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_silent_server_has_all_the_time_of_a_call_and_is_asked_once(
    address: str, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr("toolgen.foreign.web.TIMEOUT_SECONDS", 0.1)
    assert shop(tool("silent", address, method)).call("shop&&silent", {}).status == "ok"
    found = shop(tool("silent", address, method)).call("shop&&silent", {}, within=0.2)
    assert (found.status, len(SEEN)) == ("timeout", 2)
    assert "whether the call took effect is unknown" in found.content


def test_what_is_no_text_is_named(address: str) -> None:
    assert shop(tool("picture", address)).call("shop&&picture", {}).content == "5 bytes of image/png"


def test_an_error_keeps_its_status_and_its_text(address: str) -> None:
    found = shop(tool("missing", address)).call("shop&&missing", {})
    assert found.is_error
    assert "HTTP 404" in found.content
    assert "no such item" in found.content


def test_invalid_arguments_are_an_error_before_anything_is_sent(address: str) -> None:
    item = tool("items", address, path="/items/{id}", places={"id": "path"})
    assert "invalid arguments" in shop(item).call("shop&&items", {"id": 5}).content
    assert not SEEN


def test_tools_of_other_kinds_are_not_offered(address: str) -> None:
    environment = shop(tool("a", address), Tool(id="x", provider="", name="x", endpoint={"kind": "mcp"}))
    assert environment.tools == ("shop&&a",)
    assert environment.call("x", {}).is_error


def test_nobody_listens() -> None:
    found = shop(tool("a", "http://127.0.0.1:9")).call("shop&&a", {})
    assert found.is_error
    assert "cannot read" in found.content
