"""`toolgen mcp`: a whole catalog behind three tools, for any client of the Model Context Protocol."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from toolgen.agent import ComposedEnvironment, Environment, McpEnvironment
from toolgen.agent.environments.protocol import CALL_SECONDS
from toolgen.catalog import Catalog
from toolgen.catalog.effects import only_reads
from toolgen.cli.calling import (
    AllowHostOption,
    AllowPrivateOption,
    Calling,
    CallWithinOption,
    DryRunOption,
    HeaderOption,
    McpServerOption,
    PythonOption,
    ReadOnlyOption,
    ServerOption,
)
from toolgen.cli.console import JsonOption, emit, message, show
from toolgen.cli.searching import AddOption, DeclineRateOption, EncoderOption, RetrieverOption, has_weights
from toolgen.cli.served import SearchOptions, ServedArgument, served_folder
from toolgen.cli.settings import ConfigOption, full_place
from toolgen.cli.tool_sources import ExcludeOption, IncludeOption
from toolgen.errors import MissingExtraError, UsageError
from toolgen.fetching.opening import open_tokenizer
from toolgen.serving import Gateway
from toolgen.serving.addresses import LOOPBACK, in_url
from toolgen.serving.following import Following

if TYPE_CHECKING:
    from toolgen.serving.mcp_gateway import Confirm
    from toolgen.serving.savings import Savings

Client = Literal["claude", "cursor", "vscode", "codex"]
SETTINGS: dict[Client, str] = {
    "claude": "claude_desktop_config.json (Settings, Developer, Edit Config)",
    "cursor": "~/.cursor/mcp.json",
    "vscode": ".vscode/mcp.json",
    "codex": "~/.codex/config.toml",
}
"""The file of each client that the printed lines belong into."""

ConfirmOption = Annotated[
    bool,
    typer.Option(
        "--confirm",
        help="The client asks its user before each call that may change something (HTTP: all but GET and HEAD; MCP: without "
        "readOnlyHint). Where a client cannot ask (elicitation), such calls are refused.",
    ),
]
YesOption = Annotated[
    bool, typer.Option("--yes", help="With --confirm: where the client cannot ask, calls are made all the same.")
]
LogOption = Annotated[
    Path | None,
    typer.Option(
        "--log", metavar="FILE", help="Write a line for each search, definition and call: when, tools, outcome."
    ),
]
LogContentsOption = Annotated[
    bool, typer.Option("--log-contents", help="Arguments and results of calls go into the log, too.")
]
HttpOption = Annotated[bool, typer.Option("--http", help="Serve streamable HTTP at /mcp instead of stdio.")]
HostOption = Annotated[str, typer.Option(help="With --http: an address of this machine's loopback.")]
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="With --http.")]
InstallOption = Annotated[
    Client | None,
    typer.Option("--install", help="Print what this client needs in its settings, and serve nothing."),
]
ReportOption = Annotated[
    bool,
    typer.Option(
        "--report",
        help="Print the tokens of listing all tools and of listing these three, and after how many searches they are even "
        "(from what --log FILE holds), and serve nothing.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds `mcp`."""
    app.command("mcp", epilog="Example: toolgen mcp CKPT --allow-host api.example.com")(mcp)


