"""The MCP servers that a place names: a command line, an address, or the file of a client.

Files are read as people have them: with comments and trailing commas, under the key of whichever client wrote them
(`mcpServers`, VS Code's `servers`, Zed's `context_servers`, Codex's `mcp_servers`, Continue's list, ...), as JSON, YAML or
TOML. An entry that cannot be understood costs no other. Starts nothing.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, time
from pathlib import Path
from typing import Any

from toolgen.catalog.loaders.mcp_endpoint import McpServer, filled_in, unfilled
from toolgen.catalog.loaders.report import Loss
from toolgen.catalog.naming import unique_ids
from toolgen.errors import CatalogError, InputError, UsageError
from toolgen.foreign.data import parse_json, read_text
from toolgen.foreign.yaml_core import parse_yaml

MAX_FILE = 16 << 20  # bytes: a client's settings may hold more than servers
_ENDINGS = (".json", ".jsonc", ".json5", ".yaml", ".yml", ".toml")
# Where the clients keep their servers. A path of keys, each of which may also be written as one key with dots.
_KEYS = (
    ("mcpServers",),  # Claude (also in each of its projects), Cursor, Windsurf, Cline, Gemini, Copilot CLI, Continue
    ("servers",),  # VS Code, mcp.json
    ("mcp", "servers"),  # VS Code, settings.json
    ("context_servers",),  # Zed
    ("mcp_servers",),  # Codex
    ("amp", "mcpServers"),
    ("mcp",),  # opencode
)
_EXPECTED = "expected {'mcpServers': {name: {'command': ..., 'args': [...]} or {'url': ...}}}"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_OPENCODE = re.compile(r"(?<!\$)\{((?:env|file):[^{}]*)\}")  # {env:NAME}, where others write ${env:NAME}
_TEXT = r'"(?:\\.|[^"\\])*"?'
_COMMENT = re.compile(rf"({_TEXT})|//[^\n]*|/\*.*?\*/", re.DOTALL)
_LAST_COMMA = re.compile(rf"({_TEXT})|,(?=\s*[}}\]])", re.DOTALL)


@dataclass(frozen=True)
class NamedServer:
    """A server as its place writes it, and with its variables filled in."""

    written: McpServer
    ready: McpServer


@dataclass(frozen=True)
class Servers:
    """The servers of a place, what could not be understood, and what is worth saying. `several` says that the place is a
    file: then one that fails costs no other."""

    servers: tuple[NamedServer, ...]
    losses: tuple[Loss, ...] = ()
    notes: tuple[str, ...] = ()
    several: bool = False


def servers_at(place: str) -> Servers:
    """The servers behind a place. UsageError for a place that is none, InputError for a file that is not there, CatalogError
    for one without servers."""
    if _ADDRESS.match(place):
        return _only(McpServer(url=place, sse=_is_sse(place, "")))
    if place.lower().endswith(_ENDINGS):
        if Path(place).is_file():
            return _from_file(Path(place))
        if len(place.split()) == 1:
            raise InputError(f"there is no file {place}; expected the file of a client, such as mcp.json")
    try:
        command = tuple(shlex.split(place))
    except ValueError as error:
        raise UsageError(f"mcp:{place}: the command line cannot be read: {error}") from error
    if not command:
        raise UsageError("mcp: lacks a server; write a command, an address, or the file of a client (mcp.json)")
    return _only(McpServer(command=command))


def _only(server: McpServer) -> Servers:
    return Servers((NamedServer(server, server),))


def _from_file(path: Path) -> Servers:
    listed = _listed(_content(path))
    if not listed:
        raise CatalogError(f"{path} has no servers; {_EXPECTED}")
    servers: list[NamedServer] = []
    losses: list[Loss] = []
    ids = unique_ids(name for name, _ in listed)
    notes = [f"{new}: the file has several servers of the name {given!r}" for given, new in ids.renamed]
    for name, (_, entry) in zip(ids.ids, listed, strict=True):
        if isinstance(entry, dict) and (_is(entry.get("disabled"), True) or _is(entry.get("enabled"), False)):
            notes.append(f"{name}: the file has this server disabled; it was not started")
            continue
        try:
            server = _named_server(name, entry, path)
            servers.append(server)
            if kept := unfilled(server.written):
                notes.append(f"{name}: a $NAME is not set; it stays as it is in: {', '.join(kept)}")
        except CatalogError as error:
            losses.append(Loss(name, str(error)))
    return Servers(tuple(servers), tuple(losses), tuple(notes), several=True)


def _is(switch: Any, value: bool) -> bool:
    return str(switch).lower() == str(value).lower()  # in YAML it is a text


def _content(path: Path) -> Any:
    try:
        text = read_text(path, MAX_FILE)
        if path.suffix.lower() == ".toml":
            return tomllib.loads(text, parse_float=str)
        if path.suffix.lower() in (".yaml", ".yml"):
            return parse_yaml(text, f"cannot read {path}", as_texts=True)
        plain = _COMMENT.sub(lambda match: match[1] or " ", text)
        return parse_json(_LAST_COMMA.sub(lambda match: match[1] or "", plain), f"cannot read {path}")
    except InputError as error:
        raise CatalogError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"cannot read {path}: {' '.join(str(error).split())[:200]}") from error


def _listed(content: Any) -> list[tuple[str, Any]]:
    """The entries by name, wherever the clients keep them, those of Claude's projects too; a file may also be nothing but
    its entries."""
    if not isinstance(content, dict):
        return []
    listed = next(filter(None, (_under(content, keys) for keys in _KEYS)), [])
    listed += _of_projects(content.get("projects"), listed)
    if not listed and all(isinstance(entry, dict) and {"command", "url"} & entry.keys() for entry in content.values()):
        return [(str(name), entry) for name, entry in content.items()]
    return listed


def _of_projects(projects: Any, known: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The entries of Claude's projects. Each is started in the folder of its project; one that several have is taken once."""
    found: list[tuple[str, Any]] = []
    seen = list(known)
    for folder, project in projects.items() if isinstance(projects, dict) else ():
        for name, entry in _under(project, _KEYS[0]) if isinstance(project, dict) else ():
            if (name, entry) in seen:
                continue
            seen.append((name, entry))
            if isinstance(entry, dict) and Path(folder).is_dir():
                entry = {"cwd": folder, **entry}
            found.append((name, entry))
    return found


