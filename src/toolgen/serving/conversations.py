"""The routes of conversations: OpenAI's Chat Completions and Responses, Anthropic's Messages. Each reads its request as a step
and writes the answer in its own form; how a step is taken and streamed is one for all of them."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import Body, FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import Field
from starlette.exceptions import HTTPException

from toolgen.datasets.trajectory import Message
from toolgen.errors import ToolgenError
from toolgen.inference.engine import Handle
from toolgen.inference.sampling import Sampling
from toolgen.serving.anthropic_messages import (
    MessageAnswer,
    anthropic_messages,
    openai_choice,
    openai_tools,
    search_tool,
)
from toolgen.serving.errors import FormatError, ends, told, unexpected
from toolgen.serving.offers import Offer, read_offer
from toolgen.serving.openai_messages import chat_messages, response_messages
from toolgen.serving.service import Given, Service
from toolgen.serving.steps import Reply, Step
from toolgen.serving.wire import Answer, ChatAnswer, ResponseAnswer

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
COUNT = f"{MESSAGES}/count_tokens"
TOKENS = 1024
"""What an answer may have where its request says nothing."""
PLAIN_TEXT = "answers are plain text; only the arguments of calls follow a schema"
NO_LOGPROBS = "logprobs are given by /v1/chat/completions alone"
"""What is said of requests for other forms."""
Temperature = Annotated[float | None, Field(ge=0, le=2)]
TopP = Annotated[float | None, Field(gt=0, le=1)]


class ChatRequest(Given):
    """Chat Completions."""

    messages: list[dict[str, Any]] = Field(min_length=1)
    model: str = ""
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    max_completion_tokens: int | None = Field(None, ge=1)
    max_tokens: int | None = Field(None, ge=1)
    temperature: Temperature = None
    top_p: TopP = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: dict[str, Any] | None = None


class ResponsesRequest(Given):
    """Responses."""

    input: str | list[dict[str, Any]]
    model: str = ""
    instructions: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    stream: bool = False
    max_output_tokens: int | None = Field(None, ge=1)
    temperature: Temperature = None
    top_p: TopP = None
    previous_response_id: str | None = None
    metadata: dict[str, str] | None = None
    top_logprobs: int | None = None
    include: list[str] | None = None
    text: dict[str, Any] | None = None


class CountRequest(Given):
    """What of Anthropic's Messages the model reads."""

    messages: list[dict[str, Any]] = Field(min_length=1)
    model: str = ""
    system: str | list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None


class MessagesRequest(CountRequest):
    """Anthropic's Messages."""

    max_tokens: int = Field(ge=1)
    stream: bool = False
    stop_sequences: list[str] | None = None
    temperature: Temperature = None
    top_p: TopP = None
    top_k: int | None = Field(None, ge=0)
    output_config: dict[str, Any] | None = None


def add_chat(app: FastAPI, service: Service) -> None:
    """Adds Chat Completions."""

    @app.post(CHAT, response_model=None)
    async def chat(given: Annotated[ChatRequest, Body()], request: Request) -> Any:
        _check_chat(given)
        offer = read_offer(given.tools, service.names)
        step = _step(
            chat_messages(given.messages, offer.names),
            offer,
            given.tool_choice,
            given.max_completion_tokens or given.max_tokens or TOKENS,
            _sampling(given.temperature, given.top_p, seed=given.seed),
            [given.stop] if isinstance(given.stop, str) else given.stop,
            parallel=given.parallel_tool_calls is not False,
            likelihoods=(given.top_logprobs or 0) if given.logprobs else None,
        )
        usage = bool((given.stream_options or {}).get("include_usage"))
        answer = ChatAnswer(given.model or service.name, offer.names, usage)
        return await _answered(service, request, step, answer, "chat" if given.stream else None)


def add_responses(app: FastAPI, service: Service) -> None:
    """Adds Responses."""

    @app.post(RESPONSES, response_model=None)
    async def respond(given: Annotated[ResponsesRequest, Body()], request: Request) -> Any:
        _check_response(given)
        offer = read_offer(given.tools, service.names)
        messages = response_messages(given.input, given.instructions, offer.names)
        tokens = given.max_output_tokens or TOKENS
        parallel = given.parallel_tool_calls is not False
        sampling = _sampling(given.temperature, given.top_p)
        step = _step(messages, offer, given.tool_choice, tokens, sampling, parallel=parallel)
        answer = ResponseAnswer(
            given.model or service.name,
            offer.names,
            _query(messages),
            offer.searches,
            frozenset(offer.listed),
            {
                "tools": given.tools or [],
                "instructions": given.instructions,
                "metadata": given.metadata or {},
                "parallel_tool_calls": parallel,
            },
        )
        return await _answered(service, request, step, answer, "events" if given.stream else None)


