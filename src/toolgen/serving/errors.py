"""What goes wrong with a request, and how clients are told: one body that OpenAI's and Anthropic's clients both read."""

from __future__ import annotations

import json
import logging
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from starlette.exceptions import HTTPException

from toolgen.errors import DeadlineError, InputError, ToolgenError, UsageError

LOGGER = logging.getLogger("toolgen.serving")
REQUEST_ID: ContextVar[str] = ContextVar("request id", default="")
"""Of the request that is being answered."""
KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}
"""The type of an error by its status; others are `invalid_request_error` below 500 and `api_error` from there."""


class FormatError(InputError):
    """A request that does not fit; `param` says where."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param, self.code = param, code


class BusyError(ToolgenError):
    """As many requests wait already as may."""


class NoCallError(ToolgenError):
    """The model wrote no valid arguments."""


def note(level: int, **facts: Any) -> None:
    """A line of the log about the request that is being answered, as JSON. No fact is a user's word."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    LOGGER.log(level, json.dumps({"at": now, "id": REQUEST_ID.get(), **facts}))


def error_body(status: int, text: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error: OpenAI's clients read `error`, Anthropic's `type` too."""
    kind = KINDS.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"message": text, "type": kind, "param": param, "code": code}}


def ends() -> HTTPException:
    """For work that is cancelled because the server ends."""
    return HTTPException(503, "the server ends; ask again")


def told(error: Exception) -> tuple[int, dict[str, Any]]:
    """Status and body of an error."""
    if isinstance(error, FormatError):
        return 400, error_body(400, str(error), param=error.param, code=error.code)
    if isinstance(error, HTTPException):
        return error.status_code, error_body(error.status_code, str(error.detail))
    for kind, status, code in (
        (BusyError, 429, "busy"),
        (DeadlineError, 504, "deadline"),
        (NoCallError, 500, "no_call"),
    ):
        if isinstance(error, kind):
            return status, error_body(status, str(error), code=code)
    status = 400 if isinstance(error, InputError | UsageError) else 500
    return status, error_body(status, str(error))


def unexpected(error: Exception) -> dict[str, Any]:
    """The body for an error that nobody foresaw. Its words may be those of a user, so they are neither told nor logged: the log
    says its type and where it was raised, and client and log the request's id."""
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in place]
    note(logging.ERROR, error=type(error).__name__, raised_at=where)
    text = f"the server failed at this request; whoever runs it finds the cause in the log by the id {REQUEST_ID.get()}"
    return error_body(500, text, code="internal_error") | {"request_id": REQUEST_ID.get()}
