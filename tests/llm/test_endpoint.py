"""An OpenAI-compatible endpoint, over real HTTP to a server in this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from toolgen.errors import LanguageModelError
from toolgen.llm import EndpointModel

pytest.importorskip("openai", reason="needs the extra 'llm'")


@contextmanager
def server(answer: Any, status: int = 200) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of an endpoint that echoes the last message through `answer`, and the requests that it got."""
    seen: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append({"path": self.path, "key": self.headers["Authorization"], **request})
            body = json.dumps(answer(request)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_address[1]}/v1", seen
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


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


def test_a_refusal_is_one_line_that_says_what_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    refused = pytest.raises(LanguageModelError, match="gave no answer: NotFoundError")
    with server(lambda _request: {"error": {"message": "no such\nmodel"}}, status=404) as (url, _), refused as caught:
        EndpointModel("big", url, retries=0).write(prompts("a", "b"), max_tokens=5)
    assert "\n" not in str(caught.value) and url in str(caught.value)


@pytest.mark.parametrize("answer", [{}, {"choices": []}, {"choices": None}, []])
def test_an_answer_of_another_shape_is_refused_too(answer: Any) -> None:
    with server(lambda _request: answer) as (url, _), pytest.raises(LanguageModelError, match="gave no answer"):
        EndpointModel("big", url, retries=0).write(prompts("a"), max_tokens=5)


def test_nobody_listening_is_one_line_too() -> None:
    with pytest.raises(LanguageModelError, match="APIConnectionError"):
        EndpointModel("big", "http://127.0.0.1:9/v1", retries=0, timeout=2).write(prompts("a"), max_tokens=5)