def add_messages(app: FastAPI, service: Service) -> None:
    """Adds Anthropic's Messages, and the count of the tokens that the model would read."""

    def read(given: CountRequest, tokens: int, *how: Any) -> tuple[Step, Offer]:
        offer = read_offer(openai_tools(given.tools), service.names)
        messages = anthropic_messages(given.messages, given.system, offer.names)
        parallel = not (given.tool_choice or {}).get("disable_parallel_tool_use")
        return _step(messages, offer, openai_choice(given.tool_choice), tokens, *how, parallel=parallel), offer

    @app.post(COUNT, response_model=None)
    async def count(given: Annotated[CountRequest, Body()], request: Request) -> Any:
        step, _ = read(given, 1, Sampling())
        return {"input_tokens": await service.result(service.assistant.count(step), request)}

    @app.post(MESSAGES, response_model=None)
    async def message(given: Annotated[MessagesRequest, Body()], request: Request) -> Any:
        if (given.output_config or {}).get("format"):
            raise FormatError(PLAIN_TEXT, "output_config")
        sampling = _sampling(given.temperature, given.top_p, given.top_k)
        step, offer = read(given, given.max_tokens, sampling, given.stop_sequences)
        answer = MessageAnswer(
            given.model or service.name,
            offer.names,
            _query(step.messages),
            search_tool(given.tools or ()),
            frozenset(offer.listed),
        )
        return await _answered(service, request, step, answer, "events" if given.stream else None)


def _step(
    messages: Sequence[Message],
    offer: Offer,
    tool_choice: Any,
    tokens: int,
    sampling: Sampling,
    stop: Sequence[str] | None = None,
    *,
    parallel: bool = True,
    likelihoods: int | None = None,
) -> Step:
    choice = offer.choose(tool_choice)
    return Step(
        messages=messages,
        tools=choice.tools,
        required=choice.required,
        parallel=parallel,
        tokens=tokens,
        sampling=sampling,
        stop=tuple(filter(None, stop or ())),
        own=offer.own,
        likelihoods=likelihoods,
    )


def _sampling(
    temperature: float | None, top_p: float | None, top_k: int | None = None, seed: int | None = None
) -> Sampling:
    """Without a temperature the likeliest is taken; without a seed draws differ from request to request."""
    return Sampling(
        temperature=temperature or 0.0,
        top_p=top_p or 1.0,
        top_k=top_k or 0,
        seed=secrets.randbits(63) if seed is None else seed,
    )


def _query(messages: Sequence[Message]) -> str:
    """What the user said last."""
    return next((str(one["content"]) for one in reversed(messages) if one["role"] == "user"), "")


def _check_chat(given: ChatRequest) -> None:
    if given.n not in (None, 1):
        raise FormatError(f"n is {given.n}; one answer a request is given", "n")
    if given.top_logprobs and not given.logprobs:
        raise FormatError("top_logprobs are given beside logprobs; set logprobs, too", "top_logprobs")
    if (given.response_format or {}).get("type", "text") != "text":
        raise FormatError(PLAIN_TEXT, "response_format")


def _check_response(given: ResponsesRequest) -> None:
    if given.previous_response_id:
        raise FormatError(
            "nothing is kept of earlier responses here; send the whole conversation as input", "previous_response_id"
        )
    if given.top_logprobs or "message.output_text.logprobs" in (given.include or ()):
        raise FormatError(NO_LOGPROBS, "top_logprobs")
    form = (given.text or {}).get("format")
    if (form.get("type") if isinstance(form, dict) else form) not in (None, "text"):
        raise FormatError(PLAIN_TEXT, "text")


async def _answered(
    service: Service, request: Request, step: Step, answer: Answer, stream: Literal["chat", "events"] | None
) -> Any:
    """Takes a step; answers at once or, as it comes, in a `stream` of Chat Completions or of named events."""
    handle = service.assistant.submit(step)
    if stream:
        return streamed(_events(answer, handle), handle, service.waiting, is_named=stream == "events")
    reply = await service.result(handle, request)
    for event in handle:
        for _ in answer.events(event):
            pass
    for _ in answer.end(reply):
        pass
    return JSONResponse(answer.whole(reply))


def streamed(
    events: Iterator[dict[str, Any]], handle: Handle[Any], waiting: anyio.CapacityLimiter, *, is_named: bool
) -> StreamingResponse:
    """Server-sent events; when the client goes, the work ends."""
    lines = _lines(events, handle, waiting, is_named)
    return StreamingResponse(lines, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _lines(
    upcoming: Iterator[dict[str, Any]], handle: Handle[Any], waiting: anyio.CapacityLimiter, is_named: bool
) -> AsyncIterator[str]:
    try:
        # A thread that waits for an event is left behind when the client goes: cancelling the work ends it, too.
        while event := await anyio.to_thread.run_sync(next, upcoming, None, limiter=waiting, abandon_on_cancel=True):
            yield _line(event, is_named)
    except CancelledError:
        yield _line(told(ends())[1], is_named)
    except (ToolgenError, HTTPException) as error:
        yield _line(told(error)[1], is_named)
    except Exception as error:
        yield _line(unexpected(error), is_named)
    finally:
        handle.cancel()
    if not is_named:
        yield "data: [DONE]\n\n"


def _events(answer: Answer, handle: Handle[Reply]) -> Iterator[dict[str, Any]]:
    for event in handle:
        yield from answer.events(event)
    yield from answer.end(handle.result())


def _line(event: dict[str, Any], is_named: bool) -> str:
    name = f"event: {event['type']}\n" if is_named else ""
    return f"{name}data: {json.dumps(event, ensure_ascii=False)}\n\n"
