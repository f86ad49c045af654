"""What clients do that are broken, gone or hostile, against a tiny model that really writes: nobody else is harmed."""

from __future__ import annotations

import json
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest

from toolgen.catalog.naming import wire_name
from toolgen.checkpoint import Checkpoint

pytest.importorskip("fastapi")
pytest.importorskip("httpx2")

import httpx2
from tests.serving.conftest import served

from toolgen.serving.app import SEARCH, make_app
from toolgen.serving.assistant import Assistant
from toolgen.serving.conversations import CHAT, RESPONSES
from toolgen.serving.service import Service

DISCONNECTS = 200
ALERTS = "weather&&get_alerts"


@pytest.fixture(scope="module")
def address(checkpoint: Checkpoint) -> Iterator[str]:
    assistant = Assistant(checkpoint, running=4, waiting=DISCONNECTS, seconds=60)
    service = Service("tiny", checkpoint.catalog, assistant.retriever(), assistant)
    with served(make_app(service), assistant.close) as url:
        yield url


def chat(checkpoint: Checkpoint, **options: Any) -> dict[str, Any]:
    """A request that a tiny model answers with some hundred tokens."""
    forced = {"type": "function", "function": {"name": wire_name(checkpoint.catalog.get(ALERTS))}}
    return {"messages": [{"role": "user", "content": "storms?"}], "tool_choice": forced, **options}


def gauge(address: str, name: str) -> float:
    """A number of `/metrics`."""
    lines = httpx2.get(f"{address}/metrics", timeout=60).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def leave(address: str, path: str, body: bytes, after: float) -> None:
    """Sends a request and breaks the connection off, without a word."""
    place = urlsplit(address)
    with socket.create_connection((place.hostname, place.port), 10) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() resets it
        head = f"POST {path} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        time.sleep(after)


def test_clients_that_break_off_leave_no_work_running(address: str, checkpoint: Checkpoint) -> None:
    chosen = random.Random(0)
    bodies = [
        (CHAT, chat(checkpoint, stream=True, max_tokens=1500)),
        (CHAT, chat(checkpoint, max_tokens=1500)),
        (RESPONSES, {"input": "storms?", "tool_choice": "required", "stream": True, "max_output_tokens": 1500}),
    ]
    before = gauge(address, "toolgen_requests_total")
    with ThreadPoolExecutor(8) as clients:
        for number in range(DISCONNECTS):
            path, body = bodies[number % len(bodies)]
            clients.submit(leave, address, path, json.dumps(body).encode(), chosen.choice((0, 0, 0.02, 0.2)))
    until = time.monotonic() + 60
    while gauge(address, "toolgen_load") and time.monotonic() < until:
        time.sleep(0.1)
    assert gauge(address, "toolgen_load") == 0
    assert gauge(address, "toolgen_requests_total") >= before + DISCONNECTS
    assert not [
        one for one in threading.enumerate() if isinstance(one, threading.Timer) or one.name == "toolgen-request"
    ]
    assert httpx2.post(address + CHAT, json=chat(checkpoint, max_tokens=8), timeout=60).status_code == 200


DEEP = "[" * 100_000 + "]" * 100_000
MANY = " ".join("storm warning" for _ in range(70_000))  # close to the largest body
HOSTILE = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(a+)+$"}, "b": {"$ref": "#"}}}
CIRCLE = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def listing(schema: Any) -> str:
    """A chat that lists a tool of its own with this schema."""
    tool = {"type": "function", "function": {"name": "mine", "description": "Mine", "parameters": schema}}
    message = {"role": "user", "content": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"}
    return json.dumps({"messages": [message], "tools": [tool], "max_tokens": 16})


POISONED: dict[str, tuple[str, str | bytes]] = {
    "NaN as a query": (SEARCH, '{"query": NaN}'),
    "NaN as a temperature": (
        CHAT,
        '{"messages": [{"role": "user", "content": "x"}], "temperature": NaN, "max_tokens": 4}',
    ),
    "infinite temperature": (CHAT, '{"messages": [{"role": "user", "content": "x"}], "temperature": 1e999}'),
    "infinite limit": (SEARCH, '{"query": "x", "limit": Infinity}'),
    "1 MB of query": (SEARCH, json.dumps({"query": MANY})),
    "1 MB of message": (CHAT, json.dumps({"messages": [{"role": "user", "content": MANY}], "max_tokens": 4})),
    "1 MB of input": (RESPONSES, json.dumps({"input": MANY})),
    "deep JSON": (CHAT, DEEP),
    "deep JSON in a field": (RESPONSES, f'{{"input": {DEEP}}}'),
    "deep tools": (CHAT, f'{{"messages": [{{"role": "user", "content": "x"}}], "tools": {DEEP}, "max_tokens": 4}}'),
    "deep schema": (CHAT, listing(nested(400))),
    "hostile pattern": (CHAT, listing(HOSTILE)),
    "a schema that goes in circles": (CHAT, listing(CIRCLE)),
    "no schema": (CHAT, listing("nonsense")),
    "lone surrogates": (CHAT, '{"messages": [{"role": "user", "content": "\\ud800\\udc00\\ud800"}], "max_tokens": 4}'),
    "NUL": (SEARCH, '{"query": "\\u0000\\u0000"}'),
    "tokens of the model": (CHAT, '{"messages": [{"role": "user", "content": "<|im_end|><<x&&y>>"}], "max_tokens": 4}'),
    "a regular expression that does not end": (SEARCH, '{"query": "x", "include": ["(.*)*b"]}'),
    "a glob of many stars": (SEARCH, json.dumps({"query": "x", "include": ["provider:" + "*a" * 90 + "b"]})),
    "a hundred thousand parts": (SEARCH, json.dumps({"query": "x", "exclude": ["described"] * 70_000})),
    "no JSON": (CHAT, "nonsense"),
    "no UTF-8": (CHAT, b'{"messages": "\xff\xfe"}'),
    "empty": (RESPONSES, ""),
    "huge numbers": (CHAT, '{"messages": [{"role": "user", "content": "x"}], "seed": 1' + "0" * 5000 + "}"),
}


@pytest.mark.parametrize("kind", POISONED)
def test_a_poisoned_request_harms_nobody_beside_it(address: str, kind: str) -> None:
    path, body = POISONED[kind]
    expected = httpx2.post(address + SEARCH, json={"query": "storm warnings"}, timeout=60).json()["data"]
    with ThreadPoolExecutor(2) as clients, httpx2.Client(timeout=60) as client:
        poisoned = clients.submit(
            httpx2.post, address + path, content=body, headers={"Content-Type": "application/json"}, timeout=60
        )
        answered = 0
        while not poisoned.done() or answered < 3:
            found = client.post(address + SEARCH, json={"query": "storm warnings"})
            assert found.status_code == 200
            assert [one["id"] for one in found.json()["data"]] == [one["id"] for one in expected]
            answered += 1
    status = poisoned.result().status_code
    assert status == 200 or 400 <= status < 500, poisoned.result().text
    assert gauge(address, "toolgen_load") == 0


def test_connections_that_say_nothing_are_no_load(address: str) -> None:
    place = urlsplit(address)
    silent = [socket.create_connection((place.hostname, place.port), 10) for _ in range(50)]
    try:
        for connection in silent[::2]:
            connection.sendall(
                f"POST {CHAT} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 100\r\n\r\n{{".encode()
            )
        assert httpx2.post(address + SEARCH, json={"query": "storm warnings"}).status_code == 200
        assert gauge(address, "toolgen_load") == 0
    finally:
        for connection in silent:
            connection.close()
