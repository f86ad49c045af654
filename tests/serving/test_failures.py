"""What clients are told when the server itself fails or ends: the protocol's error, an id to look for, nothing else."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from tests.serving.conftest import Script, answer, served

from toolgen.checkpoint import Checkpoint
from toolgen.errors import FetchError
from toolgen.serving.app import make_app
from toolgen.serving.assistant import Assistant
from toolgen.serving.request_tools import RequestTools
from toolgen.serving.service import Service

SECRET = "my password is swordfish"
MESSAGES: Any = [{"role": "user", "content": SECRET}]


class Broken(Script):
    """A model that fails with the words of its user."""

    error: BaseException = ValueError(SECRET)

    def act(self, *_given: Any, **_how: Any) -> Any:
        raise self.error


@pytest.fixture
def broken(checkpoint: Checkpoint) -> Iterator[tuple[str, Broken]]:
    script = Broken(checkpoint)
    assistant = assisted(script)
    with served(make_app(service_of(assistant)), assistant.close) as url:
        yield url, script


def assisted(script: Script) -> Assistant:
    assistant = Assistant(script.checkpoint, seconds=20)
    assistant._policy, assistant._own = script, RequestTools(script)  # type: ignore[arg-type, assignment]
    return assistant


def service_of(assistant: Assistant) -> Service:
    return Service("tiny", assistant.checkpoint.catalog, assistant.retriever(), assistant)


def test_what_nobody_foresaw_is_an_error_of_the_protocol_with_an_id(
    broken: tuple[str, Broken], caplog: pytest.LogCaptureFixture
) -> None:
    url, _ = broken
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(model="tiny", messages=MESSAGES)
        assert (caught.value.type, caught.value.code) == ("api_error", "internal_error")
        told, known = str(caught.value.body) + caught.value.message, caught.value.request_id
    assert known and known in told
    assert not any(word in told for word in (SECRET, "swordfish", "Traceback", ".py"))
    (line,) = [
        json.loads(one.message)
        for one in caplog.records
        if one.levelno == logging.ERROR and one.name.startswith("toolgen")
    ]
    assert (
        line["id"] == known and line["error"] == "ValueError" and line["raised_at"][0].startswith("test_failures.py:")
    )
    assert SECRET not in caplog.text
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as other:
        with pytest.raises(anthropic.InternalServerError) as raised:
            other.messages.create(model="tiny", max_tokens=5, messages=MESSAGES)
        body: Any = raised.value.body
        assert raised.value.request_id and raised.value.request_id == body["request_id"]


@pytest.mark.parametrize("path", ["chat", "responses", "messages"])
def test_a_stream_ends_with_that_error(broken: tuple[str, Broken], path: str) -> None:
    url, _ = broken
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        if path == "messages":
            with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as other:
                with pytest.raises(anthropic.APIStatusError) as raised:
                    list(other.messages.create(model="tiny", max_tokens=5, messages=MESSAGES, stream=True))
                told = str(raised.value.body)
        else:
            with pytest.raises(openai.APIError) as caught:
                if path == "chat":
                    list(client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True))
                else:
                    list(client.responses.create(model="tiny", input=SECRET, stream=True))
            told = str(caught.value.body) + caught.value.message
    assert "by the id" in told and SECRET not in told


def test_any_error_of_toolgen_is_told_as_it_is(broken: tuple[str, Broken]) -> None:
    url, script = broken
    script.error = FetchError("nothing can be fetched here")
    raised = pytest.raises(openai.InternalServerError, match="nothing can be fetched here")
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client, raised:
        client.chat.completions.create(model="tiny", messages=MESSAGES)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_who_waits_when_the_server_ends_by_force_is_told_so(checkpoint: Checkpoint, stream: bool) -> None:
    script = Script(checkpoint)
    script.hold.clear()
    script.actions = [answer()]
    assistant = assisted(script)
    found: list[Any] = []

    def ask(url: str) -> None:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            try:
                made = client.chat.completions.create(model="tiny", messages=MESSAGES, stream=stream)
                found.append(list(made))
            except openai.APIError as error:
                found.append(error)

    with served(make_app(service_of(assistant)), assistant.close) as url:
        client = threading.Thread(target=ask, args=(url,))
        client.start()
        until = time.monotonic() + 10
        while not script.asked and time.monotonic() < until:
            time.sleep(0.01)
        assistant.close()
        client.join(20)
    (error,) = found
    assert isinstance(error, openai.APIError) and "the server ends; ask again" in error.message
    assert stream or getattr(error, "status_code", None) == 503
