"""Where calls are carried out, as options that several commands share. Knows no command."""

from __future__ import annotations

import shlex
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
    PythonEnvironment,
)
from toolgen.catalog import Catalog
from toolgen.catalog.effects import only_reads
from toolgen.cli.console import agrees, message
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
PythonOption = Annotated[
    list[str] | None,
    typer.Option(
        "--python",
        metavar="FILE|MODULE",
        help="A file or module whose functions calls may run, in a process of its own; may be repeated.",
    ),
]
CallWithinOption = Annotated[
    float, typer.Option("--call-within", min=0.1, metavar="SECONDS", help="How long one call may take.")
]


@dataclass(frozen=True)
class Calling:
    """What the options above say. With `asks` a person is asked before a server that only the catalog names is started."""

    dry_run: bool = False
    read_only: bool = False
    hosts: Sequence[str] = ()
    headers: Sequence[str] = ()
    servers: Sequence[str] = ()
    private: bool = False
    mcp_servers: Sequence[str] = ()
    python: Sequence[str] = ()
    asks: bool = False

    @property
    def names_places(self) -> bool:
        """Whether they say where calls may go."""
        return bool(self.hosts or self.mcp_servers or self.python)

    def environment(self, catalog: Catalog) -> Environment:
        """The environment for a catalog's calls, by the kinds of its endpoints. UsageError for a value that does not fit."""
        if self.dry_run:
            return DryRunEnvironment(catalog)
        return ComposedEnvironment(catalog, self.by_kind(catalog))

    def by_kind(self, catalog: Catalog) -> dict[str, Environment]:
        """The environments by the kinds of endpoints that they carry out."""
        if self.read_only:
            catalog = Catalog(tool for tool in catalog if only_reads(tool))
        options = HttpOptions(
            hosts=self.hosts,
            headers=[Header.parse(text) for text in self.headers],
            servers=dict(map(_server, self.servers)),
            private=self.private,
            read_only=self.read_only,
        )
        found: dict[str, Environment] = {"http": HttpEnvironment(catalog, options)}
        if self.mcp_servers or (self.asks and any((tool.endpoint or {}).get("kind") == "mcp" for tool in catalog)):
            mcp = McpEnvironment(catalog, servers=self.mcp_servers, approve=_agrees if self.asks else None)
            found["mcp"] = mcp
            for loss in mcp.losses:
                message(f"{loss.name}: {loss.reason}")
        if self.python and self.read_only:
            raise UsageError("--read-only leaves out every function: none says that it only reads; drop it or --python")
        if self.python:
            found["python"] = _python(catalog, self.python)
        return found


def _agrees(shown: str) -> bool:
    message(f"the catalog names an MCP server: {shown}")
    return agrees("Start or reach it?")


def _python(catalog: Catalog, sources: Sequence[str]) -> PythonEnvironment:
    """The functions of files and modules, called by the ids of the catalog."""
    environment = PythonEnvironment(sources, catalog=catalog)
    if not environment.tools:
        environment.close()
        known = environment.definitions[0].id
        raise UsageError(
            f"the catalog has no function of {sources[0]} (which has {known}); build a catalog from it with: toolgen catalog "
            f"build {shlex.quote(f'python:{sources[0]}')} -o DATASET; then index or train on that"
        )
    if unknown := environment.unknown:
        message(f"{len(unknown)} functions of {', '.join(sources)} are not in the catalog, such as {unknown[0]}")
    return environment


def _server(text: str) -> tuple[str, str]:
    provider, _, url = text.rpartition("=http")
    if not provider:
        raise UsageError(f"--server {text!r}: write PROVIDER=URL, such as petstore.example=http://127.0.0.1:8080")
    return provider, f"http{url}"
