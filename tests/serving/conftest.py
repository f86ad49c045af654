"""A server of a tiny checkpoint in a thread of this process, for the clients that people use."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from toolgen.checkpoint import Checkpoint
from toolgen.testing import tiny_checkpoint


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The address of an app that is served meanwhile."""
    import uvicorn

    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", timeout_graceful_shutdown=10)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    assert server.started
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    return tiny_checkpoint(max_position_embeddings=2048)
