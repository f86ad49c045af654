"""Reloading: a server whose application is made anew while it serves. Knows no route.

Requests are answered by the application that they began with; the old one is closed when its last request has ended.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from toolgen.errors import ToolgenError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass
class Loaded:
    """An application, how it is closed, and how many requests it answers."""

    app: ASGIApp
    close: Callable[[], None]
    open: int = 0


class Reloading:
    """ASGI application: the one that `make` gives, on SIGHUP another. If that fails, the old one stays, and `tell` is told."""

    def __init__(self, make: Callable[[], Loaded], tell: Callable[[str], None]) -> None:
        self._make, self._tell = make, tell
        self._now = make()
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        used = self._now
        used.open += 1
        try:
            await used.app(scope, receive, send)
        finally:
            used.open -= 1
            if used is not self._now and not used.open:
                self._start(anyio.to_thread.run_sync(used.close))

    async def reload(self) -> None:
        """Makes the application anew, beside the one that serves meanwhile, and puts it in its place."""
        async with self._lock:
            try:
                made = await anyio.to_thread.run_sync(self._make)
            except Exception as error:
                reason = str(error) if isinstance(error, ToolgenError | OSError) else repr(error)
                self._tell(f"not reloaded, and served as before: {reason}")
                return
            old, self._now = self._now, made
            if not old.open:
                await anyio.to_thread.run_sync(old.close)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: self._start(self.reload()))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await anyio.to_thread.run_sync(self._now.close)
        await send({"type": "lifespan.shutdown.complete"})

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself would forget it
        task.add_done_callback(self._tasks.discard)
