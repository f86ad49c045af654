"""Eight MCP servers that other people wrote behind `toolgen mcp`: tokens, first searches and calls of twenty written tasks.

    python benchmarks/mcp_gateway.py FOLDER [--among N] [--fit|--no-fit] [--output benchmarks/results/mcp-gateway-N-DATE.json]

Installs the servers into FOLDER (PyPI and npm), never into this environment. The tasks are mcp_gateway_tasks.json: a request,
its tool, its arguments and what the result must hold. With --among the tools stand among N in all; the others are tools of
Toucan's servers, from the folder TOOLGEN_SHARED_DATA. What was read of their documentation is kept: run it again if it was
stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import rmtree
from typing import Any

import anyio
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from transformers import AutoTokenizer

from toolgen.catalog import Catalog
from toolgen.cli.index import indexed
from toolgen.cli.searching import open_retriever
from toolgen.datasets.training_sets.catalogs import load_toucan
from toolgen.evaluation.provenance import hardware
from toolgen.fetching import resolve_base
from toolgen.files import write_json
from toolgen.serving.gateway import definition
from toolgen.serving.savings import listing

PYPI = {
    "mcp-server-time": ["mcp-server-time==2026.10.19"],
    "mcp-server-git": ["mcp-server-git==2026.10.19"],
    "mcp-server-fetch": ["mcp-server-fetch==2026.10.24"],
    "mcp-server-sqlite": ["mcp-server-sqlite==2025.4.25", "mcp<2"],  # it does not start with the SDK's second version
}
NPM = ("everything", "filesystem", "memory", "sequential-thinking")
NPM_VERSION = "2026.8.31"
TASKS = Path(__file__).with_name("mcp_gateway_tasks.json")
METHODS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "toolgen index (default: rows + BM25 + MiniLM)": ("generative", ("bm25", "dense")),
    "toolgen index, rows + BM25": ("generative", ("bm25",)),
    "toolgen index, rows alone": ("generative", ()),
    "BM25": ("bm25", ()),
    "MiniLM": ("dense", ()),
}


def install(folder: Path) -> None:
    """The servers that are not there yet."""
    for name, wanted in PYPI.items():
        if not (folder / name).exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder / name)], check=True)
            subprocess.run([str(folder / name / "bin" / "pip"), "install", "-q", *wanted], check=True)
    if not (folder / "npm").exists():
        packages = [f"@modelcontextprotocol/server-{name}@{NPM_VERSION}" for name in NPM]
        subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder / "npm"), *packages], check=True
        )


def work_folder(place: Path) -> None:
    """A repository with one committed file."""
    place.mkdir(parents=True)
    (place / "notes.txt").write_text("milk and bread\n", encoding="utf-8")
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "first words"]):
        subprocess.run(["git", "-C", str(place), *words], check=True)


def servers_file(folder: Path, run: Path) -> Path:
    """The client's file of all eight."""
    options = {"git": [], "time": [], "fetch": ["--ignore-robots-txt", "--allow-private-ips"]}
    options["sqlite"] = ["--db-path", str(run / "books.db")]
    servers: dict[str, Any] = {
        name.removeprefix("mcp-server-"): {
            "command": str(folder / name / "bin" / name),
            "args": options[name.removeprefix("mcp-server-")],
        }
        for name in PYPI
    }
    for name in NPM:
        script = folder / "npm" / "node_modules" / "@modelcontextprotocol" / f"server-{name}" / "dist" / "index.js"
        servers[name] = {
            "command": "node",
            "args": [str(script), *([str(run / "work")] if name == "filesystem" else [])],
        }
    servers["memory"]["env"] = {"MEMORY_FILE_PATH": str(run / "memory.jsonl")}
    path = run / "servers.json"
    write_json(path, {"mcpServers": servers})
    return path


