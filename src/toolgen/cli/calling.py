"""Where calls are carried out, as options that several commands share. Knows no command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from toolgen.agent import (
    ComposedEnvironment,
    DryRunEnvironment,
    Environment,
    Header,
    HttpEnvironment,
    HttpOptions,
    McpEnvironment,
)
from toolgen.catalog import Catalog
from toolgen.cli.console import message
from toolgen.errors import UsageError

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check and record calls, carry none out.")]
ReadOnlyOption = Annotated[bool, typer.Option("--read-only", help="Refuse tools that do not say that they only read.")]
AllowHostOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        metavar="GLOB",
        help="A host that calls over HTTP may go to, such as api.example.com or '*'; may be repeated. By default none.",
    ),
]
HeaderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        metavar="HOST: NAME: VALUE",
        help="Sent to a host, such as 'api.example.com: Authorization: Bearer ${TOKEN}'; ${TOKEN} is an environment "
        "variable. May be repeated.",
    ),
]
ServerOption = Annotated[
    list[str] | None,
    typer.Option("--server", metavar="PROVIDER=URL", help="The address of a provider's HTTP tools; may be repeated."),
]
AllowPrivateOption = Annotated[
    bool, typer.Option("--allow-private", help="Allowed hosts may be on this machine or in a private network.")
]
McpServerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--mcp-server",
        metavar="SERVER",
        help="An MCP server that calls may start or reach: a command, an address or a client's file; may be repeated.",
    ),
]


@dataclass(frozen=True)
class Calling:
    """What the options above say."""

    dry_run: bool = False
    read_only: bool = False
    hosts: Sequence[str] = ()
    headers: Sequence[str] = ()
    servers: Sequence[str] = ()
    private: bool = False
    mcp_servers: Sequence[str] = ()

    def environment(self, catalog: Catalog) -> Environment:
        """The environment for a catalog's calls, by the kinds of its endpoints. UsageError for a value that does not fit."""
        if self.dry_run:
            return DryRunEnvironment(catalog)
        options = HttpOptions(
            hosts=self.hosts,
            headers=[Header.parse(text) for text in self.headers],
            servers=dict(map(_server, self.servers)),
            private=self.private,
            read_only=self.read_only,
        )
        by_kind: dict[str, Environment] = {"http": HttpEnvironment(catalog, options)}
        if self.mcp_servers:
            by_kind["mcp"] = mcp = McpEnvironment(catalog, servers=self.mcp_servers)
            for loss in mcp.losses:
                message(f"{loss.name}: {loss.reason}")
        return ComposedEnvironment(catalog, by_kind)


def _server(text: str) -> tuple[str, str]:
    provider, _, url = text.rpartition("=http")
    if not provider:
        raise UsageError(f"--server {text!r}: write PROVIDER=URL, such as petstore.example=http://127.0.0.1:8080")
    return provider, f"http{url}"
