"""The HTTP server: three protocols for conversations, plain search, health and metrics, over one checkpoint or dataset.

It holds no conversation: clients send what was said, as these APIs have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException

from toolgen import __version__
from toolgen.errors import ToolgenError
from toolgen.serving.conversations import CHAT, COUNT, MESSAGES, RESPONSES, add_chat, add_messages, add_responses
from toolgen.serving.errors import error_body, told
from toolgen.serving.guard import LOOPBACK_NAMES, Guard, Meters
from toolgen.serving.playground import add_playground
from toolgen.serving.service import SearchRequest, Service

SEARCH = "/v1/tools/search"
PATHS = frozenset({CHAT, RESPONSES, MESSAGES, COUNT, SEARCH, "/v1/models", "/health", "/ready", "/metrics"})


def make_app(
    service: Service,
    *,
    hosts: Sequence[str] = LOOPBACK_NAMES,
    keys: Mapping[str, str] | None = None,
    meters: Meters | None = None,
) -> FastAPI:
    """The application; `hosts`, `keys` and `meters` are those of `Guard`. Whoever made the service closes its assistant."""
    meters = meters or Meters()
    app = FastAPI(title="toolgen", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(Guard, hosts=hosts, keys=keys, meters=meters, paths=PATHS)
    _add_errors(app)
    _add_states(app, service, meters)
    _add_search(app, service)
    add_chat(app, service)
    add_responses(app, service)
    add_messages(app, service)
    add_playground(app, service)
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


def _add_errors(app: FastAPI) -> None:
    async def answered(_request: Request, error: Exception) -> JSONResponse:
        status, body = told(error)
        return JSONResponse(body, status, headers={"Retry-After": "1"} if status == 429 else None)

    async def unfit(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return JSONResponse(error_body(400, f"{where or 'the body'}: {first['msg']}", param=where or None), 400)

    for kind in (ToolgenError, HTTPException):
        app.add_exception_handler(kind, answered)
    app.add_exception_handler(RequestValidationError, unfit)