def _under(content: dict[str, Any], keys: tuple[str, ...]) -> list[tuple[str, Any]]:
    """The entries behind a path of keys."""
    found: Any = content.get(".".join(keys), content)
    for key in keys if found is content else ():
        found = found.get(key) if isinstance(found, dict) else None
    if isinstance(found, list):  # Continue: a list of entries that say their names
        return [(_name_of(entry, place), entry) for place, entry in enumerate(found, start=1)]
    return [(str(name), entry) for name, entry in found.items()] if isinstance(found, dict) else []


def _name_of(entry: Any, place: int) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return name if isinstance(name, str) and name else f"server {place}"


# --- one entry --------------------------------------------------------------------------------------------------------


def _named_server(name: str, entry: Any, path: Path) -> NamedServer:
    if not isinstance(entry, dict):
        raise CatalogError(f"{path}: server {name!r} is no object; {_EXPECTED}")
    places = _places(path)
    workspace = Path(places["workspaceFolder"])
    entry = _with_places(_flat(entry), places)
    written = _server(name, entry, path)
    written = replace(written, cwd=_absolute(written.cwd, workspace))
    if file := filled_in(McpServer(name, cwd=_text(entry, "envFile"))).cwd:
        written = replace(written, env=_env_file(workspace / file) | dict(written.env))
    ready = filled_in(written)
    return NamedServer(written, replace(ready, cwd=_absolute(ready.cwd, workspace)))


def _absolute(folder: str, workspace: Path) -> str:
    """A folder of a file's server; one that begins with a variable stays."""
    return folder if not folder or folder.startswith("$") else str(workspace / os.path.expanduser(folder))


