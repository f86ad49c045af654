"""The first searches of `mcp_gateway.py` by fastmcp's own search, `BM25SearchTransform`: how often it finds the right tool.

    FASTMCP/bin/python benchmarks/fastmcp_search.py CATALOG.jsonl

Runs in an environment of its own with `fastmcp` (the whole package, not `fastmcp-slim`), which need not have toolgen. CATALOG
is what `mcp_gateway.py FOLDER` has left in FOLDER/run/index; a tool is served by name, description and input schema, under the
name that fastmcp gives to a tool of a mounted server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

import fastmcp
from fastmcp import Client, FastMCP
from fastmcp.server.transforms.search import BM25SearchTransform
from fastmcp.tools import Tool


async def found(records: list[dict[str, Any]], requests: list[str]) -> list[list[str]]:
    """The tools that a client's search lists for each request, best first."""
    server: Any = FastMCP("servers")
    for record in records:
        tool = Tool(name=mounted(record["id"]), description=record["description"], parameters=record["parameters"])
        server.add_tool(tool)
    server.add_transform(BM25SearchTransform(max_results=5))
    async with Client(server) as client:
        answers = [await client.call_tool("search_tools", {"query": request}) for request in requests]
    return [[one["name"] for one in json.loads(answer.content[0].text)] for answer in answers]


def mounted(tool: str) -> str:
    """`time&&get_current_time` as fastmcp names it."""
    return tool.replace("&&", "_")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalog", type=Path)
    options = parser.parse_args()
    records = [json.loads(line) for line in options.catalog.read_text(encoding="utf-8").splitlines()]
    tasks = json.loads((Path(__file__).parent / "mcp_gateway_tasks.json").read_text(encoding="utf-8"))
    rankings = asyncio.run(found(records, [task["request"] for task in tasks]))
    pairs = [(ranking, mounted(task["tool"])) for ranking, task in zip(rankings, tasks, strict=True)]
    result = {
        "fastmcp": fastmcp.__version__,
        "tools": len(records),
        "requests": len(tasks),
        "right first": sum(ranking[:1] == [tool] for ranking, tool in pairs),
        "among the first five": sum(tool in ranking[:5] for ranking, tool in pairs),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
