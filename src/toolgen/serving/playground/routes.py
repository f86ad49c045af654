"""The playground's page and what it asks for beside `/v1/tools/search`: BM25's results, a tool, the map, a run with its steps.

The page's files are open to whoever asks, as `/health` is; all else asks for a key where the server does. Scripts, styles and
answers come from this server alone, and the page has no way to make markup of a text (Content-Security-Policy).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Annotated, Any, Literal

import anyio.to_thread
import numpy as np
from fastapi import APIRouter, Body, FastAPI, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from toolgen.agent import DryRunEnvironment, Environment, SimulatedEnvironment
from toolgen.catalog import Catalog
from toolgen.checkpoint.layout import is_only_indexed
from toolgen.inference.engine import Handle
from toolgen.retrieval.bm25 import BM25Retriever
from toolgen.retrieval.protocol import unit_of
from toolgen.serving.conversations import streamed
from toolgen.serving.errors import FormatError
from toolgen.serving.guard import PAGE_FILES
from toolgen.serving.openai_messages import chat_messages
from toolgen.serving.playground.conversation import Conversation
from toolgen.serving.playground.tool_map import layout, word_vectors
from toolgen.serving.service import Given, SearchRequest, Service

POINTS = 5_000
"""Tools on the map; of more, every second, third, ... of the catalog."""
TYPES = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class RunRequest(Given):
    """A conversation as Chat Completions have it, ending with what the user says now; `results`: calls are answered with values
    made up from the tools' response schemas, or only recorded. Nothing is carried out."""

    messages: list[dict[str, Any]] = Field(min_length=1)
    results: Literal["simulated", "recorded"] = "simulated"


class ToolRequest(Given):
    """A tool by its id."""

    id: str


def add_playground(app: FastAPI, service: Service) -> None:
    """Adds the page at `/` and what it asks for."""
    router = APIRouter(include_in_schema=False)
    for path, name in PAGE_FILES.items():
        _add_file(router, path, name)
    _add_search(router, service)
    _add_map(router, service)
    _add_run(router, service)
    app.include_router(router)


def _add_file(router: APIRouter, path: str, name: str) -> None:
    content = resources.files("toolgen.serving.playground").joinpath(name).read_bytes()

    @router.get(path)
    def file() -> Response:
        return Response(content, headers={**HEADERS, "Content-Type": TYPES[name.rpartition(".")[2]]})


def _add_search(router: APIRouter, service: Service) -> None:
    is_bm25 = service.retriever.name == "bm25"
    indexing = threading.Lock()
    indexed: list[BM25Retriever] = []

    def bm25() -> BM25Retriever:
        with indexing:
            if not indexed:
                made = BM25Retriever()
                made.index(service.catalog)
                indexed.append(made)
        return indexed[0]

    @router.get("/playground/about")
    def about() -> dict[str, Any]:
        return {
            "name": service.name,
            "tools": len(service.catalog),
            "retriever": service.retriever.name,
            "unit": unit_of(service.retriever),
            "compares": not is_bm25,
            "no_chat": why_no_chat(service),
        }

    @router.post("/playground/bm25")
    async def search(given: Annotated[SearchRequest, Body()]) -> dict[str, Any]:
        return await anyio.to_thread.run_sync(lambda: service.found_by(bm25(), given), limiter=service.waiting)

    @router.post("/playground/tool")
    def tool(given: Annotated[ToolRequest, Body()]) -> dict[str, Any]:
        if given.id not in service.catalog:
            raise FormatError(f"the catalog has no tool {given.id[:200]!r}", "id")
        found = service.catalog.get(given.id)
        return {
            "id": found.id,
            "name": found.name,
            "provider": found.provider,
            "description": found.description,
            "parameters": found.parameters,
        }


def why_no_chat(service: Service) -> str:
    """Why there is nobody to chat with, in a line; empty if there is."""
    if not service.has_assistant:
        return "A dataset is served here, which has no model: serve a trained checkpoint to chat."
    checkpoint = service.assistant.checkpoint
    is_index = checkpoint.row_maker is not None and is_only_indexed(checkpoint.metadata)  # its base knows how to call
    if not is_index and not any(record.stage == "agent" for record in checkpoint.stages):
        return "This model has not learned to act, only to find tools: `toolgen train agent` teaches it."
    return ""


def _add_map(router: APIRouter, service: Service) -> None:
    drawing = threading.Lock()
    drawn: list[bytes] = []

    def draw() -> bytes:
        with drawing:
            if not drawn:
                drawn.append(json.dumps(drawn_map(service), ensure_ascii=False).encode())
        return drawn[0]

    @router.get("/playground/map")
    async def tool_map() -> Response:
        return Response(await anyio.to_thread.run_sync(draw, limiter=service.waiting), media_type="application/json")


def drawn_map(service: Service) -> dict[str, Any]:
    """The tools with their places, providers by number; `of`: what the places were made from."""
    catalog: Catalog = service.catalog
    shown = [catalog[place] for place in range(0, len(catalog), -(-len(catalog) // POINTS))]
    if service.has_assistant:
        checkpoint = service.assistant.checkpoint
        rows = checkpoint.tool_vectors()[[checkpoint.catalog.position(tool.id) for tool in shown]]
        vectors_ND = rows.detach().float().cpu().numpy()
    else:
        vectors_ND = word_vectors(shown)
    providers = list(dict.fromkeys(tool.provider for tool in shown))
    number = {provider: place for place, provider in enumerate(providers)}
    return {
        "of": "rows" if service.has_assistant else "words",
        "total": len(catalog),
        "providers": providers,
        "tools": [[tool.id, tool.name, number[tool.provider]] for tool in shown],
        "places": np.round(layout(vectors_ND), 4).tolist(),
    }


def _add_run(router: APIRouter, service: Service) -> None:
    @router.post("/playground/run", response_model=None)
    async def run(given: Annotated[RunRequest, Body()]) -> StreamingResponse:
        if reason := why_no_chat(service):
            raise FormatError(reason)
        *before, last = chat_messages(given.messages, service.names)
        if last["role"] != "user":
            raise FormatError("the messages end with what the user says now", "messages")
        environment = _environment(service.catalog, given.results)
        handle: Handle[Any] = service.assistant.begin(
            lambda policy: Conversation(policy, before, last["content"], environment)
        )

        return streamed(_events(handle), handle, service.waiting, is_named=True)


def _events(handle: Handle[Any]) -> Iterator[dict[str, Any]]:
    yield from handle
    handle.result()  # raises what went wrong


def _environment(catalog: Catalog, results: str) -> Environment:
    return SimulatedEnvironment(catalog) if results == "simulated" else DryRunEnvironment(catalog)