async def through_gateway(options: Sequence[str], tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a client sees of `toolgen mcp`: the listed tools, and of each task the texts and whether the call succeeded."""
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "toolgen", "mcp", *options], env=dict(os.environ)
    )
    async with Client(stdio_client(parameters)) as client:
        listed = [listing(tool.model_dump(by_alias=True)) for tool in (await client.list_tools()).tools]
        done = []
        for task in tasks:
            found = await client.call_tool("search_tools", {"query": task["request"]})
            read = await client.call_tool("get_tool_details", {"name": task["tool"]})
            called = await client.call_tool("call_tool", {"name": task["tool"], "arguments": task["arguments"]})
            text = "\n".join(part.text for part in called.content)
            done.append(
                {
                    "texts": [found.content[0].text, read.content[0].text],
                    "first": [one["name"] for one in found.structured_content["tools"]],
                    "succeeded": not called.is_error and task["holds"] in text,
                    "answer": text[:300],
                }
            )
    return {"listed": listed, "tasks": done}


def measured(folder: Path, among: int, *, fit: bool | None) -> dict[str, Any]:
    """Everything. The run folder is made anew in the same place: the catalog names it, and a reading that was stopped goes on
    only for the same catalog."""
    run = folder / "run"
    rmtree(run, ignore_errors=True)
    work_folder(run / "work")
    servers = servers_file(folder, run)
    subprocess.run(
        [sys.executable, "-m", "toolgen", "catalog", "build", f"mcp:{servers}", "-o", str(run / "dataset")], check=True
    )
    own = Catalog.load(run / "dataset" / "catalog.jsonl")
    catalog = own
    if among:
        others = load_toucan(Path(os.environ["TOOLGEN_SHARED_DATA"]) / "toucan-mcp-servers").tools
        catalog = Catalog([*own, *[tool for tool in others if tool.id not in own][: among - len(own)]])
    started = time.monotonic()
    made = indexed(catalog, fit=fit)
    made.save(run / "index")
    seconds = time.monotonic() - started
    handler = partial(SimpleHTTPRequestHandler, directory=str(run / "work"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as pages:
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{pages.server_port}"
        text = TASKS.read_text(encoding="utf-8").replace("{work}", str(run / "work")).replace("{url}", url)
        tasks = json.loads(text)
        seen = anyio.run(through_gateway, [str(run / "index"), "--mcp-server", str(servers)], tasks)
        pages.shutdown()
    tokenizer = AutoTokenizer.from_pretrained(resolve_base("smollm2-135m-instruct"))

    def tokens(texts: Sequence[str]) -> int:
        return sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)

    return {
        "tools": len(catalog),
        "tools_of_the_eight": len(own),
        "base": made.base,
        "rows": made.stages[-1].config["rows"],
        "index_seconds": round(seconds, 1),
        "tokens": {
            "all_listed": tokens([listing(definition(tool)) for tool in catalog]),
            "three_listed": tokens(seen["listed"]),
            "search_and_definition": [tokens(task["texts"]) for task in seen["tasks"]],
        },
        "hits": {name: hits(run / "index", catalog, tasks, *way) for name, way in METHODS.items()},
        "gateway_first_at_1": sum(a["first"][:1] == [b["tool"]] for a, b in zip(seen["tasks"], tasks, strict=True)),
        "calls_succeeded": sum(task["succeeded"] for task in seen["tasks"]),
        "failed": [task["answer"] for task in seen["tasks"] if not task["succeeded"]],
    }


def hits(folder: Path, catalog: Catalog, tasks: Sequence[Mapping[str, Any]], method: str, add: tuple[str, ...]) -> Any:
    """How many requests have their tool first, and among the first five."""
    retriever = open_retriever(folder, method, add=add)
    retriever.index(catalog)
    rankings = retriever.search([task["request"] for task in tasks], 5)
    pairs = list(zip(rankings, tasks, strict=True))
    return [sum(task["tool"] in ranking.tools[:k] for ranking, task in pairs) for k in (1, 5)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--among", type=int, default=0)
    parser.add_argument("--fit", action=argparse.BooleanOptionalAction, default=None, help="as of `toolgen index`")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    install(given.folder.resolve())
    result = measured(given.folder.resolve(), given.among, fit=given.fit)
    result = {"benchmark": "mcp-gateway", "tokenizer": "SmolLM2", "hardware": hardware(), **result}
    print(json.dumps(result, indent=1))
    if given.output:
        write_json(given.output, result)


if __name__ == "__main__":
    main()
