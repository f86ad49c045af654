"""A server that takes a changed catalog: requests that have begun end as they began."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from toolgen.errors import InputError

pytest.importorskip("fastapi")

from toolgen.serving.reloading import Loaded, Reloading


class Version:
    """An application that answers with its number, when it is let."""

    def __init__(self, number: int) -> None:
        self.number, self.closed = number, False
        self.let = asyncio.Event()

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        await self.let.wait()
        assert not self.closed
        await send(self.number)

    def close(self) -> None:
        self.closed = True


def test_requests_end_with_what_they_began_with() -> None:
    made: list[Version] = []
    told: list[str] = []
    faults = [InputError("the catalog is broken"), PermissionError("it may not be read"), ValueError("odd")]

    def make() -> Loaded:
        if len(made) == 2:
            raise faults.pop(0)
        made.append(Version(len(made)))
        return Loaded(made[-1], made[-1].close)

    async def work() -> None:
        app = Reloading(make, told.append)
        sent: list[int] = []

        async def send(number: Any) -> None:
            sent.append(number)

        async def ask() -> None:
            await app({"type": "http"}, None, send)  # type: ignore[arg-type]

        early = [asyncio.create_task(ask()) for _ in range(3)]
        await asyncio.sleep(0)
        await app.reload()
        assert not made[0].closed
        late = asyncio.create_task(ask())
        made[1].let.set()
        await late
        assert sent == [1]
        made[0].let.set()
        await asyncio.gather(*early)
        assert sent == [1, 0, 0, 0]
        while not made[0].closed:
            await asyncio.sleep(0.01)
        await app.reload()  # which fails, as do the next
        await app.reload()
        await app.reload()
        await ask()
        assert sent[-1] == 1
        said = "not reloaded, and served as before: "
        assert told == [f"{said}the catalog is broken", f"{said}it may not be read", f"{said}ValueError('odd')"]
        assert not made[1].closed

    asyncio.run(asyncio.wait_for(work(), 20))
