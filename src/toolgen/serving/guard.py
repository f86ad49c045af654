"""Guard: what every request passes before it is read: whose it is, where it was sent, how large it is. It also counts.

Keys are kept as hashes. A page of another site can neither call a server on this machine by a name of its own (DNS rebinding)
nor by its address (`Origin`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.exceptions import HTTPException

from toolgen.serving.addresses import LOOPBACK, in_url
from toolgen.serving.errors import REQUEST_ID, error_body, note, unexpected

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 1 << 20
PAGE_FILES = {"/": "index.html"} | {
    f"/playground/{name}": name for name in ("style.css", "common.js", "search.js", "chat.js", "map.js", "page.js")
}
"""The files of the playground's page by their paths."""
OPEN_PATHS = frozenset({"/health", "/ready", *PAGE_FILES})
"""Answered to whoever asks: they tell only its load and how many tools it has; the page itself asks for a key."""
LOOPBACK_NAMES = tuple(map(in_url, LOOPBACK))
"""What a Host header calls them."""


def hashed(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_key() -> str:
    """A key that cannot be guessed, so that its plain hash gives nothing away."""
    return f"tg-{secrets.token_urlsafe(32)}"


@dataclass
class Meters:
    """What `/metrics` tells, in Prometheus' form."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.requests = Counter("toolgen_requests", "Requests answered", ["path", "status"], registry=self.registry)
        self.seconds = Histogram(
            "toolgen_request_seconds",
            "From the request's head to the answer's end",
            ["path"],
            registry=self.registry,
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
        )


class Guard:
    """ASGI middleware. `hosts` are the names that the server goes by (none: any), `keys` hashes of keys by their owner."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Sequence[str] = LOOPBACK_NAMES,
        keys: Mapping[str, str] | None = None,
        meters: Meters | None = None,
        paths: frozenset[str] = frozenset(),
        largest_body: int = LARGEST_BODY,
    ) -> None:
        self._app, self._hosts, self._keys = app, tuple(hosts), dict(keys or {})
        self._meters, self._paths, self._largest_body = meters or Meters(), paths, largest_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        path, started, status = str(scope["path"]), time.monotonic(), 500
        request_id, begun = uuid.uuid4().hex, False
        REQUEST_ID.set(request_id)

        async def answer(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                # OpenAI's clients read the first, Anthropic's the second.
                ids = [(name, request_id.encode()) for name in (b"x-request-id", b"request-id")]
                message["headers"] = [*message.get("headers", ()), *ids]
            await send(message)

        try:
            refusal = self._refusal(path, headers)
            if refusal:
                status, code, text = refusal
                await _answer(answer, status, error_body(status, text, code=code))
            else:
                await self._app(scope, _Limited(receive, self._largest_body), answer)
        except Exception as error:
            body = unexpected(error)
            if not begun:  # else the connection ends in the middle of the answer, which says enough
                await _answer(answer, 500, body)
        finally:
            seconds, known = time.monotonic() - started, path if path in self._paths else "other"
            self._meters.requests.labels(known, str(status)).inc()
            self._meters.seconds.labels(known).observe(seconds)
            note(logging.INFO, method=scope["method"], path=known, status=status, seconds=round(seconds, 3))

    def _refusal(self, path: str, headers: Mapping[str, str]) -> tuple[int, str, str] | None:
        """Status, code and text for a request that is not let in."""
        if self._hosts and _host(headers.get("host", "")) not in self._hosts:
            return 403, "unknown_host", "this server does not go by the name in Host"
        origin = headers.get("origin")
        if origin and origin.partition("://")[2] != headers.get("host"):
            return 403, "foreign_origin", "pages of other sites may not call this server"
        length = headers.get("content-length") or "0"
        if not length.isdecimal() or int(length[:20]) > self._largest_body:
            return 413, "too_large", f"a request has at most {self._largest_body:,} bytes"
        if self._keys and path not in OPEN_PATHS and not self._is_known(headers):
            return 401, "invalid_api_key", "give a key of this server: Authorization: Bearer KEY, or x-api-key: KEY"
        return None

    def _is_known(self, headers: Mapping[str, str]) -> bool:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        key = bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        given = hashed(key)
        return any([hmac.compare_digest(given, one) for one in self._keys.values()])  # all of them: in equal time


class TooLargeError(HTTPException):
    """A body that went on after its limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"a request has at most {limit:,} bytes")


class _Limited:
    """Receives a body of bounded length, also where no length was announced."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._limit, self._left = receive, limit, limit

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise TooLargeError(self._limit)
        return message


def _host(header: str) -> str:
    """The name in a Host header, without its port."""
    return header.lower() if header.endswith("]") else header.lower().rpartition(":")[0] or header.lower()


async def _answer(send: Send, status: int, told: Mapping[str, Any]) -> None:
    body = json.dumps(told).encode()
    head: list[Any] = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