def mcp(
    ctx: typer.Context,
    given: ServedArgument,
    retriever: RetrieverOption = None,
    add: AddOption = None,
    encoder: EncoderOption = None,
    decline_rate: DeclineRateOption = None,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    dry_run: DryRunOption = False,
    read_only: ReadOnlyOption = False,
    allow_host: AllowHostOption = None,
    header: HeaderOption = None,
    server: ServerOption = None,
    allow_private: AllowPrivateOption = False,
    mcp_server: McpServerOption = None,
    python: PythonOption = None,
    call_within: CallWithinOption = CALL_SECONDS,
    confirm: ConfirmOption = False,
    yes: YesOption = False,
    log: LogOption = None,
    log_contents: LogContentsOption = False,
    http: HttpOption = False,
    host: HostOption = LOOPBACK[0],
    port: PortOption = 8765,
    install: InstallOption = None,
    report: ReportOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Serve tools to any MCP client as three tools: search_tools, get_tool_details, call_tool.

    The client's model sees these three instead of thousands of definitions. Calls of HTTP tools go to hosts that --allow-host
    names. Without --http the client starts this command itself and speaks to it over standard input and output.
    """
    if install:
        _tell_settings(install, [*given, *(mcp_server or ()), *(python or ())], log, encoder, config)
        return
    address = _address(host, port) if http else None
    named, files = _places(mcp_server, given, "mcp:"), _places(python, given, "python:")
    calling = Calling(dry_run, read_only, allow_host or (), header or (), server or (), allow_private, named, files)
    folder = served_folder(ctx, given)
    searching = SearchOptions(
        retriever=retriever, add=add, encoder=encoder, decline_rate=decline_rate, include=include, exclude=exclude
    )
    catalog = searching.catalog(folder)
    if report:
        found = _savings(folder, catalog, log)
        emit(found.to_dict(), as_json, found.lines)
        return
    environment = calling.environment(catalog)
    finder = searching.open(folder, catalog)
    logging = partial(Gateway, log=log, log_contents=log_contents)
    gateway = logging(catalog, finder, environment, read_only=read_only, call_within=call_within)
    try:
        _follow(gateway, environment, searching, read_only)
        asks = confirm and not dry_run
        _serve(gateway, address, "never" if not asks else "where possible" if yes else "always")
    finally:
        gateway.close()


def _follow(gateway: Gateway, environment: Environment, searching: SearchOptions, read_only: bool) -> None:
    """Serves what the MCP servers list that may be called, as it changes."""
    composed = environment if isinstance(environment, ComposedEnvironment) else None
    mcp = composed.by_kind.get("mcp") if composed else None
    if not (composed and isinstance(mcp, McpEnvironment)):
        return

    def take(catalog: Catalog) -> None:
        mcp.take(Catalog(filter(only_reads, catalog)) if read_only else catalog)
        composed.take(catalog)

    Following(gateway, mcp, searching.selected, take, message)


def _address(host: str, port: int) -> tuple[str, int]:
    if host not in LOOPBACK:
        raise UsageError(f"--host {host}: without a key only this machine is served; give one of {', '.join(LOOPBACK)}")
    return host, port


def _tell_settings(client: Client, places: Sequence[str], *files: Path | None) -> None:
    full = {place: full_place(place) for place in places} | {str(path): str(path.resolve()) for path in files if path}
    show(_settings(client, _command(sys.argv[1:], full)).split("\n"))
    message(f"goes into {SETTINGS[client]}")


def _places(named: Sequence[str] | None, given: Sequence[str], kind: str) -> list[str]:
    """What was named, and the sources of a kind: they may be called as they were read."""
    return [*(named or ()), *(source.removeprefix(kind) for source in given if source.startswith(kind))]


def _savings(folder: Path, catalog: Catalog, log: Path | None) -> Savings:
    from toolgen.serving.savings import savings

    try:
        from toolgen.serving.mcp_gateway import TOOLS
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "mcp", "mcp") from None
    listed = [tool.model_dump(by_alias=True) for tool in TOOLS]
    if not has_weights(folder):
        return savings(catalog, listed, lambda texts: sum(map(len, texts)) // 4, unit="tokens of 4 characters", log=log)
    tokenizer = open_tokenizer(folder)
    return savings(
        catalog,
        listed,
        lambda texts: sum(map(len, tokenizer(list(texts), add_special_tokens=False)["input_ids"])) if texts else 0,
        log=log,
    )


def _serve(gateway: Gateway, address: tuple[str, int] | None, confirm: Confirm) -> None:
    try:
        import anyio

        from toolgen.serving.mcp_gateway import http_app, serve_stdio
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "mcp", "mcp") from None
    if address is None:
        message(f"serving {gateway.size:,} tools over standard input and output")
        anyio.run(serve_stdio, gateway, confirm)
        return
    import uvicorn

    host, port = address
    message(f"serving {gateway.size:,} tools at http://{in_url(host)}:{port}/mcp")
    uvicorn.run(http_app(gateway, host, confirm), host=host, port=port, log_level="warning")


def _command(typed: Sequence[str], full: Mapping[str, str]) -> list[str]:
    """The command that was typed, without --install, its files by their `full` paths: clients start it in another folder."""
    words = iter(typed)
    kept = []
    for word in words:
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        if option == "--install":
            if not equals:
                next(words, None)
        else:
            kept.append(f"{option}{equals}{full.get(value, value)}")
    return [sys.executable, "-m", "toolgen", *kept]


def _settings(client: Client, command: list[str]) -> str:
    if client == "codex":
        arguments = ", ".join(json.dumps(one) for one in command[1:])
        return f"[mcp_servers.toolgen]\ncommand = {json.dumps(command[0])}\nargs = [{arguments}]"
    entry = {"command": command[0], "args": command[1:]}
    if client == "vscode":
        return json.dumps({"servers": {"toolgen": {"type": "stdio", **entry}}}, indent=2)
    return json.dumps({"mcpServers": {"toolgen": entry}}, indent=2)
