"""StableToolBench's virtual server: APIs of ToolBench, answered from a cache of real answers or by a language model.

Source: Guo et al., "StableToolBench", arXiv 2403.07714, and its `server/main.py`. One POST for each call, with ToolBench's
spelling of tool, API and parameters; the answer is `{"error": ..., "response": ...}`, which the model reads as it is. Answers
are bounded in bytes and seconds, redirects are not followed, and no call is sent twice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from toolgen.agent.environments.protocol import (
    CALL_SECONDS,
    StatelessEnvironment,
    ToolResult,
    argument_fault,
    failed,
    no_answer,
    not_available,
)
from toolgen.catalog.catalog import Catalog
from toolgen.catalog.tool import Tool
from toolgen.datasets.toolbench_runs import normal_name, parameter_name
from toolgen.errors import InputError, UsageError
from toolgen.foreign.data import parse_json
from toolgen.foreign.web import MISFIT, exchange, fits_header, is_url

MAX_BYTES = 1 << 20


class VirtualServerEnvironment(StatelessEnvironment):
    """Sends the calls of a catalog's tools to the server at `address`, such as http://localhost:8080/virtual.

    Tools are called by their category, provider and name, as ToolBench's importer gives them; a tool without a category is not
    offered. `private` allows an address in this machine or a private network, `key` is the server's `toolbench_key`. The
    server keeps no state between calls, so a search can go back. UsageError for an address or key that cannot be one, and
    for a catalog without such tools.
    """

    name = "virtual"

    def __init__(self, catalog: Catalog, address: str, *, private: bool = False, key: str = "") -> None:
        if not is_url(address):
            raise UsageError(
                f"{address!r} is no address of a virtual server; give one such as http://localhost:8080/virtual"
            )
        self._key = key.strip()
        if not fits_header(self._key):
            raise UsageError(f"the virtual server's key (TOOLBENCH_KEY) has {MISFIT}")
        self._tools = {tool.id: tool for tool in catalog if tool.category}
        if not self._tools:
            raise UsageError(
                "no tool of the catalog has a category, by which a virtual server finds it; load ToolBench's files"
            )
        self._address, self._private = address, private

    @property
    def tools(self) -> tuple[str, ...]:
        return tuple(self._tools)

    def call(self, tool_id: str, arguments: Mapping[str, Any], *, within: float = CALL_SECONDS) -> ToolResult:
        if tool_id not in self._tools:
            return not_available(tool_id, self.name)
        tool = self._tools[tool_id]
        if fault := argument_fault(tool, arguments):
            return failed(fault)
        end = time.monotonic() + within
        try:
            return self._answer(_request(tool, arguments, self._key), within)
        except InputError as error:
            if time.monotonic() >= end:
                return no_answer(within)
            return failed(str(error))

    def _answer(self, request: Mapping[str, str], within: float) -> ToolResult:
        answer = exchange(
            "POST",
            self._address,
            {"Content-Type": "application/json", "toolbench_key": self._key},
            json.dumps(request).encode(),
            limit=MAX_BYTES,
            trusted=self._private,
            seconds=within,
        )
        text = answer.data.decode("utf-8", "replace")
        if answer.status != 200:
            raise InputError(f"the virtual server answered with HTTP {answer.status}: {text[:200]}")
        told = parse_json(text, "the virtual server's answer")
        if not isinstance(told, dict) or "error" not in told or "response" not in told:
            raise InputError(f"expected error and response of the virtual server, got {text[:200]!r}")
        return ToolResult(content=json.dumps(told, ensure_ascii=False), status="error" if told["error"] else "ok")


def _request(tool: Tool, arguments: Mapping[str, Any], key: str) -> dict[str, str]:
    given = {parameter_name(name): value for name, value in arguments.items()}
    return {
        "category": tool.category,
        "tool_name": normal_name(tool.provider),
        "api_name": parameter_name(tool.name),
        "tool_input": json.dumps(given, ensure_ascii=False),
        "strip": "",
        "toolbench_key": key,
    }
