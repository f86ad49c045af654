"""What a connected MCP server lists, told at first and whenever the server says that it has changed.

Servers of the revision 2026-07-28 say so on a stream that is asked for, older ones without being asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from toolgen.catalog.loaders.mcp_endpoint import McpServer
from toolgen.catalog.loaders.mcp_servers import TIMEOUT, Listing, read_pages, record_tools

if TYPE_CHECKING:
    from anyio import Event
    from mcp import Client

CHANGED = "notifications/tools/list_changed"
CALM = 0.1
"""Seconds; changes that come one after another are read once."""


class Watch:
    """Of one connection: every message is to be given to `see` before the SDK has it. `on_listing` is called in a thread."""

    def __init__(self, server: McpServer, on_listing: Callable[[Listing], None]) -> None:
        self._server, self._on_listing = server, on_listing
        self._changed: Event | None = None
        self._listing: Listing | None = None

    def see(self, message: Any) -> None:
        """Takes what belongs to a listing out of a message, and hears of changes."""
        if self._listing is not None:
            record_tools(message, self._listing)
        if self._changed is not None and getattr(getattr(message, "message", None), "method", None) == CHANGED:
            self._changed.set()

    async def run(self, client: Client) -> None:
        """Until it is cancelled. A listing that fails changes nothing; the next change is another try."""
        import anyio

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_listen, client)
            while True:
                self._changed = anyio.Event()
                await self._tell(client)
                await self._changed.wait()
                await anyio.sleep(CALM)

    async def _tell(self, client: Client) -> None:
        import anyio.to_thread

        listing = self._listing = Listing()
        try:
            with anyio.fail_after(TIMEOUT):
                await read_pages(client, self._server, listing)
        except Exception:  # SDK, transport and validation all have families of their own
            return
        finally:
            self._listing = None
        await anyio.to_thread.run_sync(self._on_listing, listing, abandon_on_cancel=True)


async def _listen(client: Client) -> None:
    """Asks for the stream on which newer servers say what has changed. One that has none, or ends it, says nothing more."""
    from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
    from mcp.shared.exceptions import MCPError

    try:
        async with client.listen(tools_list_changed=True) as stream:
            async for _ in stream:
                pass  # `see` has heard it
    except (ListenNotSupportedError, SubscriptionLost, MCPError, TimeoutError):
        return
