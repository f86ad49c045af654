"""Gateway: a whole catalog behind three operations, search, read one tool's definition, call it. Knows no protocol.

The three are the same whatever the catalog holds, so that a client's prompt stays small and does not change: the layers that
the Model Context Protocol's page "Client Best Practices" (2026-07-28) recommends.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from toolgen.agent import Environment, ToolResult
from toolgen.agent.environments.protocol import CALL_SECONDS, failed
from toolgen.catalog import Catalog, Tool
from toolgen.catalog.effects import only_reads, question
from toolgen.catalog.naming import wire_names
from toolgen.catalog.schema import best_fault
from toolgen.datasets import Task
from toolgen.errors import InputError
from toolgen.retrieval import Retriever
from toolgen.retrieval.protocol import Changeable, parts_of
from toolgen.serving.errors import LOGGER

LARGEST = 50
"""Tools in one answer of a search."""
LONGEST_REQUEST = 4000
"""Characters of a request."""
BRIEF = 240
"""Characters of a description in an answer of a search."""


@dataclass(frozen=True)
class Found:
    """One tool that a search found."""

    name: str
    description: str
    score: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"name": self.name, "description": self.description, "score": round(self.score, 4)}


@dataclass(frozen=True)
class Search:
    """What a search found, best first; a method may leave out what has nothing to do with the request. `is_declined`: probably
    no tool fits. `confidence`: the probability that the first one does, of a calibrated retriever."""

    tools: tuple[Found, ...]
    is_declined: bool = False
    confidence: float | None = None


class Gateway:
    """Answers searches over `catalog` with `retriever`, which has indexed it, and carries out calls in `environment`.

    Safe to use from several threads: searches run one at a time, calls as the environment can. `read_only` refuses tools that
    do not say that they only read. A call may take `call_within` seconds. `log` gets a line for each operation: when, which
    tools, how it ended, how long it took; arguments and results of calls too with `log_contents`. Where it cannot be
    written a warning says so once, and the gateway goes on.
    """

    def __init__(
        self,
        catalog: Catalog,
        retriever: Retriever,
        environment: Environment,
        *,
        read_only: bool = False,
        call_within: float = CALL_SECONDS,
        log: Path | None = None,
        log_contents: bool = False,
    ) -> None:
        if log is not None:
            try:
                log.open("a", encoding="utf-8").close()
            except OSError as error:
                raise InputError(
                    f"nothing can be logged to {log}: {error.strerror}; name a file that can be written"
                ) from None
        self._catalog, self._retriever, self._environment = catalog, retriever, environment
        self._read_only, self._log, self._log_contents = read_only, log, log_contents
        self._call_within = call_within
        self._log_fails = False
        self._names = wire_names(catalog)
        self._searching, self._logging = threading.Lock(), threading.Lock()
        environment.reset(Task.from_text("calls of clients"))

    @property
    def catalog(self) -> Catalog:
        """The tools that are served now."""
        return self._catalog

    def change(self, added: Sequence[Tool], changed: Sequence[Tool], removed: Collection[str]) -> None:
        """Serves other tools from now on. Searches wait for it, and calls go on; a checkpoint gets rows for what is new, in
        memory. Where an error is raised nothing was changed."""
        started, replaced = time.monotonic(), {tool.id: tool for tool in changed}
        kept = [replaced.get(tool.id, tool) for tool in self._catalog if tool.id not in removed]
        catalog = Catalog([*kept, *added])
        with self._searching:
            for part in parts_of(self._retriever):
                if isinstance(part, Changeable):
                    part.change(added, changed, removed)
            self._retriever.index(catalog)
            self._catalog, self._names = catalog, wire_names(catalog)
        self._note("change", started, tools=[*(tool.id for tool in (*added, *changed)), *removed])

    @property
    def size(self) -> int:
        """How many tools there are."""
        return len(self._catalog)

    def search(self, text: str, limit: int = 5) -> Search:
        """The tools for a request in plain language. InputError for an empty one, or a limit below 1 or above LARGEST."""
        if not text.strip():
            raise InputError("the request is empty; say in plain language what is to be done")
        if not 1 <= limit <= LARGEST:
            raise InputError(f"the limit is {limit}; give 1 to {LARGEST}")
        started = time.monotonic()
        with self._searching:
            catalog = self._catalog
            ranking = self._retriever.search([text[:LONGEST_REQUEST]], limit)[0]
        pairs = zip(map(catalog.get, ranking.tools), ranking.scores, strict=True)
        found = tuple(Found(tool.id, brief(tool), score) for tool, score in pairs)
        self._note("search", started, tools=ranking.tools, declined=ranking.is_declined)
        return Search(found, ranking.is_declined, ranking.confidence)

    def details(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """The definitions of tools by name, as the Model Context Protocol writes them. InputError for an unknown name."""
        started = time.monotonic()
        tools = [self._tool(name) for name in names]
        self._note("details", started, tools=[tool.id for tool in tools])
        return [definition(tool) for tool in tools]

    def question(self, name: str, arguments: Mapping[str, Any]) -> str | None:
        """What a person is to be asked before this call; None where it only reads, or is refused anyway."""
        try:
            tool = self._checked(name, arguments)
        except InputError:
            return None
        return None if only_reads(tool) else question(tool, arguments)

    def call(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Carries out one call. A failure, an unknown tool and invalid arguments are results, too."""
        started = time.monotonic()
        try:
            tool = self._checked(name, arguments)
            name, result = tool.id, self._environment.call(tool.id, arguments, within=self._call_within)
        except InputError as error:
            result = failed(str(error))
        self._note_call(name, arguments, result, started)
        return result

    def refuse(self, name: str, arguments: Mapping[str, Any], reason: str) -> ToolResult:
        """The result of a call that is not made, which the log has as well."""
        result = failed(reason)
        self._note_call(self._tool(name).id, arguments, result, time.monotonic())
        return result

    def close(self) -> None:
        """Frees what the environment holds."""
        self._environment.close()

    def _checked(self, name: str, arguments: Mapping[str, Any]) -> Tool:
        """The tool of a call that may be carried out; InputError says why not."""
        tool = self._tool(name)
        if self._read_only and not only_reads(tool):
            raise InputError(f"{tool.id} does not say that it only reads, and nothing else is allowed here")
        if fault := best_fault(dict(arguments), tool.parameters):
            raise InputError(f"invalid arguments for {tool.id}: {fault}")
        return tool

    def _tool(self, name: str) -> Tool:
        """By id or by wire name."""
        catalog, name = self._catalog, self._names.get(name, name)
        if name not in catalog:
            raise InputError(f"there is no tool {name[:200]!r}; search for one and use its name as it stands there")
        return catalog.get(name)

    def _note_call(self, tool: str, arguments: Mapping[str, Any], result: ToolResult, started: float) -> None:
        contents = {"arguments": dict(arguments), "result": result.content} if self._log_contents else {}
        self._note("call", started, tools=[tool], status=result.status, **contents)

    def _note(self, operation: str, started: float, **facts: Any) -> None:
        if self._log is None:
            return
        line = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "operation": operation,
            "seconds": round(time.monotonic() - started, 3),
            **facts,
        }
        with self._logging:
            try:
                with self._log.open("a", encoding="utf-8", errors="backslashreplace") as stream:
                    stream.write(json.dumps(line, ensure_ascii=False) + "\n")
                self._log_fails = False
            except OSError as error:  # what was done is done, and its result is the client's
                if not self._log_fails:
                    LOGGER.warning("what happens is not logged: %s: %s", self._log, error.strerror)
                self._log_fails = True


def brief(tool: Tool) -> str:
    """A description as a search shows it: one line, cut."""
    words = " ".join(tool.description.split())
    return words if len(words) <= BRIEF else words[: BRIEF - 1].rstrip() + "…"


def definition(tool: Tool) -> dict[str, Any]:
    """A tool as the Model Context Protocol writes it."""
    annotations = (tool.endpoint or {}).get("annotations")
    return {
        "name": tool.id,
        "description": tool.description,
        "inputSchema": dict(tool.parameters),
        **({"outputSchema": tool.returns} if tool.returns else {}),
        "annotations": {**(annotations if isinstance(annotations, dict) else {}), "readOnlyHint": only_reads(tool)},
    }
