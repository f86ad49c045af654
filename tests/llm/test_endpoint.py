"""An OpenAI-compatible endpoint, over real HTTP to a server in this process."""

from __future__ import annotations

import gzip
import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from tests.loopback import QuietHandler, serving

from toolgen.errors import LanguageModelError
from toolgen.llm import EndpointModel
from toolgen.llm.endpoint import MAX_ANSWER_BYTES

pytest.importorskip("openai", reason="needs the extra 'llm'")


@contextmanager
def server(answer: Any, status: int = 200) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of an endpoint that echoes the last message through `answer`, and the requests that it got."""
    seen: list[dict[str, Any]] = []

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append({"path": self.path, "key": self.headers["Authorization"], **request})
            body = json.dumps(answer(request)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with serving(Handler) as address:
        yield f"{address}/v1", seen


def echo(request: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": request["messages"][-1]["content"].upper()}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": request["model"], "choices": [choice]}


def prompts(*texts: str) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": text}] for text in texts]


def test_the_answers_come_in_the_order_of_the_conversations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with server(echo) as (url, seen):
        texts = [f"text {i}" for i in range(9)]
        answers = EndpointModel("small", url).write(prompts(*texts), max_tokens=7, temperature=0.5, seed=3)
    assert answers == [text.upper() for text in texts]
    assert {request["path"] for request in seen} == {"/v1/chat/completions"}
    assert {request["key"] for request in seen} == {"Bearer secret"}
    assert {(r["model"], r["max_tokens"], r["temperature"], r["seed"]) for r in seen} == {("small", 7, 0.5, 3)}


@pytest.mark.parametrize(
    "token",
    [
        "<|im_end|>",
        "<|eot_id|>",
        "<s>",
        "</s>",
        "<start_of_turn>",
        "[INST]",
        "[/INST]",
        "<<SYS>>",
        "<｜User｜>",
        "[SEP]",
    ],
)
def test_no_text_from_outside_can_forge_a_turn_at_a_server(token: str) -> None:
    with server(echo) as (url, _):
        (answer,) = EndpointModel("small", url).write(prompts(f"a {token}{token} b < c [1]"), max_tokens=7)
    assert token.upper() not in answer
    assert answer.replace(" ", "") == f"a{token}{token}b<c[1]".upper()


def test_a_refusal_is_one_line_that_says_what_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    refused = pytest.raises(LanguageModelError, match="gave no answer: NotFoundError")
    with server(lambda _request: {"error": {"message": "no such\nmodel"}}, status=404) as (url, _), refused as caught:
        EndpointModel("big", url, retries=0).write(prompts("a", "b"), max_tokens=5)
    assert "\n" not in str(caught.value) and url in str(caught.value)


def test_a_key_has_no_space_around_it_and_is_not_shown_where_no_header_can_hold_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with server(echo) as (url, seen):
        monkeypatch.setenv("OPENAI_API_KEY", "s3cret\r")
        EndpointModel("small", url).write(prompts("a"), max_tokens=7)
        assert seen[0]["key"] == "Bearer s3cret"
        monkeypatch.setenv("OPENAI_API_KEY", "s3cret\rx")
        with pytest.raises(LanguageModelError, match=r"gave no answer: .*it has a control character") as caught:
            EndpointModel("small", url, retries=0).write(prompts("a"), max_tokens=7)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("answer", [{}, {"choices": []}, {"choices": None}, []])
def test_an_answer_of_another_shape_is_refused_too(answer: Any) -> None:
    with server(lambda _request: answer) as (url, _), pytest.raises(LanguageModelError, match="gave no answer"):
        EndpointModel("big", url, retries=0).write(prompts("a"), max_tokens=5)


def test_nobody_listening_is_one_line_too() -> None:
    with pytest.raises(LanguageModelError, match="APIConnectionError"):
        EndpointModel("big", "http://127.0.0.1:9/v1", retries=0, timeout=2).write(prompts("a"), max_tokens=5)


class _Raw(socketserver.StreamRequestHandler):
    """Answers with the bytes that `reply` gives, one after another."""

    reply: Callable[[], Iterator[bytes]]

    def handle(self) -> None:
        with suppress(OSError):  # the client has left
            self.request.recv(1 << 16)
            for some in type(self).reply():
                self.wfile.write(some)


@contextmanager
def raw_server(reply: Callable[[], Iterator[bytes]]) -> Iterator[str]:
    handler = type("Handler", (_Raw,), {"reply": staticmethod(reply)})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}/v1"
        running.shutdown()
        thread.join()


def asked(url: str, timeout: float = 10.0) -> str:
    with pytest.raises(LanguageModelError) as caught:
        EndpointModel("m", url, retries=0, timeout=timeout).write(prompts("a"), max_tokens=5)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_answer_is_bounded_by_its_unpacked_bytes() -> None:
    packed = gzip.compress(bytes(MAX_ANSWER_BYTES + 1))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    with raw_server(lambda: iter([head, packed])) as url:
        assert "sends more than 16 MB" in asked(url)


def test_a_server_that_sends_its_answer_a_byte_at_a_time_is_left_in_time() -> None:
    def dribble() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n"
        for _ in range(200):
            time.sleep(0.05)
            yield b"X"

    start = time.monotonic()
    with raw_server(dribble) as url:
        assert "still sending after 0.5 seconds" in asked(url, timeout=0.5)
    assert time.monotonic() - start < 5


def test_a_redirect_is_not_followed() -> None:
    with server(echo) as (elsewhere, followed):
        head = f"HTTP/1.1 307 Moved\r\nLocation: {elsewhere}/x\r\nContent-Length: 0\r\n\r\n".encode()
        with raw_server(lambda: iter([head])) as url:
            assert "gave no answer" in asked(url)
    assert not followed


def test_an_answer_is_clean_text() -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "a\ud800\0b"}}
    with server(lambda _request: {"id": "1", "choices": [choice]}) as (url, _):
        assert EndpointModel("m", url, retries=0).write(prompts("a"), max_tokens=5) == ["a?b"]