def _flat(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Zed also writes program, arguments and environment as an object `command`."""
    command = entry.get("command")
    if not isinstance(command, dict):
        return entry
    env = _texts(entry.get("env")) | _texts(command.get("env"))
    return {**entry, **command, "command": command.get("path"), "env": env}


def _server(name: str, entry: Mapping[str, Any], path: Path) -> McpServer:
    tools = [_names(entry, *keys) for keys in (("includeTools", "enabled_tools"), ("excludeTools", "disabled_tools"))]
    off = (tools[1] or frozenset()) | (_names(entry, "disabledTools") or frozenset())
    kind = str(entry.get("type") or entry.get("transport") or "").lower()
    address = next((text for key in ("httpUrl", "serverUrl", "url", "uri") if (text := _text(entry, key))), "")
    if address and kind != "stdio":
        headers = _texts(entry.get("headers")) | _texts(entry.get("http_headers"))
        headers |= {key: "${" + variable + "}" for key, variable in _texts(entry.get("env_http_headers")).items()}
        if token := _text(entry, "bearer_token_env_var"):
            headers["Authorization"] = "Bearer ${" + token + "}"
        sse = not _text(entry, "httpUrl") and _is_sse(address, kind)
        return McpServer(name, url=address, headers=headers, sse=sse, only=tools[0], without=off)
    command = _command(entry)
    if not command:
        raise CatalogError(f"{path}: server {name!r} needs a 'command' with a list 'args', or a 'url'")
    env = _texts(entry.get("env")) | _texts(entry.get("environment"))
    env = {variable: "${" + variable + "}" for variable in _names(entry, "env_vars") or ()} | env
    return McpServer(name, command=command, env=env, cwd=_text(entry, "cwd"), only=tools[0], without=off)


def _command(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """`command` is a text, or a list with the arguments (opencode)."""
    command, arguments = entry.get("command"), entry.get("args")
    parts = [command] if isinstance(command, str) else command
    if not isinstance(parts, list) or not (arguments is None or isinstance(arguments, list)):
        return ()
    whole = tuple(_plain(part) for part in (*parts, *(arguments or ())))
    return whole if whole and whole[0].strip() else ()


def _is_sse(url: str, kind: str) -> bool:
    return kind == "sse" or (not kind and url.partition("?")[0].rstrip("/").endswith("/sse"))


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    return value.strip() if isinstance(value, str) else ""


def _names(entry: Mapping[str, Any], *keys: str) -> frozenset[str] | None:
    found = next((entry[key] for key in keys if isinstance(entry.get(key), list)), None)
    return None if found is None else frozenset(one for one in found if isinstance(one, str))


def _texts(value: Any) -> dict[str, str]:
    """Names with values; null means that one is not set."""
    found = value.items() if isinstance(value, dict) else ()
    return {str(name): _plain(one) for name, one in found if one is not None}


def _plain(value: Any) -> str:
    if isinstance(value, (date, time)):  # of TOML
        return value.isoformat()
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _places(path: Path) -> dict[str, str]:
    """What VS Code and Cursor say for folders."""
    folder = path.resolve().parent
    workspace = folder.parent if folder.name in (".vscode", ".cursor") else folder
    return {
        "workspaceFolder": str(workspace),
        "workspaceFolderBasename": workspace.name,
        "userHome": str(Path.home()),
        "pathSeparator": os.sep,
        "/": os.sep,
    }


def _with_places(value: Any, places: Mapping[str, str]) -> Any:
    """An entry with folders in the place of the client's words for them, and variables as most clients write them."""
    if isinstance(value, dict):
        return {key: _with_places(one, places) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_places(one, places) for one in value]
    if isinstance(value, str):
        for word, folder in places.items():
            value = value.replace("${" + word + "}", folder)
        value = _OPENCODE.sub(r"${\1}", value)
    return value


def _env_file(path: Path) -> dict[str, str]:
    """Lines NAME=value."""
    try:
        lines = read_text(path, MAX_FILE).split("\n")
    except InputError as error:
        raise CatalogError(f"the envFile: {error}") from error
    pairs = (line.strip().removeprefix("export ").partition("=") for line in lines if not line.lstrip().startswith("#"))
    return {name.strip(): _unquoted(value.strip()) for name, equals, value in pairs if equals}


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
