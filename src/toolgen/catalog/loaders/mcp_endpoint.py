"""How an MCP server is started or reached: as a client's file says it, as a catalog keeps it, and with its variables filled in.

A catalog goes round, so it holds no secret: what may be one is written as the name of an environment variable, `${NAME}`.
Knows no connection.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from toolgen.catalog.secrets import is_secret_name, looks_secret, looks_secret_option
from toolgen.errors import CatalogError
from toolgen.foreign.web import MISFIT, fits_header, is_url, shown_url

_BARE_VARIABLE = re.compile(r"\$([A-Z_][A-Z0-9_]*)\b")  # $NAME
# ${NAME}, ${env:NAME}, ${NAME:-default}; ${{ secrets.NAME }} as Continue writes it; ${anything else}
_VARIABLE = re.compile(rf"\$\{{\{{\s*secrets\.(\w+)\s*\}}\}}|\$\{{([^${{}}]*)\}}|{_BARE_VARIABLE.pattern}")
_NAMED = re.compile(r"(?:env:)?([A-Za-z_]\w*)(?::-(.*))?", re.DOTALL)
_SCHEME = re.compile(r"(?:Bearer|Basic|Token)?\s*", re.IGNORECASE)  # what may stand before a variable in a header
_RANDOM = re.compile(r"(?=\D*\d)(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9_-]{20,}")  # a part of a path that nobody would type
_URL = re.compile(r"https?://[^\s\"'<>#]+", re.IGNORECASE)
_ENVIRONMENT = re.compile(r"([A-Z_][A-Z0-9_]*)=([^=].*)", re.DOTALL)  # NAME=VALUE
_ASSIGNMENT = re.compile(r"([A-Za-z_][\w.-]*)=(.*)", re.DOTALL)
_ATTACHED = re.compile(  # --option=VALUE, -eNAME=VALUE, -HName: VALUE, -uUSER:VALUE; name=VALUE
    r"(-e(?=[A-Z_]\w*=)|-H(?=[\w-]+:)|-u(?=[^:=]+:)|-{1,2}[A-Za-z_][\w.-]*=|[a-z][\w.-]*=)(.*)", re.DOTALL
)


@dataclass(frozen=True)
class McpServer:
    """One server: `command` (program and arguments, started in the folder `cwd`) with more environment, or `url` with more
    headers; `sse` for the older HTTP transport. Texts may hold variables (`${NAME}`). `name` is what the user calls it,
    empty for the name that it gives itself; `only` and `without` are tools that the user switched on and off."""

    name: str = ""
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = ""
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    sse: bool = False
    only: frozenset[str] | None = None
    without: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return self.name or (shown_url(self.url) if self.url else Path(self.command[0]).name)

    def has(self, tool: str) -> bool:
        """Whether the user has this tool of it switched on."""
        return tool not in self.without and (self.only is None or tool in self.only)


def check_address(url: str) -> None:
    """CatalogError unless MCP can be spoken at an address; no name is looked up."""
    try:
        scheme, host = urlsplit(url).scheme, urlsplit(url).hostname
    except ValueError:
        scheme, host = "", None
    if is_url(url) and host:
        return
    given = f"{scheme}://" if "://" in url and scheme else "without a scheme"
    given += " without a host" if is_url(url) else ""
    raise CatalogError(f"its address is {given}; expected http://HOST or https://HOST")


def filled_in(server: McpServer) -> McpServer:
    """The server with its variables taken from the environment; `$NAME` in a text stays where it is not set. CatalogError that
    names the first one without a value, or with one that its header cannot hold."""

    def fill(text: str, header: str = "", known: Mapping[str, str] = os.environ) -> str:
        return _VARIABLE.sub(lambda match: _value(match, server, header, known), text)

    def fill_value(text: str, header: str = "") -> str:
        return fill("${" + text[1:] + "}" if _BARE_VARIABLE.fullmatch(text) else text, header)

    env = {name: fill_value(text) for name, text in server.env.items()}
    in_shell = {**os.environ, **env}  # which would have `env`, too
    return replace(
        server,
        command=tuple(fill(part, known=in_shell) for part in server.command),
        env=env,
        cwd=fill(server.cwd),
        url=fill(server.url),
        headers={name: fill_value(text, name) for name, text in server.headers.items()},
    )


def unfilled(server: McpServer) -> list[str]:
    """Where in a server, as it is written, a `$NAME` stays since it is not set. The name may be a part of a password."""
    known = {**os.environ, **server.env}
    texts = {"command": " ".join(server.command), "cwd": server.cwd, "url": server.url, **server.env, **server.headers}
    return [place for place, text in texts.items() if any(name not in known for name in _BARE_VARIABLE.findall(text))]


def _value(match: re.Match[str], server: McpServer, header: str, known: Mapping[str, str]) -> str:
    """What stands for a variable; without space around it in a header."""
    secret, inner, bare = match.groups()
    name, value = (bare, known.get(bare, match[0])) if bare else _named(secret, inner, match[0], server)
    if header and not fits_header(value := value.strip()):
        raise CatalogError(
            f"the header {header} for MCP server {server} cannot hold the value of the environment variable {name}: "
            f"it has {MISFIT}"
        )
    return value


def _named(secret: str | None, inner: str, written: str, server: McpServer) -> tuple[str, str]:
    """The name and value of a variable as clients write it with braces."""
    if secret is None and inner.startswith("input:"):
        raise CatalogError(
            f"MCP server {server} asks for {written} when it starts; write ${{env:NAME}} there, and set NAME"
        )
    named = _NAMED.fullmatch(secret or inner)
    if named is None:
        raise CatalogError(f"MCP server {server} needs {written}, which only its own client can fill in")
    value = os.environ.get(named[1]) or named[2]
    if value is None:
        raise CatalogError(f"MCP server {server} needs the environment variable {named[1]}, which is not set")
    return named[1], value


# --- in a catalog -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Endpoint:
    """A server as a catalog keeps it, and the environment variables whose values it does not hold."""

    record: Mapping[str, Any]
    variables: tuple[str, ...]


def endpoint_of(server: McpServer) -> Endpoint:
    """The server without anything that may be secret: literal values of its environment, headers and query, and arguments
    or parts of the path that look like keys, become variables."""
    known = server.name or (urlsplit(server.url).hostname if server.url else str(server)) or ""
    opened = _Opened(_variable_name("MCP", known))
    record: dict[str, Any] = {}
    if server.url:
        record["url"] = opened.url(server.url)
        if server.headers:
            record["headers"] = {name: opened.value(text, name) for name, text in server.headers.items()}
        record |= {"transport": "sse"} if server.sse else {}
    else:
        record["command"] = opened.arguments(server.command)
        if server.env:
            record["env"] = {name: opened.value(text, name, own=True) for name, text in server.env.items()}
        record |= {"cwd": server.cwd} if server.cwd else {}
    return Endpoint(record, tuple(dict.fromkeys(opened.variables)))


def server_of(name: str, record: Mapping[str, Any]) -> McpServer:
    """Reads what `endpoint_of` wrote. CatalogError if it says neither a command nor an address."""
    command, url = record.get("command"), record.get("url")
    env, headers, cwd = record.get("env") or {}, record.get("headers") or {}, record.get("cwd") or ""
    maps = all(isinstance(one, dict) and all(isinstance(v, str) for v in one.values()) for one in (env, headers))
    if maps and isinstance(cwd, str):
        if isinstance(url, str) and url:
            return McpServer(name, url=url, headers=headers, sse=record.get("transport") == "sse")
        if isinstance(command, list) and command and all(isinstance(part, str) for part in command):
            return McpServer(name, command=tuple(command), env=env, cwd=cwd)
    raise CatalogError(f"the catalog does not say how to start or reach the MCP server {name!r}; build it again")


def shown_server(server: McpServer) -> str:
    """How it is started or reached, in one line, for a person to agree to."""
    return server.url or shlex.join(server.command)


class _Opened:
    """Writes variables in the place of what may be secret, and remembers which."""

    def __init__(self, prefix: str) -> None:
        self.variables: list[str] = []
        self._prefix = prefix

    def _variable(self, name: str, own: bool = False) -> str:
        self.variables.append(name if own else _variable_name(self._prefix, name))
        return "${" + self.variables[-1] + "}"

    def value(self, text: str, name: str, *, own: bool = False) -> str:
        """A value of variables only, or else one variable in its place, `name` itself if it is the server's `own`."""
        rest = _VARIABLE.sub("", text)
        defaults = any((named := _NAMED.fullmatch(inner)) and named[2] for _, inner, _ in _VARIABLE.findall(text))
        is_open = not defaults and rest != text and _SCHEME.fullmatch(rest)
        return text if is_open else self._variable(name, own)

    def arguments(self, command: Iterable[str]) -> list[str]:
        opened: list[str] = []
        before = ""
        for part in command:
            option = before.lstrip("-") if before.startswith("-") and "=" not in before else ""
            opened.append(self._argument(part, option))
            before = part
        return opened

    def _argument(self, part: str, option: str) -> str:
        """One argument; `option` is the one before it, if that is an option."""
        given = _ATTACHED.fullmatch(part)
        apart = given and (part.startswith("-") or not option) and not is_secret_name(option)
        if given and apart and not looks_secret("", given[1]):
            return given[1] + self._given(given[2], given[1].strip("-="))
        return self._given(part, option)

    def _given(self, text: str, option: str) -> str:
        """What an option is given, or an argument without one."""
        own = option in ("e", "env")
        assigned = (_ASSIGNMENT if own else _ENVIRONMENT).fullmatch(text)
        is_script = bool(option) and " " in text  # sh -c "NAME=VALUE command"
        if assigned and (own or not (is_script or is_secret_name(option))):  # docker run -e NAME=VALUE; env NAME=VALUE
            return f"{assigned[1]}={self.value(assigned[2], assigned[1], own=True)}"
        if option.lower() in ("h", "header") and ":" in text:  # mcp-remote URL --header "Name: value"
            name, _, value = text.partition(":")
            return f"{name}:{self.value(value.strip(), name)}"
        if is_url(text) and " " not in text:
            return self.url(text)
        if looks_secret_option(option, _without_variables(text)):
            return self.value(text, option or "KEY")
        return _URL.sub(lambda match: self.url(match[0]), text)

    def url(self, url: str) -> str:
        try:
            parts = urlsplit(url)
        except ValueError:
            return self._variable("URL")
        login, at, host = parts.netloc.rpartition("@")
        path = "/".join(self._variable("KEY") if _RANDOM.fullmatch(part) else part for part in parts.path.split("/"))
        asked = parse_qsl(parts.query, keep_blank_values=True)
        query = "&".join(f"{quote(name)}={self.value(value, name)}" for name, value in asked)
        return urlunsplit((parts.scheme, (self.value(login, "LOGIN") if login else "") + at + host, path, query, ""))


def _without_variables(text: str) -> str:
    """A text with nothing in the place of its variables, or their defaults."""

    def default(match: re.Match[str]) -> str:
        named = _NAMED.fullmatch(match[2] or "")
        return named[2] or "" if named else ""

    return _VARIABLE.sub(default, text)


def _variable_name(*parts: str) -> str:
    return "_".join(re.sub(r"\W+", "_", part.strip("-"), flags=re.ASCII).strip("_").upper() for part in parts if part)
