"""What clients are told: whose fault an error is."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi")

from toolgen.errors import CatalogError, CheckpointError, DeadlineError, UsageError
from toolgen.serving.errors import BusyError, FormatError, NoCallError, told


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (FormatError("x", "tools"), 400, "invalid_request_error"),
        (CatalogError("x"), 400, "invalid_request_error"),
        (UsageError("x"), 400, "invalid_request_error"),
        (BusyError("x"), 429, "rate_limit_error"),
        (DeadlineError("x"), 504, "timeout_error"),
        (NoCallError("x"), 500, "api_error"),
        (CheckpointError("x"), 500, "api_error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_status_says_whose_fault_it_is(error: Exception, status: int, kind: str) -> None:
    found, body = told(error)
    assert (found, body["error"]["type"], body["error"]["message"]) == (status, kind, "x")
