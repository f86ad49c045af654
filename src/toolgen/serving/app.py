"""The HTTP server: OpenAI's Chat Completions and Responses, plain search, health and metrics, over one checkpoint or dataset.

It holds no conversation: clients send what was said, as these APIs have it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager
from copy import copy
from typing import Annotated, Any, Literal

import anyio
import anyio.to_thread
from fastapi import Body, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from prometheus_client import generate_latest
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from toolgen import __version__
from toolgen.agent import Action
from toolgen.catalog import Catalog
from toolgen.catalog.effects import only_reads
from toolgen.catalog.naming import wire_name
from toolgen.catalog.transforms import select_tools
from toolgen.datasets.trajectory import Message
from toolgen.errors import DeadlineError, InputError, ToolgenError, UsageError
from toolgen.foreign.data import clean
from toolgen.inference.engine import Handle
from toolgen.retrieval import Retriever
from toolgen.retrieval.protocol import unit_of
from toolgen.serving.assistant import Assistant, BusyError, Step
from toolgen.serving.gateway import BRIEF, LARGEST, LONGEST_REQUEST
from toolgen.serving.guard import LOOPBACK_NAMES, Guard, Meters, error_body
from toolgen.serving.openai_messages import (
    FormatError,
    Names,
    chat_choice,
    chat_messages,
    response_messages,
)
from toolgen.serving.wire import ChatAnswer, Pieces, ResponseAnswer

CHAT, RESPONSES, SEARCH = "/v1/chat/completions", "/v1/responses", "/v1/tools/search"
PATHS = frozenset({CHAT, RESPONSES, SEARCH, "/v1/models", "/health", "/ready", "/metrics"})
FILTERS = 16
"""Parts of the catalog that stay prepared for searches."""
HEARD_SECONDS = 0.2
"""How often it is looked whether a client still waits."""


class _Given(BaseModel):
    """A request; what it holds besides is not for this server, and is passed over."""

    model_config = ConfigDict(extra="ignore")


class ChatRequest(_Given):
    """Chat Completions."""

    messages: list[dict[str, Any]] = Field(min_length=1)
    model: str = ""
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    max_completion_tokens: int | None = Field(None, ge=1)
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    n: int | None = None
    logprobs: bool | None = None
    response_format: dict[str, Any] | None = None


class ResponsesRequest(_Given):
    """Responses."""

    input: str | list[dict[str, Any]]
    model: str = ""
    instructions: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    stream: bool = False
    max_output_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    previous_response_id: str | None = None
    metadata: dict[str, str] | None = None


class SearchRequest(_Given):
    """A search: a request in plain language, how many tools, and which may be found."""

    query: str = Field(min_length=1, max_length=LONGEST_REQUEST)
    limit: int = Field(5, ge=1, le=LARGEST)
    include: list[str] = Field(default=[], description="only these, as `toolgen search --include` has them")
    exclude: list[str] = Field(default=[], description="without these")
    read_only: bool = Field(default=False, description="only tools that say that they only read")


class Service:
    """What the routes share: the tools, how they are searched, and the assistant, if there is a checkpoint."""

    def __init__(self, name: str, catalog: Catalog, retriever: Retriever, assistant: Assistant | None) -> None:
        self.name, self.catalog, self._retriever, self._assistant = name, catalog, retriever, assistant
        self.names = Names(catalog)
        self._part = functools.lru_cache(FILTERS)(self._prepared)
        self._searching = anyio.CapacityLimiter(1 if assistant is None else 64)
        self.waiting = anyio.CapacityLimiter(512)

    @property
    def assistant(self) -> Assistant:
        """HTTPException where a dataset is served, which can only be searched."""
        if self._assistant is None:
            raise HTTPException(501, "a dataset is served here, which can only be searched; serve a trained checkpoint")
        return self._assistant

    @property
    def load(self) -> int:
        """How many conversations are being answered or wait."""
        return self._assistant.load if self._assistant else 0

    async def search(self, given: SearchRequest) -> dict[str, Any]:
        """The tools for a request, with scores in the unit of the method, and the score of declining if it has one."""
        return await anyio.to_thread.run_sync(self._search, given, limiter=self._searching)

    def _search(self, given: SearchRequest) -> dict[str, Any]:
        retriever = self._part(tuple(given.include), tuple(given.exclude), given.read_only)
        ranking = retriever.search([given.query], given.limit)[0]
        pairs = zip(map(self.catalog.get, ranking.tools), ranking.scores, strict=True)
        found = [
            {
                "name": wire_name(tool),
                "id": tool.id,
                "provider": tool.provider,
                "description": " ".join(tool.description.split())[:BRIEF],
                "score": score,
            }
            for tool, score in pairs
        ]
        return {"data": found, "unit": unit_of(retriever), "no_tool": ranking.no_tool}

    def _prepared(self, include: tuple[str, ...], exclude: tuple[str, ...], read_only: bool) -> Retriever:
        if not (include or exclude or read_only):
            return self._retriever
        part = select_tools(self.catalog, include, exclude)
        if read_only:
            part = Catalog(tool for tool in part if only_reads(tool))
        if not len(part):
            raise FormatError("no tool is left by include, exclude and read_only", "include")
        retriever = copy(self._retriever)
        retriever.index(part)
        return retriever

    async def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """How many tokens are read."""
        return await anyio.to_thread.run_sync(self.assistant.prompt_tokens, messages, limiter=self.waiting)

    async def finished(self, handle: Handle[Action], request: Request) -> Action:
        """The action, unless the client goes away: then nothing goes on."""
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                while not await request.is_disconnected():
                    await anyio.sleep(HEARD_SECONDS)
                handle.cancel()

            group.start_soon(watch)
            action = await anyio.to_thread.run_sync(_outcome, handle, limiter=self.waiting)
            group.cancel_scope.cancel()
        return _opened(action)


def make_app(
    service: Service,
    *,
    hosts: Sequence[str] = LOOPBACK_NAMES,
    keys: Mapping[str, str] | None = None,
    on_close: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The application; `hosts` and `keys` are those of `Guard`, `on_close` is called when it ends."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        on_close()

    meters = Meters()
    app = FastAPI(title="toolgen", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Guard, hosts=hosts, keys=keys, meters=meters, paths=PATHS)
    _add_errors(app)
    _add_states(app, service, meters)
    _add_search(app, service)
    _add_chat(app, service)
    _add_responses(app, service)
    return app


def _add_states(app: FastAPI, service: Service, meters: Meters) -> None:
    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready")
    def ready() -> dict[str, Any]:
        return {"status": "ready", "tools": len(service.catalog), "load": service.load}

    @app.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> PlainTextResponse:
        load = f"# TYPE toolgen_load gauge\ntoolgen_load {service.load}\n"
        return PlainTextResponse(generate_latest(meters.registry).decode() + load)

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {
            "object": "list",
            "data": [{"id": service.name, "object": "model", "created": 0, "owned_by": "toolgen"}],
        }


def _add_search(app: FastAPI, service: Service) -> None:
    @app.post(SEARCH)
    async def search(given: Annotated[SearchRequest, Body()]) -> dict[str, Any]:
        return {"object": "list", **await service.search(given)}


def _add_chat(app: FastAPI, service: Service) -> None:
    @app.post(CHAT, response_model=None)
    async def chat(given: Annotated[ChatRequest, Body()], request: Request) -> Any:
        _check_chat(given)
        messages = chat_messages(given.messages, service.names)
        choice = chat_choice(given.tools or None, given.tool_choice, service.names)
        tokens = given.max_completion_tokens or given.max_tokens or 1024
        step = Step(
            messages=messages,
            tools=choice.tools,
            required=choice.required,
            tokens=tokens,
            temperature=given.temperature or 0.0,
            seed=given.seed or 0,
        )
        answer = ChatAnswer(given.model or service.name, service.names, await service.prompt_tokens(messages))
        handle = service.assistant.submit(step)
        if not given.stream:
            return answer.whole(_checked(await service.finished(handle, request)))
        usage = bool((given.stream_options or {}).get("include_usage"))
        pieces = Pieces()

        def chunks() -> Iterable[dict[str, Any]]:
            yield answer.first()
            for event in handle:
                yield from answer.piece(pieces, event)
            yield from answer.last(_checked(_opened(_outcome(handle))), usage)

        return _streamed(chunks(), handle, service.waiting, end="data: [DONE]\n\n", named=False)


def _add_responses(app: FastAPI, service: Service) -> None:
    @app.post(RESPONSES, response_model=None)
    async def respond(given: Annotated[ResponsesRequest, Body()], request: Request) -> Any:
        if given.previous_response_id:
            raise FormatError(
                "nothing is kept of earlier responses here; send the whole conversation as input",
                "previous_response_id",
            )
        messages = response_messages(given.input, given.instructions, service.names)
        functions = [tool for tool in given.tools or () if tool.get("type") == "function"]
        searches = any(tool.get("type") == "tool_search" for tool in given.tools or ())
        if other := [
            str(one.get("type")) for one in given.tools or () if one.get("type") not in ("function", "tool_search")
        ]:
            raise FormatError(f"tools of the type {other[0][:60]!r} are not known here", "tools")
        # With tool search the catalog is open, and functions of the request are those that need no search.
        choice = chat_choice(None if searches or not functions else functions, given.tool_choice, service.names)
        listed = frozenset(service.names.id_of(one.get("name"), "tools") for one in functions)
        step = Step(
            messages=messages,
            tools=choice.tools,
            required=choice.required,
            tokens=given.max_output_tokens or 1024,
            temperature=given.temperature or 0.0,
        )
        query = next((str(one["content"]) for one in reversed(messages) if one["role"] == "user"), "")
        answer = ResponseAnswer(
            given.model or service.name,
            service.names,
            await service.prompt_tokens(messages),
            query,
            searches,
            listed,
            clean({"tools": given.tools or [], "instructions": given.instructions, "metadata": given.metadata or {}}),
        )
        handle = service.assistant.submit(step)
        pieces = Pieces()
        if not given.stream:
            action = _checked(await service.finished(handle, request))
            for event in handle:
                for _ in answer.piece(pieces, event):
                    pass
            for _ in answer.last(action):
                pass
            return answer.whole(action)

        def events() -> Iterable[dict[str, Any]]:
            yield from answer.first()
            for event in handle:
                yield from answer.piece(pieces, event)
            yield from answer.last(_checked(_opened(_outcome(handle))))

        return _streamed(events(), handle, service.waiting, end="", named=True)


def _check_chat(given: ChatRequest) -> None:
    if given.n not in (None, 1):
        raise FormatError(f"n is {given.n}; one answer a request is given", "n")
    if given.logprobs:
        raise FormatError("logprobs are not given; POST /v1/tools/search tells probabilities of tools", "logprobs")
    if (given.response_format or {}).get("type", "text") != "text":
        raise FormatError("answers are plain text; only the arguments of calls follow a schema", "response_format")


def _checked(action: Action) -> Action:
    """FormatError where the conversation does not fit the model, 500 where no legal call was found."""
    if action.stuck == "context_full":
        raise FormatError(action.fault, "messages", "context_length_exceeded")
    if action.stuck == "invalid_arguments":
        raise HTTPException(500, f"the model wrote no valid arguments for {action.tool}: {action.fault}")
    return action


def _outcome(handle: Handle[Action]) -> Action | Exception:
    """What a step came to, errors too: a task group would wrap them."""
    try:
        return handle.result()
    except CancelledError:
        return HTTPException(499, "the client has gone")
    except Exception as error:
        return error


def _opened(outcome: Action | Exception) -> Action:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _streamed(
    events: Iterable[dict[str, Any]],
    handle: Handle[Action],
    waiting: anyio.CapacityLimiter,
    *,
    end: Literal["", "data: [DONE]\n\n"],
    named: bool,
) -> StreamingResponse:
    """Server-sent events; when the client goes, the work ends."""

    async def lines() -> AsyncIterator[str]:
        upcoming = iter(events)
        try:
            # A thread that waits for an event is left behind when the client goes: cancelling the work ends it, too.
            while event := await anyio.to_thread.run_sync(
                next, upcoming, None, limiter=waiting, abandon_on_cancel=True
            ):
                yield (
                    f"event: {event['type']}\n" if named else ""
                ) + f"data: {json.dumps(event, ensure_ascii=False)}\n\n"
        except (ToolgenError, HTTPException) as error:
            yield f"data: {json.dumps(_error(error)[1], ensure_ascii=False)}\n\n"
        finally:
            handle.cancel()
        yield end

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def _error(error: Exception) -> tuple[int, dict[str, Any]]:
    """Status and body of an error."""
    if isinstance(error, FormatError):
        return 400, error_body(str(error), param=error.param, code=error.code)
    if isinstance(error, BusyError):
        return 429, error_body(str(error), kind="rate_limit_error", code="busy")
    if isinstance(error, DeadlineError):
        return 504, error_body(str(error), kind="timeout_error", code="deadline")
    if isinstance(error, HTTPException):
        kind = "invalid_request_error" if error.status_code < 500 else "server_error"
        return error.status_code, error_body(str(error.detail), kind=kind)
    return 400, error_body(str(error))


def _add_errors(app: FastAPI) -> None:
    async def answered(_request: Request, error: Exception) -> JSONResponse:
        status, body = _error(error)
        return JSONResponse(body, status, headers={"Retry-After": "1"} if status == 429 else None)

    async def unfit(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return JSONResponse(error_body(f"{where or 'the body'}: {first['msg']}", param=where or None), 400)

    for kind in (FormatError, BusyError, DeadlineError, HTTPException, InputError, UsageError):
        app.add_exception_handler(kind, answered)
    app.add_exception_handler(RequestValidationError, unfit)
