"""Service: what the routes of the HTTP server share. Knows the tools, how they are searched, and who answers; no route."""

from __future__ import annotations

import functools
from concurrent.futures import CancelledError
from typing import Annotated, Any, TypeVar

import anyio
import anyio.to_thread
from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from starlette.exceptions import HTTPException

from toolgen.catalog import Catalog
from toolgen.catalog.effects import only_reads
from toolgen.catalog.naming import wire_name
from toolgen.catalog.transforms import select_tools
from toolgen.foreign.data import clean
from toolgen.inference.engine import Handle
from toolgen.retrieval import Retriever
from toolgen.retrieval.protocol import separate, unit_of
from toolgen.serving.assistant import Assistant
from toolgen.serving.errors import FormatError, ends
from toolgen.serving.gateway import LARGEST, LONGEST_REQUEST, brief
from toolgen.serving.offers import Names

T = TypeVar("T")
FILTERS = 16
"""Parts of the catalog that stay prepared for searches."""
HEARD_SECONDS = 0.2
"""How often it is looked whether a client still waits."""
Which = Annotated[str, StringConstraints(max_length=200, pattern=r"^(described$|provider:|category:)")]
"""A part of the catalog. No regular expression: one of a client could keep the whole process busy for hours."""


class Given(BaseModel):
    """A request, without half characters; what it holds besides is not for this server, and is passed over."""

    model_config = ConfigDict(extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _clean(cls, given: Any) -> Any:
        return clean(given)


class SearchRequest(Given):
    """A search: a request in plain language, how many tools, and which may be found."""

    query: str = Field(min_length=1, max_length=LONGEST_REQUEST)
    limit: int = Field(5, ge=1, le=LARGEST)
    include: list[Which] = Field(
        default=[], max_length=64, description="only these: provider:GLOB, category:GLOB, described (has a description)"
    )
    exclude: list[Which] = Field(default=[], max_length=64, description="without these")
    read_only: bool = Field(default=False, description="only tools that say that they only read")


class Service:
    """The tools, how they are searched, and the assistant, if there is a checkpoint."""

    def __init__(self, name: str, catalog: Catalog, retriever: Retriever, assistant: Assistant | None) -> None:
        self.name, self.catalog, self.retriever, self._assistant = name, catalog, retriever, assistant
        self.names = Names(catalog, assistant.checkpoint.catalog if assistant else None)
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
    def has_assistant(self) -> bool:
        """Whether a checkpoint is served."""
        return self._assistant is not None

    def close(self) -> None:
        """Cancels what runs and frees the assistant's threads."""
        if self._assistant:
            self._assistant.close()

    @property
    def load(self) -> int:
        """How many conversations are being answered or wait."""
        return self._assistant.load if self._assistant else 0

    async def search(self, given: SearchRequest) -> dict[str, Any]:
        """The tools for a request, with scores in the unit of the method; the score of declining, if it has one; how sure it
        is, if it is calibrated; and whether it declines."""
        return await anyio.to_thread.run_sync(self._search, given, limiter=self._searching)

    def _search(self, given: SearchRequest) -> dict[str, Any]:
        return self.found_by(self._part(tuple(given.include), tuple(given.exclude), given.read_only), given)

    def found_by(self, retriever: Retriever, given: SearchRequest) -> dict[str, Any]:
        """What a retriever that has indexed the catalog finds."""
        ranking = retriever.search([given.query], given.limit)[0]
        pairs = zip(map(self.catalog.get, ranking.tools), ranking.scores, strict=True)
        found = [
            {
                "name": wire_name(tool),
                "id": tool.id,
                "provider": tool.provider,
                "description": brief(tool),
                "score": score,
            }
            for tool, score in pairs
        ]
        return {
            "data": found,
            "unit": unit_of(retriever),
            "no_tool": ranking.no_tool,
            "confidence": ranking.confidence,
            "declined": ranking.is_declined,
        }

    def _prepared(self, include: tuple[str, ...], exclude: tuple[str, ...], read_only: bool) -> Retriever:
        if not (include or exclude or read_only):
            return self.retriever
        part = select_tools(self.catalog, include, exclude)
        if read_only:
            part = Catalog(tool for tool in part if only_reads(tool))
        if not len(part):
            raise FormatError("no tool is left by include, exclude and read_only", "include")
        retriever = separate(self.retriever)
        retriever.index(part)
        return retriever

    async def result(self, handle: Handle[T], request: Request) -> T:
        """What comes of a piece of work, unless the client goes away: then nothing goes on."""
        has_gone = False
        try:
            async with anyio.create_task_group() as group:

                async def watch() -> None:
                    nonlocal has_gone
                    while not await request.is_disconnected():
                        await anyio.sleep(HEARD_SECONDS)
                    has_gone = True
                    handle.cancel()

                group.start_soon(watch)
                outcome = await anyio.to_thread.run_sync(_outcome, handle, limiter=self.waiting, abandon_on_cancel=True)
                group.cancel_scope.cancel()
        finally:
            handle.cancel()
        if isinstance(outcome, CancelledError):
            raise HTTPException(499, "the client has gone") if has_gone else ends()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def _outcome(handle: Handle[T]) -> T | Exception:
    """What a piece of work came to, errors too: a task group would wrap them."""
    try:
        return handle.result()
    except Exception as error:
        return error
